"""What the README promises to somebody with kubectl: the quickstart's cluster, looked at and changed from outside."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.emulated
ROOT = Path(__file__).resolve().parents[2]
SPACE = "kube-system"


@pytest.fixture(scope="module")
def cluster(module_shell):
    """The quickstart, as the README's first command makes it."""
    module_shell.run("up", "examples/quickstart.yaml")
    return module_shell


@pytest.fixture(scope="module")
def kubectl(cluster, kubectl_path, tmp_path_factory):
    config = cluster.run("kubeconfig", "quickstart").strip()
    env = {**os.environ, "KUBECONFIG": config, "HOME": str(tmp_path_factory.mktemp("home"))}

    def run(*args: str, code: int = 0) -> str:
        done = subprocess.run(
            [kubectl_path, *args], capture_output=True, text=True, env=env, cwd=ROOT, timeout=100, check=False
        )
        assert done.returncode == code, f"kubectl {args}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def rows(table: str) -> list[dict[str, str]]:
    """A printed table by column; columns are told apart by their headings' places."""
    head, *lines = table.splitlines()
    places = [i for i, c in enumerate(head) if c != " " and (i == 0 or head[i - 1] == " ")]
    places = [i for i in places if i == 0 or head[i - 2 : i] == "  "]
    spans = list(zip(places, [*places[1:], None], strict=True))
    return [{head[a:b].strip(): line[a:b].strip() for a, b in spans} for line in lines]


def until(holds, seconds: float):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.3)


def ready(kubectl) -> int:
    return sum(row["STATUS"] == "Ready" for row in rows(kubectl("get", "nodes")))


def test_nodes_are_ready_with_a_flatcar_image_that_says_simulated(kubectl):
    nodes = rows(kubectl("get", "nodes", "-o", "wide"))
    assert [n["STATUS"] for n in nodes] == ["Ready"] * 4
    assert sorted(n["ROLES"] for n in nodes) == ["<none>"] * 3 + ["control-plane"]
    images = {n["OS-IMAGE"] for n in nodes}
    assert len(images) == 1
    assert images.pop().startswith("Flatcar Container Linux by Kinvolk ")
    assert all(n["OS-IMAGE"].endswith("(simulated)") for n in nodes)


def test_machines_show_phase_node_and_address(kubectl):
    table = kubectl("get", "machinedeployments,machines", "-n", SPACE)
    deployments, machines = table.split("\n\n")
    assert rows(deployments)[0]["AVAILABLE-REPLICAS"] == "3"
    found = rows(machines)
    assert [m["PHASE"] for m in found] == ["Running"] * 4
    names = {n["NAME"] for n in rows(kubectl("get", "nodes"))}
    assert {m["NODE"] for m in found} == names
    assert all(m["ADDRESS"].startswith("10.0.") for m in found)


def test_scaling_with_kubectl_gives_six_ready_nodes_within_thirty_seconds(kubectl):
    kubectl("scale", "-n", SPACE, "machinedeployment/flatcar-workers", "--replicas=5")
    until(lambda: ready(kubectl) == 6, 30)
    kubectl("scale", "-n", SPACE, "machinedeployment/flatcar-workers", "--replicas=3")
    until(lambda: len(rows(kubectl("get", "nodes"))) == 4, 60)


def test_applying_the_users_own_document_replaces_nothing(kubectl):
    before = kubectl("get", "machines", "-n", SPACE, "-o", "name")
    assert "configured" in kubectl("apply", "-f", "examples/flatcar-workers.yaml")
    assert "unchanged" in kubectl("apply", "-f", "examples/flatcar-workers.yaml")
    time.sleep(3)
    assert kubectl("get", "machines", "-n", SPACE, "-o", "name") == before


def test_describe_tells_what_happened(kubectl):
    (name, *_) = (m for m in kubectl("get", "machines", "-n", SPACE, "-o", "name").split() if "workers" in m)
    told = kubectl("describe", "-n", SPACE, name)
    assert "Phase:" in told and "Running" in told and "NodeJoined" in told
    node = kubectl("get", "nodes", "-o", "name").split()[0]
    assert "Flatcar Container Linux" in kubectl("describe", node)


def test_cordon_and_drain_empty_a_node(kubectl):
    node = next(n["NAME"] for n in rows(kubectl("get", "nodes")) if n["ROLES"] == "<none>")
    kubectl("cordon", node)
    assert "SchedulingDisabled" in kubectl("get", "node", node)
    kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
    pods = json.loads(kubectl("get", "pods", "-A", "-o", "json", f"--field-selector=spec.nodeName={node}"))
    owners = {p["metadata"]["ownerReferences"][0]["kind"] for p in pods["items"]}
    assert owners == {"DaemonSet"}
    kubectl("uncordon", node)
    assert "SchedulingDisabled" not in kubectl("get", "node", node)


def test_an_annotated_machine_is_restarted_once(kubectl):
    machines = kubectl("get", "machines", "-n", SPACE, "-o", "name").split()
    machine = next(m for m in machines if "workers" in m)
    node = kubectl("get", "-n", SPACE, machine, "-o", "jsonpath={.status.nodeRef.name}")
    boot = ("get", "node", node, "-o", "jsonpath={.status.nodeInfo.bootID}")
    before = kubectl(*boot)
    kubectl("annotate", "-n", SPACE, machine, "flatyard.dev/restart=today")
    done = r"jsonpath={.metadata.annotations.flatyard\.dev/restarted}"
    until(lambda: kubectl("get", "-n", SPACE, machine, "-o", done) == "today", 60)
    assert kubectl(*boot) == before.removesuffix("-1") + "-2"
    assert "Restarted" in kubectl("describe", "-n", SPACE, machine)
    assert ready(kubectl) == 4 and "SchedulingDisabled" not in kubectl("get", "node", node)


def test_a_deleted_machine_is_replaced(kubectl):
    machines = kubectl("get", "machines", "-n", SPACE, "-o", "name").split()
    victim = next(m for m in machines if "workers" in m)
    kubectl("delete", "-n", SPACE, victim, "--timeout=90s")
    until(lambda: ready(kubectl) == 4, 60)
    now = kubectl("get", "machines", "-n", SPACE, "-o", "name").split()
    assert victim not in now and len(now) == 4


def test_status_agrees_and_down_leaves_nothing(cluster, kubectl):
    found = cluster.json("status", "quickstart")
    assert found["healthy"] and [p["ready"] for p in found["pools"]] == [3]
    said = cluster.run("down", "quickstart")
    assert "0 resources are left in the simulated cloud" in said
    kubectl("get", "nodes", code=1)
