"""What the reconcilers know of the book and the cluster without asking: reflectors with the indexes they need.

A cache may lag behind a write of our own. Whoever creates or deletes something because of what a cache shows
reads live first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from flatyard.engine.labels import CONTROL_PLANE_LABEL, NAMESPACE
from flatyard.engine.queue import Key
from flatyard.kube import resources as r
from flatyard.kube.api import Api, EventType, Object, WatchEvent
from flatyard.kube.approval import decision
from flatyard.kube.reflector import Reflector
from flatyard.kube.resources import Resource
from flatyard.model.annotations import MACHINE_ID

SETTLE = 1.0
"""Seconds for which changes of many machines are gathered before their set is looked at."""

MACHINE, MACHINE_SET, MACHINE_DEPLOYMENT = "machine", "machineset", "machinedeployment"
CLUSTER, NODE = "cluster", "node"
SIGNING_REQUEST = "certificatesigningrequest"

Enqueue = Callable[[Key, float], None]


class Index:
    """Objects by some text of theirs, kept up to date by watch events; at most one text per object."""

    def __init__(self, text: Callable[[Object], str]) -> None:
        self._text = text
        self._by_text: dict[str, dict[str, Object]] = {}
        self._text_of: dict[str, str] = {}

    def update(self, event: WatchEvent) -> None:
        uid = event.object.uid
        before = self._text_of.pop(uid, "")
        if before:
            self._by_text[before].pop(uid, None)
        text = "" if event.type is EventType.DELETED else self._text(event.object)
        if text:
            self._text_of[uid] = text
            self._by_text.setdefault(text, {})[uid] = event.object

    def find(self, text: str) -> tuple[Object, ...]:
        return tuple(self._by_text.get(text, {}).values())


class Caches:
    """The objects that reconcilers look at, and the keys that their changes wake.

    `watch_book` is called again when intent moves from the store into the cluster's own API.
    """

    def __init__(self, enqueue: Enqueue) -> None:
        self._enqueue = enqueue
        self._reflectors: dict[Resource, Reflector] = {}
        self._tasks: dict[Resource, asyncio.Task[None]] = {}
        self.machines_by_owner = Index(lambda m: m.controller.uid if m.controller else "")
        self.machines_by_id = Index(lambda m: m.annotations.get(MACHINE_ID, ""))
        self.sets_by_owner = Index(lambda s: s.controller.uid if s.controller else "")
        self.nodes_by_provider = Index(lambda n: str(n.spec.get("providerID", "")).lower())

    async def watch_book(self, book: Api, group: asyncio.TaskGroup) -> None:
        """Follow the intent objects in `book`, in place of an earlier book."""
        handlers: dict[Resource, Callable[[WatchEvent], None]] = {
            r.CLUSTERS: self._cluster_changed,
            r.MACHINE_DEPLOYMENTS: self._deployment_changed,
            r.MACHINE_SETS: self._set_changed,
            r.MACHINES: self._machine_changed,
        }
        for resource, handler in handlers.items():
            await self._follow(book, resource, NAMESPACE, handler, group)

    async def watch_nodes(self, api: Api, group: asyncio.TaskGroup) -> None:
        await self._follow(api, r.NODES, "", self._node_changed, group)

    async def watch_signing_requests(self, api: Api, group: asyncio.TaskGroup) -> None:
        await self._follow(api, r.CERTIFICATE_SIGNING_REQUESTS, "", self._request_changed, group)

    async def stop(self) -> None:
        for resource in tuple(self._tasks):
            await self._unfollow(resource)

    def cluster(self, name: str) -> Object | None:
        return self._get(r.CLUSTERS, name)

    def deployment(self, name: str) -> Object | None:
        return self._get(r.MACHINE_DEPLOYMENTS, name)

    def machine_set(self, name: str) -> Object | None:
        return self._get(r.MACHINE_SETS, name)

    def machine(self, name: str) -> Object | None:
        return self._get(r.MACHINES, name)

    def node(self, name: str) -> Object | None:
        found = self._reflectors.get(r.NODES)
        return found.get("", name) if found else None

    def signing_request(self, name: str) -> Object | None:
        found = self._reflectors.get(r.CERTIFICATE_SIGNING_REQUESTS)
        return found.get("", name) if found else None

    def nodes(self) -> Iterable[Object]:
        return self.items(r.NODES)

    def machines(self) -> Iterable[Object]:
        return self.items(r.MACHINES)

    def deployments(self) -> Iterable[Object]:
        return self.items(r.MACHINE_DEPLOYMENTS)

    def _get(self, resource: Resource, name: str) -> Object | None:
        found = self._reflectors.get(resource)
        return found.get(NAMESPACE, name) if found else None

    def items(self, resource: Resource) -> Iterable[Object]:
        """All objects of a kind; none of a kind that is not followed. What was seen stays after `stop`."""
        found = self._reflectors.get(resource)
        return found.items() if found else ()

    async def _follow(
        self,
        api: Api,
        resource: Resource,
        namespace: str,
        handler: Callable[[WatchEvent], None],
        group: asyncio.TaskGroup,
    ) -> None:
        await self._unfollow(resource)
        reflector = Reflector(api, resource, namespace, handler=handler)
        self._reflectors[resource] = reflector
        self._tasks[resource] = group.create_task(reflector.run(), name=f"watch {resource.qualified}")
        await reflector.synced.wait()

    async def _unfollow(self, resource: Resource) -> None:
        task = self._tasks.pop(resource, None)
        if task is None:
            return
        for gone in tuple(self._reflectors[resource].items()):
            self._forget(WatchEvent(EventType.DELETED, gone))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _forget(self, event: WatchEvent) -> None:
        for index in (
            self.machines_by_owner,
            self.machines_by_id,
            self.sets_by_owner,
            self.nodes_by_provider,
        ):
            index.update(event)

    def _cluster_changed(self, event: WatchEvent) -> None:
        self._enqueue(Key(CLUSTER), 0)

    def _deployment_changed(self, event: WatchEvent) -> None:
        self._enqueue(Key(MACHINE_DEPLOYMENT, event.object.name), 0)

    def _set_changed(self, event: WatchEvent) -> None:
        self.sets_by_owner.update(event)
        self._enqueue(Key(MACHINE_SET, event.object.name), 0)
        owner = event.object.controller
        if owner is not None:
            self._enqueue(Key(MACHINE_DEPLOYMENT, owner.name), 0)

    def _machine_changed(self, event: WatchEvent) -> None:
        self.machines_by_owner.update(event)
        self.machines_by_id.update(event)
        self._enqueue(Key(MACHINE, event.object.name), 0)
        owner = event.object.controller
        if owner is not None:
            self._enqueue(Key(MACHINE_SET, owner.name), SETTLE)
        elif CONTROL_PLANE_LABEL in event.object.labels and _changes_size(event):
            self._enqueue(Key(CLUSTER), 0)

    def _node_changed(self, event: WatchEvent) -> None:
        self.nodes_by_provider.update(event)
        self._enqueue(Key(NODE, event.object.name), 0)

    def _request_changed(self, event: WatchEvent) -> None:
        if event.type is not EventType.DELETED and not decision(event.object):
            self._enqueue(Key(SIGNING_REQUEST, event.object.name), 0)


def _changes_size(event: WatchEvent) -> bool:
    """Whether the next control plane machine may be due: one is up, or one is gone."""
    return event.type is EventType.DELETED or event.object.status.get("phase") == "Running"
