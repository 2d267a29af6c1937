"""The life of namespaces: those that every cluster starts with, and emptying one that is being deleted.

Follows kube-controller-manager's namespace controller.
"""

from __future__ import annotations

from flatyard.kube.api import EventType, Json
from flatyard.kube.registry import Deletion, Registry
from flatyard.kube.resources import NAMESPACES
from flatyard.kube.shelf import Change

START = ("default", "kube-node-lease", "kube-public", "kube-system")
"""Namespaces that are there from the start."""

PATIENCE = 5.0
"""Seconds for which a namespace's contents outlive its deletion, as the real controller has it."""
CONCLUSION = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions",
     "All legacy kube types successfully parsed"),
    ("NamespaceDeletionContentFailure", "ContentDeleted",
     "All content successfully deleted, may be waiting on finalization"),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
)  # fmt: skip
"""Conditions of a namespace that is about to go: none of these holds."""


class NamespaceController:
    """Deletes what is in a terminating namespace, then the namespace."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._storage = registry.storage
        self._kind = self._storage.kinds[NAMESPACES.api_version, NAMESPACES.kind]
        self._ending: dict[str, None] = {}
        self._queue: dict[str, None] = {}

    @property
    def patience(self) -> float:
        return PATIENCE

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def start(self) -> None:
        """Create the first namespaces where they are missing."""
        for name in START:
            if self._storage.get(self._kind, ("", name)) is None:
                self._registry.create(self._kind, {"metadata": {"name": name}})

    def resume(self) -> None:
        """After a restart: go on with the namespaces that were being deleted."""
        for object in self._storage.shelves[self._kind].objects.values():
            if object.deleting:
                self._ending[object.name] = self._queue[object.name] = None

    def observe(self, change: Change) -> None:
        if change.kind is self._kind:
            name = change.object.name
            if change.type is EventType.DELETED:
                self._ending.pop(name, None)
            elif change.object.deleting:
                self._ending[name] = self._queue[name] = None
        elif change.type is EventType.DELETED and change.key[0] in self._ending:
            self._queue[change.key[0]] = None

    def settle(self) -> None:
        """Empty the terminating namespaces; finish those that are empty."""
        while self._queue:
            name = next(iter(self._queue))
            del self._queue[name]
            if name in self._ending and not self._empty(name):
                self._finish(name)

    def _empty(self, namespace: str) -> bool:
        """Delete what is left; True when something still is."""
        left = False
        for kind, shelf in self._storage.shelves.items():
            for name, object in list(shelf.namespaces.get(namespace, {}).items()):
                if kind.resource.namespaced and not object.deleting:
                    self._registry.delete(kind, (namespace, name), Deletion(uid=object.uid))
            left = left or (kind.resource.namespaced and bool(shelf.namespaces.get(namespace)))
        return left

    def _finish(self, name: str) -> None:
        """Say that everything is gone, then take the finalizer away."""
        self._registry.patch(self._kind, ("", name), self._concluded, subresource="status")

        def change(raw: Json) -> Json:
            raw["spec"] = {**raw["spec"]}
            raw["spec"].pop("finalizers", None)
            return raw

        self._registry.patch(self._kind, ("", name), change)

    def _concluded(self, raw: Json) -> Json:
        stamp = self._registry.stamp()
        conditions = [
            {
                "type": type,
                "status": "False",
                "lastTransitionTime": stamp,
                "reason": reason,
                "message": message,
            }
            for type, reason, message in CONCLUSION
        ]
        return {**raw, "status": {**raw["status"], "conditions": conditions}}
