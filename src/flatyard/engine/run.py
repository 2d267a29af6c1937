"""Running the reconcilers: until nothing is left to do (`up`, `down`), or for ever (the controller).

`Engine` holds the store's lock for as long as it runs. Whoever wants to change a cluster that a living engine
holds writes its objects and watches.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from flatyard.base.errors import Failed, FlatyardError, InvalidInput
from flatyard.clouds.cloud import QuotaExceeded, Rejected
from flatyard.engine import record as records
from flatyard.engine import secrets
from flatyard.engine.book import open_store_book
from flatyard.engine.caches import (
    CLUSTER,
    MACHINE,
    MACHINE_DEPLOYMENT,
    MACHINE_SET,
    NODE,
    SIGNING_REQUEST,
)
from flatyard.engine.certificates import reconcile_request
from flatyard.engine.cluster import reconcile_cluster, reconcile_instances
from flatyard.engine.context import Context, Seams, Step, StepState
from flatyard.engine.leadership import LOCK_SECONDS, keep_lock
from flatyard.engine.machine import reconcile_machine
from flatyard.engine.machinedeployment import reconcile_machine_deployment
from flatyard.engine.machineset import reconcile_machine_set
from flatyard.engine.nodes import reconcile_node
from flatyard.engine.queue import Done, Key, Queue, Result, Wait, Waiting
from flatyard.engine.strays import reconcile_strays
from flatyard.kube.api import ApiError, Unreachable
from flatyard.kube.lease import Lease

INSTANCES = "instances"
STRAYS = "strays"
GIVE_BACK_SECONDS = 5.0
Reconciler = Callable[[Context, Key], Awaitable[Result]]

RECONCILERS: dict[str, Reconciler] = {
    CLUSTER: reconcile_cluster,
    INSTANCES: reconcile_instances,
    STRAYS: reconcile_strays,
    MACHINE_DEPLOYMENT: reconcile_machine_deployment,
    MACHINE_SET: reconcile_machine_set,
    MACHINE: reconcile_machine,
    NODE: reconcile_node,
    SIGNING_REQUEST: reconcile_request,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: nothing waited for (`done`), or what is still missing and why."""

    waits: tuple[Wait, ...]
    gone: bool = False
    """The cluster was deleted and nothing of it is left."""

    @property
    def done(self) -> bool:
        return not self.waits


class Engine:
    """One cluster's reconcilers at work."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.reconciled: Counter[str] = Counter()
        """How often each kind of reconciler ran: the same kinds for ten machines and for a thousand."""
        self._told: dict[Key, tuple[StepState, str]] = {}

    async def reconcile(self, key: Key) -> Result:
        """Run the reconciler of one key and tell onlookers when the object's state changed."""
        ctx = self.context
        self.reconciled[key.kind] += 1
        if ctx.record.phase is records.Phase.DELETING and key.kind not in (CLUSTER, INSTANCES):
            return Done()
        try:
            if key.kind == CLUSTER:
                result = await RECONCILERS[key.kind](ctx, key)
            elif ctx.cluster is None and key.kind not in (INSTANCES, STRAYS):
                return Waiting("the Cluster object is being read", again=0.5)
            else:
                async with ctx.working():
                    result = await RECONCILERS[key.kind](ctx, key)
        except (Rejected, QuotaExceeded, InvalidInput) as error:
            if key.kind != CLUSTER or ctx.record.phase is not records.Phase.BOOTSTRAPPING:
                self._tell(key, StepState.FAILED, error.what, error.next)
                raise
            what = str(error) if isinstance(error, InvalidInput) else error.what
            result = Waiting(what, again=60, final=True, next=error.next)
        except Unreachable as error:  # it is asked again, and answers: nothing has failed yet
            self._tell(key, StepState.WAITING, error.what, error.next)
            raise
        except FlatyardError as error:
            self._tell(key, StepState.FAILED, error.what, error.next)
            raise
        if isinstance(result, Waiting):
            state = StepState.FAILED if result.final else StepState.WAITING
            self._tell(key, state, result.reason, result.next)
        else:
            self._tell(key, StepState.DONE)
        return result

    def _tell(self, key: Key, state: StepState, sentence: str = "", next: str = "") -> None:
        if key.kind in (INSTANCES, STRAYS, NODE, SIGNING_REQUEST) or self._told.get(key) == (state, sentence):
            return
        self._told[key] = (state, sentence)
        ctx = self.context
        name = ctx.record.name if key.kind == CLUSTER else key.name
        ctx.seams.on_step(Step(ctx.world.now(), f"{key.kind}/{name}", state, sentence, next))

    def start(self) -> None:
        """Put the first keys into the queue."""
        self.context.queue.add(Key(CLUSTER))
        self.context.queue.add(Key(INSTANCES))
        self.context.queue.add(Key(STRAYS))

    async def until_done(self, deadline: float) -> Outcome:
        """Return when observed equals wanted, when only hopeless waits are left, or after `deadline` seconds.

        Beside a hopeless wait others are given the time that a machine may take, counted from the last change.
        """
        queue = self.context.queue
        try:
            async with asyncio.timeout(deadline):
                while True:
                    await queue.settled()
                    if self.context.gone or not queue.hopeful or self._has_no_base() or self._is_stuck():
                        return Outcome(queue.waits(), self.context.gone)
                    await queue.stirred()
        except TimeoutError:
            return Outcome(queue.waits(), self.context.gone)

    def _has_no_base(self) -> bool:
        """Whether what everything else waits for, network and API, cannot come by itself."""
        if self.context.record.phase is not records.Phase.BOOTSTRAPPING:
            return False
        return any(wait.key.kind == CLUSTER and wait.final for wait in self.context.queue.waits())

    def _is_stuck(self) -> bool:
        """Whether something failed for good and nothing else moved for longer than any machine needs to boot."""
        queue = self.context.queue
        if queue.still() < self.context.cloud.limits.create_timeout_seconds:
            return False
        return any(wait.final for wait in queue.waits())


@asynccontextmanager
async def engine_of(seams: Seams, name: str) -> AsyncIterator[Engine]:
    """The engine of the cluster called `name`, at work while the block runs.

    Raises store.Locked when another engine holds the cluster, Failed when there is no such cluster; what ends
    the reconcilers meanwhile (a lost lock or Lease, a bug) is raised out of the block.
    """
    lock = await seams.store.lock(f"clusters/{name}", seams.holder, LOCK_SECONDS)
    try:
        async with _unwrapped(), asyncio.TaskGroup() as group:
            engine = await _open(seams, name, group)
            background = [
                group.create_task(keep_lock(lock), name="keep the lock"),
                group.create_task(engine.context.queue.run(), name="reconcile"),
            ]
            engine.start()
            try:
                yield engine
            finally:
                await _stop(engine.context, background)
    finally:
        await lock.release()


async def _stop(context: Context, background: list[asyncio.Task[None]]) -> None:
    if context.lease_task is not None:
        background.append(context.lease_task)
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    await context.caches.stop()
    if context.lease is not None and context.lease_task is not None and not context.gone:
        await _give_back(context.lease)


async def _give_back(lease: Lease) -> None:
    """Only a courtesy to the next holder, which else waits until it expires: no stop waits for a silent API."""
    with suppress(ApiError, TimeoutError):
        async with asyncio.timeout(GIVE_BACK_SECONDS):
            await lease.release()


@asynccontextmanager
async def _unwrapped() -> AsyncIterator[None]:
    """Raise the first cause instead of a group of errors."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _open(seams: Seams, name: str, group: asyncio.TaskGroup) -> Engine:
    record = await records.load(seams.store, name)
    if record is None:
        raise Failed(f"there is no cluster {name!r}", next="flatyard up FILE makes one")
    context = Context(
        seams=seams,
        record=record,
        secrets=await secrets.ensure(seams.store, seams.world, name),
        book=await open_store_book(seams.store, seams.world, name),
        queue=Queue(_not_yet),
        group=group,
    )
    engine = Engine(context)
    context.queue.reconcile = engine.reconcile
    if record.phase is records.Phase.BOOTSTRAPPING:
        await context.caches.watch_book(context.book, group)
    return engine


async def _not_yet(key: Key) -> Result:
    raise AssertionError(f"{key} before the engine was put together")
