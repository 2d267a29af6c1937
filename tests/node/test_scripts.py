"""The first-boot scripts, really run by a shell: in a scratch folder, with stand-ins for the machine's commands."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from flatyard.base.world import SeededWorld
from flatyard.ignition.dataurl import decode
from flatyard.model.traits import NodeNameRule, NodeTraits, ProviderIdSource
from flatyard.node import layout
from flatyard.node.evidence import parse_console
from flatyard.node.inputs import (
    Bootstrap,
    ClusterSettings,
    Init,
    JoinControlPlane,
    JoinWorker,
    MachineIdentity,
    MachineToken,
    NodeRole,
    PoolSettings,
    Vip,
)
from flatyard.node.render import render
from flatyard.pki import new_secrets, new_token
from flatyard.sysext.simulated import simulated_feed

WORLD = SeededWorld(1, lambda: 0.0)
SECRETS = new_secrets(WORLD)
TOKEN = new_token(WORLD)
CLUSTER = ClusterSettings(name="prod", id="01J", kubernetes="v1.34.3", endpoint_host="api.prod.example")
PLAIN = NodeTraits(cloud="gcp", provider_id=ProviderIdSource.FIXED)
MACHINE = MachineIdentity(id="01J", name="node-1", provider_id="fixed://node-1")
ROOTED = (
    "/etc/",
    "/run/",
    "/var/",
    "/dev/console",
    "/dev/disk/by-label/",
    "/sys/",
    "/oem/",
    "/usr/share/oem/",
)


@dataclass
class Node:
    """A scratch machine: `root` stands for /, `commands` are scripts that stand in for real ones."""

    root: Path
    commands: dict[str, str] = field(default_factory=dict)

    def boot_with(
        self, cluster: ClusterSettings, role: NodeRole, traits: NodeTraits, bootstrap: Bootstrap
    ) -> None:
        """Write the rendered files below the root, with their absolute paths bent to it."""
        pool = PoolSettings(
            role=role, name="pool", kubelet="v1.34.3", image=simulated_feed().image("v1.34.3")
        )
        for entry in render(cluster, pool, MACHINE, traits, bootstrap).storage.files:
            source = entry.contents.source or ""
            if source.startswith("data:"):
                data = decode(source)
                text = gzip.decompress(data) if entry.contents.compression == "gzip" else data
                self.write(entry.path, self.bent(text.decode()))
        self.write("/etc/hosts", "127.0.0.1 localhost\n")

    def bent(self, text: str) -> str:
        for prefix in ROOTED:
            text = text.replace(prefix, f"{self.root}{prefix}")
        return text

    def write(self, path: str, text: str = "") -> None:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        return self.path(path).read_text()

    def run(self, script: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        folder = self.root / "commands"
        folder.mkdir(exist_ok=True)
        for name, text in self.commands.items():
            (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{self.root}/calls\n{text}\n')
            (folder / name).chmod(0o755)
        shell = shutil.which("dash") or "/bin/sh"
        command = [shell, str(self.path(script)), *arguments]
        env = {**os.environ, "PATH": f"{folder}:/usr/bin:/bin"}
        return subprocess.run(command, env=env, text=True, capture_output=True, check=check, timeout=60)

    def calls(self, name: str) -> list[str]:
        lines = self.read("/calls").splitlines()
        return [line.replace(str(self.root), "") for line in lines if line.split()[0] == name]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A machine on which everything is there and works."""
    commands = {
        "kubeadm": "exit 0",
        "systemctl": 'case "$1" in is-enabled) echo disabled;exit 1;; is-active) exit 0;; is-failed) exit 1;; esac',
        "curl": f"echo jws-kubeconfig-{TOKEN.id}",
        "mountpoint": "exit 0",
        "sleep": "exit 0",
    }
    return Node(tmp_path, commands)


def ready(
    node: Node, cluster: ClusterSettings, role: NodeRole, traits: NodeTraits, bootstrap: Bootstrap
) -> Node:
    """The machine after its identity unit."""
    node.boot_with(cluster, role, traits, bootstrap)
    node.run(layout.IDENTITY_SCRIPT)
    return node


def first(node: Node, cluster: ClusterSettings = CLUSTER, traits: NodeTraits = PLAIN) -> Node:
    init = Init(SECRETS, (MachineToken(TOKEN, "01J"),))
    return ready(node, cluster, NodeRole.CONTROL_PLANE, traits, init)


def worker(node: Node, cluster: ClusterSettings = CLUSTER, traits: NodeTraits = PLAIN) -> Node:
    return ready(node, cluster, NodeRole.WORKER, traits, JoinWorker(TOKEN, SECRETS.pin))


def further(node: Node, traits: NodeTraits = PLAIN) -> Node:
    bootstrap = JoinControlPlane(SECRETS, TOKEN, peer="10.0.0.4")
    return ready(node, CLUSTER, NodeRole.CONTROL_PLANE, traits, bootstrap)


READY = "/run/flatyard/kubeadm.yaml"


def test_a_first_control_plane_runs_init_once_then_leaves_a_stamp_and_no_token(node: Node) -> None:
    first(node).run(layout.KUBEADM_SCRIPT)
    assert node.calls("kubeadm") == [f"kubeadm init --config {READY}"]
    assert node.path(layout.STAMP).exists()
    assert not node.path(layout.KUBEADM_CONFIG).exists() and not node.path(READY).exists()


@pytest.mark.parametrize(
    "left", ["/var/lib/etcd/member/wal", "/etc/kubernetes/manifests/kube-apiserver.yaml"]
)
def test_an_interrupted_init_goes_on_and_is_never_reset(node: Node, left: str) -> None:
    first(node).write(left)
    node.run(layout.KUBEADM_SCRIPT)
    assert node.calls("kubeadm") == [f"kubeadm init --skip-phases=preflight --config {READY}"]
    assert "reset" not in node.read(layout.KUBEADM_SCRIPT)


def test_a_failing_init_leaves_no_stamp_and_keeps_its_config_for_the_next_attempt(node: Node) -> None:
    node.commands["kubeadm"] = "exit 1"
    assert first(node).run(layout.KUBEADM_SCRIPT, check=False).returncode == 1
    assert not node.path(layout.STAMP).exists()
    assert node.path(layout.KUBEADM_CONFIG).exists()


def test_a_worker_waits_for_the_api_and_joins(node: Node) -> None:
    node.commands["curl"] = f"[ $(grep -c ^curl {node.root}/calls) -ge 3 ]&&echo jws-kubeconfig-{TOKEN.id}"
    done = worker(node).run(layout.KUBEADM_SCRIPT)
    assert "flatyard: waiting for https://api.prod.example:6443" in done.stdout
    assert len(node.calls("curl")) == 4
    assert node.calls("kubeadm") == [f"kubeadm join --config {READY}"]
    assert node.path(layout.STAMP).exists()


def test_a_worker_joins_when_its_own_token_is_signed(node: Node) -> None:
    """kubeadm would find another's signature only, and ask again seconds later."""
    signed = f"[ $(grep -c cluster-info {node.root}/calls) -ge 5 ]&&echo jws-kubeconfig-{TOKEN.id}"
    node.commands["curl"] = f"echo jws-kubeconfig-zzzzzz;{signed};exit 0"
    worker(node).run(layout.KUBEADM_SCRIPT)
    assert len([call for call in node.calls("curl") if "kube-public/configmaps/cluster-info" in call]) == 5
    assert node.calls("kubeadm") == [f"kubeadm join --config {READY}"]


def test_a_token_that_is_never_signed_is_for_kubeadm_to_tell(node: Node) -> None:
    node.commands["curl"] = "exit 0"
    worker(node).run(layout.KUBEADM_SCRIPT)
    assert node.calls("kubeadm") == [f"kubeadm join --config {READY}"]


def test_a_worker_gives_up_an_attempt_when_the_api_never_answers(node: Node) -> None:
    node.commands["curl"] = "exit 7"
    done = worker(node).run(layout.KUBEADM_SCRIPT, check=False)
    assert done.returncode == 1 and "https://api.prod.example:6443 does not answer" in done.stdout


def test_a_half_joined_worker_cleans_up_its_own_files_and_joins_without_preflight(node: Node) -> None:
    """The first attempt's kubelet still has its port, which kubeadm's preflight would refuse."""
    worker(node)
    for path in ("bootstrap-kubelet.conf", "kubelet.conf", "pki/ca.crt"):
        node.write(f"/etc/kubernetes/{path}")
    node.run(layout.KUBEADM_SCRIPT)
    assert not node.path("/etc/kubernetes/bootstrap-kubelet.conf").exists()
    assert node.calls("kubeadm") == [f"kubeadm join --skip-phases=preflight --config {READY}"]


def test_a_worker_that_has_joined_does_not_join_twice(node: Node) -> None:
    worker(node)
    node.write("/etc/kubernetes/kubelet.conf")
    node.write("/var/lib/kubelet/pki/kubelet-client-current.pem")
    node.run(layout.KUBEADM_SCRIPT)
    assert not [call for call in node.read("/calls").splitlines() if call.startswith("kubeadm")]
    assert node.path(layout.STAMP).exists()


@pytest.mark.parametrize(
    ("left", "command"),
    [
        ("", "join"),
        ("/etc/kubernetes/manifests/kube-apiserver.yaml", "join --skip-phases=preflight"),
        ("/var/lib/kubelet/pki/kubelet-client-current.pem", "join phase control-plane-join all"),
    ],
)
def test_a_further_control_plane_goes_on_where_it_stopped(node: Node, left: str, command: str) -> None:
    further(node)
    if left:
        node.write(left)
    node.run(layout.KUBEADM_SCRIPT)
    assert node.calls("kubeadm") == [f"kubeadm {command} --config {READY}"]
    assert node.path("/etc/kubernetes/pki/ca.key").exists()


def _hosts_during(node: Node) -> list[str]:
    """The endpoint's lines in /etc/hosts while kubeadm ran and afterwards."""
    node.commands["kubeadm"] = f"grep flatyard {node.root}/etc/hosts >{node.root}/during; exit 0"
    node.run(layout.KUBEADM_SCRIPT)
    after = [line for line in node.read("/etc/hosts").splitlines() if "flatyard" in line]
    return [node.read("/during").strip(), *after]


def test_without_hairpin_the_name_leads_to_a_peer_while_joining_and_then_to_itself(node: Node) -> None:
    further(node, replace(PLAIN, hairpin=False))
    expected = ["10.0.0.4 api.prod.example # flatyard", "127.0.0.1 api.prod.example # flatyard"]
    assert _hosts_during(node) == expected
    assert "127.0.0.1 localhost" in node.read("/etc/hosts")


def test_without_hairpin_the_first_control_plane_leads_to_itself(node: Node) -> None:
    first(node, traits=replace(PLAIN, hairpin=False))
    assert _hosts_during(node) == ["127.0.0.1 api.prod.example # flatyard"] * 2


def test_a_name_that_no_dns_knows_is_mapped_on_every_machine(node: Node) -> None:
    worker(node, replace(CLUSTER, endpoint_address="192.0.2.9"))
    assert _hosts_during(node) == ["192.0.2.9 api.prod.example # flatyard"] * 2


def test_the_address_pod_uses_the_ordinary_admin_once_init_is_done(node: Node) -> None:
    first(node, replace(CLUSTER, vip=Vip("192.0.2.9")))
    assert "super-admin.conf" in node.read(layout.VIP_MANIFEST)
    node.run(layout.KUBEADM_SCRIPT)
    manifest = node.read(layout.VIP_MANIFEST)
    assert "super-admin.conf" not in manifest and "/etc/kubernetes/admin.conf" in manifest


# ---- what is missing is named


def _blamed(node: Node) -> str:
    done = node.run(layout.KUBEADM_SCRIPT, check=False)
    assert done.returncode == 1 and "flatyard: " in done.stdout
    assert not (node.root / "calls").exists() or not node.calls("kubeadm")
    return node.read(layout.CAUSE_FILE).strip()


def test_a_missing_extension_is_blamed_on_the_merge(node: Node) -> None:
    del node.commands["kubeadm"]
    assert _blamed(worker(node)) == "systemd-sysext.service"


def test_a_masked_kubelet_is_named(node: Node) -> None:
    node.commands["systemctl"] = "echo masked; exit 1"
    assert _blamed(worker(node)) == "kubelet.service"


def test_a_dead_containerd_is_named(node: Node) -> None:
    node.commands["systemctl"] = "[ $1 != is-active ]"
    assert _blamed(worker(node)) == "containerd.service"


def test_a_missing_identity_is_named(node: Node) -> None:
    shutil.rmtree(worker(node).path("/run/flatyard"))
    assert _blamed(node) == "flatyard-identity.service"


def test_an_unmounted_etcd_disk_is_named_before_anything_is_written_to_it(node: Node) -> None:
    node.commands["mountpoint"] = "exit 1"
    assert _blamed(first(node, traits=replace(PLAIN, etcd_device="/dev/sdb"))) == "var-lib-etcddisk.mount"


# ---- identity

AWS = NodeTraits(
    cloud="aws", node_name=NodeNameRule.PRIVATE_DNS, provider_id_format="aws:///{zone}/{id}", hairpin=False
)
_METADATA = {
    "aws": """case "$*" in
*api/token*) echo secret;;
*"X-aws-ec2-metadata-token: secret"*local-hostname) echo ip-10-0-0-7.corp.example other.example;;
*"X-aws-ec2-metadata-token: secret"*local-ipv4) echo 10.0.0.7;;
*"X-aws-ec2-metadata-token: secret"*placement/region) echo us-east-1;;
*"X-aws-ec2-metadata-token: secret"*availability-zone) echo us-east-1a;;
*"X-aws-ec2-metadata-token: secret"*instance-id) echo i-0abc;;
*) exit 22;;esac""",
    "gcp": """case "$*" in
*"Metadata-Flavor: Google"*project-id) echo my-project;;
*"Metadata-Flavor: Google"*instance/zone) echo projects/1/zones/europe-west3-a;;
*"Metadata-Flavor: Google"*instance/name) echo node-1;;
*) exit 22;;esac""",
}
_JSON = {
    "azure": '{"subscriptionId":"sub","resourceGroupName":"group","name":"node-1"}',
    "openstack": '{"uuid":"8e1f","name":"node-1"}',
}
_JQ = """#!/bin/sh
exec python3 -c 'import json,sys;print(json.load(sys.stdin)[sys.argv[1][1:]])' "$2"
"""


def _identity(node: Node, traits: NodeTraits) -> str:
    node.commands["jq"] = _JQ
    node.boot_with(CLUSTER, NodeRole.WORKER, traits, JoinWorker(TOKEN, SECRETS.pin))
    node.run(layout.IDENTITY_SCRIPT)
    return node.read(layout.ENV_FILE)


def test_on_aws_a_node_learns_its_private_name_and_its_provider_id(node: Node) -> None:
    node.commands["curl"] = _METADATA["aws"]
    found = _identity(node, AWS)
    assert found == "NODE_NAME=ip-10-0-0-7.ec2.internal\nPROVIDER_ID=aws:///us-east-1a/i-0abc\n"
    text = node.read(READY)
    assert 'name: "ip-10-0-0-7.ec2.internal"' in text and 'value: "aws:///us-east-1a/i-0abc"' in text
    assert "@" not in text.replace("@example", "")
    assert oct(node.path(READY).stat().st_mode & 0o777) == "0o600"


def test_on_aws_a_node_is_called_as_ec2_calls_it_whatever_the_vpcs_dhcp_options_say(node: Node) -> None:
    node.commands["curl"] = _METADATA["aws"].replace("echo us-east-1;", "echo eu-central-1;")
    assert "NODE_NAME=ip-10-0-0-7.eu-central-1.compute.internal\n" in _identity(node, AWS)


@pytest.mark.parametrize(
    ("cloud", "form", "expected"),
    [
        ("gcp", "gce://{account}/{zone}/{name}", "gce://my-project/europe-west3-a/node-1"),
        (
            "azure",
            "azure:///subscriptions/{account}/resourceGroups/{group}/x/{name}",
            "azure:///subscriptions/sub/resourceGroups/group/x/node-1",
        ),
        ("openstack", "openstack:///{id}", "openstack:///8e1f"),
        ("vsphere", "vsphere://{uuid}", "vsphere://421c5064-aabb-ccdd-eeff-001122334455"),
    ],
)
def test_provider_ids_are_learnt_as_each_cloud_tells_them(
    node: Node, cloud: str, form: str, expected: str
) -> None:
    node.commands["curl"] = _METADATA.get(cloud) or f"echo '{_JSON.get(cloud, '')}'"
    node.write("/sys/class/dmi/id/product_serial", "VMware-42 1c 50 64 aa bb cc dd-ee ff 00 11 22 33 44 55\n")
    traits = NodeTraits(cloud=cloud, provider_id_format=form)
    assert _identity(node, traits) == f"NODE_NAME=node-1\nPROVIDER_ID={expected}\n"


@pytest.mark.parametrize("label", ("config-2", "CONFIG-2"))
def test_on_openstack_a_config_drive_says_it_where_there_is_no_metadata_service(
    node: Node, label: str
) -> None:
    node.commands["curl"] = "exit 28"
    node.commands["umount"] = ""
    node.commands["mount"] = (
        f"mkdir -p $4/openstack/latest;echo '{_JSON['openstack']}' >$4/openstack/latest/meta_data.json"
    )
    node.write(f"/dev/disk/by-label/{label}")
    traits = NodeTraits(cloud="openstack", provider_id_format="openstack:///{id}")
    assert _identity(node, traits) == "NODE_NAME=node-1\nPROVIDER_ID=openstack:///8e1f\n"
    assert node.calls("mount")[0].startswith(f"mount -o ro /dev/disk/by-label/{label} ")


def test_a_silent_metadata_service_fails_the_unit_and_writes_nothing(node: Node) -> None:
    node.commands["curl"] = "exit 28"
    node.boot_with(CLUSTER, NodeRole.WORKER, AWS, JoinWorker(TOKEN, SECRETS.pin))
    assert node.run(layout.IDENTITY_SCRIPT, check=False).returncode != 0
    assert not node.path(layout.ENV_FILE).exists() and not node.path(READY).exists()


def test_one_unanswered_question_among_several_fails_the_unit(node: Node) -> None:
    node.commands["curl"] = _METADATA["aws"].replace("*availability-zone) echo us-east-1a;;", "*nothing) ;;")
    node.boot_with(CLUSTER, NodeRole.WORKER, AWS, JoinWorker(TOKEN, SECRETS.pin))
    assert node.run(layout.IDENTITY_SCRIPT, check=False).returncode != 0
    assert not node.path(READY).exists()


# ---- evidence


def _evidence(node: Node, failed: tuple[str, ...], about: str) -> str:
    worker(node)
    names = "|".join(failed) or "none"
    node.commands["systemctl"] = (
        f'case "$*" in show*) echo exit-code;; *) case "$3" in {names}) exit 0;; esac; exit 1;; esac'
    )
    node.commands["journalctl"] = "echo first; echo last line of $*"
    node.write("/dev/console")
    node.run(layout.EVIDENCE_SCRIPT, about)
    return node.read("/dev/console")


def test_evidence_is_a_block_that_is_read_back_off_the_console(node: Node) -> None:
    report = parse_console("boot noise\n" + _evidence(node, (), "flatyard-join.service"))
    assert report is not None and (report.unit, report.result) == ("flatyard-join.service", "exit-code")
    assert report.lines[0] == "first" and report.lines[1].startswith("last line of -b -q -o cat -n 10")


def test_evidence_names_the_cause_not_what_follows_from_it(node: Node) -> None:
    report = parse_console(
        _evidence(node, ("flatyard-identity.service", "kubelet.service"), "flatyard-join.service")
    )
    assert report is not None and report.unit == "flatyard-identity.service"


def test_evidence_believes_what_the_kubeadm_script_found_out(node: Node) -> None:
    node.write(layout.CAUSE_FILE, "kubelet.service\n")
    report = parse_console(_evidence(node, (), "flatyard-join.service"))
    assert report is not None and report.unit == "kubelet.service"
    assert [line.rpartition(" -u ")[2] for line in report.lines[1::2]] == [
        "kubelet.service",
        "flatyard-join.service",
    ], "the cause's lines are not pushed out by those of what fails for it again and again"


def test_on_vsphere_evidence_goes_to_guestinfo_too(node: Node) -> None:
    node.boot_with(CLUSTER, NodeRole.WORKER, replace(PLAIN, cloud="vsphere"), JoinWorker(TOKEN, SECRETS.pin))
    node.commands |= {"systemctl": "exit 1", "journalctl": "echo x", "vmtoolsd": "exit 0"}
    node.write("/dev/console")
    node.run(layout.EVIDENCE_SCRIPT, "flatyard-join.service")
    assert node.calls("vmtoolsd")[0].startswith(
        "vmtoolsd --cmd info-set guestinfo.flatyard.evidence ZmxhdHlhcmQt"
    )
