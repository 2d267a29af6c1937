"""Three real control planes on this machine: one is lost, one is deleted, and in the end two are lost at once.

The machines are containers of a stand-in for Flatcar; etcd, kubeadm and the kubelets in them are real. One cluster for
all tests of this file, in the order in which they stand here. How long each replacement took is recorded with the test.
Nothing of the machines can be reached from this one but the API's port, as from a laptop whose cluster is in a cloud.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flatyard.base.world import RealWorld, parse_stamp
from flatyard.clouds.cloud import Instance, Role
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.settings import settings
from flatyard.controller.clients import HttpClients
from flatyard.engine import record, secrets
from flatyard.kube.etcd import EtcdError, EtcdHost, EtcdSilent, Member
from flatyard.store import open_store

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("kubernetes_built")]
ROOT = Path(__file__).resolve().parent.parent.parent.parent
NAME = "real-ha"
PLANES = [f"{NAME}-control-plane-{i}" for i in (1, 2, 3)]
POOL = "10.233.0.0/16"
ONLY_6443 = "flatyard-test-only-6443"
"""An nft table of this file's own, no concern of other tests. It counts what it swallows."""
DNS = ("-l", "k8s-app=kube-dns")
REPLACED = 300.0
"""Seconds that a replacement may take on a busy machine; the recorded ones are a tenth of it."""


class Cluster:
    """The cluster as its owner has it, and its etcd as an administrator sees it."""

    def __init__(self, kubectl: str, file: Path) -> None:
        self._kubectl = kubectl
        self.file = file
        self.world = RealWorld()

    def flatyard(self, *words: str, codes: tuple[int, ...] = (0,), talk: bool = False) -> str:
        """Its stdout, with `talk` its stderr."""
        command = [sys.executable, "-m", "flatyard", *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert done.returncode in codes, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
        return done.stderr if talk else done.stdout

    def kubectl(self, *words: str) -> str:
        config = self.flatyard("kubeconfig", NAME).strip()
        command = [self._kubectl, f"--kubeconfig={config}", "--request-timeout=20s", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def instances(self) -> dict[str, Instance]:
        """The control planes' containers by name."""
        found = asyncio.run(LocalCloud().machines(self.record().ref))
        return {i.name: i for i in found if i.role is Role.CONTROL_PLANE}

    def ids(self) -> dict[str, str]:
        """The containers' ids by the control planes' names."""
        return {name: instance.id for name, instance in self.instances().items()}

    def record(self) -> record.ClusterRecord:
        found = asyncio.run(record.load(open_store(None, self.world), NAME))
        assert found is not None
        return found

    def members(self) -> tuple[Member, ...]:
        """etcd's members as a majority has them now; none while there is no majority."""
        keys = asyncio.run(secrets.load(open_store(None, self.world), NAME))
        record = self.record()
        hosts = tuple(EtcdHost(i.node_name) for i in self.instances().values())
        try:
            return asyncio.run(HttpClients(self.world).etcd(record.endpoint, hosts, keys).list())
        except EtcdError:
            return ()

    def ready(self) -> list[str]:
        """The control planes' nodes that are Ready, in order."""
        label = "node-role.kubernetes.io/control-plane"
        nodes = json.loads(self.kubectl("get", "nodes", "-l", label, "-o", "json"))["items"]
        conditions = {n["metadata"]["name"]: n["status"]["conditions"] for n in nodes}
        return sorted(
            name
            for name, found in conditions.items()
            if any(c["type"] == "Ready" and c["status"] == "True" for c in found)
        )

    def whole(self) -> bool:
        voters = [m.name for m in self.members() if not m.learner]
        return sorted(voters) == PLANES == sorted(self.instances()) and self.ready() == PLANES

    def lose(self, name: str) -> None:
        """Kill the container, then take its folder away, as somebody does who deletes an instance by hand."""
        instance = self.instances()[name]
        (state,) = settings().home.glob(f"*/{instance.id}/state.json")
        os.kill(json.loads(state.read_text())["nspawn"], signal.SIGKILL)
        asyncio.run(LocalCloud().delete(self.record().ref, instance))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, kubectl_path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "cluster.yaml"
    text = (ROOT / "examples/local-ha.yaml").read_text()
    file.write_text(text.replace("{name: local-ha}", f"{{name: {NAME}}}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLATYARD_CACHE", str(settings().cache))
        patch.setenv("FLATYARD_STATE", str(folder / "state"))
        patch.setenv("FLATYARD_LOCAL_HOME", str(folder / "home"))
        patch.setenv("FLATYARD_LOCAL_POOL", POOL)
        made = Cluster(str(kubectl_path), file)
        try:
            close_the_machines()
            made.flatyard("up", "--yes", "--timeout", "25m", str(file))
            yield made
        finally:
            open_the_machines()
            made.flatyard("down", "--yes", NAME)


def close_the_machines() -> None:
    """Whatever this machine begins with one of the cluster's is swallowed, unless it is for the API."""
    open_the_machines()
    nft("add", "table", "inet", ONLY_6443)
    nft(f"add chain inet {ONLY_6443} out {{ type filter hook output priority filter; }}")
    begun = f'oifname != "lo" ip daddr {POOL} meta l4proto tcp ct state new'
    nft(f"add rule inet {ONLY_6443} out {begun} tcp dport != 6443 counter drop")


def open_the_machines() -> None:
    if ONLY_6443 in nft("list", "tables"):
        nft("delete", "table", "inet", ONLY_6443)


def swallowed() -> int:
    """Packets that began a connection and that the table has swallowed since it is there."""
    found = json.loads(nft("-j", "list", "table", "inet", ONLY_6443))["nftables"]
    (rule,) = [line["rule"] for line in found if "rule" in line]
    return sum(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)


def nft(*words: str) -> str:
    return subprocess.run(["nft", *words], capture_output=True, text=True, check=True).stdout


class Asked(threading.Thread):
    """Asks the endpoint for its health on new connections for as long as the block runs."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(daemon=True)
        self._url = f"https://{address}:{port}/readyz"
        self._end = threading.Event()
        self.longest = 0.0
        """Seconds of the longest time without an answer."""

    def __enter__(self) -> Asked:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        last = time.monotonic()
        while not self._end.wait(0.2):
            try:
                with urllib.request.urlopen(self._url, timeout=5, context=context):
                    pass
            except OSError:
                continue
            finally:
                self.longest = max(self.longest, time.monotonic() - last)
            last = time.monotonic()


def seconds_until(done: Callable[[], bool]) -> float:
    start = time.monotonic()
    while not done():
        assert time.monotonic() - start < REPLACED, "not in time"
        time.sleep(0.5)
    return time.monotonic() - start


def test_three_control_planes_join_in_turn(cluster):
    assert cluster.whole()
    assert "3/3 ready" in cluster.flatyard("status", NAME)


def test_the_clusters_dns_loses_no_connection_to_the_api_on_its_start(cluster, record_property):
    """It starts together with kube-proxy. What it sent before there were rules was lost, and given up after 30 s."""
    cluster.kubectl("wait", "-n", "kube-system", "--for=condition=Ready", "pod", *DNS, "--timeout=50s")
    pods = json.loads(cluster.kubectl("get", "pods", "-n", "kube-system", *DNS, "-o", "json"))["items"]
    took = [ready_after(pod) for pod in pods]
    record_property("seconds", took)
    assert len(took) == 2 and max(took) < 30


def ready_after(pod: dict) -> float:
    """Seconds from the start of its only container."""
    (container,) = pod["status"]["containerStatuses"]
    (ready,) = [c for c in pod["status"]["conditions"] if c["type"] == "Ready"]
    assert container["restartCount"] == 0
    began = parse_stamp(container["state"]["running"]["startedAt"])
    return (parse_stamp(ready["lastTransitionTime"]) - began).total_seconds()


def test_a_lost_control_plane_is_made_anew_while_the_api_answers_on(cluster, record_property):
    """The first one, which made the cluster: its successor joins."""
    before = {m.name: m.id for m in cluster.members()}
    endpoint = cluster.record().endpoint
    assert endpoint is not None
    with Asked(endpoint.address, endpoint.port) as asked:
        cluster.lose(PLANES[0])
        took = seconds_until(lambda: PLANES[0] in cluster.instances() and cluster.whole())
    record_property("seconds", round(took, 1))
    record_property("longest_silence_of_the_api", round(asked.longest, 1))
    print(f"a lost control plane was replaced in {took:.1f} s; the API was silent for {asked.longest:.1f} s")
    after = {m.name: m.id for m in cluster.members()}
    assert [name for name in PLANES if before[name] != after[name]] == PLANES[:1]
    assert asked.longest < 15
    assert cluster.instances()[PLANES[0]].attempt == 2


def test_a_deleted_control_plane_machine_is_replaced(cluster, record_property):
    before = cluster.ids()[PLANES[2]]
    cluster.kubectl("delete", "machine", "--wait=false", "-n", "kube-system", PLANES[2])
    took = seconds_until(lambda: cluster.ids().get(PLANES[2], before) != before and cluster.whole())
    record_property("seconds", round(took, 1))
    print(f"a deleted control plane was replaced in {took:.1f} s")


def test_nothing_of_the_machines_was_asked_but_the_api(cluster):
    """etcd's members were listed and removed meanwhile, through the API; at their own port they are not reached."""
    assert swallowed() == 0
    keys = asyncio.run(secrets.load(open_store(None, cluster.world), NAME))
    address = dict(cluster.instances()[PLANES[0]].addresses)["InternalIP"]
    straight = HttpClients(cluster.world).etcd(None, (EtcdHost("", address),), keys)
    with pytest.raises(EtcdSilent):
        asyncio.run(straight.list())
    assert swallowed() > 0


def test_a_lost_majority_is_told_and_nothing_is_started_anew(cluster, record_property):
    """`status` answers in time although the API, whose etcd is gone, keeps everybody waiting for a minute.

    An API without etcd forwards nothing, so that no member can be asked: the cloud's word counts.
    """
    cluster.lose(PLANES[0])
    cluster.lose(PLANES[1])
    waited = [0.0]

    def is_told() -> bool:
        started = time.monotonic()
        said = cluster.flatyard("status", NAME, codes=(0, 3))
        waited.append(time.monotonic() - started)
        return "nothing is started anew" in said

    took = seconds_until(is_told)
    record_property("seconds", round(took, 1))
    record_property("longest_status", round(max(waited), 1))
    print(f"a lost majority was told after {took:.1f} s; no status took longer than {max(waited):.1f} s")
    assert max(waited) < 30
    assert sorted(cluster.instances()) == PLANES[2:]
    said = cluster.flatyard("status", NAME, codes=(3,))
    assert "of 3 control planes that had joined" in said and f"has only {PLANES[2]} left" in said
    assert "does not answer" in said and "as they were last seen" in said
    assert "control plane  1/3 ready" in said


def test_an_up_without_a_majority_is_refused_with_what_helps(cluster):
    """It took four minutes, and said that the background process was dead."""
    started = time.monotonic()
    said = cluster.flatyard("up", "--yes", str(cluster.file), codes=(1,), talk=True)
    assert "takes no orders: etcd has lost its majority" in said
    assert f"flatyard down {NAME}" in said
    assert time.monotonic() - started < 60


def test_down_is_not_kept_by_an_api_without_etcd(cluster, record_property):
    started = time.monotonic()
    cluster.flatyard("down", "--yes", NAME)
    record_property("seconds", round(time.monotonic() - started, 1))
    assert list(settings().home.glob("*")) == []
    assert time.monotonic() - started < 60
