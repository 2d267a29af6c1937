"""`flatyard restart` on the simulated cloud: what it prints, what holds it up, and what a killed process leaves."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import urllib.request
from pathlib import Path

import pytest
import yaml

HELP = """\
Usage: flatyard restart [OPTIONS] NAME MACHINE...

  Restart machines of cluster NAME, one after the other, and wait until their
  nodes are Ready again.

  A MACHINE is told by its own name or its node's. It is drained first, so
  PodDisruptionBudgets hold it up.

Options:
  --timeout DURATION           How long to watch; work goes on after.  [default:
                               10m on sim and local, 1h on other clouds]
  -o, --output [text|json]     Form of the result on stdout.  [default: text]
  -q, --quiet                  Say less; -qq: nothing.
  -v, --verbose                Say more.
  --color [auto|always|never]  Colours; auto: on a terminal.
  --debug                      Show tracebacks of unknown errors.
  -h, --help                   Show this message and exit.
"""
META = {"name": "web", "namespace": "default"}
LABELS = {"app": "web"}
POD = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": META,
    "spec": {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": POD},
}
BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": META,
    "spec": {"minAvailable": 1, "selector": {"matchLabels": LABELS}},
}


def test_help(flatyard):
    assert flatyard("restart", "--help").stdout == HELP


@pytest.fixture(scope="module")
def up(module_shell):
    module_shell.run("up", "-q", "--speed", "300", "examples/quickstart.yaml")
    return module_shell


def workers(up) -> list[str]:
    names = up.ask("get", "machines", "quickstart", "-o", "name").split()
    return [name.removeprefix("machine/") for name in names if "workers" in name]


def ask(up, method: str, path: str, body: dict | None = None) -> dict:
    """What the simulated Kubernetes API answers to the kubeconfig's user."""
    config = yaml.safe_load(Path(up.ask("kubeconfig", "quickstart").strip()).read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trust = ssl.create_default_context(
        cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
    )
    headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(cluster["server"] + path, data, headers, method=method)
    with urllib.request.urlopen(request, context=trust, timeout=20) as answer:
        return json.load(answer)


def test_a_worker_comes_back_with_another_boot(up):
    machine = workers(up)[0]
    process = up.start("restart", "quickstart", machine)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, f"Cluster quickstart has restarted {machine} (simulated).\n"), err
    assert f"machine/{machine}: restart: instance i-" in err
    assert up.asked("status", "quickstart")["healthy"]


def test_json_names_each_machine_with_its_nodes_boot(up):
    one, two, _ = workers(up)
    found = up.json("restart", "quickstart", one, f"machine/{two}")
    assert (found["cluster"], found["simulated"]) == ("quickstart", True)
    assert [(m["machine"], m["restarted"]) for m in found["machines"]] == [(one, True), (two, True)]
    assert [m["boot_id"].rpartition("-")[2] for m in found["machines"]] == ["3", "2"]
    assert all(m["node"].startswith("ip-10-0-") for m in found["machines"])


def test_a_budget_holds_it_up_and_the_same_command_goes_on(up):
    ask(up, "POST", "/apis/apps/v1/namespaces/default/deployments", WEB)
    ask(up, "POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", BUDGET)
    pods: list[dict] = []
    while not pods or pods[0]["status"].get("phase") != "Running":
        pods = ask(up, "GET", "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb")["items"]
    node = pods[0]["spec"]["nodeName"]
    process = up.start("restart", "quickstart", node, "--timeout", "3s")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "")
    held = (
        f"restart: draining {node}: pod default/{pods[0]['metadata']['name']} is held by PodDisruptionBudget"
    )
    assert held in err and f"next: flatyard restart quickstart {node} goes on" in err
    status = up.asked("status", "quickstart", code=3)
    (why,) = [m["why"] for pool in status["pools"] for m in pool["machines"] if m["why"]]
    assert why.startswith(held)
    ask(up, "DELETE", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web")
    (found,) = up.json("restart", "quickstart", node)["machines"]
    assert found["restarted"] and up.asked("status", "quickstart")["healthy"]


@pytest.mark.parametrize("line", ["done", "is restarting"])
def test_a_process_that_is_killed_meanwhile_is_replaced_and_goes_on(up, line):
    machine = workers(up)[2]
    (before,) = [
        n for n in up.asked("get", "nodes", "quickstart")["items"] if node_of(up, machine) == name(n)
    ]
    process = up.start("restart", "quickstart", machine, "-o", "json")
    told = []
    for text in process.stderr:
        told.append(text)
        if line in text:
            os.kill(up.pid("quickstart"), signal.SIGKILL)
            break
    told += process.stderr
    out = process.stdout.read()
    assert process.wait() == 0, "".join(told)
    (found,) = json.loads(out)["machines"]
    assert found["restarted"] and found["boot_id"] != before["status"]["nodeInfo"]["bootID"]
    (after,) = [n for n in up.asked("get", "nodes", "quickstart")["items"] if name(n) == name(before)]
    assert not after["spec"].get("unschedulable")


def node_of(up, machine: str) -> str:
    found = up.asked("get", "machines", "quickstart")["items"]
    return next(m["status"]["nodeRef"]["name"] for m in found if name(m) == machine)


def name(object: dict) -> str:
    return object["metadata"]["name"]


def test_the_only_control_plane_takes_its_api_with_it_and_comes_back(up):
    process = up.start("restart", "quickstart", "quickstart-control-plane-1")
    out, err = process.communicate(timeout=60)
    said = "Cluster quickstart has restarted quickstart-control-plane-1 (simulated).\n"
    assert (process.returncode, out) == (0, said), err
    assert "0 of 1 etcd members run" in err
    assert up.asked("status", "quickstart")["healthy"]


def test_what_is_not_there_is_told_with_what_helps(up):
    process = up.start("restart", "quickstart", "worker-1")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err == (
        "error: cluster quickstart has no machine 'worker-1'\n"
        "  next: flatyard get machines quickstart lists them\n"
    )
    process = up.start("restart", "quickstar", "worker-1")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "did you mean quickstart?" in err) == (1, True)
