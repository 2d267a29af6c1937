"""How a first-boot config gets to its machine: inline where it may and fits, else as a stub that fetches the rest.

A control plane's config holds keys, so it travels by a short-lived stashed object (DESIGN §3 "Secrets"). Where there
is no object store but the user data itself is deleted once it was read, it travels in there.
The key has the attempt in it: what one attempt fetched can never be another one's.
"""

from __future__ import annotations

import hashlib

from flatyard.base.errors import Failed
from flatyard.clouds.cloud import Role
from flatyard.engine.context import Context
from flatyard.engine.identity import attempt_of, machine_id_of, role_of
from flatyard.ignition import Config
from flatyard.ignition.encode import encode
from flatyard.ignition.fit import TooLarge, fit, stub
from flatyard.kube.api import Object
from flatyard.model.traits import Limits, StashScheme, UserDataEncoding

STASH_SECONDS = 3600.0


async def deliver(ctx: Context, machine: Object, config: Config) -> tuple[bytes, str]:
    """The user data, and the key of the stashed object that it points to (empty: everything is inline).

    Raises Failed, with the largest entries, when the config neither fits nor can be stashed.
    """
    key = f"first-boot/{machine_id_of(machine)}-{attempt_of(machine)}"

    async def stash(payload: bytes, sha512: str) -> str:
        return (await ctx.cloud.stash(ctx.record.ref, key, payload, STASH_SECONDS)).url

    if role_of(machine) is Role.CONTROL_PLANE and ctx.cloud.traits.stash is not StashScheme.NONE:
        payload = encode(config)
        digest = hashlib.sha512(payload).hexdigest()
        return encode(stub(config, await stash(payload, digest), digest)), key
    limits = ctx.cloud.limits
    try:
        fitted = await fit(
            config,
            raw_limit(limits),
            gzip_allowed=limits.user_data_encoding is UserDataEncoding.GZIP_BASE64,
            stash=None if ctx.cloud.traits.stash is StashScheme.NONE else stash,
        )
    except TooLarge as error:
        raise Failed(f"the first-boot config of {machine.name} is too large", why=str(error)) from None
    return fitted.data, key if fitted.is_stub else ""


def raw_limit(limits: Limits) -> int:
    """The limit on the bytes before the cloud's own base64."""
    return limits.user_data_bytes // 4 * 3 if limits.limit_after_encoding else limits.user_data_bytes
