"""What a living cluster has at its cloud and no Machine knows of: a port or an address whose machine never came to be.

A sweep finds it by its tags now and then. What is younger than the create timeout is spared, since it may be a part of
a create that is under way, maybe another process's. An instance is never deleted for it: it may be a Machine's that
an older backup of the cluster does not have. It is told of, and stays.
"""

from __future__ import annotations

from flatyard.base.world import parse_stamp
from flatyard.clouds.cloud import CloudError, Owned
from flatyard.engine import events
from flatyard.engine.context import Context
from flatyard.engine.identity import machine_id_of
from flatyard.engine.queue import Done, Key, Result
from flatyard.engine.record import Phase

EVERY = 3600.0
"""Seconds between two sweeps: some clouds take a dozen calls for one."""


async def reconcile_strays(ctx: Context, key: Key) -> Result:
    """Delete what is left over of machines that are no more, and tell of instances that no Machine has."""
    settled = ctx.cloud.limits.create_timeout_seconds - ctx.running_for()
    if settled > 0:
        return Done(resync=settled + 1)
    if ctx.record.phase is not Phase.RUNNING or ctx.api is None or ctx.book is not ctx.api:
        return Done(resync=EVERY)
    known = {machine_id_of(machine) for machine in ctx.caches.machines()}
    if not known:  # a cluster has its control plane's Machines at least: a list without them is not believed
        return Done(resync=EVERY)
    strays = [one for one in await ctx.cloud.sweep(ctx.record.ref) if _is_stray(ctx, one, known)]
    inhabited = {one.machine_id for one in strays if one.kind == "instance"}
    for stray in strays:
        if stray.kind == "instance":
            await _tell(ctx, stray)
        elif stray.machine_id not in inhabited:
            await _delete(ctx, stray)
    return Done(resync=EVERY)


def _is_stray(ctx: Context, one: Owned, known: set[str]) -> bool:
    if not one.machine_id or one.machine_id in known or one.kept or not one.created:
        return False
    return ctx.world.age(parse_stamp(one.created)) > ctx.cloud.limits.create_timeout_seconds


async def _tell(ctx: Context, stray: Owned) -> None:
    cluster = ctx.caches.cluster(ctx.record.name)
    if cluster is not None:
        said = f"instance {stray.id} ({stray.name}) has this cluster's tags, and no Machine has it: it is left alone"
        await events.warn(ctx, cluster, "Stray", said)


async def _delete(ctx: Context, stray: Owned) -> None:
    try:
        await ctx.cloud.delete_owned(ctx.record.ref, stray)
    except CloudError as no:
        if not no.retry:
            raise
