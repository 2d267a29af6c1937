"""What a cluster would lack where it is to be, before anything is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from flatyard.base.errors import Problem
from flatyard.base.world import RealWorld
from flatyard.clouds import table
from flatyard.engine.references import unchecked
from flatyard.engine.wanted import Wanted


def on_this_machine(wanted: Wanted, tell: Callable[[str], None]) -> tuple[Problem, ...]:
    """Root, tools, kernel, room and names, all at once; then what is in the user's disk image.

    `tell` hears a line now and then while an image is unpacked, which happens once for each.
    """
    from flatyard.clouds.local.cloud import LocalCloud
    from flatyard.clouds.local.settings import settings

    cloud = LocalCloud(replace(settings(), tell=tell))
    found = asyncio.run(cloud.preflight(wanted.cluster, wanted.deployments))
    return (*found, *unchecked(wanted))


def in_the_account(wanted: Wanted) -> tuple[Problem, ...]:
    """What the account itself says: credentials, permissions, quotas, regions, sizes, images, names.

    Raises NoAccount where there is nothing to ask with (no SDK, no credentials), Refused where what is named is not
    there, CloudError where it does not answer.
    """
    return asyncio.run(_asked(wanted))


async def _asked(wanted: Wanted) -> tuple[Problem, ...]:
    cloud = table.connect(wanted.cluster, RealWorld())
    try:
        return (*await cloud.preflight(wanted.cluster, wanted.deployments), *unchecked(wanted))
    finally:
        await cloud.close()
