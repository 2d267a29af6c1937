"""Control planes that are lost, replaced, deleted and scaled: etcd's majority is never given away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from flatyard.base.errors import FlatyardError
from flatyard.clouds.cloud import InstanceState
from flatyard.engine.commands import bring_up, write_intent
from flatyard.engine.queue import Key
from flatyard.engine.run import engine_of
from flatyard.kube.api import NotFound
from flatyard.kube.etcd import EtcdSilent
from flatyard.kube.resources import MACHINES, NODES

DEADLINE = 2 * 3600.0
NAMES = [f"quickstart-control-plane-{i}" for i in (1, 2, 3)]


def planes(wanted, replicas):
    """The same cluster with so many control planes."""
    spec = wanted.cluster.spec
    plane = replace(spec.control_plane, replicas=replicas)
    return replace(wanted, cluster=replace(wanted.cluster, spec=replace(spec, control_plane=plane)))


@pytest.fixture
def three(example):
    return planes(example("quickstart.yaml", 1), 3)


async def up(life, seams=None):
    _, outcome = await bring_up(seams or life.seams(), life.wanted, DEADLINE)
    assert outcome.done, outcome.waits


def rows(life, *, role="control-plane"):
    """The running instances of a role by their machine's name."""
    found = [i for i in life.region.provider.account.instances if i.state is InstanceState.RUNNING]
    return {i.name: i for i in found if i.tags["flatyard-role"] == role}


def lose(life, *names):
    """Somebody deletes machines behind our back."""
    for name in names:
        life.region.provider.compute.vanish(rows(life)[name].id)


def members(life):
    """Names of etcd's voters, in order."""
    return sorted(life.region.kubernetes.state.members)


class Fewest:
    """Watches etcd's size for as long as the block runs."""

    def __init__(self, life) -> None:
        self._kubernetes = life.region.kubernetes
        self.voters = 99
        self.joining = 0
        self.silent = 0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        while True:
            etcd = self._kubernetes.etcd_members
            self.voters = min(self.voters, len(self._kubernetes.state.members))
            self.joining = max(self.joining, sum(1 for m in etcd if m.learner))
            self.silent += not self._kubernetes.available
            await asyncio.sleep(0.25)


async def settle(life, seams=None):
    async with engine_of(seams or life.seams(), life.wanted.name) as engine:
        return await engine.until_done(DEADLINE)


async def machines(life):
    listed = await life.region.kubernetes.client().list(MACHINES)
    return {m.name: m for m in listed.items if m.name.startswith("quickstart-control-plane")}


async def nodes(life):
    listed = await life.region.kubernetes.client().list(NODES)
    return {n.name for n in listed.items if "node-role.kubernetes.io/control-plane" in n.labels}


async def check(life, count=3):
    """So many members, machines, nodes and instances, one for each name."""
    assert len(members(life)) == count == len(life.region.kubernetes.etcd_members)
    assert len(rows(life)) == count == len(await nodes(life))
    found = await machines(life)
    assert len(found) == count and {m.status["phase"] for m in found.values()} == {"Running"}


@pytest.mark.parametrize("name", NAMES)
def test_a_lost_control_plane_is_made_anew_under_its_name(simulate, three, name):
    """The first one too: it made the cluster, and joins it now."""

    async def main(life):
        await up(life)
        before = {m.name: m.id for m in life.region.kubernetes.etcd_members}
        lose(life, name)
        async with Fewest(life) as fewest:
            outcome = await settle(life)
        assert outcome.done, outcome.waits
        await check(life)
        found = (await machines(life))[name]
        assert found.annotations["flatyard.dev/attempt"] == "2"
        after = {m.name: m.id for m in life.region.kubernetes.etcd_members}
        changed = [n for n in after if after[n] != before.get(n)]
        assert len(changed) == 1, "the others kept their members"
        assert (fewest.voters, fewest.silent) == (2, 0)

    simulate(main, three)


def test_a_living_engine_notices_the_loss_by_the_silent_node(simulate, three):
    """No restart and no full resync: a node that is not Ready makes the engine look at its cloud."""

    async def main(life):
        seams = life.seams()
        await write_intent(seams, life.wanted)
        async with engine_of(seams, life.wanted.name) as engine:
            assert (await engine.until_done(DEADLINE)).done
            lose(life, NAMES[1])
            start = asyncio.get_running_loop().time()
            while NAMES[1] not in rows(life):
                await asyncio.sleep(1)
            assert asyncio.get_running_loop().time() - start < 120
            assert (await engine.until_done(DEADLINE)).done
        await check(life)

    simulate(main, three)


def test_of_five_two_are_lost_and_made_anew_one_after_the_other(simulate, example):
    async def main(life):
        await up(life)
        lose(life, "quickstart-control-plane-2", "quickstart-control-plane-4")
        async with Fewest(life) as fewest:
            outcome = await settle(life)
        assert outcome.done, outcome.waits
        await check(life, 5)
        assert (fewest.voters, fewest.joining, fewest.silent) == (3, 1, 0)

    simulate(main, planes(example("quickstart.yaml", 1), 5))


def test_a_lost_majority_is_told_and_nothing_is_started_anew(simulate, three):
    async def main(life):
        await up(life)
        lose(life, *NAMES[1:])
        created = life.region.provider.door.counts["instance.run"]
        async with engine_of(life.seams(), life.wanted.name) as engine:
            outcome = await engine.until_done(1800)
        told = [w for w in outcome.waits if w.final]
        assert [w.reason for w in told] == [
            f"etcd has lost its majority: of 3 members only {members(life)[0]} is left; "
            "nothing is started anew"
        ]
        assert "force-new-cluster" in told[0].next and "flatyard down quickstart" in told[0].next
        assert life.region.provider.door.counts["instance.run"] == created
        assert len(members(life)) == 3

    simulate(main, three)


class Far:
    """An etcd of which no member can be asked: from outside the cluster's network, through an API without it."""

    async def list(self, *, agreed=True):
        raise EtcdSilent("no etcd member could be reached", why="etcd on cp-1: timed out")


def test_from_outside_a_lost_majority_is_told_by_the_clouds_word(simulate, three):
    async def main(life):
        await up(life)
        lose(life, *NAMES[1:])
        seams = life.seams()
        seams.clients.etcd = lambda endpoint, hosts, secrets: Far()
        async with engine_of(seams, life.wanted.name) as engine:
            outcome = await engine.until_done(1800)
        told = [w for w in outcome.waits if w.final]
        assert [w.reason for w in told] == [
            "etcd has lost its majority: of 3 control planes that had joined, sim has only "
            f"{members(life)[0]} left; nothing is started anew"
        ]
        assert "flatyard down quickstart" in told[0].next
        assert len(rows(life)) == 1

    simulate(main, three)


def test_from_outside_a_silent_api_whose_control_planes_are_there_is_waited_for(simulate, three):
    """A majority that runs behind a broken network may come back, and is nobody's to give up."""

    async def main(life):
        await up(life)
        for name in NAMES[1:]:
            life.region.machines.cut(rows(life)[name].id)
        seams = life.seams()
        seams.clients.etcd = lambda endpoint, hosts, secrets: Far()
        async with engine_of(seams, life.wanted.name) as engine:
            outcome = await engine.until_done(1800)
        assert not [w for w in outcome.waits if "lost its majority" in w.reason or w.final]

    simulate(main, three)


def test_all_control_planes_lost_is_told(simulate, three):
    async def main(life):
        await up(life)
        lose(life, *NAMES)
        outcome = await settle(life)
        assert [w.reason.partition(",")[0] for w in outcome.waits if w.final] == [
            "none of its control plane machines exists any more"
        ]
        assert rows(life) == {}

    simulate(main, three)


def test_an_engine_at_work_tells_a_lost_majority_and_takes_no_vote_away(simulate, three):
    """It ends when it cannot renew its Lease; whoever keeps it running starts the next one, which tells the same."""

    async def main(life):
        await up(life)
        with suppress(FlatyardError):
            async with engine_of(life.seams(), life.wanted.name) as engine:
                assert (await engine.until_done(DEADLINE)).done
                lose(life, *NAMES[1:])
                engine.context.enqueue(Key("instances"))
                await asyncio.sleep(600)
        told = {step.object for step in life.steps if "nothing is started anew" in step.sentence}
        assert told == {f"machine/{name}" for name in NAMES[1:]}
        assert len(members(life)) == 3 and len(rows(life)) == 1

    simulate(main, three)


def test_a_member_behind_a_broken_network_keeps_its_vote(simulate, three):
    """Its node is not Ready for an hour, and its cloud says that it runs."""

    async def main(life):
        await up(life)
        life.region.machines.cut(rows(life)[NAMES[2]].id)
        await asyncio.sleep(120)
        async with engine_of(life.seams(), life.wanted.name) as engine:
            outcome = await engine.until_done(3600)
        assert [w.reason for w in outcome.waits if "not Ready" in w.reason]
        assert len(members(life)) == 3 and NAMES[2] in rows(life)

    simulate(main, three)


def test_where_etcd_cannot_be_reached_the_engine_says_what_to_look_at(simulate, three):
    async def main(life):
        await up(life)
        lose(life, NAMES[2])
        seams = life.seams()
        seams.clients.etcd = lambda endpoint, hosts, secrets: Far()
        outcome = await settle(life, seams)
        told = next(w for w in outcome.waits if w.key.kind == "machine")
        assert "etcd on cp-1: timed out" in told.reason
        assert told.next.startswith("kubectl get pods -n kube-system -l component=etcd")
        assert len(members(life)) == 3 and len(rows(life)) == 2

    simulate(main, three)


# ---- deleting and scaling


async def delete(life, *names):
    for name in names:
        await life.region.kubernetes.client().delete(MACHINES, "kube-system", name)


@pytest.mark.parametrize("gone", [NAMES[:1], NAMES[1:], NAMES], ids=["one", "two", "all"])
def test_deleted_control_planes_are_replaced_in_turn(simulate, three, gone):
    async def main(life):
        await up(life)
        before = {name: m.uid for name, m in (await machines(life)).items()}
        await delete(life, *gone)
        async with Fewest(life) as fewest:
            outcome = await settle(life)
        assert outcome.done, outcome.waits
        await check(life)
        after = {name: m.uid for name, m in (await machines(life)).items()}
        assert [n for n in NAMES if before[n] != after[n]] == list(gone)
        assert (fewest.voters, fewest.silent) == (2, 0)

    simulate(main, three)


def test_the_only_control_plane_is_not_deleted(simulate, example):
    async def main(life):
        await up(life)
        await delete(life, NAMES[0])
        outcome = await settle(life)
        assert [(w.reason, w.next) for w in outcome.waits if w.final] == [
            (
                "quickstart-control-plane-1 is the only control plane machine: etcd's data would go with it",
                "flatyard down quickstart deletes the whole cluster",
            )
        ]
        assert len(members(life)) == 1

    simulate(main, example("quickstart.yaml", 1))


def test_a_living_member_stays_while_another_one_is_unwell(simulate, three):
    async def main(life):
        await up(life)
        life.region.machines.cut(rows(life)[NAMES[2]].id)
        await asyncio.sleep(120)
        await delete(life, NAMES[0])
        async with engine_of(life.seams(), life.wanted.name) as engine:
            outcome = await engine.until_done(1800)
        assert f"etcd needs {NAMES[0]} until {NAMES[2]} is well" in [w.reason for w in outcome.waits]
        assert len(members(life)) == 3

    simulate(main, three)


def test_a_deleted_machine_that_was_lost_already_leaves_no_member(simulate, three):
    async def main(life):
        await up(life)
        lose(life, NAMES[1])
        await delete(life, NAMES[1])
        outcome = await settle(life)
        assert outcome.done, outcome.waits
        await check(life)

    simulate(main, three)


def test_the_control_plane_grows_from_one_to_three_and_shrinks_again(simulate, example):
    one = example("quickstart.yaml", 1)

    async def main(life):
        await up(life)
        async with Fewest(life) as fewest:
            life.wanted = planes(one, 3)
            await up(life)
            await check(life)
            life.wanted = one
            await up(life)
        await check(life, 1)
        assert members(life)[0] in await nodes(life) and list(rows(life)) == NAMES[:1]
        assert (fewest.joining, fewest.silent) == (1, 0)

    simulate(main, one)


# ---- crashes


def standing(simulate, wanted):
    """What an `up` in peace left."""

    async def main(life):
        await up(life)
        return life.past()

    return simulate(main, wanted)


def replaced(simulate, wanted, past, how, die_at=None):
    """A replacement whose run dies at one point; the counts of that run."""

    async def main(life):
        await asyncio.sleep(600)
        if how == "lost":
            lose(life, NAMES[0])
        else:
            with suppress(NotFound):
                await delete(life, NAMES[0])

        async def act(seams):
            outcome = await settle(life, seams)
            assert outcome.done, outcome.waits

        async with Fewest(life) as fewest:
            mortal = await life.survive(act, die_at)
        await check(life)
        assert (fewest.voters, fewest.silent) == (2, 0), mortal.where
        assert list(life.region.provider.account.objects) == []
        return mortal

    return simulate(main, wanted, past=past)


def around(trail):
    """The points from the first question to etcd to the create of the new machine, by number."""
    first = next(i for i, where in enumerate(trail) if "etcd" in where)
    last = max(i for i, where in enumerate(trail) if "instance.run" in where)
    return range(first + 1, last + 2)


@pytest.mark.parametrize("how", ["lost", "deleted"])
def test_a_replacement_that_dies_at_any_kind_of_call_is_finished_by_the_next_run(simulate, three, how):
    """From the removal of the member over the node's deletion to the create; test_crash says what a kind is."""
    past = standing(simulate, three)
    calls = replaced(simulate, three, past, how)
    points = [point for point in calls.kinds() if point in around(calls.trail)]
    assert "after etcd remove, reply lost" in {calls.trail[point - 1] for point in points}
    for point in points:
        assert replaced(simulate, three, past, how, point).dead


@pytest.mark.long
@pytest.mark.parametrize("how", ["lost", "deleted"])
def test_a_replacement_that_dies_at_any_call_is_finished_by_the_next_run(simulate, three, how):
    """The same before each call and after it."""
    past = standing(simulate, three)
    trail = replaced(simulate, three, past, how).trail
    assert {"before etcd remove", "after etcd remove, reply lost"} <= {*trail}
    for point in around(trail):
        assert replaced(simulate, three, past, how, point).dead


def test_a_deletion_that_somebody_began_and_never_ended_is_ended(simulate, three):
    """Where deleting is work of this machine's own, an interrupted one goes on only when it is asked for again."""

    async def main(life):
        await up(life)
        cloud, begun = life.region.cloud, []

        async def interrupted(ref, instance):
            begun.append(instance.id)
            raise asyncio.CancelledError

        whole, listed = cloud.delete, cloud.machines

        async def as_deleting(ref):
            found = await listed(ref)
            return tuple(replace(i, state=InstanceState.DELETING) if i.id in begun else i for i in found)

        cloud.delete, cloud.machines = interrupted, as_deleting
        await delete(life, NAMES[2])
        async with engine_of(life.seams(), life.wanted.name):
            await asyncio.sleep(120)
        assert len(begun) == 1
        cloud.delete = whole
        outcome = await settle(life)
        assert outcome.done, outcome.waits
        await check(life)

    simulate(main, three)
