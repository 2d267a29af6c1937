"""The exact create request of each attempt, kept with the machine's intent from before it is sent until it joined.

Rendering twice would give two different configs (tokens, stash URLs) under one idempotency token, which clouds
refuse or, worse, take for two machines. So what was rendered first is what every retry sends.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

from flatyard.clouds.cloud import ClusterRef, CreateRequest, Network, Role
from flatyard.decode import encode, from_json
from flatyard.engine.labels import ATTEMPT, NAMESPACE, REQUEST_SECRET_TYPE
from flatyard.kube.api import AlreadyExists, Api, Json, NotFound, Object
from flatyard.kube.resources import MACHINES, SECRETS
from flatyard.model.annotations import MACHINE_ID
from flatyard.model.machines import BY_CLOUD


async def load(book: Api, machine_id: str) -> CreateRequest | None:
    """The request that was persisted for this machine, or None."""
    try:
        return decode_request((await book.get(SECRETS, NAMESPACE, _name(machine_id))).raw)
    except NotFound:
        return None


async def keep(book: Api, machine: Object, request: CreateRequest, cloud: str) -> CreateRequest:
    """Persist `request` unless an earlier run did; returns the one that counts."""
    try:
        await book.create(SECRETS, _secret(machine, request, cloud))
    except AlreadyExists:
        kept = await load(book, request.machine_id)
        return request if kept is None else kept
    return request


async def drop(book: Api, machine_id: str) -> None:
    """The machine has joined, or this attempt is over."""
    try:
        await book.delete(SECRETS, NAMESPACE, _name(machine_id))
    except NotFound:
        return


def _name(machine_id: str) -> str:
    return f"flatyard-create-{machine_id.lower()}"


def _secret(machine: Object, request: CreateRequest, cloud: str) -> Json:
    owner = {
        "apiVersion": MACHINES.api_version,
        "kind": MACHINES.kind,
        "name": machine.name,
        "uid": machine.uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": _name(request.machine_id),
            "namespace": NAMESPACE,
            "labels": {MACHINE_ID: request.machine_id, ATTEMPT: str(request.attempt)},
            "ownerReferences": [owner],
        },
        "type": REQUEST_SECRET_TYPE,
        "data": {"request": base64.b64encode(encode_request(request, cloud)).decode()},
    }


def encode_request(request: CreateRequest, cloud: str) -> bytes:
    """Canonical JSON of the request; `cloud` names the machine spec's type."""
    fields: dict[str, Any] = {
        "cloud": cloud,
        "cluster": asdict(request.cluster),
        "machine_id": request.machine_id,
        "attempt": request.attempt,
        "name": request.name,
        "role": request.role,
        "pool": request.pool,
        "zone": request.zone,
        "image": request.image,
        "machine": encode(request.machine),
        "network": asdict(request.network),
        "user_data": base64.b64encode(request.user_data).decode(),
        "stash_key": request.stash_key,
        "tags": dict(request.tags),
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def decode_request(secret: Json) -> CreateRequest:
    """The request in a Secret made by `keep`."""
    fields: dict[str, Any] = json.loads(base64.b64decode(secret["data"]["request"]))
    cloud = fields.pop("cloud")
    network = fields["network"]
    network |= {"subnets": tuple(network["subnets"]), "zones": tuple(network["zones"])}
    return CreateRequest(
        **fields
        | {
            "cluster": ClusterRef(**fields["cluster"]),
            "role": Role(fields["role"]),
            "machine": from_json(BY_CLOUD[cloud], fields["machine"]),
            "network": Network(**network),
            "user_data": base64.b64decode(fields["user_data"]),
        }
    )
