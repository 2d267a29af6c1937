"""One project of an OpenStack cloud: the SDK's connection, and the pool in which its calls run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from keystoneauth1.identity.base import BaseIdentityPlugin
from openstack.connection import Connection

from flatyard.base.world import World
from flatyard.clouds.calls import Calls
from flatyard.clouds.cloud import CloudError, Rejected
from flatyard.clouds.openstack import credentials
from flatyard.clouds.openstack.answers import if_any, translate
from flatyard.clouds.openstack.facts import FACTS
from flatyard.clouds.openstack.settings import OpenstackSettings
from flatyard.model.cluster import OpenstackCloud

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Way:
    """How temporary URLs are signed: with the project's key or the container's, and by which digest."""

    project: bool
    digest: str


class Client:
    """What is kept here is only what saves asking again: ids of flavors and groups, and which services there are."""

    def __init__(self, login: OpenstackSettings, world: World, chosen: OpenstackCloud) -> None:
        self.login, self.chosen = login, chosen
        behaviour = FACTS.behaviour
        self.sdk = Connection(config=credentials.region(login))
        self.calls = Calls(translate, per_second=behaviour.calls_per_second, burst=behaviour.burst)
        self.world = world
        self.metadata: Mapping[str, str] = {}
        """What every server of this cluster has in its metadata besides (Exosphere's marks)."""
        self.services: frozenset[str] | None = None
        """Kinds of services in the catalog; None until the first call."""
        self.signs: Way | None = None
        """How the object store takes temporary URLs, once that is known."""
        self.project = ""
        self.regions: tuple[str, ...] = ()
        self.settles = behaviour.list_lag_bound
        """Seconds after which what was created is in every list."""
        self._logging_in = asyncio.Lock()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._known: dict[tuple[str, str], str] = {}

    async def read(self, what: str, call: Callable[[], T]) -> T:
        """A call that changes nothing."""
        await self.log_in()
        return await self.calls.read(what, call)

    async def write(self, what: str, call: Callable[[], T]) -> T:
        """A call that is repeated only when it was throttled."""
        await self.log_in()
        return await self.calls.write(what, call)

    async def log_in(self) -> None:
        """Once: a token, the catalog, and where each service is. Raises the CloudError of a refused login."""
        if self.services is not None:
            return
        async with self._logging_in:
            if self.services is None:
                self.project, self.services = await self.calls.read("logging in to OpenStack", self._catalog)

    def has(self, service: str) -> bool | None:
        """Whether the catalog has a kind of service; None before the first call."""
        return None if self.services is None else service in self.services

    def _catalog(self) -> tuple[str, frozenset[str]]:
        plugin = self.sdk.session.auth
        assert isinstance(plugin, BaseIdentityPlugin)
        access = plugin.get_access(self.sdk.session)
        everywhere = access.service_catalog.get_endpoints().values()
        ids = {e["region_id"] for some in everywhere for e in some if e and "region_id" in e}
        self.regions = tuple(sorted(map(str, ids)))
        project = access.project_id or ""
        kinds = frozenset(
            "block-storage" if kind.startswith("volume") else kind
            for kind, endpoints in access.service_catalog.get_endpoints(
                region_name=self.sdk.config.get_region_name() or None
            ).items()
            if endpoints
        )
        for kind in ("compute", "network"):  # found once here, and not by sixteen threads at the same time
            with suppress(AttributeError):
                getattr(self.sdk, kind).get_endpoint_data()
        return project, kinds

    async def known(self, kind: str, name: str, find: Callable[[], str | None]) -> str:
        """The id of a thing by its name or id, asked for once. Raises Rejected when there is none."""
        async with self.lock(f"{kind} {name}"):
            if (kind, name) not in self._known:
                found = await self.read(f"looking for {kind} {name}", find)
                if not found:
                    what = f"there is no {kind} {name!r}"
                    raise Rejected(what, code=f"{kind} not found", next="flatyard plan FILE")
                self._known[kind, name] = found
            return self._known[kind, name]

    def forget(self) -> None:
        """After a refusal: an id may have changed."""
        self._known.clear()

    def lock(self, key: str) -> KeyLock:
        """So that one process does one thing of a kind at a time."""
        return KeyLock(self._locks, key)

    async def close(self) -> None:
        await self.calls.close()
        with suppress(CloudError):
            self.sdk.close()


class KeyLock:
    """A lock by name that goes when nobody wants it."""

    def __init__(self, locks: dict[str, tuple[asyncio.Lock, int]], key: str) -> None:
        self._locks, self._key = locks, key

    async def __aenter__(self) -> None:
        lock, users = self._locks.get(self._key, (asyncio.Lock(), 0))
        self._locks[self._key] = (lock, users + 1)
        await lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        lock, users = self._locks[self._key]
        lock.release()
        if users == 1:
            del self._locks[self._key]
        else:
            self._locks[self._key] = (lock, users - 1)


def id_by_name(find: Callable[..., object], name: str, **words: str) -> str | None:
    """The id of what one of the SDK's `find_` calls finds by name or id; None when there is nothing."""
    thing = if_any(lambda: find(name, ignore_missing=False, **words))
    return None if thing is None else str(getattr(thing, "id", ""))


def connect(login: OpenstackSettings, world: World, chosen: OpenstackCloud) -> Client:
    """Raises Refused when there are no credentials; nothing is asked of the cloud yet."""
    return Client(login, world, chosen)
