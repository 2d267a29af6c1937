"""A cluster's whole life in simulated time, with a run that dies where a test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pytest

from flatyard.base.errors import FlatyardError
from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.clouds.sim.door import Call
from flatyard.clouds.sim.region import Region
from flatyard.engine.context import Seams, Step
from flatyard.engine.wanted import Wanted, wanted_of, with_replicas
from flatyard.kube.api import Api
from flatyard.model.documents import read
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import run
from flatyard.store import MemoryBucket, Store, open_memory

T = TypeVar("T")
EXAMPLES = Path(__file__).parents[2] / "examples"


class Died(BaseException):
    """The process is gone: nothing after this point happens any more."""


class CountingDisk(MemoryDisk):
    """Counts the changes of what the simulated account and cluster keep."""

    changes = 0

    def put(self, key: str, value: bytes) -> None:
        self.changes += 1
        super().put(key, value)

    def delete(self, key: str) -> None:
        self.changes += 1
        super().delete(key)


class CountingBucket(MemoryBucket):
    """Counts the changes of what the store keeps."""

    changes = 0

    def _set(self, path: str, blob: bytes) -> None:
        self.changes += 1
        super()._set(path, blob)

    async def remove(self, path: str) -> None:
        self.changes += 1
        await super().remove(path)


Outside = tuple[float, int, int]
"""All that outlives a process: the time, and how often disk and store have changed until then."""


@dataclass
class Mortal:
    """Counts external calls and dies at one of their two points: before the call, or after it, reply lost."""

    die_at: int | None = None
    points: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    dead: bool = False
    where: str = ""
    trail: list[str] = field(default_factory=list)
    """What each point was, in order."""
    outside: Callable[[], Outside] = lambda: (0.0, 0, 0)
    distinct: list[int] = field(default_factory=list)
    """The first point, by number, of each state of the outside and of the calls under way.

    A process that dies leaves nothing else behind, so deaths at the other points (before and after whatever only
    looks, after one call and before the next) are the same death to whoever comes next.
    """
    _seen: set[tuple[Outside, tuple[str, ...]]] = field(default_factory=set)
    _under_way: dict[str, None] = field(default_factory=dict)

    def kinds(self) -> list[int]:
        """Of the distinct points the first and the last of each kind: the call, on what kind of object, which side."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for point in self.distinct:
            where = self.trail[point - 1]
            first.setdefault(where, point)
            last[where] = point
        return sorted({*first.values(), *last.values()})

    def before(self, call: str, number: int = 0) -> None:
        """The call, with its number where others may be under way at the same time."""
        if not self.dead:
            self.calls[call] += 1
        self._point(f"before {call}")
        self._under_way[f"{call} {number}"] = None

    def after(self, call: str, number: int = 0) -> None:
        self._under_way.pop(f"{call} {number}", None)
        self._point(f"after {call}, reply lost")

    async def around(self, call: str, act: Coroutine[object, object, T]) -> T:
        """Carry out one call between its two points; a refusal is a reply, too."""
        number = self.points
        try:
            self.before(call, number)
        except Died:
            act.close()
            raise
        try:
            found = await act
        except FlatyardError:
            self.after(call, number)
            raise
        self.after(call, number)
        return found

    def _point(self, where: str) -> None:
        if self.dead:
            raise Died
        self.points += 1
        self.trail.append(where)
        state = (self.outside(), tuple(self._under_way))
        if state not in self._seen:
            self._seen.add(state)
            self.distinct.append(self.points)
        if self.points == self.die_at:
            self.dead, self.where = True, where
            raise Died(where)


class DyingCloud:
    """The door's faults: every call to the provider, the object store's among them."""

    def __init__(self, mortal: Callable[[], Mortal]) -> None:
        self._mortal = mortal

    async def before(self, call: Call) -> None:
        self._mortal().before(f"cloud {call.op}", call.number)

    async def after(self, call: Call) -> None:
        self._mortal().after(f"cloud {call.op}", call.number)


class DyingApi:
    """A Kubernetes client whose every call is one at which the run can die."""

    def __init__(self, api: Api, mortal: Mortal) -> None:
        self._api, self._mortal = api, mortal

    def __getattr__(self, verb: str):
        inner = getattr(self._api, verb)
        if verb == "watch":
            return lambda *args, **more: self._watch(inner(*args, **more))

        async def call(*args, **more):
            kind = "Pod" if verb == "evict" else args[0].kind
            return await self._mortal.around(f"kubernetes {verb} {kind}", inner(*args, **more))

        return call

    async def _watch(self, events) -> AsyncIterator:
        self._mortal.before("kubernetes watch")
        self._mortal.after("kubernetes watch")
        async for event in events:
            if self._mortal.dead:
                raise Died
            yield event


class DyingEtcd:
    """etcd's membership, each question and each removal a call at which the run can die."""

    def __init__(self, etcd, mortal: Mortal) -> None:
        self._etcd, self._mortal = etcd, mortal

    async def list(self, *, agreed: bool = True):
        return await self._mortal.around("etcd list", self._etcd.list(agreed=agreed))

    async def remove(self, member_id: str) -> None:
        await self._mortal.around("etcd remove", self._etcd.remove(member_id))


def _folder(key: str = "", *_):
    """What kind of record a key names: its folders."""
    return key.rpartition("/")[0]


class DyingStore:
    """A store whose every call is one at which the run can die."""

    def __init__(self, store: Store, mortal: Mortal) -> None:
        self._store, self._mortal = store, mortal

    def __getattr__(self, verb: str):
        inner = getattr(self._store, verb)

        async def call(*args, **more):
            found = await self._mortal.around(f"store {verb} {_folder(*args)}", inner(*args, **more))
            return DyingLock(found, self._mortal) if verb == "lock" else found

        return call


class DyingLock:
    def __init__(self, lock, mortal: Mortal) -> None:
        self._lock, self._mortal = lock, mortal

    async def renew(self) -> None:
        await self._mortal.around("store renew", self._lock.renew())

    async def release(self) -> None:
        await self._mortal.around("store release", self._lock.release())


@dataclass(frozen=True)
class Past:
    """What an earlier life left on the disk and in the store, and when: another one goes on from there.

    Its simulation is a new one: machines boot again, as they do when a simulation's process was killed.
    """

    disk: CountingDisk
    bucket: CountingBucket
    now: datetime


class Life:
    """One simulated cloud account and store, over which runs of the engine come and go."""

    def __init__(self, wanted: Wanted, seed: int = 1, past: Past | None = None, **more) -> None:
        loop = asyncio.get_running_loop()
        self.world = SeededWorld(seed + bool(past), loop.time, past.now if past else SIMULATED_EPOCH)
        self.mortal = Mortal()
        self.steps: list[Step] = []
        self.wanted = wanted
        faults = DyingCloud(lambda: self.mortal)
        disk, bucket = deepcopy((past.disk, past.bucket)) if past else (CountingDisk(), CountingBucket())
        self.past = lambda: Past(deepcopy(disk), deepcopy(bucket), self.world.now())
        self.outside = lambda: (loop.time(), disk.changes, bucket.changes)
        self.region = Region(wanted.cluster, self.world, disk, faults=faults, **more)
        self.store = open_memory(self.world, bucket)
        self.runs = 0

    def seams(self, mortal: Mortal | None = None) -> Seams:
        """The seams of a new run, which dies where `mortal` says."""
        self.mortal = mortal or Mortal()
        self.mortal.outside = self.outside
        self.runs += 1
        life = self

        class Clients:
            def connect(self, endpoint, secrets) -> Api:
                return DyingApi(life.region.clients.connect(endpoint, secrets), life.mortal)

            def etcd(self, endpoint, hosts, secrets):
                return DyingEtcd(life.region.clients.etcd(endpoint, hosts, secrets), life.mortal)

        return Seams(
            world=self.world,
            cloud=self.region.cloud,
            store=DyingStore(self.store, self.mortal),
            clients=Clients(),
            feeds=self.region.feeds,
            holder=f"run-{self.runs}",
            on_step=self.steps.append,
        )

    async def survive(self, act: Callable[[Seams], object], die_at: int | None = None) -> Mortal:
        """Run `act`; if it dies, run it again until it is through. Returns the first run's counts."""
        first = Mortal(die_at)
        try:
            await act(self.seams(first))
        except Died:
            await self._again(act)
        return first

    async def _again(self, act: Callable[[Seams], object]) -> None:
        """At once, as on one machine: there the dead process's flock is gone with it, and its lock counts no more."""
        await self.store.delete(f"locks/clusters/{self.wanted.name}")
        await act(self.seams())


def wanted(name: str = "quickstart.yaml", replicas: int | None = None) -> Wanted:
    found = read([(name, (EXAMPLES / name).read_text())], need_cluster=True)
    made = wanted_of(found.cluster, found.machine_deployments)
    return made if replicas is None else with_replicas(made, replicas)


def _fail(loop, context) -> None:
    """A bug in a callback or a forgotten task fails the test."""
    raise context.get("exception") or AssertionError(context["message"])


@pytest.fixture
def simulate():
    """Run `main(life)` in simulated time with a fresh account and store."""

    def simulated(main, wanted, seed: int = 1, **more):
        async def whole():
            asyncio.get_running_loop().set_exception_handler(_fail)
            life = Life(wanted, seed, **more)
            await life.region.start()
            try:
                return await main(life)
            finally:
                await life.region.stop()

        return run(whole())

    return simulated


@pytest.fixture
def example():
    return wanted
