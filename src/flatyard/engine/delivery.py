"""How a first-boot config gets to its machine: inline where it may and fits, else as a stub that fetches the rest.

A control plane's config holds keys, so it always travels by a short-lived stashed object (DESIGN §3 "Secrets").
The key has the attempt in it: what one attempt fetched can never be another one's.
"""

from __future__ import annotations

import hashlib

from flatyard.clouds.cloud import Role
from flatyard.engine.context import Context
from flatyard.engine.identity import attempt_of, machine_id_of, role_of
from flatyard.ignition import Config
from flatyard.ignition.encode import encode
from flatyard.ignition.types import ConfigRefs, Ignition, Resource, Verification
from flatyard.kube.api import Object

STASH_SECONDS = 3600.0


async def deliver(ctx: Context, machine: Object, config: Config) -> tuple[bytes, str]:
    """The user data, and the key of the stashed object that it points to (empty: everything is inline)."""
    whole = encode(config)
    if role_of(machine) is Role.WORKER and fits(ctx, whole):
        return whole, ""
    key = f"first-boot/{machine_id_of(machine)}-{attempt_of(machine)}"
    stashed = await ctx.cloud.stash(ctx.record.ref, key, whole, STASH_SECONDS)
    return encode(stub(stashed.url, whole, config.ignition.version)), key


def fits(ctx: Context, user_data: bytes) -> bool:
    """Whether the cloud takes so much user data."""
    limits = ctx.cloud.limits
    size = len(user_data)
    if limits.limit_after_encoding:
        size = (size + 2) // 3 * 4
    return size <= limits.user_data_bytes


def stub(url: str, payload: bytes, version: str) -> Config:
    """A config that is replaced by what `url` holds, if it holds exactly `payload`."""
    digest = "sha512-" + hashlib.sha512(payload).hexdigest()
    source = Resource(source=url, verification=Verification(digest))
    return Config(ignition=Ignition(version=version, config=ConfigRefs(replace=source)))
