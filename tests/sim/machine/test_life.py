"""What becomes of machines later: reboots, lost power, a killed simulation, more control planes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.kube import resources as r
from flatyard.kube.api import Unreachable
from flatyard.sim.disk import SqliteDisk
from flatyard.sim.hardware import Hardware
from flatyard.sim.kubernetes import SimKubernetes
from flatyard.sim.machine import Phase
from flatyard.sim.timings import at_once

ROOT = Path(__file__).parents[3]


def condition(node):
    return next(c for c in node.status["conditions"] if c["type"] == "Ready")


def test_what_a_node_says_of_its_machine(play):
    async def story(lab):
        await lab.cluster()
        lab.boot("worker-1", lab.worker("worker-1"))
        await asyncio.sleep(300)
        return await lab.nodes()

    nodes = play(story)
    worker, control_plane = nodes["worker-1"], nodes["cp-0"]
    info = worker.status["nodeInfo"]
    assert info["osImage"] == "Flatcar Container Linux by Kinvolk 4593.2.5 (simulated)"
    assert info["kubeletVersion"] == "v1.34.3"
    assert info["containerRuntimeVersion"] == "containerd://2.1.5"
    assert info["kernelVersion"] == "6.12.102-flatcar"
    assert worker.labels["flatyard.dev/simulated"] == "true"
    assert worker.spec["providerID"] == "aws:///eu-central-1a/i-worker-1"
    assert {a["type"]: a["address"] for a in worker.status["addresses"]} == {
        "InternalIP": "172.16.0.11",
        "InternalDNS": "worker-1.internal",
        "Hostname": "worker-1",
    }
    assert worker.spec.get("taints") is None
    assert control_plane.spec["taints"] == [
        {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    ]
    assert "node-role.kubernetes.io/control-plane" in control_plane.labels
    assert "node-role.kubernetes.io/control-plane" not in worker.labels


def test_a_node_is_not_ready_before_it_has_a_pod_network(play):
    async def story(lab):
        lab.boot("cp-0", lab.first())
        await asyncio.sleep(400)
        return condition((await lab.nodes())["cp-0"])

    found = play(story)
    assert found["status"] == "False"
    assert "cni plugin not initialized" in found["message"]


def test_a_first_boot_takes_the_time_that_real_ones_take(play):
    async def story(lab):
        begun = lab.loop.time()
        lab.boot("cp-0", lab.first())
        while not lab.kubernetes.available:
            await asyncio.sleep(1)
        control_plane = lab.loop.time() - begun
        await asyncio.sleep(60)
        begun = lab.loop.time()
        lab.boot("worker-1", lab.worker("worker-1"))
        while "worker-1" not in await lab.nodes():
            await asyncio.sleep(1)
        return control_plane, lab.loop.time() - begun

    control_plane, worker = play(story)
    assert 80 < control_plane < 180
    assert 45 < worker < 150


def test_three_control_planes_behind_a_balancer_that_does_not_hairpin(play):
    async def story(lab):
        from flatyard.model.traits import NodeTraits

        traits = replace(NodeTraits(cloud="aws", etcd_device="/dev/xvdf"), hairpin=False)
        lab.hairpin = False
        first = lab.config("cp-0", lab.init("cp-1", "cp-2"), lab.control_plane_role, traits)
        lab.boot("cp-0", first)
        await asyncio.sleep(300)
        peer = lab.machines["cp-0"].hardware.address
        for name in ("cp-1", "cp-2"):
            lab.boot(name, lab.control_plane(name, peer, traits))
            await asyncio.sleep(300)
        hosts = [lab.machines[name].boot.tree.text("/etc/hosts") for name in ("cp-0", "cp-1", "cp-2")]
        return lab.kubernetes.state.members, hosts, await lab.ready()

    members, hosts, ready = play(story)
    assert members == ("cp-0", "cp-1", "cp-2")
    assert all("127.0.0.1 api.prod.test # flatyard" in text for text in hosts)
    assert set(ready) == {"cp-0", "cp-1", "cp-2"}


def test_without_hairpin_and_without_the_mapping_the_first_control_plane_hangs(play):
    async def story(lab):
        lab.hairpin = False
        lab.boot("cp-0", lab.first())
        await asyncio.sleep(600)
        return lab.machines["cp-0"].phase, lab.report("cp-0")

    phase, report = play(story)
    assert phase is Phase.NEW
    assert report.unit == "flatyard-init.service"
    assert "connection refused" in "\n".join(report.lines)


def test_the_api_answers_while_a_majority_of_members_run(play):
    async def story(lab):
        await lab.cluster()
        lab.token("cp-2")
        for name in ("cp-1", "cp-2"):
            await lab.give_token(name)
            lab.boot(name, lab.control_plane(name))
            await asyncio.sleep(300)
        seen = [lab.kubernetes.available]
        lab.machines["cp-0"].power_off()
        seen.append(lab.kubernetes.available)
        watch = lab.api.watch(r.NODES, resource_version=(await lab.api.list(r.NODES)).resource_version)
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        lab.machines["cp-2"].power_off()
        seen.append(lab.kubernetes.available)
        errors = [(await asyncio.gather(waiting, return_exceptions=True))[0]]
        errors += await asyncio.gather(lab.api.list(r.NODES), return_exceptions=True)
        lab.machines["cp-0"].power_on()
        await asyncio.sleep(200)
        return [*seen, lab.kubernetes.available], errors, await lab.ready()

    seen, errors, ready = play(story)
    assert seen == [True, True, False, True]
    assert all(isinstance(error, Unreachable) for error in errors)
    assert "1 of 3 etcd members run" in str(errors[1])
    assert ready["cp-0"] == "True"
    assert ready["cp-2"] == "Unknown"


def test_a_reboot_keeps_the_node_and_restarts_its_pods(play):
    async def story(lab):
        await lab.cluster()
        lab.boot("worker-1", lab.worker("worker-1"))
        await asyncio.sleep(300)
        before = (await lab.nodes())["worker-1"]
        lab.machines["worker-1"].restart()
        await asyncio.sleep(180)
        after = (await lab.nodes())["worker-1"]
        pods = await lab.api.list(r.PODS, fields="spec.nodeName=worker-1")
        return before, after, pods.items

    before, after, pods = play(story)
    assert before.uid == after.uid
    assert condition(after)["status"] == "True"
    assert before.status["nodeInfo"]["bootID"] != after.status["nodeInfo"]["bootID"]
    assert pods and all(p.status["containerStatuses"][0]["restartCount"] == 1 for p in pods)


def test_a_machine_without_power_becomes_unknown_and_comes_back(play):
    async def story(lab):
        await lab.cluster()
        lab.boot("worker-1", lab.worker("worker-1"))
        await asyncio.sleep(300)
        lab.machines["worker-1"].power_off()
        seen = []
        for seconds in (30, 30):
            await asyncio.sleep(seconds)
            seen.append((await lab.ready())["worker-1"])
        taints = [t["key"] for t in (await lab.nodes())["worker-1"].spec["taints"]]
        lab.machines["worker-1"].power_on()
        await asyncio.sleep(180)
        node = (await lab.nodes())["worker-1"]
        return [*seen, condition(node)["status"]], taints, node.spec.get("taints")

    seen, taints, after = play(story)
    assert seen == ["True", "Unknown", "True"]
    assert taints == ["node.kubernetes.io/unreachable"] * 2
    assert after is None


def test_a_killed_simulation_goes_on_where_it_was(play, tmp_path):
    """The first life ends without a word; the second has only what is on the disk."""

    async def first(lab):
        await lab.cluster()
        lab.boot("worker-1", lab.worker("worker-1"))
        await asyncio.sleep(300)
        lab.boot("worker-2", lab.worker("worker-2"))
        await lab.give_token("worker-2")
        await asyncio.sleep(20)
        for machine in lab.machines.values():
            machine.close()
        return lab.memories, {n: m.hardware for n, m in lab.machines.items()}, lab.secrets

    async def second(lab):
        lab.memories.update(memories)
        begun = lab.loop.time()
        for hardware in hardwares.values():
            lab.power_on(hardware)
        await asyncio.sleep(1)
        at_once_ready = await lab.ready()
        await asyncio.sleep(300)
        lab.token("x")
        return at_once_ready, await lab.ready(), lab.loop.time() - begun

    disk = SqliteDisk(tmp_path / "sim.db")
    memories, hardwares, _ = play(first, disk=disk)
    disk.close()
    soon, later, _ = play(second, disk=SqliteDisk(tmp_path / "sim.db"))
    assert soon == {"cp-0": "True", "worker-1": "True"}
    assert later == {"cp-0": "True", "worker-1": "True", "worker-2": "True"}


def test_a_new_first_control_plane_begins_a_new_cluster_only_when_the_old_one_is_gone(play):
    async def story(lab):
        await lab.cluster()
        lab.boot("cp-9", lab.first("cp-9"))
        await asyncio.sleep(300)
        refused = lab.report("cp-9")
        lab.machines["cp-9"].power_off()
        lab.machines["cp-0"].power_off()
        again = replace(lab.machines["cp-0"].hardware, instance_id="i-another", machine_id="m-another")
        lab.memories.clear()
        lab.power_on(again)
        await asyncio.sleep(300)
        return refused, await lab.ready()

    refused, ready = play(story)
    assert "second, separate cluster" in "\n".join(refused.lines)
    assert ready == {"cp-0": "False"}


@pytest.mark.parametrize("workers", [250, pytest.param(1000, marks=pytest.mark.long)])
def test_so_many_workers_cost_seconds(play, workers):
    async def story(lab):
        await lab.kubernetes.stop()
        lab.kubernetes = SimKubernetes(lab.world, None, timings=lab.timings)
        lab.api = lab.kubernetes.client()
        lab.approve_requests()
        await lab.kubernetes.start()
        await lab.cluster(pods="10.0.0.0/8")
        hardware = lab.hardware("worker-1", b"")
        template = lab.worker_data()
        for number in range(workers):
            name = f"worker-{number}"
            data = template(name)
            lab.power_on(
                replace(hardware, name=name, hostname=name, node_name=name, instance_id=name, user_data=data)
            )
        await asyncio.sleep(900)
        ready = await lab.ready()
        await lab.kubernetes.stop()
        return sum(1 for status in ready.values() if status == "True")

    wall = asyncio.new_event_loop()
    begun = wall.time()
    count = play(story, timings=replace(at_once(), retry=5.0))
    took = wall.time() - begun
    wall.close()
    assert count == workers + 1
    assert took < 60


PROGRAM = """
import asyncio, sys
sys.path.insert(0, "tests/sim/machine")
import conftest
from flatyard.sim.loop import run

async def main():
    lab = conftest.Lab(int(sys.argv[1]))
    await lab.kubernetes.start()
    await lab.cluster()
    for number in range(5):
        name = f"worker-{number}"
        await lab.give_token(name)
        lab.boot(name, lab.worker(name))
    await asyncio.sleep(400)
    for name, lines in lab.consoles.items():
        print(name, *lines, sep=chr(10))
    for key, value in lab.disk.items():
        print(key, value.decode())
    await lab.kubernetes.stop()

run(main())
"""


def test_the_same_seed_gives_the_same_consoles_and_objects_under_any_hash_seed():
    def output(seed, hash_seed):
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, seed],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout

    first = output("1", "1")
    assert first == output("1", "4711")
    assert first != output("2", "1")
    assert first.count(b"This node has joined the cluster") == 5


def test_a_machine_takes_what_its_instance_says():
    class Power:
        instance_id, machine_id, name, hostname, node_name = "i-1", "m-1", "n", "h", "n.internal"
        provider_id, region, zone, addresses, devices = (
            "aws:///z/i-1",
            "r",
            "z",
            (("InternalIP", "10.0.0.1"),),
            (),
        )
        arch, vcpus, memory_mib, image_version, kubernetes, platform = (
            "arm64",
            4,
            8192,
            "4593.2.5",
            None,
            "aws",
        )
        user_data = b"{}"

    hardware = Hardware.of(Power())
    assert (hardware.address, hardware.arch, hardware.user_data) == ("10.0.0.1", "arm64", b"{}")
