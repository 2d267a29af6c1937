"""The simulated API with what a new cluster has: our definitions and the Service of the API itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from flatyard.base.world import World
from flatyard.kube import crds
from flatyard.kube.api import Json
from flatyard.kube.kinds import BUILT_IN, Kind, from_definition
from flatyard.kube.memory import MemoryApi, Persist
from flatyard.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, SERVICES
from flatyard.sim.apiserver.admission import SchemaAdmission
from flatyard.sim.apiserver.definitions import Definitions

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
    definitions: Sequence[Json] | None = None,
) -> MemoryApi:
    """A cluster's API in its first state, or in the state in which an earlier life left it.

    `delay` and `budgets` are MemoryApi's. `port` is where the API says that it listens, `definitions` are those
    that a new cluster has, by default our own.
    """
    admission = SchemaAdmission()
    found = list(stored)
    api = MemoryApi(
        world,
        (*BUILT_IN, *_defined(found)),
        persist=persist,
        stored=found,
        admission=admission,
        delay=delay,
        budgets=budgets,
    )
    admission.storage = api.storage
    api.add(Definitions(api))
    for definition in crds.definitions() if definitions is None else definitions:
        await _ensure(api, definition)
    await _ensure_own_service(api, port)
    return api


def _defined(stored: Iterable[tuple[str, bytes]]) -> list[Kind]:
    """The kinds that stored definitions make; their objects cannot be read without them."""
    prefix = f"{CUSTOM_RESOURCE_DEFINITIONS.qualified}/"
    return [from_definition(json.loads(value)) for key, value in stored if key.startswith(prefix)]


async def _ensure(api: MemoryApi, definition: Json) -> None:
    kind = api.kind(CUSTOM_RESOURCE_DEFINITIONS)
    if api.storage.get(kind, ("", definition["metadata"]["name"])) is None:
        await api.create(CUSTOM_RESOURCE_DEFINITIONS, definition)


async def _ensure_own_service(api: MemoryApi, port: int) -> None:
    if api.storage.get(api.kind(SERVICES), ("default", "kubernetes")) is not None:
        return
    labels = {"component": "apiserver", "provider": "kubernetes"}
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
    await api.create(SERVICES, {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {"clusterIP": "10.96.0.1", "ports": ports},
    })  # fmt: skip
