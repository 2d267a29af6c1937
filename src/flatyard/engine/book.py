"""Where a cluster's intent lives before its own API answers: the same objects, kept in the store.

The store book is the in-memory API with every write put into the store first, so the reconcilers are the same
before and after. `move` then copies the objects into the cluster's API, owners before what they own, and may be
repeated after a crash.
"""

from __future__ import annotations

from flatyard.base.world import World
from flatyard.engine.labels import NAMESPACE
from flatyard.kube.api import AlreadyExists, Api, Json, Object
from flatyard.kube.kinds import DEFAULT
from flatyard.kube.memory import MemoryApi
from flatyard.kube.resources import (
    CLUSTERS,
    MACHINE_DEPLOYMENTS,
    MACHINE_SETS,
    MACHINES,
    SECRETS,
    Resource,
)
from flatyard.store import Store

OWNERS_FIRST: tuple[Resource, ...] = (CLUSTERS, MACHINE_DEPLOYMENTS, MACHINE_SETS, MACHINES, SECRETS)
WITH_STATUS = (CLUSTERS, MACHINE_DEPLOYMENTS, MACHINE_SETS)


def _folder(name: str) -> str:
    return f"clusters/{name}/intent"


async def open_store_book(store: Store, world: World, name: str) -> MemoryApi:
    """The intent of the cluster called `name`, as it stands in the store."""
    shelf = _Shelf(store, _folder(name))
    kinds = [kind for kind in DEFAULT if kind.resource in OWNERS_FIRST]
    return MemoryApi(world, kinds, persist=shelf.persist, stored=await shelf.load(), budgets=False)


async def clear_store_book(store: Store, name: str) -> None:
    """The intent lives in the cluster now, or the cluster is gone."""
    for key in await store.list(_folder(name)):
        await store.delete(key)


class _Shelf:
    """Objects as records below one folder; remembers each record's version for the next write."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._versions: dict[str, int] = {}

    async def load(self) -> list[tuple[str, bytes]]:
        found = []
        for key in await self._store.list(self._folder):
            record = await self._store.read(key)
            if record is not None:
                self._versions[key] = record.version
                found.append((self._object_key(key), record.value))
        return found

    async def persist(self, object_key: str, value: bytes | None) -> None:
        key = self._record_key(object_key)
        if value is None:
            await self._store.delete(key)
            self._versions.pop(key, None)
        else:
            self._versions[key] = await self._store.write(key, value, expect=self._versions.get(key))

    def _record_key(self, object_key: str) -> str:
        """Record names have no part that starts with a dot."""
        return "/".join(
            [self._folder, *(p.replace(".", "_", 1) if p[0] == "." else p for p in object_key.split("/"))]
        )

    def _object_key(self, key: str) -> str:
        parts = key.removeprefix(self._folder + "/").split("/")
        return "/".join("." + p[1:] if p[0] == "_" else p for p in parts)


async def move(source: Api, target: Api) -> None:
    """Copy every intent object into the cluster's API, with owner references that hold there."""
    uids: dict[str, str] = {}
    for resource in OWNERS_FIRST:
        for object in (await source.list(resource, NAMESPACE)).items:
            uids[object.uid] = (await _copy(target, resource, object, uids)).uid


async def _copy(target: Api, resource: Resource, object: Object, uids: dict[str, str]) -> Object:
    wanted = _portable(object, uids)
    try:
        made = await target.create(resource, wanted)
    except AlreadyExists:
        return await _adopt(target, resource, object, wanted)
    if resource in WITH_STATUS and object.status:
        patch = {"status": object.status}
        return await target.merge_patch(resource, NAMESPACE, object.name, patch, subresource="status")
    return made


async def _adopt(target: Api, resource: Resource, object: Object, wanted: Json) -> Object:
    """An earlier move made it, or kubeadm did (bootstrap tokens): it only lacks our labels."""
    found = await target.get(resource, NAMESPACE, object.name)
    labels = {k: v for k, v in (wanted["metadata"].get("labels") or {}).items() if found.labels.get(k) != v}
    if not labels:
        return found
    return await target.merge_patch(resource, NAMESPACE, object.name, {"metadata": {"labels": labels}})


def _portable(object: Object, uids: dict[str, str]) -> Json:
    moved = object.edit()
    metadata = moved["metadata"]
    for name in (
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "deletionTimestamp",
    ):
        metadata.pop(name, None)
    for reference in metadata.get("ownerReferences") or ():
        reference["uid"] = uids.get(reference["uid"], reference["uid"])
    return moved
