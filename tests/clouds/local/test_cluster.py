"""A real cluster on this machine, by the command line alone: kubeadm, containerd and kubelets in containers.

One cluster for all tests of this file: it takes the better part of a minute, and minutes more where nothing has been
compiled yet. The machines are of a stand-in for Flatcar.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flatyard.clouds.local import processes
from flatyard.clouds.local.folders import MachineFolder, Phase
from flatyard.clouds.local.settings import settings

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("kubernetes_built")]
ROOT = Path(__file__).resolve().parent.parent.parent.parent
NAME = "real"
NODE_PORT = 30080
WEB = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: web}}
data: {{Corefile: ".:1053 {{\\n  health :8080\\n}}\\n"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      topologySpreadConstraints:
        - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule,
            labelSelector: {{matchLabels: {{app: web}}}}}}
      containers:
        - name: web
          image: registry.k8s.io/coredns/coredns:v1.12.1
          imagePullPolicy: Never
          args: [-conf, /etc/web/Corefile]
          readinessProbe: {{httpGet: {{path: /health, port: 8080}}, periodSeconds: 1}}
          volumeMounts: [{{name: web, mountPath: /etc/web}}]
      volumes: [{{name: web, configMap: {{name: web}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080, nodePort: {NODE_PORT}}}]
"""


class Cluster:
    """A cluster as its owner has it: two commands, and a file."""

    def __init__(self, folder: Path, kubectl: str, stock_of) -> None:
        text = (ROOT / "examples/local.yaml").read_text()
        self.file = folder / "cluster.yaml"
        self.file.write_text(text.replace("metadata: {name: local}", f"metadata: {{name: {NAME}}}"))
        self.state = folder / "state"
        self.home = folder / "home/local"
        self.home.parent.mkdir()
        (self.home.parent / "of somebody else").touch()
        self.stock = stock_of(self.home)
        self._kubectl = kubectl

    def flatyard(self, *words: str, code: int = 0) -> str:
        own = {"FLATYARD_STATE": str(self.state), "FLATYARD_LOCAL_HOME": str(self.home)}
        own |= {"FLATYARD_LOCAL_POOL": "10.232.0.0/16", "FLATYARD_CACHE": str(settings().cache)}
        env = {**os.environ, **own, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-m", "flatyard", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        self.stock.note()
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
        return done.stdout

    def kubectl(self, *words: str, text: str | None = None) -> str:
        config = self.flatyard("kubeconfig", NAME).strip()
        command = [self._kubectl, f"--kubeconfig={config}", *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def objects(self, *words: str) -> list[dict]:
        return json.loads(self.kubectl("get", *words, "-o", "json"))["items"]

    def addresses(self) -> list[str]:
        return [
            address["address"]
            for node in self.objects("nodes")
            for address in node["status"]["addresses"]
            if address["type"] == "InternalIP"
        ]

    def roots(self) -> list[Path]:
        return sorted(self.home.glob("*/*/root"))

    def machines(self, role: str) -> list[MachineFolder]:
        found = [MachineFolder(root.parent) for root in self.roots()]
        return [folder for folder in found if folder.machine().role == role]

    def background(self) -> int:
        """The process that acts for this cluster."""
        mark = f"FLATYARD_STATE={self.state}".encode()
        (found,) = [
            pid
            for pid in processes.all_processes()
            if "flatyard.controller.local" in processes.command_line(pid)
            and mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ]
        return found


@pytest.fixture(scope="module")
def empty(tmp_path_factory, kubectl_path, stock_of) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"), str(kubectl_path), stock_of)


@pytest.fixture(scope="module")
def before(empty):
    """This machine without the cluster."""
    return empty.stock()


@pytest.fixture(scope="module")
def cluster(empty, before) -> Iterator[Cluster]:
    try:
        said = empty.flatyard("up", "--yes", "--timeout", "25m", str(empty.file))
        assert said == f"Cluster {NAME} is ready (containers of a stand-in for Flatcar).\n"
        yield empty
    finally:
        empty.flatyard("down", "--yes", NAME)


def wait(cluster: Cluster, *words: str) -> None:
    cluster.kubectl("wait", "--timeout=90s", *words)


def test_three_nodes_are_ready_and_say_what_they_are(cluster):
    nodes = cluster.objects("nodes")
    assert len(nodes) == 3
    for node in nodes:
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert ready["status"] == "True"
        info = node["status"]["nodeInfo"]
        assert info["kubeletVersion"] == "v1.34.3"
        assert "stand-in" in info["osImage"]
        assert node["spec"]["providerID"] == f"flatyard-local://{node['metadata']['name']}"
    again = cluster.flatyard("up", "--yes", str(cluster.file))
    assert again == f"No changes. Cluster {NAME} matches the files.\n"


def test_nothing_of_the_first_boot_is_left(cluster):
    """Tokens are gone, every request was decided, and no machine has its user data any more."""
    secrets = cluster.objects("secrets", "-n", "kube-system")
    assert [s["metadata"]["name"] for s in secrets if s["type"] == "bootstrap.kubernetes.io/token"] == []
    for request in cluster.objects("csr"):
        assert [c["type"] for c in request["status"]["conditions"]] == ["Approved"]
    assert list(cluster.home.glob("*/*/user-data")) == []


def test_secrets_are_encrypted_at_rest(cluster):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    secret["stringData"] = {"k": "plain-text-of-s"}
    cluster.kubectl("create", "-f", "-", text=json.dumps(secret))
    wal = b"".join(
        path.read_bytes() for root in cluster.roots() for path in root.glob("var/lib/etcd/member/*/*")
    )
    assert b"/registry/secrets/default/s" in wal
    assert b"k8s:enc:secretbox:v1:" in wal
    assert b"plain-text-of-s" not in wal


def test_a_service_answers_from_every_node(cluster):
    wait(cluster, "--for=condition=Available", "-n", "kube-system", "deployment/coredns")
    cluster.kubectl("apply", "-f", "-", text=WEB)
    wait(cluster, "--for=condition=Available", "deployment/web")
    pods = cluster.objects("pods", "-l", "app=web")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    for address in cluster.addresses():
        assert get_soon(f"http://{address}:{NODE_PORT}/health") == "OK"
    assert "CoreDNS-1.12.1" in cluster.kubectl("logs", "deploy/web")


def get_soon(url: str) -> str:
    """A Service is available before every node's kube-proxy has heard of it: until then it refuses."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return get(url)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return answer.read().decode()


def test_a_restarted_worker_boots_again_and_serves(cluster):
    """By the command: its pod leaves first, and one runs on it again, reached by itself and through its NodePort."""
    machines = json.loads(cluster.flatyard("get", "machines", NAME, "-o", "json"))["items"]
    machine = next(m for m in machines if "control-plane" not in m["metadata"]["name"])
    name = machine["status"]["nodeRef"]["name"]
    before = {n["metadata"]["name"]: n["status"]["nodeInfo"]["bootID"] for n in cluster.objects("nodes")}
    said = json.loads(cluster.flatyard("restart", NAME, machine["metadata"]["name"], "-o", "json"))
    after = {n["metadata"]["name"]: n["status"]["nodeInfo"]["bootID"] for n in cluster.objects("nodes")}
    assert [n for n in after if after[n] != before[n]] == [name]
    (told,) = said["machines"]
    assert (told["node"], told["restarted"], told["boot_id"]) == (name, True, after[name])
    node = next(n for n in cluster.objects("nodes") if n["metadata"]["name"] == name)
    assert next(c for c in node["status"]["conditions"] if c["type"] == "Ready")["status"] == "True"
    assert not node["spec"].get("unschedulable")
    wait(cluster, "--for=condition=Available", "deployment/web")
    wait(cluster, "--for=condition=Ready", "pod", "-l", "app=web")
    (pod,) = (p for p in cluster.objects("pods", "-l", "app=web") if p["spec"]["nodeName"] == name)
    through = f"/api/v1/namespaces/default/pods/http:{pod['metadata']['name']}:8080/proxy/health"
    assert cluster.kubectl("get", "--raw", through) == "OK"
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    assert get_soon(f"http://{address}:{NODE_PORT}/health") == "OK"


def test_scaling_goes_up_and_down_with_a_drain(cluster):
    assert cluster.flatyard("scale", NAME, "general=3") == f"Cluster {NAME} has general=3.\n"
    assert len(cluster.objects("nodes")) == 4
    assert cluster.flatyard("scale", NAME, "general=2") == f"Cluster {NAME} has general=2.\n"
    assert len(cluster.objects("nodes")) == 3
    assert "Draining" in cluster.flatyard("get", "events", NAME)
    status = json.loads(cluster.flatyard("status", "-o", "json", NAME))
    assert (status["healthy"], status["simulated"]) == (True, False)


def test_down_leaves_no_trace_of_what_was_killed(cluster, before):
    """No process that could tidy up after itself is given the chance to."""
    control_plane, first, second = *cluster.machines("control-plane"), *cluster.machines("worker")
    assert control_plane.state().phase is Phase.RUNNING
    for pid in (cluster.background(), first.state().pid, second.state().nspawn):
        os.kill(pid, signal.SIGKILL)
    said = cluster.flatyard("down", "--yes", NAME)
    assert said == f"Cluster {NAME} is gone: 0 resources are left on this machine, and its API is closed.\n"
    assert not cluster.home.exists()
    assert asyncio.run(cluster.stock.left(before)) == {}


def test_a_cluster_that_comes_and_goes_leaves_no_trace(empty, before):
    """The same machine afterwards: mounts, links, routes, nft, loop devices, cgroups, processes and settings."""
    text = empty.file.read_text()
    empty.file.write_text(text[: text.index("  workers:")])
    empty.flatyard("up", "--yes", str(empty.file))
    assert len(empty.machines("control-plane")) == 1
    empty.flatyard("down", "--yes", NAME)
    assert asyncio.run(empty.stock.left(before)) == {}
