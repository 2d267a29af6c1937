"""Bootstrap tokens: one per machine, its own auth group, short-lived, gone once the machine has joined.

A token is a Secret in the book under the name that Kubernetes gives it, so that the same object works before the
cluster exists (it then rides in kubeadm's InitConfiguration) and inside it (the API server's token authenticator
knows its type). Its public half comes from the machine id, so that it is found without a search.
"""

from __future__ import annotations

import base64
import hashlib

from flatyard.base.errors import Failed
from flatyard.base.world import World, parse_stamp, rfc3339
from flatyard.engine.labels import NAMESPACE
from flatyard.kube.api import AlreadyExists, Api, Json, NotFound, Object
from flatyard.kube.resources import SECRETS
from flatyard.model.annotations import MACHINE_ID
from flatyard.pki import SECRET_TYPE, BootstrapToken, new_token

LIFETIME = 30 * 60.0
RENEW_BELOW = 10 * 60.0
PROBES = 8
"""Token ids tried when another machine's id happens to give the same one (1 in 2 × 10⁹)."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


async def ensure(book: Api, world: World, machine_id: str) -> BootstrapToken:
    """The machine's token, made if it has none and prolonged if it would soon expire."""
    found = await find(book, machine_id)
    if found is None:
        found = await _create(book, world, machine_id)
    elif -world.age(parse_stamp(field_of(found, "expiration"))) < RENEW_BELOW:
        found = await _prolong(book, world, found)
    return token_of(found)


async def find(book: Api, machine_id: str) -> Object | None:
    """The Secret that holds the machine's token."""
    for probe in range(PROBES):
        try:
            found = await book.get(SECRETS, NAMESPACE, _probe(machine_id, probe, "").secret_name)
        except NotFound:
            return None
        if found.labels.get(MACHINE_ID, machine_id) == machine_id:
            return found
    return None


async def remove(book: Api, machine_id: str) -> None:
    """The machine has joined or will never join: its token must not work any more."""
    found = await find(book, machine_id)
    if found is not None:
        try:
            await book.delete(SECRETS, NAMESPACE, found.name)
        except NotFound:
            return


def token_of(secret: Object) -> BootstrapToken:
    """The token in a Secret."""
    return BootstrapToken(field_of(secret, "token-id"), field_of(secret, "token-secret"))


async def _create(book: Api, world: World, machine_id: str) -> Object:
    half = new_token(world).secret
    for probe in range(PROBES):
        try:
            return await book.create(SECRETS, _secret(world, machine_id, _probe(machine_id, probe, half)))
        except AlreadyExists:
            continue
    raise Failed(
        f"no free bootstrap token id for machine {machine_id}", next="delete expired bootstrap tokens"
    )


async def _prolong(book: Api, world: World, secret: Object) -> Object:
    changed = secret.edit()
    changed["data"]["expiration"] = _base64(rfc3339(world.later(LIFETIME)))
    return await book.replace(SECRETS, changed)


def _secret(world: World, machine_id: str, token: BootstrapToken) -> Json:
    data = token.secret_data(machine_id, world.later(LIFETIME), f"first boot of machine {machine_id}")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": token.secret_name,
            "namespace": NAMESPACE,
            "labels": {MACHINE_ID: machine_id},
        },
        "type": SECRET_TYPE,
        "data": {name: _base64(value) for name, value in data.items()},
    }


def _probe(machine_id: str, probe: int, secret: str) -> BootstrapToken:
    number = int.from_bytes(hashlib.sha256(f"{machine_id}/{probe}".encode()).digest()[:8], "big")
    return BootstrapToken("".join(_LETTERS[number // 36**place % 36] for place in range(6)), secret)


def field_of(secret: Object, name: str) -> str:
    """One field of a token's Secret, decoded."""
    return base64.b64decode(secret.raw["data"][name]).decode()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
