"""What all reconcilers share: the seams they act through, and what the engine knows so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from flatyard.base.world import World
from flatyard.clouds.cloud import Cloud, Endpoint
from flatyard.engine import record as records
from flatyard.engine.caches import Caches
from flatyard.engine.disruption import Gate, OneAtATime
from flatyard.engine.instances import Instances
from flatyard.engine.queue import Key, Queue
from flatyard.engine.record import ClusterRecord
from flatyard.engine.zones import Zones
from flatyard.kube.api import Api
from flatyard.kube.etcd import EtcdHost, EtcdMembers
from flatyard.kube.lease import Lease
from flatyard.model.cluster import Cluster
from flatyard.node.render import NodeTemplate
from flatyard.pki import ClusterSecrets
from flatyard.store import Stale, Store
from flatyard.sysext.feed import Feed


class Clients(Protocol):
    """How to reach a cluster's API: lightkube on a real cluster, the simulator's own on a simulated one."""

    def connect(self, endpoint: Endpoint, secrets: ClusterSecrets) -> Api:
        """A client with a short-lived certificate; connecting happens with the first call."""
        ...

    def etcd(
        self, endpoint: Endpoint | None, hosts: tuple[EtcdHost, ...], secrets: ClusterSecrets
    ) -> EtcdMembers:
        """etcd's membership, asked of the first of these control planes that answers, by way of the API."""
        ...


class Feeds(Protocol):
    """Where the hashes of Kubernetes extensions come from."""

    async def feed(self, base: str) -> Feed:
        """The feed at an address; empty: the one that whoever runs this has chosen, or else the bakery's."""
        ...


class StepState(StrEnum):
    """How one object stands, for people who look on."""

    WAITING = "waiting"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Step:
    """One change of how an object stands: printed as a line, drawn in a tree, kept in a report."""

    at: datetime
    object: str
    state: StepState
    sentence: str = ""
    next: str = ""


def _ignore(step: Step) -> None:
    """Nobody looks on."""


@dataclass(slots=True)
class Seams:
    """The outside: everything that a test can replace, count or make fail."""

    world: World
    cloud: Cloud
    store: Store
    clients: Clients
    feeds: Feeds
    holder: str
    """Who we are in locks and leases: user, host and process."""
    on_step: Callable[[Step], None] = _ignore


@dataclass(slots=True)
class Context:
    """The engine's state while it runs. Nothing in it must outlive the process except through the seams."""

    seams: Seams
    record: ClusterRecord
    secrets: ClusterSecrets
    book: Api
    """Where intent lives now: the store before the cluster's API answers, that API afterwards."""
    queue: Queue
    group: asyncio.TaskGroup
    caches: Caches = field(init=False)
    instances: Instances = field(init=False)
    zones: Zones = field(init=False)
    gate: Gate = field(init=False)
    cluster: Cluster | None = None
    """The Cluster object as last read."""
    cluster_generation: tuple[str, int] = ("", 0)
    """Uid and generation of the object that `cluster` was read from."""
    read: dict[str, str] = field(default_factory=dict)
    """Uid and version of objects that were found readable."""
    templates: dict[tuple[object, ...], NodeTemplate] = field(default_factory=dict)
    """Prepared node configs by what they were prepared from."""
    api: Api | None = None
    """The cluster's own API, once it has answered."""
    left_pending: dict[str, str] = field(default_factory=dict)
    """Why certificate requests are not approved, by their names, as it was told."""
    load_balancers_released: bool = False
    gone: bool = False
    """Nothing of the cluster is left: the engine may end."""
    membership: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while etcd's members are listed and one of them is removed."""
    lease: Lease | None = None
    lease_task: asyncio.Task[None] | None = None
    _ensured: dict[str, float] = field(default_factory=dict)
    _started: float = field(init=False, default=0.0)
    _readers: int = 0
    _quiet: asyncio.Event = field(default_factory=asyncio.Event)
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.caches = Caches(self.enqueue)
        self.instances = Instances(self.seams.cloud, self.seams.cloud.limits.list_lag_seconds)
        self.zones = Zones(self.caches, self.instances)
        self.gate = OneAtATime(self.caches.machines)
        self._started = asyncio.get_running_loop().time()
        self._quiet.set()
        self._open.set()

    @property
    def world(self) -> World:
        return self.seams.world

    @property
    def cloud(self) -> Cloud:
        return self.seams.cloud

    def enqueue(self, key: Key, seconds: float = 0) -> None:
        if seconds:
            self.queue.add_later(key, seconds)
        else:
            self.queue.add(key)

    async def save(self, record: ClusterRecord) -> None:
        """Make `record` the remembered one, in the store first.

        When somebody else wrote it meanwhile (a tombstone, a newer apply), theirs is taken and the caller's
        step fails: the next pass decides again.
        """
        try:
            self.record = await records.save(self.seams.store, record)
        except Stale:
            self.record = await records.load(self.seams.store, record.name) or self.record
            raise

    def ensured_lately(self, what: str, seconds: float) -> bool:
        """Whether this process compared `what` with the cloud in the last `seconds`."""
        return self.ensured_for(what, seconds) > 0

    def ensured_for(self, what: str, seconds: float) -> float:
        """For how long `ensured_lately` still holds; 0 when it does not."""
        last = self._ensured.get(what)
        return 0.0 if last is None else max(0.0, last + seconds - asyncio.get_running_loop().time())

    def ensured_ever(self, what: str) -> bool:
        """Whether `note_ensured` was ever told of it in this run."""
        return what in self._ensured

    def running_for(self) -> float:
        """Seconds since this engine started."""
        return asyncio.get_running_loop().time() - self._started

    def note_ensured(self, what: str) -> None:
        self._ensured[what] = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Held by each reconcile but the cluster's own; waits while `exclusively` is held."""
        await self._open.wait()
        self._readers += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._quiet.set()

    @asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Held by the cluster's reconcile while no other one may write: waits for those at work."""
        self._open.clear()
        try:
            await self._quiet.wait()
            yield
        finally:
            self._open.set()

    def wanted(self) -> Cluster:
        """The Cluster object; callers run after it was read."""
        assert self.cluster is not None
        return self.cluster
