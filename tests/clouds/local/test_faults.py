"""Faults on real machines: what `up` says last, how soon after it happened, and that `down` leaves nothing.

One control plane for all: each pool has one machine with one fault in it, given by the user's own Ignition. The
machines are of a stand-in for Flatcar. Four of the faults are those behind "kubelet does not successfully start up":
no extension, one for another architecture, no pod network, and docker's configuration of containerd.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flatyard.base.world import parse_stamp
from flatyard.clouds.local import processes
from flatyard.clouds.local.settings import settings
from flatyard.sysext.contents import Text, contents
from flatyard.sysext.squashfs import write

pytestmark = pytest.mark.long  # on demand: minutes of several clusters on one machine, and new
ROOT = Path(__file__).resolve().parent.parent.parent.parent
NAME = "faults"
SOON = 20.0
"""Seconds from a fault to its being told."""
LINK = "/etc/extensions/kubernetes.raw"
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


def for_another_architecture(folder: Path) -> bytes:
    release = b"ID=flatcar\nSYSEXT_LEVEL=1.0\nARCHITECTURE=arm64\n"
    tree = contents(
        {
            "usr/bin/kubeadm": Text(b"#!/bin/sh\n"),
            "usr/lib/extension-release.d/extension-release.kubernetes": Text(release),
        }
    )
    write(tree, folder / "kubernetes.raw")
    return (folder / "kubernetes.raw").read_bytes()


def pools(folder: Path) -> dict[str, str]:
    """Each pool's own Ignition: its fault."""
    other = file("/opt/extensions/kubernetes.raw", for_another_architecture(folder))
    return {
        "no-sysext": ignition(links=[link(LINK, "/opt/extensions/none.raw")]),
        "other-arch": ignition(files=[other], links=[link(LINK, "/opt/extensions/kubernetes.raw")]),
        "no-cni": ignition(links=[link("/etc/cni/net.d/10-flatyard-local.conflist", "/dev/null")]),
        "docker": ignition(files=[file("/etc/containerd/config.toml", b'disabled_plugins = ["cri"]\n')]),
        "preflight": ignition(files=[file("/etc/kubernetes/kubelet.conf", b"of another cluster")]),
        "wrong-hash": ignition(files=[file("/opt/extensions/tool.raw", b"flipped", "0" * 64)]),
        "no-answer": ignition(
            files=[{"path": "/etc/fetched", "contents": {"source": "http://127.0.0.1:9/none"}}]
        ),
        "file-below": ignition(files=[file("/etc/a", b"a file"), file("/etc/a/b", b"below it")]),
    }


class Cluster:
    """A cluster as its owner has it, with files and addresses of this test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.said = ""

    def file(self, spec: str = "", more: str = "") -> str:
        text = (ROOT / "examples/local.yaml").read_text()
        text = text[: text.index("  workers:")].replace(
            "metadata: {name: local}", f"metadata: {{name: {NAME}}}"
        )
        for line in spec.splitlines():
            key = line.partition(":")[0]
            text = re.sub(rf"(?m)^  {key}:.*\n(    .*\n)*", f"  {line}\n", text)
        path = self.folder / "cluster.yaml"
        path.write_text(text + more)
        return str(path)

    def flatyard(self, *words: str, code: int = 0) -> str:
        """Its stdout, and its stderr after it."""
        own = {"FLATYARD_STATE": str(self.folder / "state"), "FLATYARD_LOCAL_HOME": str(self.home)}
        own |= {"FLATYARD_LOCAL_POOL": "10.235.0.0/16", "FLATYARD_CACHE": str(settings().cache)}
        env = {**os.environ, **own, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-m", "flatyard", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr[-6000:]}"
        return done.stdout + done.stderr

    def machine(self, pool: str) -> dict:
        found = json.loads(self.flatyard("get", "machines", NAME, "-o", "json").partition("\n}\n")[0] + "\n}")
        return next(m for m in found["items"] if m["metadata"]["name"].startswith(pool))

    def state(self, pool: str) -> dict:
        for path in self.home.glob("*/*/machine.json"):
            if json.loads(path.read_text())["name"].startswith(pool):
                return json.loads((path.parent / "state.json").read_text())
        raise AssertionError(pool)

    def last_words(self, pool: str) -> str:
        """What the last error says of one pool's machine."""
        error = self.said[self.said.rindex("\nerror: ") :]
        start = error.index(f"machine/{pool}-")
        other = error.find("machine/", start + 1)
        return error[start : other if other > 0 else len(error)]

    def seconds_to_tell(self, pool: str, happened: float) -> float:
        operation = self.machine(pool)["status"]["lastOperation"]
        assert operation["type"] == "failed"
        return parse_stamp(operation["lastUpdated"]).timestamp() - happened

    def logged(self, pool: str, unit: str, words: str) -> float:
        """When a unit's journal first had these words."""
        leader = processes.leader(self.state(pool)["nspawn"])
        said = asyncio.run(processes.inside(leader, "journalctl", "-b", "-o", "json", "-u", unit)).said
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
    more = "".join(POOL.format(name=n, ignition=text) for n, text in pools(made.folder).items())
    try:
        made.said = made.flatyard("up", "--yes", "--timeout", "4m", made.file(more=more), code=1)
        yield made
    finally:
        made.flatyard("down", "--yes", NAME)


def test_no_extension_is_told(broken: Cluster) -> None:
    said = broken.last_words("no-sysext")
    assert "systemd-sysext.service: flatyard: no kubeadm: is /etc/extensions/kubernetes.raw there" in said
    happened = broken.logged("no-sysext", "flatyard-join.service", "Failed with result")
    assert broken.seconds_to_tell("no-sysext", happened) < SOON


def test_an_extension_for_another_architecture_is_told(broken: Cluster) -> None:
    said = broken.last_words("other-arch")
    assert "systemd-sysext.service: flatyard: no kubeadm: is /etc/extensions/kubernetes.raw there" in said
    assert "incompatible image" in said
    happened = broken.logged("other-arch", "flatyard-join.service", "Failed with result")
    assert broken.seconds_to_tell("other-arch", happened) < SOON


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
    ],
)
def test_what_ignition_cannot_do_is_told(broken: Cluster, pool: str, words: str, phase: str) -> None:
    said = broken.last_words(pool)
    assert "first boot failed, ignition: " in said
    assert words in said
    happened = parse_stamp(broken.state(pool)["stamps"][phase]).timestamp()
    assert broken.seconds_to_tell(pool, happened) < SOON


def test_the_last_word_is_a_command(broken: Cluster) -> None:
    assert f"flatyard get machines {NAME} -o yaml" in broken.said.strip().splitlines()[-1]
    assert broken.machine("faults-control-plane")["status"]["phase"] == "Running"


def test_down_leaves_nothing_of_them(broken: Cluster) -> None:
    said = broken.flatyard("down", "--yes", NAME)
    assert f"Cluster {NAME} is gone: 0 resources are left on this machine" in said
    assert taken() == set()
    assert list(broken.home.glob("*/*")) == []
    assert str(broken.home) not in Path("/proc/self/mountinfo").read_text()
    for pid in processes.all_processes():
        assert str(broken.home) not in " ".join(processes.command_line(pid))


def test_a_version_that_does_not_exist_is_told(cluster: Cluster) -> None:
    said = cluster.flatyard("up", "--yes", cluster.file("kubernetes: {version: v1.34.99}"), code=1)
    assert "v1.34.99" in said[said.rindex("\nerror: ") :]
    assert "next: " in said


def test_a_bridge_of_somebody_else_is_named(cluster: Cluster) -> None:
    said = cluster.flatyard("up", "--yes", cluster.file("cloud: {local: {bridge: lo}}"), code=1)
    assert (
        "there is an interface lo already, and it is not this cluster's" in said[said.rindex("\nerror: ") :]
    )


def test_a_range_of_somebody_else_is_named(cluster: Cluster) -> None:
    said = cluster.flatyard("up", "--yes", cluster.file("network: {cni: none, nodes: 127.0.5.0/24}"), code=1)
    assert "the range 127.0.5.0/24 is in use" in said[said.rindex("\nerror: ") :]
    assert "routed to lo" in said
