"""What the parts of a simulated control plane share: store, clock, work, etcd's quorum and the running kubelets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flatyard.base.world import World, rfc3339
from flatyard.kube import resources as r
from flatyard.kube.api import ApiError, Json, Object, WatchEvent
from flatyard.kube.memory import MemoryApi
from flatyard.kube.registry import Deletion
from flatyard.kube.resources import Resource
from flatyard.kube.shelf import Key
from flatyard.sim.kubernetes.etcd import Quorum
from flatyard.sim.kubernetes.kubelet import Kubelet
from flatyard.sim.kubernetes.work import Work
from flatyard.sim.timings import Timings

Watcher = asyncio.Queue[WatchEvent | ApiError]


def join_key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"


def split_key(key: str) -> Key:
    namespace, _, name = key.partition("/")
    return namespace, name


@dataclass(slots=True)
class Context:
    """The control plane's view of itself. Reads are of the store as it is; writes belong into `Work`."""

    api: MemoryApi
    world: World
    timings: Timings
    work: Work
    quorum: Quorum
    watchers: dict[Watcher, None] = field(default_factory=dict)
    """The watches that clients have open."""
    kubelets: dict[str, Kubelet] = field(default_factory=dict)
    """The running kubelets by node name."""
    silent_since: dict[str, float] = field(default_factory=dict)
    """Since when (loop time) a node's kubelet has not been heard of."""
    pod_subnet: str = ""
    node_mask: int = 24
    serving_requests: bool = False
    """The kubelets' configuration says `serverTLSBootstrap`."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def stamp(self) -> str:
        return rfc3339(self.world.now())

    def random(self) -> random.Random:
        return self.world.random()

    def objects(self, resource: Resource) -> Mapping[Key, Object]:
        return self.api.storage.shelves[self.api.kind(resource)].objects

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self.objects(resource).get((namespace, name))

    def owned(self, owner: Object, resource: Resource) -> list[Object]:
        """Objects of one kind whose controller is `owner`, in the order of their making."""
        kind = self.api.kind(resource)
        found = []
        for dependent, key in self.api.storage.dependents(owner.uid):
            object = self.api.storage.get(dependent, key) if dependent is kind else None
            if object is not None and object.controller is not None and object.controller.uid == owner.uid:
                found.append(object)
        return found

    def pods_on(self, node: str) -> list[Object]:
        """The pods bound to a node, from the index."""
        shelf = self.api.storage.shelves[self.api.kind(r.PODS)]
        keys = shelf.indexes.get("spec.nodeName", {}).get(node, {})
        return [shelf.objects[key] for key in keys]

    def create(self, resource: Resource, raw: Json) -> Object:
        return self.api.registry.create(self.api.kind(resource), raw)

    def create_missing(self, resource: Resource, raw: Json) -> None:
        """Create an object unless one of its name is there."""
        metadata = raw["metadata"]
        if self.get(resource, metadata.get("namespace", ""), metadata["name"]) is None:
            self.create(resource, raw)

    def set_status(self, resource: Resource, object: Object, status: Json) -> None:
        if status != object.status:
            raw = {**object.raw, "metadata": dict(object.metadata), "status": status}
            self.api.registry.replace(self.api.kind(resource), raw, subresource="status")

    def change(
        self, resource: Resource, object: Object, *, spec: Json | None = None, **metadata: object
    ) -> None:
        """Store the object with another spec, or other labels, annotations …"""
        raw = {**object.raw, "metadata": {**object.metadata, **metadata}}
        if spec is not None:
            raw["spec"] = spec
        self.api.registry.replace(self.api.kind(resource), raw)

    def remove(self, resource: Resource, object: Object, grace: int | None = None) -> None:
        how = Deletion(uid=object.uid, grace_seconds=grace)
        self.api.registry.delete(self.api.kind(resource), (object.namespace, object.name), how)


def owner_reference(owner: Object, api_version: str) -> Json:
    """A controlling owner reference."""
    return {
        "apiVersion": api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def condition(conditions: Sequence[Json], kind: str) -> Json:
    """The condition of a type, or an empty one."""
    return next((c for c in conditions if c.get("type") == kind), {})


def tolerates(tolerations: Sequence[Json], key: str, value: str, effect: str) -> bool:
    """Whether one of the tolerations covers a taint."""
    return any(_covers(toleration, key, value, effect) for toleration in tolerations)


def _covers(toleration: Json, key: str, value: str, effect: str) -> bool:
    if toleration.get("effect") and toleration["effect"] != effect:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return not toleration.get("key") or toleration["key"] == key
    return bool(toleration.get("key") == key) and str(toleration.get("value", "")) == value
