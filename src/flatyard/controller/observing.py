"""Looking at a cluster without its background process, which would act: only what `plan` compares with."""

from __future__ import annotations

from flatyard.base.world import RealWorld
from flatyard.controller.clients import HttpClients
from flatyard.engine import record as records
from flatyard.engine import secrets
from flatyard.engine.apply import observe
from flatyard.engine.patience import answer_within
from flatyard.engine.plan import Observed
from flatyard.kube.api import Unreachable
from flatyard.store import open_store

ANSWER = 10.0
"""Seconds for which the cluster's API is waited for."""


async def observed(name: str) -> Observed | None:
    """What the API of a cluster that is not simulated says; None before it has one, and where it does not answer."""
    world = RealWorld()
    store = open_store(None, world)
    record = await records.load(store, name)
    if record is None or record.endpoint is None or record.phase is not records.Phase.RUNNING:
        return None
    clients = HttpClients(world, by_name=record.cloud != "local")
    try:
        async with answer_within(ANSWER):
            return await observe(clients.connect(record.endpoint, await secrets.load(store, name)), record)
    except Unreachable:
        return None
    finally:
        await clients.close()
