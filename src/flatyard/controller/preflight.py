"""What a cluster on this machine would lack, before anything is made."""

from __future__ import annotations

import asyncio

from flatyard.base.errors import Problem
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.engine.wanted import Wanted


def on_this_machine(wanted: Wanted) -> tuple[Problem, ...]:
    """Root, tools, kernel, room and names, all at once."""
    return asyncio.run(LocalCloud().preflight(wanted.cluster, wanted.deployments))
