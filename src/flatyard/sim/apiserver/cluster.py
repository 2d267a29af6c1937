"""The simulated API with what a new cluster has: our definitions and the Service of the API itself."""

from __future__ import annotations

from collections.abc import Iterable

from flatyard.base.world import World
from flatyard.kube.api import Json, Object
from flatyard.kube.kinds import BUILT_IN
from flatyard.kube.memory import MemoryApi, Persist
from flatyard.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, SERVICES
from flatyard.sim import crds
from flatyard.sim.apiserver.admission import SchemaAdmission

CONTROLLER_SECONDS = 0.1
"""How long after a write garbage collection and the like follow."""


async def make_api(
    world: World,
    *,
    persist: Persist | None = None,
    stored: Iterable[tuple[str, bytes]] = (),
    delay: float | None = CONTROLLER_SECONDS,
    budgets: bool = True,
    port: int = 6443,
) -> MemoryApi:
    """A cluster's API in its first state, or in the state in which an earlier life left it.

    `delay` and `budgets` are MemoryApi's. `port` is where the API says that it listens.
    """
    admission = SchemaAdmission()
    kinds = (*BUILT_IN, *crds.kinds())
    api = MemoryApi(
        world, kinds, persist=persist, stored=stored, admission=admission, delay=delay, budgets=budgets
    )
    admission.storage = api.storage
    for definition in crds.definitions():
        await _ensure(api, definition)
    await _ensure_own_service(api, port)
    return api


async def _ensure(api: MemoryApi, definition: Json) -> None:
    kind = api.kind(CUSTOM_RESOURCE_DEFINITIONS)
    if api.storage.get(kind, ("", definition["metadata"]["name"])) is not None:
        return
    made = await api.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    await api.replace_status(CUSTOM_RESOURCE_DEFINITIONS, {**made.raw, "status": _established(api, made)})


def _established(api: MemoryApi, definition: Object) -> Json:
    stamp = api.registry.stamp()
    names = definition.spec["names"]
    conditions = [
        _condition("NamesAccepted", "NoConflicts", "no conflicts found", stamp),
        _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", stamp),
    ]
    versions = [version["name"] for version in definition.spec["versions"] if version["storage"]]
    return {"conditions": conditions, "acceptedNames": names, "storedVersions": versions}


def _condition(type: str, reason: str, message: str, stamp: str) -> Json:
    status = {"type": type, "status": "True", "lastTransitionTime": stamp}
    return {**status, "reason": reason, "message": message}


async def _ensure_own_service(api: MemoryApi, port: int) -> None:
    if api.storage.get(api.kind(SERVICES), ("default", "kubernetes")) is not None:
        return
    labels = {"component": "apiserver", "provider": "kubernetes"}
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
    await api.create(SERVICES, {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {"clusterIP": "10.96.0.1", "ports": ports},
    })  # fmt: skip
