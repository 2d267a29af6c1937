"""`rehearse`: a cluster's documents through the real engine against the simulated twin of their cloud.

In simulated time, in memory, from a seed: the report is the same for the same input and seed, and has no wall
time in it. Everything in it is simulated, and whoever shows it says so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from flatyard.base.errors import Problem, Refused
from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.clouds.cloud import CloudError, Instance, Role
from flatyard.clouds.sim.faults import Fault
from flatyard.clouds.sim.region import Region
from flatyard.clouds.table import TWINS
from flatyard.engine.commands import write_intent
from flatyard.engine.context import Seams, Step
from flatyard.engine.machine_status import node_ready
from flatyard.engine.queue import Wait
from flatyard.engine.references import unchecked
from flatyard.engine.run import Engine, Outcome, engine_of
from flatyard.engine.wanted import Wanted
from flatyard.kube.api import Object, Unreachable
from flatyard.kube.resources import MACHINES, NODES
from flatyard.model.annotations import MACHINE_ID
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import VirtualLoop, run
from flatyard.store import open_memory

T = TypeVar("T")
HOUR = 3600.0
TRIES = 20
PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One change of one object's state; `second` counts simulated seconds from the start."""

    second: float
    object: str
    state: str
    sentence: str = ""
    next: str = ""


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One node of the rehearsed cluster."""

    name: str
    machine: str
    role: str
    ready: bool
    kubelet: str
    os_image: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Something that did not come to its end, why, and what the machine itself said of it."""

    object: str
    reason: str
    final: bool = False
    """It would not have ended by itself."""
    next: str = ""
    unit: str = ""
    lines: tuple[str, ...] = ()
    source: str = ""
    """Where the evidence was read (`console`, `guestinfo`); empty without evidence."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What happened. `seconds` is how long it took in simulated time."""

    cluster: str
    twin: str
    region: str
    seed: int
    faults: tuple[str, ...]
    done: bool
    seconds: float
    machines: int
    timeline: tuple[Moment, ...]
    nodes: tuple[NodeLine, ...]
    resources: tuple[tuple[str, int], ...]
    """Kind and count of what the simulated account holds for the cluster."""
    calls: tuple[tuple[str, int], ...]
    """Operation and count of the calls to the simulated provider."""
    reconciled: tuple[tuple[str, int], ...]
    """Kind of reconciler and how often it ran."""
    unfinished: tuple[Unfinished, ...]

    @property
    def ready(self) -> int:
        return sum(1 for node in self.nodes if node.ready)


def twin_of(wanted: Wanted) -> tuple[str, str]:
    """The cloud to imitate and its region; raises Refused where there is no twin."""
    choice = wanted.cluster.spec.cloud
    if choice.twin not in TWINS:
        raise Refused(
            f"cloud {choice.twin} has no simulated twin",
            next=f"rehearse a file for one of {', '.join(TWINS)}",
        )
    return choice.twin, choice.region


def rehearse(
    wanted: Wanted, *, seed: int | None = None, faults: Sequence[Fault] = (), hours: float = 4
) -> Rehearsal:
    """Bring the cluster up on the twin of its cloud, for at most so many simulated hours."""
    twin, region = twin_of(wanted)
    sim = wanted.cluster.spec.cloud.sim
    chosen = seed if seed is not None else sim.seed if sim else 1
    stage = _Stage(wanted, twin, region, chosen, tuple(faults))
    return stage.play(stage.perform(hours * HOUR))


def preflight(wanted: Wanted) -> tuple[Problem, ...]:
    """What the twin of the cloud would refuse before anything is created."""
    twin, region = twin_of(wanted)
    stage = _Stage(wanted, twin, region, 1, ())
    return stage.play(stage.preflight())


class _Stage:
    """One run in a loop of its own."""

    def __init__(self, wanted: Wanted, twin: str, region: str, seed: int, faults: tuple[Fault, ...]) -> None:
        self._wanted = wanted
        self._seed = seed
        self._faults = faults
        self._loop = VirtualLoop()
        self._timeline: list[Moment] = []
        world = SeededWorld(seed, self._loop.time)
        self._region = Region(wanted.cluster, world, MemoryDisk(), troubles=faults)
        self._twin = (twin, region or self._region.provider.persona.region.name)
        self._seams = Seams(
            world=world,
            cloud=self._region.cloud,
            store=open_memory(world),
            clients=self._region.clients,
            feeds=self._region.feeds,
            holder="rehearsal",
            on_step=self._note,
        )

    def play(self, act: Coroutine[object, object, T]) -> T:
        return run(act, loop=self._loop)

    def _note(self, step: Step) -> None:
        second = round((step.at - SIMULATED_EPOCH).total_seconds(), 3)
        self._timeline.append(Moment(second, step.object, step.state.value, step.sentence, step.next))

    async def preflight(self) -> tuple[Problem, ...]:
        await self._region.start()
        try:
            found = await self._region.cloud.preflight(self._wanted.cluster, self._wanted.deployments)
            return (*found, *unchecked(self._wanted))
        finally:
            await self._region.stop()

    async def perform(self, seconds: float) -> Rehearsal:
        await self._region.start()
        try:
            await write_intent(self._seams, self._wanted)
            async with engine_of(self._seams, self._wanted.name) as engine:
                outcome = await engine.until_done(seconds)
                took = round(self._loop.time(), 3)
                return await self._report(engine, outcome, took)
        finally:
            await self._region.stop()

    async def _report(self, engine: Engine, outcome: Outcome, took: float) -> Rehearsal:
        calls = self._calls()
        owned = await _outliving_faults(lambda: self._region.cloud.sweep(engine.context.record.ref))
        machines = (await engine.context.book.list(MACHINES)).items
        return Rehearsal(
            cluster=self._wanted.name,
            twin=self._twin[0],
            region=self._twin[1],
            seed=self._seed,
            faults=tuple(fault.text for fault in self._faults),
            done=outcome.done,
            seconds=took,
            machines=len(machines),
            timeline=tuple(self._timeline),
            nodes=await self._nodes(machines),
            resources=tuple(sorted(Counter(o.kind for o in owned).items())),
            calls=calls,
            reconciled=tuple(sorted(engine.reconciled.items())),
            unfinished=tuple([await self._unfinished(engine, wait, machines) for wait in outcome.waits]),
        )

    def _calls(self) -> tuple[tuple[str, int], ...]:
        counts = self._region.provider.door.counts
        return tuple(sorted((op.value, count) for op, count in counts.items()))

    async def _nodes(self, machines: Sequence[Object]) -> tuple[NodeLine, ...]:
        by_node = {str((m.status.get("nodeRef") or {}).get("name", "")): m for m in machines}
        try:
            nodes = (await self._region.kubernetes.client().list(NODES)).items
        except Unreachable:
            return ()
        return tuple(sorted((_node(n, by_node.get(n.name)) for n in nodes), key=lambda n: (n.role, n.name)))

    async def _unfinished(self, engine: Engine, wait: Wait, machines: Sequence[Object]) -> Unfinished:
        name = wait.key.name or self._wanted.name
        found = Unfinished(f"{wait.key.kind}/{name}", wait.reason, wait.final, wait.next)
        machine = next((m for m in machines if m.name == name and wait.key.kind == "machine"), None)
        instance = _instance(engine, machine)
        if instance is None:
            return found
        ref = engine.context.record.ref
        evidence = await _outliving_faults(lambda: self._region.cloud.evidence(ref, instance))
        if evidence is None:
            return found
        return replace(found, unit=evidence.unit, lines=evidence.lines, source=evidence.source)


async def _outliving_faults(call: Callable[[], Coroutine[object, object, T]]) -> T:
    """The report's own questions are asked again where a rehearsed fault hits them."""
    for _ in range(TRIES):
        try:
            return await call()
        except CloudError as error:
            if not error.retry:
                raise
            await asyncio.sleep(PAUSE)
    return await call()


def _instance(engine: Engine, machine: Object | None) -> Instance | None:
    if machine is None:
        return None
    machine_id = machine.annotations.get(MACHINE_ID, "")
    return next((i for i in engine.context.instances.all() if i.machine_id == machine_id), None)


def _node(node: Object, machine: Object | None) -> NodeLine:
    info = node.status.get("nodeInfo") or {}
    plane = "node-role.kubernetes.io/control-plane" in node.labels
    return NodeLine(
        name=node.name,
        machine=machine.name if machine else "",
        role=(Role.CONTROL_PLANE if plane else Role.WORKER).value,
        ready=node_ready(node),
        kubelet=str(info.get("kubeletVersion", "")),
        os_image=str(info.get("osImage", "")),
    )
