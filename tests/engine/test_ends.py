"""When a run ends although something is missing: soon, with every cause, and what may still come has its time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from flatyard.clouds.cloud import (
    CreateRequest,
    Evidence,
    Instance,
    InstanceState,
    QuotaExceeded,
    Rejected,
    Role,
)
from flatyard.engine.commands import bring_up, take_down
from flatyard.engine.run import engine_of
from flatyard.kube.resources import MACHINES

DEADLINE = 24 * 3600.0


class Cloud:
    """The simulated cloud with one verb answered by the test."""

    def __init__(self, inner, **verbs) -> None:
        self._inner, self._verbs = inner, verbs

    def __getattr__(self, name: str):
        return self._verbs.get(name) or getattr(self._inner, name)


def up(simulate, wanted, verbs, check) -> None:
    """Bring a cluster up on such a cloud and look at how the run ended, and after how many seconds."""

    async def main(life):
        seams = life.seams()
        seams.cloud = Cloud(seams.cloud, **verbs(life))
        started = asyncio.get_running_loop().time()
        _, outcome = await bring_up(seams, life.wanted, DEADLINE)
        await check(life, outcome, asyncio.get_running_loop().time() - started)

    simulate(main, wanted)


def test_a_full_cloud_ends_a_run_with_the_clouds_words(simulate, example):
    def verbs(life):
        async def create(request: CreateRequest) -> Instance:
            if request.role is Role.WORKER:
                raise QuotaExceeded("no space left", next="make room")
            return await life.region.cloud.create(request)

        return {"create": create}

    async def check(life, outcome, seconds):
        assert {w.reason for w in outcome.waits if w.key.kind == "machine"} == {"no space left"}
        assert all(w.final for w in outcome.waits)
        assert {w.next for w in outcome.waits if w.key.kind == "machine"} == {"make room"}
        assert seconds < 900

    up(simulate, example("quickstart.yaml"), verbs, check)


def test_a_full_cloud_is_asked_again_when_there_is_room(simulate, example):
    refused = []

    def verbs(life):
        async def create(request: CreateRequest) -> Instance:
            if request.role is Role.WORKER and len(refused) < 20:
                refused.append(request.name)
                raise QuotaExceeded("no space left", next="make room")
            return await life.region.cloud.create(request)

        return {"create": create}

    async def check(life, outcome, seconds):
        assert refused
        _, again = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert again.done, again.waits
        machines = (await life.region.kubernetes.client().list(MACHINES)).items
        assert {m.status.get("errorReason") for m in machines} == {None}

    up(simulate, example("quickstart.yaml"), verbs, check)


def test_the_third_broken_instance_in_a_row_is_told(simulate, example):
    """It was replaced for ever, and the run went on until its timeout."""

    def verbs(life):
        async def machines(ref) -> tuple[Instance, ...]:
            return tuple(
                replace(i, state=InstanceState.ERROR, error="no host was found")
                if i.role is Role.WORKER and i.state is InstanceState.RUNNING
                else i
                for i in await life.region.cloud.machines(ref)
            )

        return {"machines": machines}

    async def check(life, outcome, seconds):
        told = [w for w in outcome.waits if w.key.kind == "machine"]
        assert all(w.reason.startswith("attempt 3: instance ") for w in told) and told
        assert all(w.reason.endswith("is error: no host was found") and w.final for w in told)
        assert {w.next for w in told} == {"flatyard get machines quickstart -o yaml"}
        assert seconds < 1800

    up(simulate, example("quickstart.yaml"), verbs, check)


def test_a_machine_that_went_off_before_it_joined_is_told_with_what_its_cloud_knows(simulate, example):
    """It was waited for until the timeout."""

    def verbs(life):
        async def machines(ref) -> tuple[Instance, ...]:
            return tuple(
                replace(i, state=InstanceState.STOPPED)
                if i.role is Role.WORKER and i.state is InstanceState.RUNNING
                else i
                for i in await life.region.cloud.machines(ref)
            )

        async def evidence(ref, instance) -> Evidence:
            return Evidence("systemd-nspawn", ("no space left on device: its disk is full",), "supervisor")

        return {"machines": machines, "evidence": evidence}

    async def check(life, outcome, seconds):
        told = [w for w in outcome.waits if w.key.kind == "machine"]
        said = "first boot failed, systemd-nspawn: no space left on device: its disk is full"
        assert {w.reason.partition("\n")[0] for w in told} == {said}
        assert all(w.final and w.next.startswith("its disk is full: make room") for w in told)

    up(simulate, example("quickstart.yaml"), verbs, check)


def test_beside_a_failure_a_machine_that_never_comes_does_not_keep_a_run(simulate, example):
    """One worker is refused, another one boots and is never heard of: nobody can say more after a while."""
    workers: list[str] = []

    def verbs(life):
        async def create(request: CreateRequest) -> Instance:
            if request.role is Role.WORKER and request.name not in workers:
                workers.append(request.name)
            if workers[:1] == [request.name]:
                raise Rejected("no such size")
            return await life.region.cloud.create(request)

        async def machines(ref) -> tuple[Instance, ...]:
            found = await life.region.cloud.machines(ref)
            for instance in found:
                if instance.name in workers[1:2] and instance.state is InstanceState.RUNNING:
                    life.region.machines.cut(instance.id)
            return found

        async def evidence(ref, instance) -> None:
            return None

        return {"create": create, "machines": machines, "evidence": evidence}

    async def check(life, outcome, seconds):
        machines = {w.key.name: w for w in outcome.waits if w.key.kind == "machine"}
        assert machines[workers[0]].final
        assert machines[workers[1]].reason == "instance runs; its node has not joined yet"
        assert 600 <= seconds < 1800

    up(simulate, example("quickstart.yaml"), verbs, check)


class Silent:
    """Clients of an API that takes every question and answers none."""

    def __init__(self, inner) -> None:
        self.etcd = inner.etcd

    def connect(self, endpoint, secrets):
        return self

    async def get(self, resource, namespace, name):
        await asyncio.Event().wait()


def three_planes(wanted):
    spec = wanted.cluster.spec
    plane = replace(spec.control_plane, replicas=3)
    return replace(wanted, cluster=replace(wanted.cluster, spec=replace(spec, control_plane=plane)))


def lose_two(life) -> None:
    for row in tuple(life.region.provider.account.instances):
        if row.name.endswith(("control-plane-2", "control-plane-3")):
            life.region.provider.compute.vanish(row.id)


def test_a_lost_majority_is_told_although_the_api_keeps_everybody_waiting(simulate, example):
    """Real ones without etcd do so for a minute; it was told after three quarters of one."""

    async def main(life):
        assert (await bring_up(life.seams(), life.wanted, DEADLINE))[1].done
        lose_two(life)
        seams = life.seams()
        seams.clients = Silent(seams.clients)
        started = asyncio.get_running_loop().time()
        async with engine_of(seams, life.wanted.name) as engine:
            outcome = await engine.until_done(DEADLINE)
        assert [w.reason.partition(":")[0] for w in outcome.waits] == ["etcd has lost its majority"]
        assert asyncio.get_running_loop().time() - started < 30

    simulate(main, three_planes(example("quickstart.yaml", 1)))


def test_down_does_not_wait_for_an_api_whose_etcd_is_gone_for_good(simulate, example):
    async def main(life):
        assert (await bring_up(life.seams(), life.wanted, DEADLINE))[1].done
        lose_two(life)
        steps = len(life.steps)
        assert (await take_down(life.seams(), life.wanted.name, DEADLINE)).gone
        said = [step.sentence for step in life.steps[steps:]]
        assert not [text for text in said if "cannot be asked for" in text]
        assert life.region.left_over() == ()

    simulate(main, three_planes(example("quickstart.yaml", 1)))
