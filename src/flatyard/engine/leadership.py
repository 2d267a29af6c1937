"""Who acts on a cluster: the holder of the store's lock and, once its API answers, of its Lease.

The Lease is `kube-system/flatyard`; whoever cannot renew it stops at once (DESIGN §3 "Who acts").
"""

from __future__ import annotations

import asyncio

from flatyard.engine.context import Context
from flatyard.engine.labels import NAMESPACE
from flatyard.engine.queue import Waiting
from flatyard.kube.api import Api
from flatyard.kube.lease import Lease
from flatyard.store import Lock

LEASE = "flatyard"
LEASE_SECONDS = 60
LOCK_SECONDS = 120.0


async def take_lease(ctx: Context, api: Api) -> Waiting | None:
    """Take the cluster's Lease and keep it; waits while a living holder has it."""
    if ctx.lease is None:
        ctx.lease = Lease(api, ctx.world, NAMESPACE, LEASE, ctx.seams.holder, seconds=LEASE_SECONDS)
    if not await ctx.lease.attempt():
        return Waiting(f"{ctx.lease.held_by} acts on this cluster (Lease {NAMESPACE}/{LEASE})", again=10)
    ctx.lease_task = ctx.group.create_task(ctx.lease.keep(), name="keep the Lease")
    return None


async def keep_lock(lock: Lock) -> None:
    """Renew the store's lock until cancelled; raises store.LockLost when somebody else took it."""
    while True:
        await asyncio.sleep(LOCK_SECONDS / 3)
        await lock.renew()
