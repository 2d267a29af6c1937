"""Short-lived delivery of first-boot secrets: an object in the cluster's own container, behind a temporary URL.

A key signs URLs (Swift's TempURL middleware), so no machine needs a login: the container's own, or, where the store
knows no keys of containers, the project's (Ceph's RGW: https://docs.ceph.com/en/reef/radosgw/swift/tempurl/, which
before Reef took no other digest than SHA-1; Swift itself takes that one no more). Which of them works is tried once,
since a machine that is refused its config never boots. The object ends by itself too (X-Delete-After).
"""

from __future__ import annotations

import asyncio
import hmac
from urllib.parse import quote, urlsplit, urlunsplit

import requests

from flatyard.clouds.cloud import ClusterRef, Owned, Rejected, Stashed, StashForbidden
from flatyard.clouds.naming import bucket_of
from flatyard.clouds.openstack.answers import FORBIDDEN, NOT_FOUND, UNAUTHORIZED, missing_is_fine
from flatyard.clouds.openstack.client import Client, Way
from flatyard.clouds.openstack.facts import FACTS

KIND = "bucket"
SERVICE = "object-store"
_KEY = "X-Container-Meta-Temp-URL-Key"
_ACCOUNT_KEYS = ("X-Account-Meta-Temp-URL-Key", "X-Account-Meta-Temp-URL-Key-2")
_CLUSTER = "X-Container-Meta-Flatyard-Cluster"
_NO_STORE = (
    "give the project an object store (Swift, or Ceph's RGW); see docs/openstack.md, First-boot secrets"
)
_DENIED = (
    "use a credential without access rules, which most of Ceph's gateways do not know, or ask the site for the object "
    "store's role"
)
_REFUSALS = (FORBIDDEN, UNAUTHORIZED)
_OK, _SERVER = 200, 500
_LOOKS = 3
"""How often a URL is tried, a second apart, until a key that was just set is known everywhere."""


WAYS = (Way(False, "sha256"), Way(True, "sha256"), Way(True, "sha1"))


async def put(client: Client, ref: ClusterRef, key: str, blob: bytes, ttl: float) -> Stashed:
    """Upload, and sign. Raises StashForbidden where there is no object store, or where it refuses."""
    await client.log_in()
    if not client.has(SERVICE):
        raise StashForbidden("this OpenStack has no object store", next=_NO_STORE)
    seconds = int(min(ttl, FACTS.stash.longest_ttl))
    path = f"{bucket_of(ref)}/{key}"
    try:
        secret = await _container(client, ref)
        await client.read(
            f"stashing {key}",
            lambda: _ask(client, "PUT", path, {"X-Delete-After": str(seconds)}, blob),
        )
        expires = int(client.world.later(seconds).timestamp())
        return Stashed(key, await _address(client, path, secret, expires))
    except Rejected as no:
        if no.code in _REFUSALS:
            raise StashForbidden(no.what, why=no.why, next=_DENIED) from None
        raise


async def refusal(client: Client) -> str:
    """Why the project can stash nothing, before anything is stashed; empty when it can."""
    await client.log_in()
    if not client.has(SERVICE):
        return "this OpenStack has no object store, by which the control planes' keys travel"
    try:
        await client.read("looking at the object store", lambda: _ask(client, "HEAD", ""))
    except Rejected as no:
        return f"the object store refuses the credential: {_DENIED}" if no.code in _REFUSALS else ""
    return ""


async def _address(client: Client, path: str, secret: str, expires: int) -> str:
    """A temporary URL that the store takes. Raises StashForbidden when it takes none, and leaves nothing stashed."""
    for way in (client.signs,) if client.signs else WAYS:
        key, is_new = await _project_key(client) if way.project else (secret, False)
        url = signed(_base(client), path, key, expires, digest=way.digest)
        if client.signs or await _opens(client, url, _LOOKS if is_new else 1):
            client.signs = way
            return url
    with missing_is_fine():
        await client.read(f"deleting {path}", lambda: _ask(client, "DELETE", path))
    raise StashForbidden("the object store takes no temporary URLs", next=_NO_STORE)


async def _opens(client: Client, url: str, looks: int) -> bool:
    """Whether a machine could fetch it. A URL that is signed for GET is good for HEAD."""

    def look() -> int:
        found = client.sdk.session.request(url, "HEAD", authenticated=False, raise_exc=False)
        if found.status_code >= _SERVER:
            found.raise_for_status()
        return int(found.status_code)

    for number in range(looks):
        if number:
            await asyncio.sleep(1)
        if await client.read("trying a temporary URL", look) == _OK:
            return True
    return False


async def _project_key(client: Client) -> tuple[str, bool]:
    """The project's key, and whether this call set it: the second one, where there was none."""
    what = "reading the project's key for temporary URLs"
    found = await client.read(what, lambda: _ask(client, "HEAD", ""))
    for name in _ACCOUNT_KEYS:
        if found.headers.get(name):
            return str(found.headers[name]), False
    secret = client.world.random_bytes(32).hex()
    await client.read(
        "setting the project's key for temporary URLs",
        lambda: _ask(client, "POST", "", {_ACCOUNT_KEYS[1]: secret}),
    )
    return secret, True


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
        if no.code in (NOT_FOUND, *_REFUSALS):  # who may not use the store has stashed nothing
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


def signed(base: str, path: str, secret: str, expires: int, *, digest: str = "sha256") -> str:
    """A temporary URL below the store's own address (Swift, TempURL: HMAC over method, expiry and path)."""
    parts = urlsplit(base)
    full = f"{parts.path.rstrip('/')}/{quote(path)}"
    signature = hmac.new(secret.encode(), f"GET\n{expires}\n{full}".encode(), digest).hexdigest()
    query = f"temp_url_expires={expires}&temp_url_sig={signature}"
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
    url = f"{_base(client).rstrip('/')}/{quote(pure)}".rstrip("/") + (f"?{query}" if query else "")
    found = client.sdk.session.request(url, method, headers=headers or {}, data=body, raise_exc=True)
    assert isinstance(found, requests.Response)
    return found
