"""Short-lived delivery of first-boot secrets: an object in the cluster's own container, behind a temporary URL.

The container's key signs URLs (Swift's TempURL middleware; Ceph's RGW does the same), so no machine needs a login.
The object ends by itself too (X-Delete-After).
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote, urlsplit, urlunsplit

import requests

from flatyard.clouds.cloud import ClusterRef, Owned, Rejected, Stashed, StashForbidden
from flatyard.clouds.naming import bucket_of
from flatyard.clouds.openstack.answers import FORBIDDEN, NOT_FOUND, missing_is_fine
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.facts import FACTS

KIND = "bucket"
SERVICE = "object-store"
_KEY = "X-Container-Meta-Temp-URL-Key"
_CLUSTER = "X-Container-Meta-Flatyard-Cluster"
_NO_STORE = (
    "give the project an object store (Swift, or Ceph's RGW); see docs/openstack.md, First-boot secrets"
)


async def put(client: Client, ref: ClusterRef, key: str, blob: bytes, ttl: float) -> Stashed:
    """Upload, and sign. Raises StashForbidden where there is no object store, or where it refuses."""
    await client.log_in()
    if not client.has(SERVICE):
        raise StashForbidden("this OpenStack has no object store", next=_NO_STORE)
    seconds = int(min(ttl, FACTS.stash.longest_ttl))
    try:
        secret = await _container(client, ref)
        await client.read(
            f"stashing {key}",
            lambda: _ask(client, "PUT", f"{bucket_of(ref)}/{key}", {"X-Delete-After": str(seconds)}, blob),
        )
    except Rejected as no:
        if no.code == FORBIDDEN:
            raise StashForbidden(no.what, why=no.why, next=_NO_STORE) from None
        raise
    expires = int(client.world.later(seconds).timestamp())
    return Stashed(key, signed(_base(client), f"{bucket_of(ref)}/{key}", secret, expires))


async def take_away(client: Client, ref: ClusterRef, key: str) -> None:
    """Delete one object; a missing one is fine."""
    await client.log_in()
    if client.has(SERVICE):
        with missing_is_fine():
            await client.read(f"deleting {key}", lambda: _ask(client, "DELETE", f"{bucket_of(ref)}/{key}"))


async def owned(client: Client, ref: ClusterRef) -> tuple[Owned, ...]:
    """The cluster's container, which is marked as its own."""
    await client.log_in()
    if not client.has(SERVICE):
        return ()
    name = bucket_of(ref)
    try:
        found = await client.read(f"looking for container {name}", lambda: _ask(client, "HEAD", name))
    except Rejected as no:
        if no.code == NOT_FOUND:
            return ()
        raise
    return (Owned(KIND, name, name),) if found.headers.get(_CLUSTER) == ref.id else ()


async def delete(client: Client, ref: ClusterRef) -> None:
    """The container with everything in it."""
    if not await owned(client, ref):
        return
    name = bucket_of(ref)
    what = f"deleting container {name}"
    listed = await client.read(what, lambda: _ask(client, "GET", f"{name}?format=json"))
    for key in [str(row["name"]) for row in listed.json()]:
        await take_away(client, ref, key)
    with missing_is_fine():
        await client.read(what, lambda: _ask(client, "DELETE", name))


def signed(base: str, path: str, secret: str, expires: int, method: str = "GET") -> str:
    """A temporary URL below the store's own address (Swift, TempURL: HMAC over method, expiry and path)."""
    parts = urlsplit(base)
    full = f"{parts.path.rstrip('/')}/{quote(path)}"
    digest = hmac.new(secret.encode(), f"{method}\n{expires}\n{full}".encode(), hashlib.sha256).hexdigest()
    query = f"temp_url_expires={expires}&temp_url_sig={digest}"
    return urlunsplit((parts.scheme, parts.netloc, full, query, ""))


async def _container(client: Client, ref: ClusterRef) -> str:
    """Its key. Made where it is not there yet."""
    name, what = bucket_of(ref), f"making container {bucket_of(ref)}"
    async with client.lock(name):
        try:
            found = await client.read(what, lambda: _ask(client, "HEAD", name))
            if found.headers.get(_KEY):
                return str(found.headers[_KEY])
        except Rejected as no:
            if no.code != NOT_FOUND:
                raise
        secret = client.world.random_bytes(32).hex()
        await client.read(what, lambda: _ask(client, "PUT", name, {_KEY: secret, _CLUSTER: ref.id}))
        return secret


def _base(client: Client) -> str:
    return str(client.sdk.object_store.get_endpoint())


def _ask(
    client: Client, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> requests.Response:
    pure, _, query = path.partition("?")
    url = f"{_base(client).rstrip('/')}/{quote(pure)}" + (f"?{query}" if query else "")
    found = client.sdk.session.request(url, method, headers=headers or {}, data=body, raise_exc=True)
    assert isinstance(found, requests.Response)
    return found
