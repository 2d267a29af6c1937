"""CustomResourceDefinitions at work: a kind is served as long as its definition is there."""

from __future__ import annotations

from flatyard.kube.api import EventType, Json, Object
from flatyard.kube.kinds import Kind, from_definition
from flatyard.kube.memory import MemoryApi
from flatyard.kube.registry import Deletion
from flatyard.kube.resources import CUSTOM_RESOURCE_DEFINITIONS
from flatyard.kube.shelf import Change


class Definitions:
    """Serves, redefines and withdraws kinds, and deletes the objects of a kind whose definition is gone."""

    def __init__(self, api: MemoryApi) -> None:
        self._api = api
        self._kind = api.kind(CUSTOM_RESOURCE_DEFINITIONS)
        self._gone: dict[Kind, None] = {}

    @property
    def patience(self) -> float:
        return 0.0

    @property
    def busy(self) -> bool:
        return bool(self._gone)

    def observe(self, change: Change) -> None:
        if change.kind is not self._kind:
            return
        if change.type is EventType.DELETED:
            self._drop(change.object)
        elif change.previous is None or change.previous.spec != change.object.spec:
            self._serve(change.object)

    def _serve(self, definition: Object) -> None:
        kind = from_definition(definition.raw)
        old = self._api.storage.kinds.get(kind.key)
        if old is None:
            self._api.serve(kind)
        elif old.custom:
            self._gone.pop(old, None)
            self._api.redefine(old, kind)

    def _drop(self, definition: Object) -> None:
        kind = self._api.storage.kinds.get(from_definition(definition.raw).key)
        if kind is not None and kind.custom:
            self._gone[kind] = None

    def settle(self) -> None:
        """Delete what is left of the kinds that are gone; finalizers do not hold it, nobody is left to ask."""
        storage, registry = self._api.storage, self._api.registry
        while self._gone:
            kind = next(iter(self._gone))
            del self._gone[kind]
            for key in list(storage.shelves[kind].objects):
                registry.delete(kind, key, Deletion())
                if storage.get(kind, key) is not None:
                    storage.remove(kind, key)
            self._api.withdraw(kind)

    def resume(self) -> None:
        """Serve exactly what is defined now."""
        defined = self._api.storage.shelves[self._kind].objects
        for definition in defined.values():
            if from_definition(definition.raw).key not in self._api.storage.kinds:
                self._serve(definition)
        for kind in self._api.storage.kinds.values():
            if kind.custom and ("", kind.resource.qualified) not in defined:
                self._gone[kind] = None


def established(definition: Json, stamp: str) -> Json:
    """The status of a definition that is served."""
    conditions = [
        _condition("NamesAccepted", "NoConflicts", "no conflicts found", stamp),
        _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", stamp),
    ]
    spec = definition["spec"]
    versions = [version["name"] for version in spec["versions"] if version.get("storage")]
    return {"conditions": conditions, "acceptedNames": spec["names"], "storedVersions": versions}


def _condition(type: str, reason: str, message: str, stamp: str) -> Json:
    status = {"type": type, "status": "True", "lastTransitionTime": stamp}
    return {**status, "reason": reason, "message": message}
