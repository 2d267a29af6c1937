"""A run may die at any external call, before it or with its reply lost, and the next one finishes the work.

Every call to the cloud, to Kubernetes, to the store and to the object store during `up`, `scale`, `restart` and
`down` is counted in an undisturbed life; then each of these calls kills a run of its own, once before it happens and
once after it happened. What is there in the end must be exactly what was wanted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import pytest

from flatyard.clouds.cloud import InstanceState
from flatyard.engine.commands import bring_up, restart, scale, take_down
from flatyard.kube.resources import MACHINES, NODES

DEADLINE = 4 * 3600.0
WORKERS, SCALED = 2, 3


async def up(life, seams):
    _, outcome = await bring_up(seams, life.wanted, DEADLINE)
    assert outcome.done, outcome.waits


async def grow(life, seams):
    outcome = await scale(seams, life.wanted.name, "flatcar-workers", SCALED, DEADLINE)
    assert outcome.done, outcome.waits


async def reboot(life, seams):
    """One worker; the same request each time, as a command sends it again."""
    machines = (await life.region.kubernetes.client().list(MACHINES)).items
    worker = next(m.name for m in machines if "control-plane" not in m.name)
    outcome = await restart(seams, life.wanted.name, [worker], "once", DEADLINE)
    assert outcome.done, outcome.waits


async def down(life, seams):
    outcome = await take_down(seams, life.wanted.name, DEADLINE)
    assert outcome.gone, outcome.waits


ACTS = {"up": up, "scale": grow, "restart": reboot, "down": down}
BOOT = 600.0


def before(simulate, example, act):
    """What an `up` in peace left: the past of all lives in which something else dies."""

    async def main(life):
        await up(life, life.seams())
        return life.past()

    return None if act == "up" else simulate(main, example("quickstart.yaml", WORKERS))


async def live(life, act, die_at=None):
    """One life in which `act` dies at a point, after what comes before it in peace."""
    if act != "up":
        await asyncio.sleep(BOOT)
    return await life.survive(lambda seams: ACTS[act](life, seams), die_at)


async def check(life, act):
    """Exactly the wanted machines, nothing orphaned, nothing doubled."""
    if act == "down":
        assert life.region.left_over() == ()
        assert await life.store.list() == ()
        return
    workers = SCALED if act == "scale" else WORKERS
    alive = [i for i in life.region.provider.account.instances if i.state is InstanceState.RUNNING]
    assert len(alive) == workers + 1, [i.name for i in alive]
    owners = Counter(i.tags["flatyard-machine"] for i in alive)
    assert max(owners.values()) == 1
    api = life.region.kubernetes.client()
    machines, nodes = await api.list(MACHINES), await api.list(NODES)
    assert {m.annotations["flatyard.dev/machine-id"] for m in machines.items} == set(owners)
    assert len(nodes.items) == workers + 1
    assert list(life.region.provider.account.objects) == []
    if act == "restart":
        check_restarted(life, machines.items, nodes.items)


def check_restarted(life, machines, nodes):
    """One machine has booted once more than the others; its node is Ready, takes pods, and knows of that boot."""
    machine = life.region.machines.machines
    booted = {row.name: machine[row.id].memory.boots for row in life.region.provider.account.instances}
    (again,) = (m for m in machines if "flatyard.dev/restart" in m.annotations)
    boots = min(booted.values())
    assert booted == {m.name: boots + (m is again) for m in machines}
    assert again.annotations["flatyard.dev/restarted"] == "once"
    assert not {"flatyard.dev/restarting", "flatyard.dev/disruption"} & {*again.annotations}
    node = next(n for n in nodes if n.name == again.status["nodeRef"]["name"])
    assert node.status["nodeInfo"]["bootID"].endswith(f"-{boots + 1}") and not node.spec.get("unschedulable")


def undisturbed(simulate, example, act, past=None):
    async def main(life):
        mortal = await live(life, act)
        await check(life, act)
        return mortal

    return simulate(main, example("quickstart.yaml", WORKERS), past=past)


def died(simulate, example, act, past, points):
    """The points at which a death showed in the end, and how. Each point is a life of its own."""
    failures = []

    async def dying(life, point):
        mortal = await live(life, act, point)
        assert mortal.dead, f"point {point} was not reached"
        try:
            await check(life, act)
        except AssertionError as error:
            failures.append((point, mortal.where, str(error)[:300]))

    for point in points:
        simulate(partial(dying, point=point), example("quickstart.yaml", WORKERS), past=past)
    return failures


@pytest.mark.parametrize("act", ACTS)
def test_a_run_that_dies_at_any_kind_of_call_is_finished_by_the_next(simulate, example, act):
    past = before(simulate, example, act)
    points = undisturbed(simulate, example, act, past).kinds()
    assert died(simulate, example, act, past, points) == []


@pytest.mark.long
@pytest.mark.parametrize("act", ACTS)
def test_a_run_that_dies_at_any_call_is_finished_by_the_next(simulate, example, act):
    """The number of points is twice the number of external calls."""
    past = before(simulate, example, act)
    calls = undisturbed(simulate, example, act, past)
    assert calls.points == 2 * calls.calls.total()
    assert died(simulate, example, act, past, range(1, calls.points + 1)) == []


def test_a_create_without_idempotency_would_be_noticed(simulate, example):
    """The check above can fail: an adapter that sends a new token with each call doubles a machine."""
    lost = "after cloud instance.run, reply lost"

    def lives(careless: bool) -> None:
        calls = undisturbed(simulate, example, "up")
        point = calls.trail.index(lost) + 1
        assert point in calls.kinds()

        async def main(life):
            if careless:
                numbers = iter(range(1000))
                life.region.cloud._key = lambda request: f"{request.token}-{next(numbers)}"
            mortal = await live(life, "up", point)
            assert mortal.where == lost
            await check(life, "up")

        simulate(main, example("quickstart.yaml", WORKERS))

    lives(careless=False)
    with pytest.raises(AssertionError):
        lives(careless=True)


@pytest.mark.long
def test_three_control_planes_outlive_a_death_at_any_call(simulate, example):
    """The same with further control planes and two pools, while `up` builds them."""

    async def whole(life, point=None):
        mortal = await life.survive(lambda seams: up(life, seams), point)
        alive = [i for i in life.region.provider.account.instances if i.state is InstanceState.RUNNING]
        owners = Counter(i.tags["flatyard-machine"] for i in alive)
        nodes = (await life.region.kubernetes.client().list(NODES)).items
        members = life.region.kubernetes.state.members
        assert (len(alive), max(owners.values()), len(nodes), len(members)) == (7, 1, 7, 3), mortal.where
        return mortal.points

    for point in range(1, simulate(whole, example("aws.yaml")) + 1):
        simulate(partial(whole, point=point), example("aws.yaml"))
