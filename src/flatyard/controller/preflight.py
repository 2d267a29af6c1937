"""What a cluster on this machine would lack, before anything is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from flatyard.base.errors import Problem
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.settings import settings
from flatyard.engine.wanted import Wanted


def on_this_machine(wanted: Wanted, tell: Callable[[str], None]) -> tuple[Problem, ...]:
    """Root, tools, kernel, room and names, all at once; then what is in the user's disk image.

    `tell` hears a line now and then while an image is unpacked, which happens once for each.
    """
    cloud = LocalCloud(replace(settings(), tell=tell))
    return asyncio.run(cloud.preflight(wanted.cluster, wanted.deployments))
