"""What a machine boots with, per cloud and role: golden files, and the promises that hold for all of them.

`UPDATE_GOLDEN=1 pytest tests/node` writes the golden files anew.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flatyard.base.errors import InvalidInput, Refused
from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.clouds.facts import traits
from flatyard.clouds.table import facts
from flatyard.decode import Raw
from flatyard.decode.types import JSON
from flatyard.ignition import Config, Resource, config, encode, file, unit, user
from flatyard.ignition.dataurl import decode
from flatyard.ignition.parse import read
from flatyard.model.annotations import KubeletSettings
from flatyard.model.machine import OperatingSystemSpec, Taint
from flatyard.model.traits import MetadataBlock, NodeNameRule, NodeTraits, ProviderIdSource
from flatyard.node import layout
from flatyard.node.extras import extra_problems, read_extra
from flatyard.node.inputs import (
    Bootstrap,
    ClusterSettings,
    Init,
    JoinControlPlane,
    JoinWorker,
    MachineIdentity,
    MachineToken,
    NodeFile,
    NodeRole,
    PoolSettings,
    Vip,
)
from flatyard.node.kubeadm import kubelet_labels
from flatyard.node.render import prepare, render
from flatyard.pki import ClusterSecrets, new_secrets, new_token
from flatyard.sysext.simulated import simulated_feed

GOLDEN = Path(__file__).parent / "golden"
WORLD = SeededWorld(1, lambda: 0.0, SIMULATED_EPOCH)
SECRETS = new_secrets(WORLD)
TOKENS = tuple(MachineToken(new_token(WORLD), f"01J{n:023}") for n in range(3))
VERSION = "v1.34.3"

_AZURE_ID = "azure:///subscriptions/{account}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
TRAITS = {
    "aws": NodeTraits(
        cloud="aws",
        node_name=NodeNameRule.PRIVATE_DNS,
        provider_id_format="aws:///{zone}/{id}",
        hairpin=False,
        metadata_block=MetadataBlock.HOP_LIMIT,
        etcd_device="/dev/xvdf",
    ),
    "azure": NodeTraits(
        cloud="azure",
        provider_id=ProviderIdSource.CCM,
        provider_id_format=_AZURE_ID,
        hairpin=False,
        etcd_device="/dev/disk/azure/scsi1/lun0",
        external_cloud_provider=True,
    ),
    "gcp": NodeTraits(
        cloud="gcp",
        provider_id=ProviderIdSource.CCM,
        provider_id_format="gce://{account}/{zone}/{name}",
        etcd_device="/dev/disk/by-id/google-etcd",
    ),
    "openstack": NodeTraits(
        cloud="openstack",
        provider_id_format="openstack:///{id}",
        etcd_device="/dev/vdb",
        architectures=("amd64", "arm64"),
    ),
    "vsphere": NodeTraits(
        cloud="vsphere",
        provider_id=ProviderIdSource.CCM,
        provider_id_format="vsphere://{uuid}",
        metadata_block=MetadataBlock.NONE,
        etcd_device="/dev/sdb",
    ),
    "local": NodeTraits(
        cloud="local",
        provider_id=ProviderIdSource.FIXED,
        provider_id_format="flatyard-local://{name}",
        metadata_block=MetadataBlock.NONE,
    ),
}
ROLES = ("first", "control-plane", "worker")
CLOUDS = tuple(TRAITS)


def cluster_of(cloud: str) -> ClusterSettings:
    settings = ClusterSettings(
        name="prod", id="01JCLUSTER0000000000000000", kubernetes=VERSION, endpoint_host="api.prod.example"
    )
    if cloud == "vsphere":
        return replace(settings, vip=Vip("192.0.2.10"), endpoint_address="192.0.2.10")
    if cloud == "local":
        return replace(settings, endpoint_address="192.0.2.11", patches="auto", reboots="off")
    return settings


def pool_of(role: str) -> PoolSettings:
    image = simulated_feed().image(VERSION)
    keys = ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample ada@example",)
    if role == "worker":
        labels = {"team": "research", "node-role.kubernetes.io/worker": "", "node.kubernetes.io/tier": "b"}
        taints = (Taint(key="gpu", value="true", effect="NoSchedule"),)
        return PoolSettings(
            role=NodeRole.WORKER,
            name="general",
            kubelet=VERSION,
            image=image,
            labels=labels,
            taints=taints,
            ssh_keys=keys,
        )
    return PoolSettings(
        role=NodeRole.CONTROL_PLANE, name="control-plane", kubelet=VERSION, image=image, ssh_keys=keys
    )


def machine_of(role: str) -> MachineIdentity:
    return MachineIdentity(
        id="01J00000000000000000000000", name=f"prod-{role}-1", provider_id=f"flatyard-local://prod-{role}-1"
    )


def bootstrap_of(role: str) -> Bootstrap:
    if role == "first":
        return Init(SECRETS, TOKENS)
    if role == "control-plane":
        return JoinControlPlane(SECRETS, TOKENS[0].token, peer="10.0.0.4")
    return JoinWorker(TOKENS[1].token, SECRETS.pin)


def rendered(cloud: str, role: str) -> Config:
    return render(cluster_of(cloud), pool_of(role), machine_of(role), TRAITS[cloud], bootstrap_of(role))


def content(resource: Resource) -> str:
    data = decode(resource.source or "data:,")
    return (gzip.decompress(data) if resource.compression == "gzip" else data).decode()


def text_of(config: Config, path: str) -> str:
    return next(content(f.contents) for f in config.storage.files if f.path == path)


def paths(config: Config) -> set[str]:
    return {f.path for f in config.storage.files}


def unit_text(config: Config, name: str) -> str:
    found = next(u for u in config.systemd.units if u.name == name)
    return (found.contents or "") + "".join(d.contents or "" for d in found.dropins)


def readable(config: Config) -> str:
    """The config as JSON with decoded contents as lists of lines, so that a diff reads well."""
    document = json.loads(encode(config))
    for entry in document["storage"].get("files", ()):
        source = entry["contents"]["source"]
        if source.startswith("data:"):
            entry["contents"] = _lines(content(Resource(entry["contents"].get("compression"), (), source)))
    for entry in document["systemd"]["units"]:
        for part in (entry, *entry.get("dropins", ())):
            if "contents" in part:
                part["contents"] = _lines(part["contents"])
    return json.dumps(document, indent=1) + "\n"


def _lines(text: str) -> list[str]:
    # keys are left out of the golden files, lest somebody takes them for real ones
    return ["(a private key)"] if "PRIVATE KEY" in text else text.splitlines()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_machine_boots_with_exactly_this(cloud: str, role: str) -> None:
    golden = GOLDEN / f"{cloud}-{role}.ign.json"
    found = readable(rendered(cloud, role))
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_ignition_takes_it_without_a_word(cloud: str, role: str) -> None:
    document = read(encode(rendered(cloud, role)))
    assert document.report == () and document.config == rendered(cloud, role)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_script_is_posix_shell(cloud: str, role: str, tmp_path: Path) -> None:
    shell = shutil.which("dash") or "/bin/sh"
    for path in (layout.IDENTITY_SCRIPT, layout.KUBEADM_SCRIPT, layout.EVIDENCE_SCRIPT):
        script = tmp_path / Path(path).name
        script.write_text(text_of(rendered(cloud, role), path))
        subprocess.run([shell, "-n", script], check=True)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_kubeadm_reads_is_yaml_of_the_kinds_it_expects(cloud: str, role: str) -> None:
    documents = list(yaml.safe_load_all(text_of(rendered(cloud, role), layout.KUBEADM_CONFIG)))
    kinds = [document["kind"] for document in documents]
    if role == "first":
        assert kinds == [
            "InitConfiguration",
            "ClusterConfiguration",
            "KubeletConfiguration",
            "KubeProxyConfiguration",
        ]
    else:
        assert kinds == ["JoinConfiguration"]


# ---- secrets


def _every_text(config: Config) -> str:
    files = [
        content(f.contents) for f in config.storage.files if (f.contents.source or "").startswith("data:")
    ]
    return "\n".join([*files, *(unit_text(config, u.name) for u in config.systemd.units), str(config)])


def _secret_texts() -> list[str]:
    keys = [text.decode() for path, text in SECRETS.files().items() if path.endswith(".key")]
    import base64

    return [*keys, base64.b64encode(SECRETS.encryption_key).decode(), *(t.token.secret for t in TOKENS)]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_worker_holds_no_secret_but_its_own_token(cloud: str) -> None:
    text = _every_text(rendered(cloud, "worker"))
    own = TOKENS[1].token.secret
    assert [secret for secret in _secret_texts() if secret in text] == [own]
    assert "PRIVATE KEY" not in text
    assert not [p for p in paths(rendered(cloud, "worker")) if p.startswith(layout.PKI_FOLDER)]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_a_clouds_controllers_read_is_on_every_machine_for_root_only_unless_the_user_has_an_own(
    cloud: str, role: str
) -> None:
    theirs = NodeFile("/etc/kubernetes/azure.json", '{"cloud": "AzurePublicCloud"}\n')
    cluster = replace(cluster_of(cloud), files=(theirs,))
    first = role == "first"
    made = prepare(cluster, pool_of(role), TRAITS[cloud], first=first)
    entry = next(f for f in made.shared.storage.files if f.path == theirs.path)
    assert (entry.mode, content(entry.contents)) == (0o600, theirs.text)
    extra = config(files=[file(theirs.path, "mine")])
    own = prepare(cluster, replace(pool_of(role), extras=(extra,)), TRAITS[cloud], first=first)
    assert [content(f.contents) for f in own.shared.storage.files if f.path == theirs.path] == ["mine"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_files_with_secrets_are_for_root_only(cloud: str, role: str) -> None:
    for entry in rendered(cloud, role).storage.files:
        if (entry.contents.source or "").startswith("data:"):
            held = [secret for secret in _secret_texts() if secret in content(entry.contents)]
            assert not held or entry.mode == 0o600, entry.path


def test_a_control_plane_gets_all_keys_and_seals_secrets_from_the_first_day() -> None:
    for role in ("first", "control-plane"):
        config = rendered("azure", role)
        for path, text in SECRETS.files().items():
            assert text_of(config, f"{layout.PKI_FOLDER}/{path}").encode() == text
        sealing = yaml.safe_load(text_of(config, layout.ENCRYPTION_CONFIG))
        assert sealing["resources"][0]["resources"] == ["secrets"]
        assert list(sealing["resources"][0]["providers"][0]) == ["secretbox"]
    _, cluster, *_ = yaml.safe_load_all(text_of(rendered("azure", "first"), layout.KUBEADM_CONFIG))
    arguments = cluster["apiServer"]["extraArgs"]
    assert {"name": "encryption-provider-config", "value": layout.ENCRYPTION_CONFIG} in arguments


def test_inputs_and_templates_show_no_secrets() -> None:
    template = prepare(cluster_of("aws"), pool_of("first"), TRAITS["aws"], first=True)
    shown = "".join(repr(bootstrap_of(role)) for role in ROLES) + repr(template)
    assert not [secret for secret in _secret_texts() if secret in shown or repr(secret)[1:-1] in shown]


# ---- what a node is


def test_kubernetes_comes_as_a_pinned_extension_with_its_updates_off_until_asked_for() -> None:
    config = rendered("aws", "worker")
    image = simulated_feed().image(VERSION)
    path = f"/opt/extensions/kubernetes/kubernetes-{VERSION}-x86-64.raw"
    entry = next(f for f in config.storage.files if f.path == path)
    assert (entry.contents.source, entry.contents.verification.hash) == (image.url, f"sha256-{image.sha256}")
    links = [(link.path, link.target) for link in config.storage.links]
    assert links == [("/etc/extensions/kubernetes.raw", path)]
    assert "/etc/sysupdate.kubernetes.d/kubernetes-v1.34.conf" in paths(config)
    assert "/etc/sysupdate.d/noop.conf" in paths(config)
    timers = {
        cloud: _enabled(rendered(cloud, "worker"), layout.SYSUPDATE_TIMER) for cloud in ("aws", "local")
    }
    assert timers == {"aws": False, "local": True}


def _enabled(config: Config, name: str) -> bool | None:
    return next(u.enabled for u in config.systemd.units if u.name == name)


def test_the_image_flavor_brings_no_extension_and_keeps_the_images_containerd() -> None:
    cluster = replace(cluster_of("azure"), flavor="image")
    config = render(
        cluster,
        replace(pool_of("worker"), image=None),
        machine_of("worker"),
        TRAITS["azure"],
        bootstrap_of("worker"),
    )
    assert read(encode(config)).report == ()
    assert not config.storage.links and layout.CONTAINERD_CONFIG not in paths(config)
    assert not [u.name for u in config.systemd.units if "sysupdate" in u.name]
    assert "ExecStart" not in unit_text(config, layout.CONTAINERD_UNIT)


@pytest.mark.parametrize(
    ("reboots", "system", "masked", "conf"),
    [
        ("flatyard", OperatingSystemSpec(), {"locksmithd.service"}, "off"),
        ("kured", OperatingSystemSpec(), {"locksmithd.service"}, "off"),
        ("off", OperatingSystemSpec(), {"locksmithd.service"}, "off"),
        ("locksmith", OperatingSystemSpec(), set(), "reboot"),
        ("locksmith", OperatingSystemSpec(disable_locksmith_d=True), {"locksmithd.service"}, "reboot"),
        ("locksmith", OperatingSystemSpec(disable_update_engine=True), {"update-engine.service"}, "reboot"),
        (
            "flatyard",
            OperatingSystemSpec(disable_auto_update=True),
            {"locksmithd.service", "update-engine.service"},
            "off",
        ),
    ],
)
def test_there_is_one_owner_of_reboots(
    reboots: str, system: OperatingSystemSpec, masked: set[str], conf: str
) -> None:
    cluster = replace(cluster_of("aws"), reboots=reboots)
    config = render(
        cluster,
        replace(pool_of("worker"), system=system),
        machine_of("worker"),
        TRAITS["aws"],
        bootstrap_of("worker"),
    )
    assert {u.name for u in config.systemd.units if u.mask} == masked
    assert text_of(config, layout.UPDATE_CONF) == f"REBOOT_STRATEGY={conf}\n"


def test_locksmith_keeps_the_clusters_window() -> None:
    cluster = replace(cluster_of("aws"), reboots="locksmith", reboot_window=("Sat 01:00", "4h"))
    config = render(cluster, pool_of("worker"), machine_of("worker"), TRAITS["aws"], bootstrap_of("worker"))
    assert "LOCKSMITHD_REBOOT_WINDOW_START=Sat 01:00\n" in text_of(config, layout.UPDATE_CONF)
    assert "locksmithctl send-need-reboot" in unit_text(config, layout.SYSUPDATE_UNIT)


@pytest.mark.parametrize("cloud", [cloud for cloud in CLOUDS if TRAITS[cloud].etcd_device])
def test_kubeadm_waits_for_the_etcd_disk(cloud: str) -> None:
    config = rendered(cloud, "first")
    (disk,) = config.storage.filesystems
    assert (disk.device, disk.label, disk.wipe_filesystem) == (TRAITS[cloud].etcd_device, "etcd_disk", False)
    assert "Where=/var/lib/etcddisk" in unit_text(config, layout.ETCD_MOUNT)
    assert "RequiresMountsFor=/var/lib/etcddisk" in unit_text(config, layout.INIT_UNIT)
    _, cluster, *_ = yaml.safe_load_all(text_of(config, layout.KUBEADM_CONFIG))
    assert cluster["etcd"]["local"]["dataDir"] == "/var/lib/etcddisk/etcd"
    assert not rendered(cloud, "worker").storage.filesystems


def test_names_follow_the_clouds_rule() -> None:
    names = {}
    for cloud in ("aws", "azure"):
        (join,) = yaml.safe_load_all(text_of(rendered(cloud, "worker"), layout.KUBEADM_CONFIG))
        names[cloud] = join["nodeRegistration"]["name"]
    assert names == {"aws": "@NODE_NAME@", "azure": "prod-worker-1"}
    assert layout.HOSTNAME_FILE in paths(rendered("azure", "worker"))
    assert layout.HOSTNAME_FILE not in paths(rendered("aws", "worker"))


def test_a_kubelet_is_external_only_where_the_clouds_controller_runs() -> None:
    arguments = {}
    for cloud in ("azure", "aws", "local"):
        (join,) = yaml.safe_load_all(text_of(rendered(cloud, "worker"), layout.KUBEADM_CONFIG))
        arguments[cloud] = {a["name"]: a["value"] for a in join["nodeRegistration"]["kubeletExtraArgs"]}
    assert arguments["azure"]["cloud-provider"] == "external" and "provider-id" not in arguments["azure"]
    assert "cloud-provider" not in arguments["aws"] and arguments["aws"]["provider-id"] == "@PROVIDER_ID@"
    assert arguments["local"]["provider-id"] == "flatyard-local://prod-worker-1"


def test_labels_that_a_kubelet_must_not_set_are_left_to_the_api() -> None:
    labels = {
        "team": "a",
        "example.com/x": "b",
        "node.kubernetes.io/tier": "c",
        "topology.kubernetes.io/zone": "d",
        "x.node.kubernetes.io/y": "e",
        "node-role.kubernetes.io/worker": "",
        "kubernetes.io/foo": "f",
        "node-restriction.kubernetes.io/g": "h",
        "foo.k8s.io/bar": "i",
    }
    own, others = kubelet_labels(labels)
    assert list(own) == [
        "team",
        "example.com/x",
        "node.kubernetes.io/tier",
        "topology.kubernetes.io/zone",
        "x.node.kubernetes.io/y",
    ]
    assert {**own, **others} == labels


def test_a_pools_kubelet_settings_are_a_patch() -> None:
    settings = KubeletSettings(max_pods=50, system_reserved={"cpu": "200m"}, feature_gates={"X": True})
    pool = replace(pool_of("worker"), settings=settings)
    config = render(cluster_of("aws"), pool, machine_of("worker"), TRAITS["aws"], bootstrap_of("worker"))
    patch = json.loads(text_of(config, layout.KUBELET_PATCH))
    assert patch == {"maxPods": 50, "systemReserved": {"cpu": "200m"}, "featureGates": {"X": True}}
    (join,) = yaml.safe_load_all(text_of(config, layout.KUBEADM_CONFIG))
    assert join["patches"] == {"directory": "/etc/kubernetes/patches"}


def test_the_metadata_service_is_closed_to_pods_by_rule_or_by_hop_limit() -> None:
    assert "-t raw -I PREROUTING -d 169.254.169.254 -j DROP" in unit_text(
        rendered("gcp", "worker"), layout.METADATA_UNIT
    )
    assert layout.METADATA_UNIT not in [u.name for u in rendered("aws", "worker").systemd.units]


def test_each_token_is_its_machines_own() -> None:
    init, *_ = yaml.safe_load_all(text_of(rendered("aws", "first"), layout.KUBEADM_CONFIG))
    for token, entry in zip(TOKENS, init["bootstrapTokens"], strict=True):
        assert entry["token"] == token.token.text and entry["ttl"] == "1800s"
        assert entry["groups"][1].endswith(token.machine_id.lower())


def test_without_hairpin_a_control_plane_maps_the_endpoint_to_a_peer_and_then_to_itself() -> None:
    script = text_of(rendered("aws", "control-plane"), layout.KUBEADM_SCRIPT)
    assert (
        script.index(f'map "$(cat {layout.PEER_FILE})"')
        < script.index("kubeadm join")
        < script.index("map 127.0.0.1")
    )
    assert text_of(rendered("aws", "control-plane"), layout.PEER_FILE) == "10.0.0.4\n"
    first = text_of(rendered("aws", "first"), layout.KUBEADM_SCRIPT)
    assert first.index("map 127.0.0.1") < first.index("kubeadm init")
    assert "map" not in text_of(rendered("gcp", "first"), layout.KUBEADM_SCRIPT)
    assert "map 192.0.2.11" in text_of(rendered("local", "worker"), layout.KUBEADM_SCRIPT)


# ---- the user's own


def test_the_users_config_comes_last_and_wins() -> None:
    extra = config(
        files=[
            file("/etc/motd", "hello\n"),
            file(layout.SYSCTL_CONF, "vm.swappiness = 1\n"),
            file(layout.KUBEADM_CONFIG, "mine\n"),
        ],
        units=[unit("mine.service", "[Service]\nExecStart=/bin/true\n")],
        users=[user("core", keys=["ssh-ed25519 BBBB"])],
        version="3.0.0",
    )
    pool = replace(pool_of("worker"), extras=(extra,))
    found = render(cluster_of("aws"), pool, machine_of("worker"), TRAITS["aws"], bootstrap_of("worker"))
    assert text_of(found, "/etc/motd") == "hello\n"
    assert text_of(found, layout.SYSCTL_CONF) == "vm.swappiness = 1\n"
    assert text_of(found, layout.KUBEADM_CONFIG) == "mine\n"
    assert found.ignition.version == "3.4.0"
    (core,) = found.passwd.users
    assert core.ssh_authorized_keys == (*pool.ssh_keys, "ssh-ed25519 BBBB")
    assert [u.name for u in found.systemd.units][-1] == "mine.service"
    assert read(encode(found)).report == ()


def test_an_overwriting_config_stands_alone() -> None:
    mine = config(files=[file("/etc/motd", "only this\n")])
    pool = replace(pool_of("worker"), overwrite=mine, extras=(config(),))
    assert (
        render(cluster_of("aws"), pool, machine_of("worker"), TRAITS["aws"], bootstrap_of("worker")) == mine
    )


@pytest.mark.parametrize("inline", [False, True])
def test_an_older_ignition_document_is_read_and_does_not_lower_ours(inline: bool) -> None:
    """What machine-controller's guides put into cloudInit: spec 3.0.0."""
    document: JSON = {
        "ignition": {"version": "3.0.0"},
        "storage": {"files": [{"path": "/etc/motd", "contents": {"source": "data:,hi"}}]},
    }
    extra = read_extra(Raw(document if inline else json.dumps(document)))
    pool = replace(pool_of("worker"), extras=(extra,))
    found = render(cluster_of("aws"), pool, machine_of("worker"), TRAITS["aws"], bootstrap_of("worker"))
    assert text_of(found, "/etc/motd") == "hi" and found.ignition.version == "3.4.0"
    assert read(encode(found)).report == ()


def test_what_ignition_would_refuse_is_an_error_with_its_place() -> None:
    text = '{"ignition": {"version": "3.4.0"},\n "storage": {"files": [{"path": "etc/motd"}]}}'
    with pytest.raises(InvalidInput) as error:
        read_extra(Raw(text), "cloudInit")
    assert str(error.value) == "cloudInit:2:33: error: $.storage.files.0.path: path not absolute"
    with pytest.raises(InvalidInput, match=r"cloudInit|1 error") as error:
        read_extra(Raw({"ignition": {"version": "2.3.0"}}), "cloudInit")
    assert "unsupported config version" in str(error.value)


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_butane_that_people_have_today_is_laid_over_ours() -> None:
    """The sysext snippet of Flatcar's own guide: it brings another version, enables the timer, masks locksmithd."""
    raw = Raw((EXAMPLES / "kubernetes-sysext.bu").read_text())
    assert extra_problems(raw) == ()
    pool = replace(pool_of("worker"), extras=(read_extra(raw),))
    found = render(cluster_of("aws"), pool, machine_of("worker"), TRAITS["aws"], bootstrap_of("worker"))
    assert read(encode(found)).report == ()
    assert [link.target for link in found.storage.links] == [layout.extension_image("v1.32.2", "amd64")]
    assert _enabled(found, layout.SYSUPDATE_TIMER) is True
    assert len([u for u in found.systemd.units if u.name == layout.LOCKSMITH_UNIT]) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "variant: flatcar\nversion: 1.0.0\nstorage:\n  files:\n    - path: motd\n",
            "x:5:13: error: $.storage.files.0.path",
        ),
        ("variant: [", "x:1:1: error: Error unmarshaling yaml"),
        ({"variant": "fcos", "version": "1.5.0"}, "x:1:1: error: No translator exists for variant fcos"),
    ],
)
def test_what_butane_would_refuse_is_an_error_too(value: JSON, message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read_extra(Raw(value), "x")
    assert str(error.value).startswith(message)


def test_butanes_warnings_are_told_and_do_not_stop() -> None:
    raw = Raw("variant: flatcar\nversion: 1.0.0\nstorrage: {}\n")
    (problem,) = extra_problems(raw, "extra.bu")
    assert str(problem).startswith("extra.bu:3:1: warning") and "storrage" in str(problem)
    assert read_extra(raw).ignition.version == "3.4.0"


# ---- refusals


def test_what_does_not_go_together_is_refused() -> None:
    worker, aws = pool_of("worker"), TRAITS["aws"]
    with pytest.raises(Refused, match="no extension image"):
        prepare(cluster_of("aws"), replace(worker, image=None), aws)
    with pytest.raises(Refused, match="has an extension image"):
        prepare(replace(cluster_of("aws"), flavor="image"), worker, aws)
    with pytest.raises(Refused, match=r"kubelet v1\.34\.4, but its extension image is v1\.34\.3"):
        prepare(cluster_of("aws"), replace(worker, kubelet="v1.34.4"), aws)
    with pytest.raises(Refused, match="aws has no arm64"):
        prepare(cluster_of("aws"), replace(worker, image=simulated_feed().image(VERSION, "arm64")), aws)
    fixed = replace(TRAITS["local"], provider_id_format="local://{serial}")
    nameless = MachineIdentity(id="x", name="n")
    with pytest.raises(Refused, match="n has no providerID") as error:
        render(cluster_of("local"), worker, nameless, fixed, bootstrap_of("worker"))
    assert "must know its 'serial' beforehand" in error.value.why
    with pytest.raises(Refused, match="cannot learn its 'serial'"):
        prepare(cluster_of("aws"), worker, replace(aws, provider_id_format="aws:///{serial}"))
    with pytest.raises(ValueError, match="at least one bootstrap token"):
        Init(SECRETS, ())
    with pytest.raises(ValueError, match="boots with JoinWorker"):
        prepare(cluster_of("aws"), worker, aws).render(machine_of("worker"), bootstrap_of("control-plane"))


# ---- size and speed


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_workers_config_fits_awss_user_data(cloud: str) -> None:
    assert len(encode(rendered(cloud, "worker"))) < 16_384


@pytest.mark.long
def test_a_thousand_workers_render_in_seconds() -> None:
    template = prepare(cluster_of("aws"), pool_of("worker"), TRAITS["aws"])
    count = 200
    start = time.perf_counter()
    for _ in range(count):
        encode(template.render(machine_of("worker"), bootstrap_of("worker")))
    assert (time.perf_counter() - start) / count < 0.015


def test_equal_inputs_give_equal_bytes_and_a_template_the_same_as_a_single_render() -> None:
    template = prepare(cluster_of("gcp"), pool_of("worker"), TRAITS["gcp"])
    one = template.render(machine_of("worker"), bootstrap_of("worker"))
    assert encode(one) == encode(rendered("gcp", "worker"))
    assert ClusterSecrets.decode(SECRETS.encode()) == SECRETS


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_golden_files_are_of_the_traits_that_the_clouds_declare(cloud: str) -> None:
    """Node-name rule, providerID, hairpin, metadata, devices: what a machine boots with is what its cloud is."""
    declared = traits(facts(cloud), external=TRAITS[cloud].external_cloud_provider)
    names = ("node_name", "provider_id", "provider_id_format", "hairpin", "metadata_block", "etcd_device")
    here = {name: getattr(TRAITS[cloud], name) for name in names}
    assert here == {name: getattr(declared, name) for name in names}


def test_nodes_are_named_as_each_clouds_controller_looks_for_them() -> None:
    """AWS by private DNS name (as cloud-provider-aws), Azure by the VM's name (CAPZ: IMDS compute.name),
    OpenStack by the server's (CAPO: COREOS_OPENSTACK_HOSTNAME), Google Cloud and vSphere by the machine's."""
    rules = {cloud: traits(facts(cloud)).node_name for cloud in CLOUDS}
    assert rules == {
        cloud: NodeNameRule.PRIVATE_DNS if cloud == "aws" else NodeNameRule.MACHINE_NAME for cloud in CLOUDS
    }
    script = text_of(rendered("aws", "worker"), layout.IDENTITY_SCRIPT)
    assert "a=$(m local-ipv4)" in script and "X-aws-ec2-metadata-token" in script


def test_a_kubelet_tells_its_provider_id_where_no_controller_does() -> None:
    forms = {cloud: (TRAITS[cloud].provider_id.value, TRAITS[cloud].provider_id_format) for cloud in CLOUDS}
    assert forms["aws"] == ("metadata", "aws:///{zone}/{id}")
    assert forms["openstack"] == ("metadata", "openstack:///{id}")
    assert {cloud: source for cloud, (source, _) in forms.items() if source == "ccm"}.keys() == {
        "azure",
        "gcp",
        "vsphere",
    }


@pytest.mark.parametrize(
    ("flatcar", "spec", "fits"),
    [
        ("4593.2.5", "3.5.0", True),
        ("4081.3.10", "3.5.0", False),
        ("4081.3.10", "3.4.0", True),
        ("4593.2.5", "3.6.0", False),
        ("9999.0.0", "3.6.0", True),
        ("", "3.6.0", True),
    ],
)
def test_a_config_that_the_release_cannot_read_is_refused_before_a_machine_is_made(
    flatcar: str, spec: str, fits: bool
) -> None:
    """A newer specification than its Ignition reads stops a machine in its first boot, where nobody sees it."""
    extra = config(files=[file("/etc/x", "x")], version=spec)
    pool = replace(pool_of("worker"), extras=(extra,), flatcar=flatcar)
    if fits:
        assert prepare(cluster_of("aws"), pool, TRAITS["aws"]).shared.ignition.version == max(spec, "3.4.0")
        return
    with pytest.raises(Refused) as refused:
        prepare(cluster_of("aws"), pool, TRAITS["aws"])
    assert spec in refused.value.what and "which reads up to 3." in refused.value.why
