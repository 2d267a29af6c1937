"""Runs one cluster's reconcilers for ever, and stops them for a moment whenever a command writes intent.

Commands are carried out one at a time between two runs of the engine, so that nobody else holds the store's
lock meanwhile; each command is a round, and each round ends with an outcome.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from flatyard.base.errors import Failed, FlatyardError, Refused
from flatyard.base.world import rfc3339
from flatyard.clouds.cloud import CloudError, ClusterRef, Endpoint
from flatyard.controller.clients import server_of
from flatyard.controller.events import Event, EventKind, Journal, WaitLine
from flatyard.controller.known import Known
from flatyard.controller.measuring import Measuring
from flatyard.controller.runfile import Run
from flatyard.controller.state import State
from flatyard.decode import from_json
from flatyard.engine import commands, control_plane
from flatyard.engine import record as records
from flatyard.engine.caches import CLUSTER, MACHINE
from flatyard.engine.context import Seams, Step
from flatyard.engine.patience import answer_within
from flatyard.engine.queue import Key, Wait
from flatyard.engine.record import ClusterRecord, Phase
from flatyard.engine.run import INSTANCES, Engine, Outcome, engine_of
from flatyard.engine.wanted import Wanted
from flatyard.kube import resources as r
from flatyard.kube.api import Api, Json, Object, Unreachable
from flatyard.kube.resources import Resource
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment

T = TypeVar("T")
FOR_EVER = 10.0**9
PAUSE = 5.0
LOOK = 5.0
"""Simulated seconds, or one of the wall's if that is longer, for which a question about the state waits after a
start: until then nobody has looked at everything."""
API_PATIENCE = 180.0
"""Simulated seconds for which a command waits for an API that comes up again after a restart."""
LINK_PATIENCE = 25.0
"""Seconds of the wall after which a command has an answer in any case; with a last try they are fewer than those
after which whoever sent it takes the process for dead."""
ANSWER = 4.0
"""Simulated seconds, or so many of the wall's if that is longer, for which a question waits for an answer of the
API; then it is answered with what was last seen. An API without etcd keeps everybody waiting for a minute."""

KINDS: dict[str, Resource] = {
    kind.plural: kind
    for kind in (r.CLUSTERS, r.MACHINE_DEPLOYMENTS, r.MACHINE_SETS, r.MACHINES, r.NODES, r.EVENTS, r.PODS)
}
RESOURCES = "resources"
"""What the cloud holds, asked like a kind of object."""
STANDING = (r.CLUSTERS, r.MACHINE_DEPLOYMENTS, r.MACHINES, r.NODES)
"""Kinds that say how a cluster stands."""
INTENT = (r.CLUSTERS, r.MACHINE_DEPLOYMENTS, r.MACHINE_SETS, r.MACHINES)


@dataclass(slots=True)
class _Order:
    """A command to carry out between two runs of the engine."""

    act: Callable[[], Awaitable[object]]
    done: asyncio.Future[int]


@dataclass(slots=True)
class Keeper:
    """One cluster's engine, kept running. `seams.on_step` must be `keeper.on_step`."""

    name: str
    run: Run
    seams: Seams
    available: Callable[[], str]
    """Why the simulated Kubernetes API does not answer; empty while it does."""
    prepare: Callable[[], Awaitable[None]] | None = None
    """What must have happened once before machines are made; told as steps. Raises FlatyardError."""
    owner: Callable[[], Awaitable[str]] | None = None
    """Whose account the credentials of this process lead to. Raises CloudError."""
    measuring: Measuring | None = None
    journal: Journal = field(default_factory=Journal)
    engine: Engine | None = None
    known: Known = field(init=False)
    round: int = 0
    gone: bool = False
    _blocked: WaitLine | None = None
    """Why nothing is looked at."""
    _orders: deque[_Order] = field(default_factory=deque)
    _called: asyncio.Event = field(default_factory=asyncio.Event)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)
    _started: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def __post_init__(self) -> None:
        self.known = Known(self.name)

    # ---- for ever

    async def until_gone(self) -> None:
        """Reconcile until the cluster is deleted; raises nothing but cancellation."""
        while not self.gone:
            await self._carry_out()
            record = await records.load(self.seams.store, self.name)
            if record is None:
                await self._called.wait()
                continue
            try:
                await self._reconcile(record)
            except FlatyardError as error:
                await self._trouble(error.what)
            except Exception as error:  # the program's edge: a bug must not end the cluster's process
                traceback.print_exc()
                await self._trouble(f"{type(error).__name__}: {error}")

    async def _reconcile(self, record: ClusterRecord) -> None:
        round = self.round
        record, other = await self._owned(record)
        if other is not None:
            self._blocked = WaitLine(f"cluster/{self.name}", other.what, True, other.next)
            self._settled.set()
            self.journal.add(Event(EventKind.OUTCOME, round, self._now(), waits=(self._blocked,)))
            await self._called.wait()
            return
        if record.phase is not Phase.DELETING and not await self._prepared(round):
            return
        self._settled.clear()
        self._started = asyncio.get_running_loop().time()
        async with engine_of(self.seams, self.name) as engine:
            self.engine = engine
            try:
                outcome = asyncio.create_task(engine.until_done(FOR_EVER), name="until done")
                called = asyncio.create_task(self._called.wait(), name="until called")
                try:
                    await asyncio.wait((outcome, called), return_when=asyncio.FIRST_COMPLETED)
                    if outcome.done():
                        self._settled.set()
                        await self._tell(round, record, outcome.result())
                    if not self.gone:
                        await called
                finally:
                    for task in (outcome, called):
                        task.cancel()
            finally:
                self.known.learn(engine.context.caches)
                self.engine = None

    async def _owned(self, record: ClusterRecord) -> tuple[ClusterRecord, FlatyardError | None]:
        """The record, in which the account is kept from the first time on; and why these credentials cannot act.

        In another account nothing carries the cluster's tags: all of it would be made anew there, or taken for gone.
        Raises CloudError where the cloud does not answer.
        """
        if self.owner is None:
            return record, None
        try:
            found = await self.owner()
        except CloudError as no:
            if no.retry:
                raise
            return record, no
        if not record.owner:
            record = await records.save(self.seams.store, replace(record, owner=found))
        if record.owner == found:
            self.owner = None
            return record, None
        what = f"cluster {self.name} is in {record.owner}, and the credentials here are those of {found}"
        return record, Refused(what, next=f"set those of {record.owner}, then the same command again")

    async def _prepared(self, round: int) -> bool:
        """Whether what machines need is there; where it cannot be had, the round ends with the reason."""
        if self.prepare is None:
            return True
        try:
            await self.prepare()
        except FlatyardError as error:
            reason = f"{error.what}: {error.why}" if error.why else error.what
            wait = WaitLine(f"cluster/{self.name}", reason, True, error.next)
            self.journal.add(Event(EventKind.OUTCOME, round, self._now(), waits=(wait,)))
            await self._called.wait()
            return False
        self.prepare = None
        return True

    async def _tell(self, round: int, record: ClusterRecord, outcome: Outcome) -> None:
        if not outcome.gone:
            waits = tuple(_line(self.name, wait) for wait in outcome.waits)
            self.journal.add(Event(EventKind.OUTCOME, round, self._now(), waits=waits))
            await self._measure(record)
            return
        left = await self.seams.cloud.sweep(ClusterRef(record.id, record.name))
        kept = tuple(WaitLine(f"{o.kind}/{o.name or o.id}", "kept") for o in left if o.kept)
        self.gone = True
        self.journal.add(Event(EventKind.GONE, round, self._now(), waits=kept, left=len(left) - len(kept)))

    async def _trouble(self, sentence: str) -> None:
        self.journal.add(Event(EventKind.TROUBLE, self.round, self._now(), sentence=sentence))
        await asyncio.sleep(PAUSE)

    def on_step(self, step: Step) -> None:
        if self.measuring is not None:
            self.measuring.on_step(step)
        self.journal.add(
            Event(
                EventKind.STEP,
                self.round,
                rfc3339(step.at),
                step.object,
                step.state.value,
                step.sentence,
                step.next,
            )
        )

    def _now(self) -> str:
        return rfc3339(self.seams.world.now())

    # ---- commands

    async def _carry_out(self) -> None:
        self._called.clear()
        while self._orders:
            order = self._orders.popleft()
            try:
                await self._refuse_others()
                await order.act()
            except FlatyardError as error:
                order.done.set_exception(error)
            else:
                self.round += 1
                order.done.set_result(self.round)

    async def _refuse_others(self) -> None:
        """Take no order with the credentials of another account. Raises FlatyardError."""
        record = await records.load(self.seams.store, self.name)
        if record is None:
            return
        try:
            _, other = await self._owned(record)
        except CloudError:
            return  # nothing is done before the cloud answers
        if other is not None:
            raise other

    async def _order(self, act: Callable[[], Awaitable[object]]) -> bytes:
        order = _Order(lambda: self._patiently(act), asyncio.get_running_loop().create_future())
        self._orders.append(order)
        self._called.set()
        return json.dumps({"round": await order.done}).encode()

    async def answer(self, method: str, path: str, query: dict[str, str], body: Json) -> bytes | None:
        """The control routes (`control.Behind`)."""
        match method, path:
            case "GET", "healthz":
                return b"{}"
            case "GET", "observed":
                return await self._patiently(self._observed)
            case "GET", "state":
                return (await self.state()).encode()
            case "GET", "timing":
                return await self._timing()
            case "GET", "objects" if query.get("kind") in KINDS:
                found = await self._objects(KINDS[query["kind"]])
                return json.dumps({"items": [object.raw for object in found]}).encode()
            case "GET", "objects" if query.get("kind") == RESOURCES:
                return json.dumps({"items": await self._resources()}).encode()
            case "POST", "intent":
                wanted = _wanted(body)
                return await self._order(lambda: commands.write_intent(self.seams, wanted))
            case "POST", "scale":
                pool, replicas = str(body["pool"]), int(body["replicas"])
                return await self._order(
                    lambda: commands.write_replicas(self.seams, self.name, pool, replicas)
                )
            case "POST", "restart":
                machines, request = [str(word) for word in body["machines"]], str(body["request"])
                return await self._order(
                    lambda: commands.write_restarts(self.seams, self.name, machines, request)
                )
            case "POST", "down":
                volumes = bool(body.get("delete_volumes"))
                return await self._order(lambda: self._bury(volumes))
            case _:
                return None

    async def _bury(self, delete_volumes: bool) -> None:
        if await commands.write_tombstone(self.seams, self.name, delete_volumes=delete_volumes) is None:
            self.gone = True
            self.journal.add(Event(EventKind.GONE, self.round + 1, self._now()))

    def follow(self, round: int) -> AsyncIterator[Event]:
        return self.journal.follow(round)

    def why_no_api(self) -> str:
        return self.available()

    async def _observed(self) -> bytes:
        async with answer_within(max(2 * ANSWER, self.run.speed)):
            found = await commands.look(self.seams, self.name)
        return json.dumps(asdict(found)).encode()

    # ---- where the time went

    async def _timing(self) -> bytes | None:
        record = await records.load(self.seams.store, self.name)
        if record is None or self.measuring is None:
            return None
        await self._measure(record)
        return self.measuring.told(self.name, record.id).encode()

    async def _measure(self, record: ClusterRecord) -> None:
        """Ask the machines now; what a cloud does not tell at the moment is asked again the next time."""
        if self.measuring is None:
            return
        try:
            instances = await self.seams.cloud.machines(record.ref)
        except CloudError:
            return
        machines, nodes = await self._objects(r.MACHINES), await self._objects(r.NODES)
        await self.measuring.measure(instances, machines, nodes)

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        """Try again while the cluster's API comes up; not for long, and not at all where it never will."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(API_PATIENCE, LINK_PATIENCE * self.run.speed)
        while True:
            try:
                return await act()
            except Unreachable:
                self._refuse_for_ever()
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(PAUSE)

    def _refuse_for_ever(self) -> None:
        """Raises Failed where the reconcilers know that the API does not come back by itself."""
        for wait in self.engine.context.queue.waits() if self.engine else ():
            if wait.key.kind == CLUSTER and wait.final:
                raise Failed(f"cluster {self.name} takes no orders: {wait.reason}", next=wait.next) from None

    # ---- how it stands

    async def state(self) -> State:
        """How the cluster stands now; right after a start, once everything was looked at."""
        await self._looked()
        record = await records.load(self.seams.store, self.name)
        endpoint = record.endpoint if record else None
        listed = await asyncio.gather(*(self._listed(kind) for kind in STANDING))
        if None in listed and self.engine is not None:
            self.engine.context.enqueue(Key(INSTANCES))  # whoever asks next hears what the cloud says of it
        clusters, deployments, machines, nodes = (
            self._last_seen(kind) if found is None else found
            for kind, found in zip(STANDING, listed, strict=True)
        )
        return State(
            name=self.name,
            id=record.id if record else "",
            phase=record.phase.value if record else "",
            twin=self.run.twin,
            region=self.run.region,
            speed=self.run.speed,
            server=self.server(endpoint),
            endpoint=f"{endpoint.host}:{endpoint.port}" if endpoint else "",
            flatcar=record.images.flatcar if record else "",
            api=not self.available() and endpoint is not None and None not in listed,
            waits=self._waits(machines),
            clusters=clusters,
            deployments=deployments,
            machines=machines,
            nodes=nodes,
            stand_in=self.measuring is not None and self.measuring.wording.stand_in,
            simulated=self.run.simulated,
        )

    def server(self, endpoint: Endpoint | None) -> str:
        """Where the cluster's API answers; nowhere yet, before a real one has an endpoint."""
        if self.run.simulated:
            return self.run.url
        return server_of(endpoint, by_name=self.run.twin != "local") if endpoint else ""

    def _waits(self, machines: tuple[Object, ...]) -> tuple[WaitLine, ...]:
        """What the reconcilers wait for, and which machines are gone that none of them can look at now."""
        if self.engine is None:
            return (self._blocked,) if self._blocked else ()
        ctx = self.engine.context
        told = {line.object: line for line in (_line(self.name, wait) for wait in ctx.queue.waits())}
        lost = [m for m in machines if ctx.instances.refreshed and control_plane.is_lost(ctx, m)]
        for machine in lost:
            line = WaitLine(f"{MACHINE}/{machine.name}", "its instance is gone")
            told.setdefault(line.object, line)
        return tuple(told.values())

    async def _looked(self) -> None:
        left = self._started + max(LOOK, self.run.speed) - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._settled.wait()
        except TimeoutError:
            return

    async def _objects(self, resource: Resource) -> tuple[Object, ...]:
        """All objects of a kind, from where they live now; as last seen while that cannot be asked."""
        found = await self._listed(resource)
        return self._last_seen(resource) if found is None else found

    async def _listed(self, resource: Resource) -> tuple[Object, ...] | None:
        """All objects of a kind, from where they live now; None when no answer comes in time."""
        try:
            async with answer_within(max(ANSWER, self.run.speed)):
                api = await self._api(resource)
                return (await api.list(resource)).items if api is not None else ()
        except Unreachable:
            return None

    def _last_seen(self, resource: Resource) -> tuple[Object, ...]:
        if self.engine is not None:
            self.known.learn(self.engine.context.caches)
        return self.known.objects(resource)

    async def _resources(self) -> list[Json]:
        """What the simulated account holds for the cluster, in the form of Kubernetes objects."""
        record = await records.load(self.seams.store, self.name)
        owned = await self.seams.cloud.sweep(record.ref) if record else ()
        return [
            {
                "apiVersion": "flatyard.dev/v1alpha1",
                "kind": "Resource",
                "metadata": {"name": o.id, "creationTimestamp": o.created or None},
                "spec": {"kind": o.kind, "name": o.name, "machine": o.machine_id, "kept": o.kept},
            }
            for o in owned
        ]

    async def _api(self, resource: Resource) -> Api | None:
        record = await records.load(self.seams.store, self.name)
        if record is None:
            return None
        if record.phase is Phase.BOOTSTRAPPING and resource in INTENT:
            return self.engine.context.book if self.engine else None
        return await commands.connect(self.seams, record) if record.endpoint else None


def _wanted(body: Json) -> Wanted:
    deployments = tuple(from_json(MachineDeployment, raw) for raw in body["deployments"])
    return Wanted(from_json(Cluster, body["cluster"]), deployments)


def _line(name: str, wait: Wait) -> WaitLine:
    object = f"{wait.key.kind}/{wait.key.name or name}"
    return WaitLine(object, wait.reason, wait.final, wait.next)
