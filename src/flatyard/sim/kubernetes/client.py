"""The cluster's API as its clients see it: it answers only while a majority of etcd's members run.

Node leases are shown as fresh as they would be, so that a thousand kubelets need not write every ten seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from flatyard.base.world import rfc3339_micro
from flatyard.kube import resources as r
from flatyard.kube.api import (
    ApiError,
    Json,
    Listing,
    Object,
    Propagation,
    Verdict,
    WatchEvent,
)
from flatyard.kube.memory import MemoryApi
from flatyard.kube.resources import Resource
from flatyard.sim.kubernetes.context import Context, Watcher

_BEAT = 10


class ClusterApi:
    """`kube.Api` of one simulated cluster; raises Unreachable while it has no quorum."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def _api(self) -> MemoryApi:
        self._context.quorum.check()
        return self._context.api

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        return self._fresh(resource, await self._api().get(resource, namespace, name))

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        listing = await self._api().list(resource, namespace, labels=labels, fields=fields)
        if resource != r.LEASES:
            return listing
        return Listing(tuple(self._fresh(resource, item) for item in listing.items), listing.resource_version)

    def _fresh(self, resource: Resource, object: Object) -> Object:
        """A node's lease as its kubelet would have renewed it."""
        if resource != r.LEASES or object.namespace != "kube-node-lease":
            return object
        if object.name not in self._context.kubelets:
            return object
        now = self._context.world.now()
        beat = now - timedelta(seconds=now.second % _BEAT)
        return Object({**object.raw, "spec": {**object.spec, "renewTime": rfc3339_micro(beat)}})

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        changes = self._api().watch(
            resource, namespace, resource_version=resource_version, labels=labels, fields=fields
        )
        queue: Watcher = asyncio.Queue()
        self._context.watchers[queue] = None
        pump = asyncio.get_running_loop().create_task(
            _pump(changes, queue), name=f"sim/watch/{resource.plural}"
        )
        try:
            while True:
                item = await queue.get()
                if isinstance(item, ApiError):
                    raise item
                yield item
        finally:
            self._context.watchers.pop(queue, None)
            pump.cancel()

    async def create(self, resource: Resource, object: Json) -> Object:
        return await self._api().create(resource, object)

    async def replace(self, resource: Resource, object: Json) -> Object:
        return await self._api().replace(resource, object)

    async def replace_status(self, resource: Resource, object: Json) -> Object:
        return await self._api().replace_status(resource, object)

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, patch: Json, *, subresource: str = ""
    ) -> Object:
        return await self._api().merge_patch(resource, namespace, name, patch, subresource=subresource)

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
        await self._api().delete(
            resource, namespace, name, uid=uid, propagation=propagation, grace_seconds=grace_seconds
        )

    async def evict(self, namespace: str, pod: str) -> None:
        await self._api().evict(namespace, pod)

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        await self._api().scale(resource, namespace, name, replicas)

    async def approve(self, request: Object, verdict: Verdict) -> Object:
        return await self._api().approve(request, verdict)


async def _pump(changes: AsyncIterator[WatchEvent], queue: Watcher) -> None:
    try:
        async for change in changes:
            queue.put_nowait(change)
    except ApiError as problem:
        queue.put_nowait(problem)
