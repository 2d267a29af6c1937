"""Writing a plan into the book and remembering what was applied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from flatyard.base.errors import Refused
from flatyard.engine import record as records
from flatyard.engine.labels import NAMESPACE
from flatyard.engine.plan import Observed, Plan, Write, plan
from flatyard.engine.record import ClusterRecord
from flatyard.engine.wanted import Wanted
from flatyard.kube.api import AlreadyExists, Api, Json, NotFound
from flatyard.kube.resources import CLUSTERS, MACHINE_DEPLOYMENTS, MACHINES, Resource
from flatyard.store import Store

_RESOURCES: Mapping[str, Resource] = {"Cluster": CLUSTERS, "MachineDeployment": MACHINE_DEPLOYMENTS}


async def observe(book: Api, record: ClusterRecord | None) -> Observed:
    """What the book and the record say is there."""
    live: dict[str, Json] = {}
    for kind, resource in _RESOURCES.items():
        for object in (await book.list(resource, NAMESPACE)).items:
            live[f"{kind}/{object.name}"] = object.raw
    machines = (await book.list(MACHINES, NAMESPACE, labels="node-role.kubernetes.io/control-plane")).items
    return Observed(
        exists=record is not None,
        live=live,
        applied=applied_objects(record),
        has_network=record is not None and record.network is not None,
        has_endpoint=record is not None and record.endpoint is not None,
        control_planes=len(machines),
    )


def applied_objects(record: ClusterRecord | None) -> dict[str, Json]:
    """The objects of the last apply by `Kind/name`."""
    found: dict[str, Json] = {}
    for text in record.applied if record else ():
        object = json.loads(text)
        found[f"{object['kind']}/{object['metadata']['name']}"] = object
    return found


async def apply(book: Api, store: Store, record: ClusterRecord, wanted: Wanted) -> tuple[Plan, ClusterRecord]:
    """Write what the documents changed. Raises Refused, before any write, when a change cannot be made.

    What is written is remembered last: a run that dies in between compares with the older apply and writes the
    same again.
    """
    made = plan(wanted, await observe(book, record))
    refuse(made)
    for write in made.writes:
        await _write(book, write)
    applied = tuple(json.dumps(o, sort_keys=True, separators=(",", ":")) for o in wanted.objects().values())
    if applied != record.applied:
        record = await records.save(store, replace(record, applied=applied))
    return made, record


def refuse(made: Plan) -> None:
    """Stop before the first write when something in the plan cannot be done."""
    if made.refused:
        object, field = made.refused[0]
        more = f" (and {len(made.refused) - 1} more)" if len(made.refused) > 1 else ""
        raise Refused(
            f"{object}: {field.path} cannot change from {field.old} to {field.new}{more}",
            next=field.way,
        )


async def _write(book: Api, write: Write) -> None:
    resource = _RESOURCES[write.kind]
    if write.object is not None:
        try:
            await book.create(resource, write.object)
        except AlreadyExists:
            await book.merge_patch(resource, NAMESPACE, write.name, write.object)
    elif write.patch is not None:
        await book.merge_patch(resource, NAMESPACE, write.name, write.patch)
    else:
        try:
            await book.delete(resource, NAMESPACE, write.name)
        except NotFound:
            return
