"""`flatyard rehearse`: each example, faults with evidence, and the same bytes for the same seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
QUICKSTART = "examples/quickstart.yaml"

RESOURCES = {
    "quickstart": {
        "address": 1,
        "bucket": 1,
        "instance": 4,
        "load-balancer": 1,
        "network": 1,
        "security-group": 2,
        "subnet": 3,
        "volume": 1,
    }
}
EXAMPLES = {
    "aws": (3, 4),
    "aws-image": (1, 2),
    "azure-image": (1, 2),
    "azure-sysext": (3, 2),
    "gcp": (3, 6),
    "openstack-jetstream2": (1, 2),
    "quickstart": (1, 3),
    "vsphere": (3, 3),
}


def rehearsed(flatyard, *args: str, code: int = 0) -> dict:
    result = flatyard("rehearse", *args, "-o", "json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_rehearses_to_ready(flatyard, name):
    found = rehearsed(flatyard, f"examples/{name}.yaml")
    planes, workers = EXAMPLES[name]
    roles = [node["role"] for node in found["nodes"]]
    assert (roles.count("control-plane"), roles.count("worker")) == (planes, workers)
    assert found["done"] and found["simulated"] and not found["unfinished"]
    assert found["ready"] == found["machines"] == planes + workers
    assert found["resources"]["instance"] == planes + workers
    assert found["calls"]["instance.run"] == planes + workers
    assert all(node["os_image"].endswith("(simulated)") for node in found["nodes"])


def test_the_resources_of_the_quickstart_by_kind(flatyard):
    assert rehearsed(flatyard, QUICKSTART)["resources"] == RESOURCES["quickstart"]


def test_a_rehearsal_writes_nothing(flatyard, state):
    rehearsed(flatyard, QUICKSTART)
    assert not state.exists()


def test_text_names_the_twin_and_calls_everything_simulated(flatyard):
    out = flatyard("rehearse", QUICKSTART).stdout
    assert out.startswith("Rehearsal of cluster quickstart on the simulated twin of aws us-east-1, seed 1\n")
    assert "Resources (simulated): 1 address, 1 bucket, 4 instance, " in out
    last = out.splitlines()[-1]
    assert last.startswith("Rehearsed: 4 of 4 machines are Ready nodes after 0:0")
    assert last.endswith(" of simulated time")


def test_replicas_are_those_of_the_first_pool(flatyard):
    assert rehearsed(flatyard, QUICKSTART, "--replicas", "0")["machines"] == 1
    assert rehearsed(flatyard, QUICKSTART, "--replicas", "8")["machines"] == 9


def test_a_flipped_byte_keeps_that_node_from_joining_and_names_the_unit(flatyard):
    result = flatyard("rehearse", QUICKSTART, "--fault", "sysext:corrupt@machine=2")
    assert result.exit_code == 1
    assert "first failing unit: ignition (from the simulated console)" in result.stdout
    assert "3 of 4 machines are Ready nodes" in result.stdout
    assert (
        "error: the rehearsed cluster quickstart did not become ready: machine/flatcar-workers-"
        in result.stderr
    )
    assert "hash verification failed" in result.stderr
    assert "\n  next: " in result.stderr
    found = rehearsed(flatyard, QUICKSTART, "--fault", "sysext:corrupt@machine=2", code=1)
    evidence = [u for u in found["unfinished"] if u["unit"]]
    assert [u["unit"] for u in evidence] == ["ignition"]
    assert found["faults"] == ["sysext:corrupt@machine=2"]


def test_lost_replies_are_outlived_without_a_second_machine(flatyard):
    found = rehearsed(flatyard, QUICKSTART, "--fault", "create:lost-reply@p=0.5")
    assert found["resources"]["instance"] == 4
    assert found["calls"]["instance.run"] >= 4


def test_a_wrong_fault_is_a_located_error(flatyard):
    result = flatyard("rehearse", QUICKSTART, "--fault", "sysext:corupt")
    assert result.exit_code == 2
    assert result.stderr == (
        "--fault:1:8: error: sysext has no fault 'corupt'; allowed: corrupt, missing; did you mean 'corrupt'?\n"
        "error: 1 error in the input\n"
        "  next: see `flatyard rehearse --help` for the list of faults\n"
    )


def test_faults_at_every_call_still_end_in_a_report(flatyard):
    """Found when the report's own last question to the simulated cloud was hit, too."""
    found = rehearsed(flatyard, QUICKSTART, "--fault", "any:transient@p=0.2")
    assert found["done"] and found["resources"]["instance"] == 4


def test_a_hundred_machines_go_through_the_same_reconcilers_and_calls_as_ten(flatyard):
    ten, hundred = (rehearsed(flatyard, QUICKSTART, "--replicas", n) for n in ("10", "100"))
    assert ten["reconciled"].keys() == hundred["reconciled"].keys()
    assert (ten["calls"]["instance.run"], hundred["calls"]["instance.run"]) == (11, 101)
    once = {op for op, count in ten["calls"].items() if op.endswith((".create", ".put"))}
    assert {op: hundred["calls"][op] for op in once} == {op: ten["calls"][op] for op in once}


def bytes_of(seed: int, hash_seed: str, replicas: int = 20, fault: str = "create:transient@p=0.2") -> bytes:
    command = [sys.executable, "-m", "flatyard", "rehearse", "-q", QUICKSTART, "--seed", str(seed)]
    command += ["--replicas", str(replicas), "--fault", fault, "-o", "json"]
    env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=True).stdout


def test_the_same_seed_gives_the_same_bytes_in_any_process():
    first = bytes_of(1, "1")
    assert bytes_of(1, "2") == first
    assert bytes_of(2, "1") != first


@pytest.mark.long
def test_a_thousand_machines_are_rehearsed_alike_in_two_processes():
    first = bytes_of(1, "1", replicas=1000)
    assert bytes_of(1, "2", replicas=1000) == first
    assert json.loads(first)["done"]
