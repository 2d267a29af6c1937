"""One cluster's life by commands: a real background process, a real API on loopback."""

from __future__ import annotations

import json
import os
import ssl
import stat
import urllib.request
from pathlib import Path

import pytest
import yaml

SPEED = "300"
FILE = "examples/quickstart.yaml"


@pytest.fixture(scope="module")
def up(module_shell):
    """The cluster of the quickstart, brought up once for this module."""
    module_shell.out = module_shell.run("up", "--speed", SPEED, FILE)
    return module_shell


def api(shell, path: str) -> dict:
    """What the simulated Kubernetes API answers to the kubeconfig's user."""
    config = yaml.safe_load(Path(shell.ask("kubeconfig", "quickstart").strip()).read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    import base64

    ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
    headers = {"Authorization": f"Bearer {user['token']}"}
    request = urllib.request.Request(cluster["server"] + path, headers=headers)
    with urllib.request.urlopen(request, context=ssl.create_default_context(cadata=ca), timeout=20) as answer:
        return json.load(answer)


def test_up_says_that_the_cluster_is_simulated(up):
    assert up.out == "Cluster quickstart is ready (simulated).\n"


def test_status_is_healthy_with_one_control_plane_and_three_workers(up):
    found = up.asked("status", "quickstart")
    assert found["healthy"] and found["simulated"] and found["api"]
    assert (found["control_plane"]["ready"], found["control_plane"]["wanted"]) == (1, 1)
    assert [(pool["name"], pool["ready"], pool["wanted"]) for pool in found["pools"]] == [
        ("flatcar-workers", 3, 3)
    ]


def test_the_api_shows_four_ready_nodes_marked_as_simulated(up):
    nodes = api(up, "/api/v1/nodes")["items"]
    assert len(nodes) == 4
    assert all(node["status"]["nodeInfo"]["osImage"].endswith("(simulated)") for node in nodes)


def test_every_file_of_the_state_is_private(up):
    files = [path for path in up.state.rglob("*") if path.is_file()]
    assert {path.name for path in files} > {"quickstart.json", "kubeconfig", "disk.sqlite", "log"}
    assert [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_the_process_is_a_session_of_its_own_without_our_terminal(up):
    pid = up.pid("quickstart")
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/fd/0").resolve() == Path("/dev/null")
    assert Path(f"/proc/{pid}/fd/2").resolve() == up.state / "sim" / "quickstart" / "log"


def test_a_second_up_has_no_changes(up):
    assert up.run("up", FILE) == "No changes. Cluster quickstart matches the files.\n"


def test_the_speed_is_that_of_the_first_up(up):
    process = up.start("up", "--speed", "10", FILE)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "it goes on at the speed that it was made with, 300\n" in err


def test_plan_compares_with_the_living_cluster(up):
    assert up.run("plan", FILE) == "No changes. Cluster quickstart matches the files.\n"


def test_get_lists_every_kind(up):
    assert up.run("get", "clusters", "-o", "name") == "cluster/quickstart\n"
    assert up.ask("get", "pools", "-o", "name") == "machinedeployment/flatcar-workers\n"
    assert len(up.ask("get", "machines").splitlines()) == 5
    assert len(yaml.safe_load(up.ask("get", "nodes", "-o", "yaml"))["items"]) == 4
    assert "NodeJoined" in up.ask("get", "events")


def test_scale_waits_until_the_machines_are_there(up):
    assert up.run("scale", "quickstart", "flatcar-workers=5") == (
        "Cluster quickstart has flatcar-workers=5 (simulated).\n"
    )
    assert len(api(up, "/api/v1/nodes")["items"]) == 6
    assert up.kinds("quickstart")["instance"] == 6


def test_up_leaves_a_scaled_pool_alone_until_the_file_changes_it(up):
    up.run("up", FILE)
    assert len(up.asked("get", "nodes")["items"]) == 6


def test_scaling_a_pool_that_is_not_there_names_those_that_are(up):
    process = up.start("scale", "quickstart", "workers=1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "cluster quickstart has no pool 'workers'" in err
    assert "it has flatcar-workers" in err


def test_a_killed_process_is_replaced_at_the_same_address(up):
    import signal

    before = up.ask("kubeconfig", "quickstart")
    text = Path(before.strip()).read_bytes()
    old = up.pid("quickstart")
    os.kill(old, signal.SIGKILL)
    assert up.json("status", "quickstart")["healthy"]
    assert up.pid("quickstart") not in (0, old)
    assert up.ask("kubeconfig", "quickstart") == before
    assert Path(before.strip()).read_bytes() == text
    assert len(api(up, "/api/v1/nodes")["items"]) == 6


def test_the_control_routes_want_the_token(up):
    from flatyard.controller.runfile import look

    run, _ = look(up.state / "run" / "quickstart.json")
    context = ssl.create_default_context(cadata=run.ca)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(run.url + "/flatyard/v1/state", context=context, timeout=20)
    assert refused.value.code == 401


def test_down_leaves_an_empty_cloud_and_no_process(up):
    pid = up.pid("quickstart")
    assert up.run("down", "quickstart") == (
        "Cluster quickstart is gone: 0 resources are left in the simulated cloud, and its API is closed.\n"
    )
    assert not up.pid("quickstart")
    assert not (up.state / "run" / "quickstart.json").exists()
    assert not (up.state / "sim" / "quickstart").exists()
    assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    assert up.ask("get", "clusters") == ""


def test_down_again_has_nothing_to_do(up):
    assert up.run("down", "quickstart") == (
        "There is no cluster 'quickstart' (known: none); nothing to do.\n"
    )
