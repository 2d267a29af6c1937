"""Faults on real machines: what `up` says last, how soon after it happened, and that `down` leaves nothing.

One control plane for most: each pool has one machine with one fault in it, given by the user's own Ignition, and one
more comes when the feed's image of Kubernetes has changed. The machines are of a stand-in for Flatcar. Four of the
faults are those behind "kubelet does not successfully start up": no extension, one for another architecture, no pod
network, and docker's configuration of containerd.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flatyard.base.world import RealWorld, parse_stamp
from flatyard.clouds.local import processes
from flatyard.clouds.local.settings import architecture, settings
from flatyard.sysext.contents import Text, contents
from flatyard.sysext.layout import EXTENSION, image_name
from flatyard.sysext.squashfs import write

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("kubernetes_built")]
ROOT = Path(__file__).resolve().parent.parent.parent.parent
NAME = "faults"
SOON = 20.0
"""Seconds from a fault to its being told."""
LINK = "/etc/extensions/kubernetes.raw"
IMAGE = image_name("v1.34.3", architecture())
NEXT = " -o yaml"
"""The end of the last words: how to see all of it."""
POOL = """---
apiVersion: cluster.k8s.io/v1alpha1
kind: MachineDeployment
metadata: {{name: {name}, namespace: kube-system}}
spec:
  replicas: 1
  selector: {{matchLabels: {{pool: {name}}}}}
  template:
    metadata: {{labels: {{pool: {name}}}}}
    spec:
      providerSpec:
        value:
          cloudProvider: local
          cloudProviderSpec: {{cpus: 2, memoryMB: 2048}}
          operatingSystem: flatcar
          operatingSystemSpec: {{provisioningUtility: ignition, cloudInit: '{ignition}'}}
      versions: {{kubelet: v1.34.3}}
"""


def ignition(**storage: object) -> str:
    return json.dumps({"ignition": {"version": "3.3.0"}, "storage": storage})


def link(path: str, target: str) -> dict[str, object]:
    return {"path": path, "target": target, "overwrite": True}


def file(path: str, content: bytes, digest: str = "") -> dict[str, object]:
    source = f"data:;base64,{base64.b64encode(content).decode()}"
    verification = {"verification": {"hash": f"sha256-{digest}"}} if digest else {}
    return {"path": path, "overwrite": True, "contents": {"source": source, **verification}}


def extension(folder: Path, release: str) -> bytes:
    """An image that would bring kubeadm to another OS than the machine's, or to another architecture."""
    tree = contents(
        {
            "usr/bin/kubeadm": Text(b"#!/bin/sh\n"),
            "usr/lib/extension-release.d/extension-release.kubernetes": Text(release.encode()),
        }
    )
    write(tree, folder / "kubernetes.raw")
    return (folder / "kubernetes.raw").read_bytes()


def instead(folder: Path, release: str) -> str:
    """Ignition of a machine that gets another image under the name of Kubernetes' extension."""
    other = file("/opt/extensions/kubernetes.raw", extension(folder, release))
    return ignition(files=[other], links=[link(LINK, "/opt/extensions/kubernetes.raw")])


def pools(folder: Path) -> dict[str, str]:
    """Each pool's own Ignition: its fault."""
    nobody = "http://127.0.0.1:9"
    return {
        "no-sysext": ignition(links=[link(LINK, "/opt/extensions/none.raw")]),
        "other-arch": instead(folder, "ID=flatcar\nSYSEXT_LEVEL=1.0\nARCHITECTURE=arm64\n"),
        "other-os": instead(folder, "ID=fedora\nVERSION_ID=41\n"),
        "no-cni": ignition(links=[link("/etc/cni/net.d/10-flatyard-local.conflist", "/dev/null")]),
        "docker": ignition(files=[file("/etc/containerd/config.toml", b'disabled_plugins = ["cri"]\n')]),
        "preflight": ignition(files=[file("/etc/kubernetes/kubelet.conf", b"of another cluster")]),
        "wrong-hash": ignition(files=[file("/opt/extensions/tool.raw", b"flipped", "0" * 64)]),
        "no-answer": ignition(files=[{"path": "/etc/fetched", "contents": {"source": f"{nobody}/none"}}]),
        "no-feed": ignition(
            files=[
                {
                    "path": f"/opt/extensions/{EXTENSION}/{IMAGE}",
                    "contents": {"source": f"{nobody}/{EXTENSION}/{IMAGE}"},
                }
            ]
        ),
        "file-below": ignition(files=[file("/etc/a", b"a file"), file("/etc/a/b", b"below it")]),
    }


def pool(name: str, own: str = "") -> str:
    """A pool of one machine, and its own Ignition."""
    return POOL.format(name=name, ignition=own or ignition())


def own_cache(folder: Path) -> Path:
    """Everybody's cache, with a feed of this test's own in it."""
    there, made = settings().cache, folder / "cache"
    (made / "local").mkdir(parents=True)
    for entry in (*there.iterdir(), *(there / "local").iterdir()):
        place = made / entry.relative_to(there)
        if place.name != "feed" and not place.exists():
            place.symlink_to(entry)
    if (there / "local/feed").exists():
        shutil.copytree(there / "local/feed", made / "local/feed")
    return made


def flip_a_byte(path: Path) -> None:
    with path.open("r+b") as image:
        image.seek(4096)
        byte = image.read(1)
        image.seek(4096)
        image.write(bytes([byte[0] ^ 1]))


class Cluster:
    """A cluster as its owner has it, with files and addresses of this test's own."""

    def __init__(self, folder: Path, home: Path | None = None) -> None:
        self.folder = folder
        self.home = home or folder / "home"
        self.cache = settings().cache
        self.said = ""
        self.ended = 0.0
        """When the last `up` was over, in seconds of the wall's clock."""
        self._machines: list[dict] = []

    def file(self, spec: str = "", more: str = "") -> str:
        text = (ROOT / "examples/local.yaml").read_text()
        text = text[: text.index("  workers:")].replace(
            "metadata: {name: local}", f"metadata: {{name: {NAME}}}"
        )
        for line in spec.splitlines():
            key = line.partition(":")[0]
            text = re.sub(rf"(?m)^  {key}:.*\n(    .*\n)*", "", text) + f"  {line}\n"
        path = self.folder / "cluster.yaml"
        path.write_text(text + more)
        return str(path)

    def flatyard(self, *words: str, code: int = 0) -> str:
        """Its stdout, and its stderr after it."""
        own = {"FLATYARD_STATE": str(self.folder / "state"), "FLATYARD_LOCAL_HOME": str(self.home)}
        own |= {"FLATYARD_LOCAL_POOL": "10.235.0.0/16", "FLATYARD_CACHE": str(self.cache)}
        env = {**os.environ, **own, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-m", "flatyard", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        if words[0] == "up":
            self.ended, self._machines = RealWorld().now().timestamp(), []
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr[-6000:]}"
        return done.stdout + done.stderr

    def refused(self, *words: str) -> str:
        """The error with which `up` of these ends."""
        said = "\n" + self.flatyard("up", "--yes", *words, code=1)
        error = said[said.rindex("\nerror: ") + 1 :]
        print(error)
        return error

    def machine(self, pool: str) -> dict:
        """The Machine of a pool, as it was soon after the last `up`."""
        if not self._machines:
            said = self.flatyard("get", "machines", NAME, "-o", "json")
            self._machines = json.loads(said.partition("\n}\n")[0] + "\n}")["items"]
        return next(m for m in self._machines if m["metadata"]["name"].startswith(pool))

    def state(self, pool: str) -> dict:
        for path in self.home.glob("*/*/machine.json"):
            if json.loads(path.read_text())["name"].startswith(pool):
                return json.loads((path.parent / "state.json").read_text())
        raise AssertionError(pool)

    def last_words(self, pool: str) -> str:
        """What the last error says of one pool's machine, and maybe of others that failed alike."""
        told = re.split(r"\n {7}(?=[a-z]+/)", self.said)
        return next(text for text in told if f"machine/{pool}-" in text)

    def told(self, pool: str) -> float:
        """When a pool's machine was first told to have failed."""
        operation = self.machine(pool)["status"]["lastOperation"]
        assert operation["type"] == "failed"
        return parse_stamp(operation["lastUpdated"]).timestamp()

    def seconds_to_tell(self, pool: str, happened: float) -> float:
        return self.told(pool) - happened

    def journal(self, pool: str, *which: str) -> str:
        """The journal of a pool's machine since its boot."""
        leader = processes.leader(self.state(pool)["nspawn"])
        return asyncio.run(processes.inside(leader, "journalctl", "-b", *which)).said

    def logged(self, pool: str, unit: str, words: str) -> float:
        """When a unit's journal first had these words."""
        said = self.journal(pool, "-o", "json", "-u", unit)
        rows = [json.loads(line) for line in said.splitlines()]
        return next(int(r["__REALTIME_TIMESTAMP"]) / 1e6 for r in rows if words in str(r["MESSAGE"]))


def taken() -> set[str]:
    """What clusters of this test's pool have on this machine."""
    found = set()
    for command in (("ip", "-o", "addr"), ("ip", "-o", "route", "show", "table", "all")):
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found |= {line for line in said.splitlines() if "10.235." in line}
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.flatyard("down", "--yes", NAME)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp(NAME))
    made.cache = own_cache(made.folder)
    more = "".join(pool(name, own) for name, own in pools(made.folder).items())
    try:
        made.said = made.refused("--timeout", "4m", made.file(more=more))
        yield made
    finally:
        made.flatyard("down", "--yes", NAME)


def test_no_extension_is_told(broken: Cluster) -> None:
    said = broken.last_words("no-sysext")
    assert "systemd-sysext.service: flatyard: no kubeadm: is /etc/extensions/kubernetes.raw there" in said
    happened = broken.logged("no-sysext", "flatyard-join.service", "Failed with result")
    assert broken.seconds_to_tell("no-sysext", happened) < SOON


@pytest.mark.parametrize("name", ["other-arch", "other-os"])
def test_an_extension_for_another_machine_is_told(broken: Cluster, name: str) -> None:
    said = broken.last_words(name)
    assert "systemd-sysext.service: flatyard: no kubeadm: is /etc/extensions/kubernetes.raw there" in said
    # whether it is among the unit's last lines is a race: journald may not know the unit of what ended at once
    assert "incompatible image" in broken.journal(name, "-o", "cat")
    happened = broken.logged(name, "flatyard-join.service", "Failed with result")
    assert broken.seconds_to_tell(name, happened) < SOON


def test_a_node_without_a_pod_network_is_told(broken: Cluster) -> None:
    said = broken.last_words("no-cni")
    assert "kubelet.service: container runtime network not ready" in said
    assert "cni plugin not initialized" in said
    ready = next(c for c in broken.machine("no-cni")["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "False"
    happened = parse_stamp(ready["lastTransitionTime"]).timestamp()
    assert broken.seconds_to_tell("no-cni", happened) < SOON


def test_dockers_configuration_of_containerd_is_told(broken: Cluster) -> None:
    said = broken.last_words("docker")
    assert "kubelet.service: " in said
    assert "unknown service runtime.v1.RuntimeService" in said
    happened = broken.logged("docker", "kubelet.service", "unknown service runtime.v1.RuntimeService")
    assert broken.seconds_to_tell("docker", happened) < SOON


def test_what_kubeadm_refuses_is_told(broken: Cluster) -> None:
    said = broken.last_words("preflight")
    assert "flatyard-join.service: [ERROR FileAvailable--etc-kubernetes-kubelet.conf]" in said
    happened = broken.logged("preflight", "flatyard-join.service", "Failed with result")
    assert broken.seconds_to_tell("preflight", happened) < SOON


@pytest.mark.parametrize(
    ("pool", "words", "phase"),
    [
        ("wrong-hash", "hash verification failed", "emergency"),
        ("file-below", "Ignition failed", "emergency"),
        ("no-answer", 'GET error: Get "http://127.0.0.1:9/none"', "provisioning"),
        ("no-feed", f'GET error: Get "http://127.0.0.1:9/{EXTENSION}/{IMAGE}"', "provisioning"),
    ],
)
def test_what_ignition_cannot_do_is_told(broken: Cluster, pool: str, words: str, phase: str) -> None:
    said = broken.last_words(pool)
    assert "first boot failed, ignition: " in said
    assert words in said
    happened = parse_stamp(broken.state(pool)["stamps"][phase]).timestamp()
    assert broken.seconds_to_tell(pool, happened) < SOON


def test_the_last_word_is_a_command(broken: Cluster) -> None:
    assert broken.said.strip().splitlines()[-1].endswith(f"flatyard get machines {NAME}{NEXT}")
    assert broken.machine("faults-control-plane")["status"]["phase"] == "Running"


def test_up_ends_when_the_last_one_is_told(broken: Cluster) -> None:
    last = max(broken.told(name) for name in pools(broken.folder))
    assert broken.ended - last < SOON


def test_kubernetes_own_image_that_changed_in_the_feed_is_told(
    broken: Cluster, record_property: Callable[[str, object], None]
) -> None:
    """It was pinned when it was packed. What `up` says of machines that failed before is told again."""
    flip_a_byte(broken.cache / "local/feed" / EXTENSION / IMAGE)
    started = RealWorld().now().timestamp()
    broken.said = broken.refused("--timeout", "2m", broken.file(more=pool("changed")))
    record_property("seconds", round(broken.ended - started, 1))
    said = broken.last_words("changed")
    assert "first boot failed, ignition: " in said
    assert "hash verification failed" in said
    happened = parse_stamp(broken.state("changed")["stamps"]["emergency"]).timestamp()
    assert broken.seconds_to_tell("changed", happened) < SOON
    assert broken.ended - broken.told("changed") < SOON


def test_down_leaves_nothing_of_them(broken: Cluster) -> None:
    said = broken.flatyard("down", "--yes", NAME)
    assert f"Cluster {NAME} is gone: 0 resources are left on this machine" in said
    assert taken() == set()
    assert list(broken.home.glob("*/*")) == []
    assert str(broken.home) not in Path("/proc/self/mountinfo").read_text()
    for pid in processes.all_processes():
        assert str(broken.home) not in " ".join(processes.command_line(pid))


def test_what_kubeadm_refuses_on_the_first_machine_ends_up(cluster: Cluster) -> None:
    own = ignition(files=[file("/etc/kubernetes/manifests/etcd.yaml", b"of another cluster")])
    given = cluster.file(f"ignition: {{controlPlane: [{own}]}}")
    error = cluster.refused(given)
    assert (
        f"error: cluster {NAME} is not done: machine/{NAME}-control-plane-1: first boot failed, "
        "flatyard-init.service: [ERROR FileAvailable--etc-kubernetes-manifests-etcd.yaml]" in error
    )
    assert "its last lines:" in error
    assert "next: kubeadm refuses this machine" in error.splitlines()[-1]
    happened = cluster.logged(f"{NAME}-control-plane-1", "flatyard-init.service", "Failed with result")
    assert cluster.ended - happened < SOON


def test_a_version_that_does_not_exist_is_told(cluster: Cluster) -> None:
    error = cluster.refused(cluster.file("kubernetes: {version: v1.34.99}"))
    assert "v1.34.99" in error
    assert "next: " in error


def test_a_bridge_of_somebody_else_is_named(cluster: Cluster) -> None:
    error = cluster.refused(cluster.file("cloud: {local: {bridge: lo}}"))
    assert "there is an interface lo already, and it is not this cluster's" in error


def test_a_range_of_somebody_else_is_named(cluster: Cluster) -> None:
    """Before anything is made, and where it stands in the file."""
    given = cluster.file("network: {cni: none, nodes: 127.0.5.0/24}")
    error = cluster.flatyard("up", "--yes", given, code=2)
    assert "the range 127.0.5.0/24 is in use" in error
    assert "routed to lo" in error


def test_an_address_of_somebody_else_is_named(cluster: Cluster) -> None:
    """The range has a thousand addresses, and one of them is taken."""
    taken_one = ("addr", "add", "10.235.77.7/32", "dev", "lo")
    subprocess.run(("ip", *taken_one), check=True)
    try:
        given = cluster.file("network: {cni: none, nodes: 10.235.76.0/22}")
        error = cluster.flatyard("up", "--yes", given, code=2)
    finally:
        subprocess.run(("ip", "addr", "del", *taken_one[2:]), check=True)
    assert "the range 10.235.76.0/22 is in use: 10.235.77.7/32" in error
    assert "give another one" in error


# ---- disks


class SmallDisk:
    """A disk of this test's own. `fill`: nothing more than so much fits on it from now on."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def size(self, size: str, *more: str) -> None:
        command = ("mount", "-t", "tmpfs", "-o", ",".join((*more, f"size={size}")), "flatyard-test")
        subprocess.run((*command, str(self.place)), check=True)

    @contextmanager
    def fills_up(self, size: str) -> Iterator[None]:
        """It shrinks to so much as soon as there is a machine on it."""
        over = threading.Event()

        def shrink() -> None:
            while not list(self.place.glob("home/*/*-1")) and not over.wait(0.02):
                pass
            self.size(size, "remount")

        thread = threading.Thread(target=shrink)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    made.place.mkdir()
    made.size("64m")
    try:
        yield made
    finally:
        subprocess.run(("umount", str(made.place)), check=True)


@pytest.fixture
def cramped(tmp_path: Path, small: SmallDisk) -> Iterator[Cluster]:
    made = Cluster(tmp_path, small.place / "home")
    try:
        yield made
    finally:
        made.flatyard("down", "--yes", NAME)
        assert list(small.place.iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_made(cramped: Cluster, small: SmallDisk) -> None:
    said = cramped.flatyard("up", "--yes", cramped.file(), code=2)
    assert f"1 machine takes about 2 GiB below {cramped.home}; 64 MiB are free" in said
    assert "FLATYARD_LOCAL_HOME names another place" in said
    assert list(small.place.iterdir()) == []


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("4m", ": no space left on device: the disk of "),
        ("150m", ": first boot failed, "),
    ],
)
def test_a_disk_that_fills_up_is_told(cramped: Cluster, small: SmallDisk, size: str, words: str) -> None:
    """While the machine's root directory is made, or while it boots; then there is room, and `down` as ever.

    Told by the machine, or by the endpoint's files if these are written first.
    """
    small.size("3g", "remount")
    started = RealWorld().now().timestamp()
    with small.fills_up(size):
        error = cramped.refused("--timeout", "3m", cramped.file())
    assert f"machine/{NAME}-control-plane-1: " in error
    assert words in error
    assert "no space left on device" in error.lower()
    assert re.search("^ *next: (its disk is full: )?make room", error.splitlines()[-1])
    assert cramped.ended - started < 60
