"""`kube.Api` in memory, with Kubernetes' semantics and, where asked for, durable.

The simulator serves it over HTTP; the engine keeps a cluster's intent in one before the cluster's own API
answers. It uses nothing of the event loop but futures and, with a delay for its controllers, timers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from flatyard.base.errors import Failed
from flatyard.base.world import World
from flatyard.kube import kinds as served
from flatyard.kube.api import (
    ApiError,
    EventType,
    Json,
    Listing,
    NotFound,
    Object,
    Propagation,
    Verdict,
    WatchEvent,
)
from flatyard.kube.approval import with_verdict
from flatyard.kube.collector import Collector
from flatyard.kube.disruption import Budgets
from flatyard.kube.kinds import Kind, Scale
from flatyard.kube.merge import clone, merge
from flatyard.kube.namespaces import NamespaceController
from flatyard.kube.refusals import bad_request
from flatyard.kube.registry import STATUS_PARTS, Admission, Deletion, Registry
from flatyard.kube.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    NAMESPACES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    Resource,
)
from flatyard.kube.selectors import FieldSelector, fields, labels
from flatyard.kube.shelf import Change, Key, Scope
from flatyard.kube.storage import Storage

T = TypeVar("T")
Persist = Callable[[str, bytes | None], Awaitable[None] | None]
"""Keeps one object's JSON under its key, or forgets it (None); on its return the write is durable."""
VERSIONS = ".version"
"""The key under which the highest version that may be in use is kept."""
RESERVE = 1_000
"""Versions reserved at once, so that the counter never goes back after a restart."""


class Controller(Protocol):
    """What kube-controller-manager does beside the API: sees changes, then brings things in order."""

    @property
    def patience(self) -> float:
        """Seconds for which it lets things rest, beyond what all controllers do."""
        ...

    @property
    def busy(self) -> bool: ...
    def observe(self, change: Change) -> None: ...
    def settle(self) -> None: ...
    def resume(self) -> None: ...


class MemoryApi:
    """An in-memory Kubernetes API.

    `persist` is called for each changed object before the write returns; `stored` holds what it kept in an
    earlier life: deletions that were under way then go on with the first write. `delay` is how many seconds
    after a write the controllers (garbage collector, namespaces, budgets) act; with None they act within the
    same write: a deletion and what follows from it are one. `budgets` keeps the status of
    PodDisruptionBudgets up to date.
    """

    def __init__(
        self,
        world: World,
        kinds: Sequence[Kind] = served.DEFAULT,
        *,
        persist: Persist | None = None,
        stored: Iterable[tuple[str, bytes]] = (),
        admission: Admission | None = None,
        delay: float | None = None,
        budgets: bool = True,
    ) -> None:
        self.storage = Storage(kinds)
        self.registry = Registry(self.storage, world, admission)
        self._by_resource = {kind.resource: kind for kind in self.storage.shelves}
        self._persist = persist
        self._delay = delay
        self._turn = asyncio.Lock()
        self._timers: dict[Controller, asyncio.Task[None]] = {}
        self._reserved = 0
        self._unsaved: tuple[Change, ...] = ()
        self._load(stored)
        self._budgets = Budgets(self.registry) if self._has(PODS, POD_DISRUPTION_BUDGETS) else None
        self._controllers = self._make_controllers(budgets)
        self._begin()

    def _has(self, *resources: Resource) -> bool:
        return all(resource in self._by_resource for resource in resources)

    def _make_controllers(self, budgets: bool) -> list[Controller]:
        controllers: list[Controller] = [Collector(self.registry)]
        if self._has(NAMESPACES):
            namespaces = NamespaceController(self.registry)
            namespaces.start()
            controllers.append(namespaces)
        if budgets and self._budgets is not None:
            controllers.append(self._budgets)
        return controllers

    def _begin(self) -> None:
        for controller in self._controllers:
            controller.resume()
            self.storage.observers.append(controller.observe)
        self._unsaved = tuple(self.storage.journal)
        self.storage.publish()
        for shelf in self.storage.shelves.values():
            shelf.oldest = self.storage.version

    def _load(self, stored: Iterable[tuple[str, bytes]]) -> None:
        for key, value in stored:
            if key == VERSIONS:
                self._reserved = int(value)
                continue
            object = Object(json.loads(value))
            kind = self.storage.kinds.get((object.raw["apiVersion"], object.kind))
            if kind is None:
                raise Failed(f"the stored object {key} has a kind that is not served: {object.kind}")
            self.storage.load(kind, object)
        self.storage.version = max(self.storage.version, self._reserved)

    def kind(self, resource: Resource) -> Kind:
        """The served kind; raises NotFound as a server does for an unknown resource."""
        kind = self._by_resource.get(resource)
        if kind is None:
            raise NotFound("the server could not find the requested resource")
        return kind

    def serve(self, kind: Kind) -> None:
        """Serve one more kind, as a new CustomResourceDefinition does."""
        self.storage.serve(kind)
        self._by_resource[kind.resource] = kind

    def redefine(self, old: Kind, new: Kind) -> None:
        """Serve a kind in another form, as a changed definition does; its objects stay."""
        self.storage.redefine(old, new)
        self._by_resource.pop(old.resource, None)
        self._by_resource[new.resource] = new

    def add(self, controller: Controller) -> None:
        """Let one more controller see every change from now on."""
        self._controllers.append(controller)
        self.storage.observers.append(controller.observe)
        controller.resume()

    def withdraw(self, kind: Kind) -> None:
        """Stop serving a kind; its objects must be gone."""
        self.storage.withdraw(kind)
        self._by_resource.pop(kind.resource, None)

    # ---- writes: one at a time, durable before anybody is told

    async def write(self, operation: Callable[[], T]) -> T:
        """Carry out a synchronous operation on the registry as one durable write."""
        if self._persist is None and not self._turn.locked():
            return self._write_at_once(operation)
        async with self._turn:
            return await self._write_durably(operation)

    def _write_at_once(self, operation: Callable[[], T]) -> T:
        try:
            result = operation()
            self._control()
        except BaseException:
            self._take_back()
            raise
        self.storage.publish()
        return result

    async def _write_durably(self, operation: Callable[[], T]) -> T:
        try:
            result = operation()
            self._control()
            await self._keep()
        except BaseException:
            self._take_back()
            raise
        self.storage.publish()
        return result

    def _take_back(self) -> None:
        """Undo the running write; the controllers look again at what they thought done."""
        if self.storage.journal:
            self.storage.take_back()
            for controller in self._controllers:
                controller.resume()

    async def _keep(self) -> None:
        if self._persist is None or not self.storage.journal:
            return
        if self.storage.version > self._reserved:
            self._reserved = self.storage.version + RESERVE
            await self._put(VERSIONS, str(self._reserved).encode())
        changes = (*self._unsaved, *self.storage.journal)
        last = {_address(change.kind, change.key): change for change in changes}
        for address, change in last.items():
            gone = change.type is EventType.DELETED
            await self._put(address, None if gone else _encoded(change.object))
        self._unsaved = ()

    async def _put(self, address: str, value: bytes | None) -> None:
        waiting = self._persist(address, value) if self._persist else None
        if waiting is not None:
            await waiting

    def _control(self) -> None:
        """Let the controllers act now, or set their timers."""
        if self._delay is None:
            self._settle()
            return
        for controller in self._controllers:
            if controller.busy and controller not in self._timers:
                later = self._control_later(controller, self._delay + controller.patience)
                self._timers[controller] = asyncio.get_running_loop().create_task(later)

    def _settle(self) -> None:
        while any(controller.busy for controller in self._controllers):
            for controller in self._controllers:
                controller.settle()

    async def _control_later(self, controller: Controller, delay: float) -> None:
        await asyncio.sleep(delay)
        del self._timers[controller]
        try:
            await self.write(controller.settle)
        except Failed:
            self._control()  # it could not be kept: the work is still to be done

    async def durable(self) -> None:
        """Wait until what a reader may see is durable."""
        while self._turn.locked():
            async with self._turn:
                pass

    # ---- kube.Api

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        await self.durable()
        return self.registry.get(self.kind(resource), namespace, name)

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        await self.durable()
        kind = self.kind(resource)
        scope = self.scope(kind, namespace, labels, fields)
        items = tuple(self.storage.shelves[kind].select(scope))
        return Listing(items, str(self.storage.version))

    def scope(self, kind: Kind, namespace: str, label_selector: str, field_selector: str) -> Scope:
        """Parsed selectors; raises Invalid for a field that this kind cannot be selected by."""
        selector = fields(field_selector)
        _check_fields(kind, selector)
        return Scope(namespace if kind.resource.namespaced else "", labels(label_selector), selector)

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        kind = self.kind(resource)
        scope = self.scope(kind, namespace, labels, fields)
        async for event in self.storage.watch(kind, scope, int(resource_version)):
            yield event

    async def create(self, resource: Resource, object: Json) -> Object:
        kind, raw = self.kind(resource), clone(object)
        return await self.write(lambda: self.registry.create(kind, raw))

    async def replace(self, resource: Resource, object: Json) -> Object:
        kind, raw = self.kind(resource), clone(object)
        _needs_version(raw)
        return await self.write(lambda: self.registry.replace(kind, raw))

    async def replace_status(self, resource: Resource, object: Json) -> Object:
        kind, raw = self.kind(resource), clone(object)
        if not kind.status:
            raise NotFound("the server could not find the requested resource")
        _needs_version(raw)
        return await self.write(lambda: self.registry.replace(kind, raw, subresource="status"))

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, patch: Json, *, subresource: str = ""
    ) -> Object:
        kind, change = self.kind(resource), clone(patch)
        if subresource and not (subresource in STATUS_PARTS and kind.status):
            raise NotFound("the server could not find the requested resource")
        key = self._key(kind, namespace, name)
        return await self.write(
            lambda: self.registry.patch(kind, key, lambda raw: merge(raw, change), subresource=subresource)
        )

    def _key(self, kind: Kind, namespace: str, name: str) -> Key:
        return (namespace if kind.resource.namespaced else "", name)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: Propagation = Propagation.BACKGROUND,
        grace_seconds: int | None = None,
    ) -> None:
        kind = self.kind(resource)
        how = Deletion(uid=uid, propagation=propagation, grace_seconds=grace_seconds)
        key = self._key(kind, namespace, name)
        await self.write(lambda: self.registry.delete(kind, key, how))

    async def evict(self, namespace: str, pod: str) -> None:
        await self.evict_with(namespace, pod, Deletion())

    async def evict_with(self, namespace: str, pod: str, how: Deletion) -> None:
        """Evict with delete options."""
        budgets = self._budgets
        if budgets is None:
            raise NotFound("the server could not find the requested resource")
        await self.write(lambda: budgets.evict(namespace, pod, how))

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        kind = self.kind(resource)
        scale = kind.scale
        if scale is None:
            raise NotFound("the server could not find the requested resource")
        key = self._key(kind, namespace, name)
        await self.write(lambda: self.registry.patch(kind, key, lambda raw: scaled(raw, scale, replicas)))

    async def approve(self, request: Object, verdict: Verdict) -> Object:
        kind, raw = self.kind(CERTIFICATE_SIGNING_REQUESTS), with_verdict(request, verdict)
        _needs_version(raw)
        return await self.write(lambda: self.registry.replace(kind, raw, subresource="approval"))


def scaled(raw: Json, scale: Scale, replicas: int) -> Json:
    """The object with its wanted replicas changed."""
    patch: object = replicas
    for step in reversed(scale.spec):
        patch = {step: patch}
    assert isinstance(patch, dict)
    return merge(raw, patch)


def _address(kind: Kind, key: Key) -> str:
    namespace, name = key
    return f"{kind.resource.qualified}/{namespace or '-'}/{name}"


def _encoded(object: Object) -> bytes:
    return json.dumps(object.raw, separators=(",", ":"), ensure_ascii=False).encode()


def _needs_version(raw: Json) -> None:
    if not raw["metadata"].get("resourceVersion"):
        raise bad_request("metadata.resourceVersion must be given: replacing needs to know what is replaced")


def _check_fields(kind: Kind, selector: FieldSelector) -> None:
    allowed = ("metadata.name", "metadata.namespace") if kind.resource.namespaced else ("metadata.name",)
    for term in selector.terms:
        if term.field not in (*allowed, *kind.fields):
            raise bad_request(f"field label not supported: {term.field}")


__all__ = ["ApiError", "MemoryApi", "Persist", "scaled"]
