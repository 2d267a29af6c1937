"""What the faces ask the engine to do: write intent, bring up, scale, restart, take down.

A face that finds a living engine writes intent and watches; one that finds none runs the engine itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from flatyard.base.errors import Failed, Refused
from flatyard.base.world import rfc3339_micro
from flatyard.engine import record as records
from flatyard.engine import restart as restarts
from flatyard.engine import secrets
from flatyard.engine.apply import apply, observe
from flatyard.engine.book import open_store_book
from flatyard.engine.context import Seams
from flatyard.engine.labels import NAMESPACE
from flatyard.engine.leadership import LOCK_SECONDS
from flatyard.engine.manifests import apply_definitions
from flatyard.engine.plan import NOTHING, Observed, Plan
from flatyard.engine.record import ClusterRecord, Phase
from flatyard.engine.run import Outcome, engine_of
from flatyard.engine.wanted import Wanted
from flatyard.kube.api import Api, NotFound
from flatyard.kube.resources import MACHINE_DEPLOYMENTS, MACHINES
from flatyard.model.annotations import RESTART


async def bring_up(seams: Seams, wanted: Wanted, deadline: float) -> tuple[Plan, Outcome]:
    """Write the intent and reconcile until done, or for `deadline` seconds."""
    made = await write_intent(seams, wanted)
    async with engine_of(seams, wanted.name) as engine:
        return made, await engine.until_done(deadline)


async def take_down(seams: Seams, name: str, deadline: float, *, delete_volumes: bool = False) -> Outcome:
    """Set the tombstone and delete until nothing is left, or for `deadline` seconds."""
    if await write_tombstone(seams, name, delete_volumes=delete_volumes) is None:
        await _clear_lock(seams, name)
        return Outcome((), gone=True)
    async with engine_of(seams, name) as engine:
        return await engine.until_done(deadline)


async def _clear_lock(seams: Seams, name: str) -> None:
    """A run that died right after its last deletion left its lock behind."""
    lock = await seams.store.lock(f"clusters/{name}", seams.holder, LOCK_SECONDS)
    await lock.release()


async def scale(seams: Seams, name: str, pool: str, replicas: int, deadline: float) -> Outcome:
    """Write the number of a pool's machines and reconcile until done, or for `deadline` seconds."""
    await write_replicas(seams, name, pool, replicas)
    async with engine_of(seams, name) as engine:
        return await engine.until_done(deadline)


async def restart(seams: Seams, name: str, machines: Sequence[str], request: str, deadline: float) -> Outcome:
    """Ask for a restart of these machines and reconcile until done, or for `deadline` seconds."""
    await write_restarts(seams, name, machines, request)
    async with engine_of(seams, name) as engine:
        return await engine.until_done(deadline)


async def write_intent(seams: Seams, wanted: Wanted) -> Plan:
    """Write what the documents changed into the cluster's book, making the cluster's record if there is none.

    Raises Refused for a change that cannot be made, store.Locked when another run is building the cluster.
    """
    record = await _record(seams, wanted)
    async with _book(seams, record) as book:
        if record.phase is Phase.RUNNING:
            await apply_definitions(book)  # what the definition of an older release lacks, the API would drop
        made, _ = await apply(book, seams.store, record, wanted)
    return made


async def look(seams: Seams, name: str) -> Observed:
    """What is there of the cluster called `name`, for a plan; takes no lock and writes nothing."""
    record = await records.load(seams.store, name)
    if record is None:
        return NOTHING
    if record.phase is Phase.RUNNING:
        return await observe(await connect(seams, record), record)
    return await observe(await open_store_book(seams.store, seams.world, name), record)


async def write_replicas(seams: Seams, name: str, pool: str, replicas: int) -> None:
    """Write the wanted number of machines of one MachineDeployment."""
    record = await _existing(seams, name)
    async with _book(seams, record) as book:
        try:
            await book.scale(MACHINE_DEPLOYMENTS, NAMESPACE, pool, replicas)
        except NotFound:
            known = [d.name for d in (await book.list(MACHINE_DEPLOYMENTS, NAMESPACE)).items]
            raise Failed(
                f"cluster {name} has no pool {pool!r}", why=f"it has {', '.join(known) or 'none'}"
            ) from None


async def write_restarts(seams: Seams, name: str, machines: Sequence[str], request: str) -> None:
    """Ask for a restart of each of these machines, which are told by their own names or their nodes'.

    `request` tells this wish from others: the same one again asks for nothing new, and a machine whose restart is
    still wanted is not restarted once more for another. Raises Failed, Refused before anything is written.
    """
    record = await _existing(seams, name)
    _refuse_deleted(record)
    async with _book(seams, record) as book:
        present = (await book.list(MACHINES, NAMESPACE)).items
        wanted = restarts.chosen(name, present, machines)
        restarts.refuse(name, present, wanted)
        patch = {"metadata": {"annotations": {RESTART: request}}}
        for machine in wanted:
            if not restarts.is_wanted(machine):
                await book.merge_patch(MACHINES, NAMESPACE, machine.name, patch)


async def write_tombstone(seams: Seams, name: str, *, delete_volumes: bool = False) -> ClusterRecord | None:
    """Mark the cluster as being deleted, before anything of it is; None when there is no such cluster."""
    record = await records.load(seams.store, name)
    if record is None or (record.phase is Phase.DELETING and record.delete_volumes >= delete_volumes):
        return record
    since = record.deleting_since or rfc3339_micro(seams.world.now())
    marked = replace(record, phase=Phase.DELETING, deleting_since=since, delete_volumes=delete_volumes)
    return await records.save(seams.store, marked)


async def connect(seams: Seams, record: ClusterRecord) -> Api:
    """A client of the cluster's own API."""
    if record.endpoint is None:
        raise Failed(
            f"cluster {record.name} has no endpoint yet", next="flatyard up FILE goes on building it"
        )
    return seams.clients.connect(record.endpoint, await secrets.load(seams.store, record.name))


async def _existing(seams: Seams, name: str) -> ClusterRecord:
    record = await records.load(seams.store, name)
    if record is None:
        known = ", ".join(await records.names(seams.store))
        raise Failed(
            f"there is no cluster {name!r}", why=f"known: {known or 'none'}", next="flatyard up FILE"
        )
    return record


async def _record(seams: Seams, wanted: Wanted) -> ClusterRecord:
    record = await records.load(seams.store, wanted.name)
    if record is None:
        record = await records.create(seams.store, seams.world, wanted.name, wanted.cluster.spec.cloud.name)
    _refuse_deleted(record)
    await secrets.ensure(seams.store, seams.world, wanted.name)
    return record


def _refuse_deleted(record: ClusterRecord) -> None:
    if record.phase is Phase.DELETING:
        raise Refused(
            f"cluster {record.name} is being deleted",
            next=f"flatyard down {record.name} finishes the deletion",
        )


@asynccontextmanager
async def _book(seams: Seams, record: ClusterRecord) -> AsyncIterator[Api]:
    """The book to write intent into; the store's one only under the lock."""
    if record.phase is Phase.RUNNING:
        yield await connect(seams, record)
        return
    lock = await seams.store.lock(f"clusters/{record.name}", seams.holder, LOCK_SECONDS)
    try:
        yield await open_store_book(seams.store, seams.world, record.name)
    finally:
        await lock.release()
