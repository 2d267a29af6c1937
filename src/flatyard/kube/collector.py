"""Garbage collection by owner references: background, foreground and orphaning deletion.

Follows kube-controller-manager's garbage collector: an object goes when none of its owners exists any more;
an owner in foreground deletion waits for the dependents that block it. Work comes from the owner index, never
from a scan.
"""

from __future__ import annotations

from flatyard.kube.api import EventType, Json, Object, OwnerReference, Propagation
from flatyard.kube.kinds import Kind
from flatyard.kube.registry import FOREGROUND, ORPHAN, Deletion, Registry
from flatyard.kube.shelf import Change, Key
from flatyard.kube.storage import owner_uids, owners


class Collector:
    """Looks at objects whose owners changed, and at owners whose dependents changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._storage = registry.storage
        self._queue: dict[str, None] = {}

    @property
    def patience(self) -> float:
        return 0.0

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def observe(self, change: Change) -> None:
        """Note what a write makes worth looking at."""
        object, before = change.object, change.previous
        gone = change.type is EventType.DELETED
        if gone or (object.deleting and (before is None or not before.deleting)):
            self._queue.update(self._storage.owned.get(object.uid, {}))
        if gone:
            self._queue_waiting_owners(object)
        elif (object.deleting and object.finalizers) or _new_owners(object, before):
            self._queue[object.uid] = None

    def _queue_waiting_owners(self, object: Object) -> None:
        for uid in owner_uids(object):
            if uid in self._storage.uids:
                self._queue[uid] = None

    def resume(self) -> None:
        """After a restart: look once at everything that has an owner or is in deletion."""
        for uid, (kind, key) in self._storage.uids.items():
            object = self._storage.get(kind, key)
            if object is not None and (object.deleting or owner_uids(object)):
                self._queue[uid] = None

    def settle(self) -> None:
        """Work until nothing is left to look at."""
        while self._queue:
            uid = next(iter(self._queue))
            del self._queue[uid]
            place = self._storage.uids.get(uid)
            if place is not None:
                self._look(*place)

    def _look(self, kind: Kind, key: Key) -> None:
        object = self._registry.get(kind, *key)
        if object.deleting and ORPHAN in object.finalizers:
            self._orphan(kind, key, object)
        elif object.deleting and FOREGROUND in object.finalizers:
            self._foreground(kind, key, object)
        elif not object.deleting:
            self._collect(kind, key, object)

    def _orphan(self, kind: Kind, key: Key, owner: Object) -> None:
        for dependent_kind, dependent_key in self._storage.dependents(owner.uid):
            self._disown(dependent_kind, dependent_key, (owner.uid,))
        self._without_finalizer(kind, key, ORPHAN)

    def _foreground(self, kind: Kind, key: Key, owner: Object) -> None:
        blocked = False
        for dependent_kind, dependent_key in self._storage.dependents(owner.uid):
            dependent = self._registry.get(dependent_kind, *dependent_key)
            blocked = blocked or _blocks(dependent, owner.uid)
            if not dependent.deleting:
                self._queue[dependent.uid] = None
        if not blocked:
            self._without_finalizer(kind, key, FOREGROUND)

    def _collect(self, kind: Kind, key: Key, object: Object) -> None:
        solid, waiting, dangling = self._sort_owners(object)
        if solid:
            self._disown(kind, key, (*waiting, *dangling))
        elif waiting and self._storage.owned.get(object.uid):
            self._delete(kind, key, object, Propagation.FOREGROUND)
        elif waiting or dangling:
            self._delete(kind, key, object, _wish(object))

    def _sort_owners(self, object: Object) -> tuple[list[str], list[str], list[str]]:
        """Uids of owners that live, that wait for their dependents, and that are gone."""
        solid: list[str] = []
        waiting: list[str] = []
        dangling: list[str] = []
        for reference, _ in owners(object):
            place = self._storage.uids.get(reference.uid)
            if place is None:
                (dangling if self._served(reference) else solid).append(reference.uid)
                continue
            owner = self._registry.get(place[0], *place[1])
            (waiting if owner.deleting and FOREGROUND in owner.finalizers else solid).append(reference.uid)
        return solid, waiting, dangling

    def _served(self, reference: OwnerReference) -> bool:
        """An owner of a kind that is not served here cannot be known to be gone."""
        return (reference.api_version, reference.kind) in self._storage.kinds

    def _delete(self, kind: Kind, key: Key, object: Object, propagation: Propagation) -> None:
        self._registry.delete(kind, key, Deletion(uid=object.uid, propagation=propagation))

    def _disown(self, kind: Kind, key: Key, uids: tuple[str, ...]) -> None:
        if not uids:
            return

        def change(raw: Json) -> Json:
            kept = [r for r in raw["metadata"].get("ownerReferences") or () if r["uid"] not in uids]
            raw["metadata"]["ownerReferences"] = kept
            if not kept:
                del raw["metadata"]["ownerReferences"]
            return raw

        self._registry.patch(kind, key, change)

    def _without_finalizer(self, kind: Kind, key: Key, finalizer: str) -> None:
        def change(raw: Json) -> Json:
            metadata = raw["metadata"]
            metadata["finalizers"] = [f for f in metadata.get("finalizers") or () if f != finalizer]
            return raw

        self._registry.patch(kind, key, change)


def _new_owners(object: Object, before: Object | None) -> bool:
    uids = owner_uids(object)
    return bool(uids) and (before is None or owner_uids(before) != uids)


def _blocks(dependent: Object, owner: str) -> bool:
    return any(reference.uid == owner and blocks for reference, blocks in owners(dependent))


def _wish(object: Object) -> Propagation:
    """How the object's own finalizers ask it to be deleted."""
    if ORPHAN in object.finalizers:
        return Propagation.ORPHAN
    return Propagation.FOREGROUND if FOREGROUND in object.finalizers else Propagation.BACKGROUND
