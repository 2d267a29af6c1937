"""A machine restarted on request: drained, rebooted once, in service again; the gate, budgets and etcd are asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from flatyard.base.errors import Failed, FlatyardError, Refused
from flatyard.base.world import parse_stamp
from flatyard.clouds.cloud import Rejected
from flatyard.engine.commands import bring_up, restart, write_restarts
from flatyard.engine.run import engine_of
from flatyard.kube.resources import (
    DEPLOYMENTS,
    EVENTS,
    MACHINES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
)

DEADLINE = 3600.0
SPACE = "kube-system"
NAME = "quickstart"
WANTED, BEGUN, DONE = (f"flatyard.dev/{word}" for word in ("restart", "restarting", "restarted"))
GATE = "flatyard.dev/disruption"


async def living(life):
    """Runs a cluster, then gives its API."""
    _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
    assert outcome.done, outcome.waits
    return life.region.kubernetes.client()


def planes(wanted, replicas):
    spec = wanted.cluster.spec
    plane = replace(spec.control_plane, replicas=replicas)
    return replace(wanted, cluster=replace(wanted.cluster, spec=replace(spec, control_plane=plane)))


async def workers(api):
    return [m for m in (await api.list(MACHINES)).items if "control-plane" not in m.name]


async def members(api):
    return [m for m in (await api.list(MACHINES)).items if "control-plane" in m.name]


async def node_of(api, machine):
    return await api.get(NODES, "", machine.status["nodeRef"]["name"])


def boot(node):
    return node.status["nodeInfo"]["bootID"]


def ready(node):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.status["conditions"])


def boots(life):
    """How often each running instance has booted, by its machine's name."""
    return {row.name: row.boots for row in life.region.provider.account.instances}


async def events_of(api, machine):
    found = [e.raw for e in (await api.list(EVENTS, SPACE)).items]
    return [e["reason"] for e in found if e["involvedObject"]["name"] == machine.name]


async def check_back(api, machine, request):
    """Its node is Ready and takes pods, and nothing is left of the restart but that it was done."""
    found, node = await api.get(MACHINES, SPACE, machine.name), await node_of(api, machine)
    assert ready(node) and not node.spec.get("unschedulable")
    assert found.annotations[DONE] == found.annotations[WANTED] == request
    assert BEGUN not in found.annotations and GATE not in found.annotations
    assert found.status["lastOperation"]["state"] == "Done"


async def annotate(api, machine, **annotations):
    patch = {"metadata": {"annotations": {f"flatyard.dev/{k}": v for k, v in annotations.items()}}}
    return await api.merge_patch(MACHINES, SPACE, machine.name, patch)


async def web(api, *, least):
    """A Deployment of one pod, and a budget that wants `least` of it."""
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": "web", "namespace": "default"}
    await api.create(
        DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
    )
    budget = {"minAvailable": least, "selector": {"matchLabels": labels}}
    await api.create(
        POD_DISRUPTION_BUDGETS,
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": budget},
    )
    await asyncio.sleep(60)
    (pod,) = [p for p in (await api.list(PODS, "default")).items if p.labels.get("app") == "web"]
    found = await workers(api)
    return next(m for m in found if m.status["nodeRef"]["name"] == pod.spec["nodeName"])


def test_a_worker_is_drained_rebooted_once_and_takes_pods_again(simulate, example):
    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        before = boot(await node_of(api, machine))
        outcome = await restart(life.seams(), NAME, [machine.name], "one", DEADLINE)
        assert outcome.done, outcome.waits
        await check_back(api, machine, "one")
        assert boot(await node_of(api, machine)) != before
        assert sorted(boots(life).values()) == [1, 1, 1, 2] and boots(life)[machine.name] == 2
        reasons = await events_of(api, machine)
        assert {"Draining", "Restarting", "Restarted"} <= {*reasons}
        told = [s.sentence for s in life.steps if s.object == f"machine/{machine.name}"]
        assert any("restart: instance" in sentence for sentence in told)

    simulate(main, example("quickstart.yaml"))


def test_the_same_request_again_restarts_nothing_and_another_one_does(simulate, example):
    """The command is sent again when the process died under it: that must not restart a second time."""

    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        for request, times in (("one", 2), ("one", 2), ("two", 3)):
            assert (await restart(life.seams(), NAME, [machine.name], request, DEADLINE)).done
            await check_back(api, machine, request)
            assert boots(life)[machine.name] == times

    simulate(main, example("quickstart.yaml"))


def test_two_at_once_go_one_after_the_other(simulate, example):
    async def main(life):
        api = await living(life)
        one, two, _ = await workers(api)
        worst, gated = 3, 0

        async def watch():
            nonlocal worst, gated
            while True:
                nodes = [await node_of(api, m) for m in await workers(api)]
                worst = min(worst, sum(ready(n) and not n.spec.get("unschedulable") for n in nodes))
                gated = max(gated, sum(GATE in m.annotations for m in await workers(api)))
                await asyncio.sleep(0.5)

        watcher = asyncio.create_task(watch())
        outcome = await restart(life.seams(), NAME, [one.name, two.name], "both", DEADLINE)
        watcher.cancel()
        assert outcome.done, outcome.waits
        assert (worst, gated) == (2, 1)
        await check_back(api, one, "both")
        await check_back(api, two, "both")
        told = {s.sentence for s in life.steps}
        assert any("one node is taken away at a time" in sentence for sentence in told)

    simulate(main, example("quickstart.yaml"))


def test_kubectl_annotate_does_the_same(simulate, example):
    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        async with engine_of(life.seams(), NAME) as engine:
            await engine.until_done(DEADLINE)
            await annotate(api, machine, restart="by hand")
            await asyncio.sleep(2)
            assert (await engine.until_done(DEADLINE)).done
        await check_back(api, machine, "by hand")
        assert boots(life)[machine.name] == 2

    simulate(main, example("quickstart.yaml"))


def test_a_budget_holds_the_restart_until_it_allows_it_or_the_wish_is_withdrawn(simulate, example):
    async def main(life):
        api = await living(life)
        machine = await web(api, least=1)
        async with engine_of(life.seams(), NAME) as engine:
            await annotate(api, machine, restart="one")
            await asyncio.sleep(600)
            waits = {str(w.key): w.reason for w in engine.context.queue.waits()}
            assert "PodDisruptionBudget default/web" in waits[f"machine/{machine.name}"]
            assert (await node_of(api, machine)).spec["unschedulable"]
            await annotate(api, machine, restart=None)
            await asyncio.sleep(2)
            assert (await engine.until_done(DEADLINE)).done
            assert not (await node_of(api, machine)).spec.get("unschedulable")
            left = (await api.get(MACHINES, SPACE, machine.name)).annotations
            assert not {BEGUN, GATE, DONE} & {*left} and boots(life)[machine.name] == 1
            await annotate(api, machine, restart="two")
            await asyncio.sleep(60)
            await api.delete(POD_DISRUPTION_BUDGETS, "default", "web")
            assert (await engine.until_done(DEADLINE)).done
        await check_back(api, machine, "two")
        assert boots(life)[machine.name] == 2

    simulate(main, example("quickstart.yaml"))


class Lagging:
    """An API whose watches tell what changed long after it did."""

    def __init__(self, api, seconds):
        self._api, self._seconds = api, seconds

    def __getattr__(self, verb):
        return getattr(self._api, verb)

    async def watch(self, resource, *args, **more):
        async for event in self._api.watch(resource, *args, **more):
            if resource == MACHINES:
                await asyncio.sleep(self._seconds)
            yield event


def test_a_cache_that_lags_does_not_reboot_twice(simulate, example):
    """Node events wake the machine while its own note has not come round: it is read live."""

    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        connect = life.region.clients.connect
        life.region.clients.connect = lambda *where: Lagging(connect(*where), 7)
        outcome = await restart(life.seams(), NAME, [machine.name], "one", DEADLINE)
        assert outcome.done, outcome.waits
        await check_back(api, machine, "one")
        assert boots(life)[machine.name] == 2

    simulate(main, example("quickstart.yaml"))


def test_a_node_that_was_cordoned_before_stays_so(simulate, example):
    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        name = machine.status["nodeRef"]["name"]
        await api.merge_patch(NODES, "", name, {"spec": {"unschedulable": True}})
        assert (await restart(life.seams(), NAME, [machine.name], "one", DEADLINE)).done
        assert (await node_of(api, machine)).spec["unschedulable"]
        assert boots(life)[machine.name] == 2

    simulate(main, example("quickstart.yaml"))


def test_a_node_that_is_silent_is_not_drained_and_comes_back(simulate, example):
    """What a restart is wanted for most: the kubelet hangs."""

    async def main(life):
        api = await living(life)
        machine = await web(api, least=1)
        life.region.kubernetes.machine_stopped(machine.status["nodeRef"]["name"])
        await asyncio.sleep(120)
        assert not ready(await node_of(api, machine))
        assert (await restart(life.seams(), NAME, [machine.name], "one", DEADLINE)).done
        await check_back(api, machine, "one")

    simulate(main, example("quickstart.yaml"))


def test_a_call_that_did_nothing_is_made_again_and_not_for_ever(simulate, example):
    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        seams = life.seams()
        calls = []

        async def deaf(ref, instance):
            calls.append(asyncio.get_running_loop().time())

        life.region.cloud.restart = deaf
        outcome = await restart(seams, NAME, [machine.name], "one", DEADLINE)
        (wait,) = [w for w in outcome.waits if w.key.kind == "machine"]
        assert wait.final and "has not booted again" in wait.reason and "flatyard.dev/restart-" in wait.next
        async with engine_of(life.seams(), NAME):
            await asyncio.sleep(7200)
        assert len(calls) == 3 and all(b - a >= 120 for a, b in pairwise(calls))
        del life.region.cloud.restart
        async with engine_of(life.seams(), NAME) as engine:
            await annotate(api, machine, restart="two")
            await asyncio.sleep(2)
            assert (await engine.until_done(DEADLINE)).done
        await check_back(api, machine, "two")
        assert boots(life)[machine.name] == 2

    simulate(main, example("quickstart.yaml"))


def test_a_cloud_that_refuses_is_told_and_the_wish_can_be_withdrawn(simulate, example):
    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]

        async def refuse(ref, instance):
            raise Rejected("you may not reboot instances")

        life.region.cloud.restart = refuse
        outcome = await restart(life.seams(), NAME, [machine.name], "one", DEADLINE)
        (wait,) = [w for w in outcome.waits if w.key.kind == "machine"]
        assert (wait.final, wait.reason) == (True, "restart: sim rejected it: you may not reboot instances")
        async with engine_of(life.seams(), NAME) as engine:
            await asyncio.sleep(1200)
            assert {w.reason for w in engine.context.queue.waits()} == {wait.reason}
            await annotate(api, machine, restart=None)
            await asyncio.sleep(200)
            assert (await engine.until_done(DEADLINE)).done
        left = await api.get(MACHINES, SPACE, machine.name)
        assert not {BEGUN, GATE, DONE} & {*left.annotations}
        assert not (await node_of(api, machine)).spec.get("unschedulable")

    simulate(main, example("quickstart.yaml"))


def test_a_node_that_does_not_become_ready_again_is_told_with_what_it_says(simulate, example):
    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        async with engine_of(life.seams(), NAME) as engine:
            await annotate(api, machine, restart="one")
            while boots(life)[machine.name] == 1:
                await asyncio.sleep(1)
            await asyncio.sleep(12)  # it is going down
            rows = life.region.provider.account.instances
            life.region.machines.cut(next(row.id for row in rows if row.name == machine.name))
            await asyncio.sleep(120)
            node = await node_of(api, machine)
            info = {**node.status["nodeInfo"], "bootID": "another"}
            await api.merge_patch(NODES, "", node.name, {"status": {"nodeInfo": info}}, subresource="status")
            await asyncio.sleep(5)
            (wait,) = [w for w in engine.context.queue.waits() if w.key.kind == "machine"]
            said = f"restart: node {node.name} has booted again and is not Ready: Kubelet stopped"
            assert wait.reason.startswith(said) and not wait.final
            await asyncio.sleep(600)
            (wait,) = [w for w in engine.context.queue.waits() if w.key.kind == "machine"]
            assert wait.final and wait.next == f"kubectl describe node {node.name}"

    simulate(main, example("quickstart.yaml"))


def test_a_machine_that_vanishes_meanwhile_is_made_anew_and_that_was_it(simulate, example):
    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        worst = 3

        async def watch():
            nonlocal worst
            while True:
                nodes = [n for n in (await api.list(NODES)).items if "control-plane" not in str(n.labels)]
                worst = min(worst, sum(ready(n) and not n.spec.get("unschedulable") for n in nodes))
                await asyncio.sleep(0.5)

        watcher = asyncio.create_task(watch())
        async with engine_of(life.seams(), NAME) as engine:
            await annotate(api, machine, restart="one")
            while boots(life)[machine.name] == 1:
                await asyncio.sleep(1)
            row = next(r for r in life.region.provider.account.instances if r.name == machine.name)
            life.region.provider.compute.vanish(row.id)
            other = next(m for m in await workers(api) if m.name != machine.name)
            await annotate(api, other, restart="one")
            await asyncio.sleep(30)
            assert (await engine.until_done(DEADLINE)).done
        assert worst == 2, "the other one waits until the new machine is there"
        after = await api.get(MACHINES, SPACE, machine.name)
        watcher.cancel()
        assert after.annotations["flatyard.dev/attempt"] == "2"
        await check_back(api, after, "one")

    simulate(main, example("quickstart.yaml"))


@pytest.mark.parametrize("begun", [True, False])
def test_a_machine_that_vanishes_before_it_was_restarted_is_made_anew_instead(simulate, example, begun):
    """A new machine is not booted a second time for what was asked of the old one."""

    async def main(life):
        api = await living(life)
        machine = await web(api, least=1)
        other = next(m for m in await workers(api) if m.name != machine.name)
        victim = machine if begun else other
        async with engine_of(life.seams(), NAME) as engine:
            await annotate(api, machine, restart="one")
            await asyncio.sleep(60)
            await annotate(api, other, restart="one")
            await asyncio.sleep(60)
            assert [BEGUN in m.annotations for m in await workers(api) if m.name == victim.name] == [begun]
            row = next(r for r in life.region.provider.account.instances if r.name == victim.name)
            life.region.provider.compute.vanish(row.id)
            await asyncio.sleep(600)
            await api.delete(POD_DISRUPTION_BUDGETS, "default", "web")
            await asyncio.sleep(60)
            assert (await engine.until_done(DEADLINE)).done
        after = await api.get(MACHINES, SPACE, victim.name)
        assert after.annotations["flatyard.dev/attempt"] == "2"
        await check_back(api, after, "one")
        assert boots(life)[victim.name] == 1

    simulate(main, example("quickstart.yaml"))


def test_a_machine_that_is_deleted_meanwhile_goes(simulate, example):
    async def main(life):
        api = await living(life)
        machine = await web(api, least=1)
        async with engine_of(life.seams(), NAME) as engine:
            await annotate(api, machine, restart="one")
            await asyncio.sleep(60)
            await api.delete(MACHINES, SPACE, machine.name)
            await api.delete(POD_DISRUPTION_BUDGETS, "default", "web")
            await asyncio.sleep(2)
            assert (await engine.until_done(DEADLINE)).done
        assert machine.name not in {m.name for m in await workers(api)} and len(await workers(api)) == 3

    simulate(main, example("quickstart.yaml"))


def test_a_spoilt_note_starts_the_restart_again(simulate, example):
    async def main(life):
        api = await living(life)
        for index, note in enumerate(
            ("{", "[1]", '{"id": 3}', "[" * 9999, '{"id":"a","cordoned":true,"sent":"x"}')
        ):
            machine = (await workers(api))[0]
            async with engine_of(life.seams(), NAME) as engine:
                await annotate(api, machine, restart=f"try {index}", restarting=note)
                await asyncio.sleep(2)
                assert (await engine.until_done(DEADLINE)).done
            await check_back(api, machine, f"try {index}")
            assert boots(life)[machine.name] == index + 2

    simulate(main, example("quickstart.yaml"))


# ---- control planes


def test_of_three_control_planes_two_go_one_after_the_other_and_the_api_stays(simulate, example):
    async def main(life):
        api = await living(life)
        found = await members(api)
        silent = 0

        async def watch():
            nonlocal silent
            while True:
                silent += not life.region.kubernetes.available
                await asyncio.sleep(0.25)

        watcher = asyncio.create_task(watch())
        outcome = await restart(life.seams(), NAME, [m.name for m in found[:2]], "one", DEADLINE)
        watcher.cancel()
        assert outcome.done, outcome.waits
        assert silent == 0
        for machine in found[:2]:
            await check_back(api, machine, "one")
        assert [boots(life)[m.name] for m in found] == [2, 2, 1]

    simulate(main, planes(example("quickstart.yaml", 1), 3))


def test_the_only_control_plane_is_restarted_and_the_engine_outlives_its_api(simulate, example):
    async def main(life):
        api = await living(life)
        (machine,) = await members(api)
        await write_restarts(life.seams(), NAME, [machine.name], "one")
        for _ in range(5):
            try:
                async with engine_of(life.seams(), NAME) as engine:
                    outcome = await engine.until_done(DEADLINE)
                    break
            except FlatyardError as lost:
                assert "Lease" in lost.what
                await asyncio.sleep(5)
        assert outcome.done, outcome.waits
        await check_back(api, machine, "one")
        assert boots(life)[machine.name] == 2

    simulate(main, example("quickstart.yaml", 1))


def test_a_control_plane_that_etcd_needs_is_refused(simulate, example):
    async def main(life):
        api = await living(life)
        one, two, _ = await members(api)
        row = next(r for r in life.region.provider.account.instances if r.name == two.name)
        life.region.machines.cut(row.id)
        async with engine_of(life.seams(), NAME):
            await asyncio.sleep(120)
            await annotate(api, one, restart="by hand")
            await asyncio.sleep(300)
        assert BEGUN not in (await api.get(MACHINES, SPACE, one.name)).annotations
        with pytest.raises(Refused) as no:
            await write_restarts(life.seams(), NAME, [one.name], "one")
        assert no.value.why == f"etcd needs it until {two.name} is well"
        assert no.value.next == "flatyard status quickstart"
        assert boots(life)[one.name] == 1

    simulate(main, planes(example("quickstart.yaml", 1), 3))


# ---- what is refused


def test_machines_are_told_by_their_names_or_their_nodes(simulate, example):
    async def main(life):
        api = await living(life)
        one, two, three = await workers(api)
        words = [f"machine/{one.name}", one.name, two.status["nodeRef"]["name"]]
        await write_restarts(life.seams(), NAME, words, "one")
        found = {m.name: m.annotations.get(WANTED) for m in await workers(api)}
        assert found == {one.name: "one", two.name: "one", three.name: None}

    simulate(main, example("quickstart.yaml"))


def test_a_machine_that_is_not_there_is_told_with_the_nearest_name(simulate, example):
    async def main(life):
        api = await living(life)
        one, two, _ = await workers(api)
        with pytest.raises(Failed) as no:
            await write_restarts(life.seams(), NAME, [one.name, two.name + "x"], "one")
        assert no.value.what == f"cluster quickstart has no machine '{two.name}x'"
        assert no.value.why.startswith("did you mean ")
        assert no.value.next == "flatyard get machines quickstart lists them"
        assert all(WANTED not in m.annotations for m in await workers(api)), "nothing was written"

    simulate(main, example("quickstart.yaml"))


def test_a_machine_that_does_not_run_is_refused(simulate, example):
    async def main(life):
        api = await living(life)
        one = (await workers(api))[0]
        failed = {"phase": "Failed", "errorMessage": "kubelet.service: exit-code\nlast line"}
        await api.merge_patch(MACHINES, SPACE, one.name, {"status": failed})
        with pytest.raises(Refused) as no:
            await write_restarts(life.seams(), NAME, [one.name], "one")
        assert no.value.what.endswith("cannot be restarted: it is Failed, not Running")
        assert no.value.why == "kubelet.service: exit-code"

    simulate(main, example("quickstart.yaml"))


def test_the_note_says_when_the_call_was_made(simulate, example):
    """A stamp in whole seconds would be minutes old in a simulation (see the create stamp)."""

    async def main(life):
        api = await living(life)
        machine = (await workers(api))[0]
        async with engine_of(life.seams(), NAME):
            await annotate(api, machine, restart="one")
            while boots(life)[machine.name] == 1:
                await asyncio.sleep(0.1)
            note = (await api.get(MACHINES, SPACE, machine.name)).annotations[BEGUN]
            stamp = note.partition('"sent":"')[2].partition('"')[0]
            assert 0 <= life.world.age(parse_stamp(stamp)) < 1

    simulate(main, example("quickstart.yaml"))
