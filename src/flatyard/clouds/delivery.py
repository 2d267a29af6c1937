"""How a first-boot config gets to its machine: inline where it may and fits, else as a stub that fetches the rest.

A control plane's config holds keys, so it travels by a short-lived stashed object (DESIGN §3 "Secrets"). Where there
is no object store but the user data itself is deleted once it was read, it travels in there.
"""

from __future__ import annotations

import hashlib

from flatyard.base.errors import Failed
from flatyard.clouds.cloud import Cloud, ClusterRef, Role
from flatyard.ignition import Config
from flatyard.ignition.encode import encode
from flatyard.ignition.fit import TooLarge, fit, stub
from flatyard.model.traits import Limits, StashScheme, UserDataEncoding

STASH_SECONDS = 3600.0


async def deliver(
    cloud: Cloud, ref: ClusterRef, name: str, role: Role, config: Config, key: str
) -> tuple[bytes, str]:
    """The user data of the machine called `name`, and the key of what is stashed for it (empty: all is inline).

    `key` is the object's, should there be one. Raises Failed, with the largest entries, when the config neither fits
    nor can be stashed.
    """

    async def stash(payload: bytes, sha512: str) -> str:
        return (await cloud.stash(ref, key, payload, STASH_SECONDS)).url

    if role is Role.CONTROL_PLANE and cloud.traits.stash is not StashScheme.NONE:
        payload = encode(config)
        digest = hashlib.sha512(payload).hexdigest()
        return encode(stub(config, await stash(payload, digest), digest)), key
    limits = cloud.limits
    try:
        fitted = await fit(
            config,
            raw_limit(limits),
            gzip_allowed=limits.user_data_encoding is UserDataEncoding.GZIP_BASE64,
            stash=None if cloud.traits.stash is StashScheme.NONE else stash,
        )
    except TooLarge as error:
        raise Failed(f"the first-boot config of {name} is too large", why=str(error)) from None
    return fitted.data, key if fitted.is_stub else ""


def raw_limit(limits: Limits) -> int:
    """The limit on the bytes before the cloud's own base64."""
    return limits.user_data_bytes // 4 * 3 if limits.limit_after_encoding else limits.user_data_bytes
