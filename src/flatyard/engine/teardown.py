"""Deleting a whole cluster: what was made is deleted in an order in which nothing is left over.

Services of type LoadBalancer → workers → control plane → endpoint → network; then the sweep must be empty. Volumes
are listed and kept unless `--delete-volumes`. The tombstone is set before anything is deleted, so a controller
that comes back creates nothing. With the API gone the same is done by tags alone.
"""

from __future__ import annotations

import asyncio

from flatyard.base.world import parse_stamp
from flatyard.clouds.cloud import Instance, InstanceState, Owned, Role
from flatyard.engine import etcd
from flatyard.engine.book import clear_store_book
from flatyard.engine.context import Context
from flatyard.engine.deletion import DELETE_AGAIN
from flatyard.engine.labels import NAMESPACE, TOMBSTONE
from flatyard.engine.patience import answer_within
from flatyard.engine.queue import Done, Result, Waiting
from flatyard.engine.record import record_key
from flatyard.engine.secrets import secrets_key
from flatyard.kube.api import Api, NotFound, Object, Unreachable
from flatyard.kube.resources import CLUSTERS, SERVICES
from flatyard.store import Store

POLL = 10.0
API_SILENCE = 60.0
"""Seconds for which an API that should answer is given the chance to."""
PROBE = 5.0
"""Seconds that an API has for its first answer."""
API_GRACE = 120.0
"""Seconds for which the API is asked to delete load balancers before tags alone are followed."""


async def tear_down(ctx: Context) -> Result:
    """Take the next step of the deletion; Done when nothing of the cluster is left anywhere."""
    if not ctx.instances.refreshed:
        await ctx.instances.refresh(ctx.record.ref)
    waiting = await _release_load_balancers(ctx)
    if waiting is not None:
        return waiting
    for role in (Role.WORKER, Role.CONTROL_PLANE):
        waiting = await _delete_machines(ctx, role)
        if waiting is not None:
            return waiting
    await ctx.cloud.delete_endpoint(ctx.record.ref)
    await ctx.cloud.delete_network(ctx.record.ref)
    left = await _sweep(ctx)
    if left:
        return Waiting(f"{len(left)} resources are left: {_named(left)}", again=POLL)
    waiting = _outwait_list_lag(ctx)
    if waiting is not None:
        return waiting
    await forget_cluster(ctx.seams.store, ctx.record.name)
    ctx.gone = True
    return Done()


async def _release_load_balancers(ctx: Context) -> Waiting | None:
    """Services of type LoadBalancer own cloud resources that only the API's controllers know well."""
    api = _answering(ctx)
    if api is None or ctx.load_balancers_released or await _never_lived(ctx):
        return None
    try:
        async with answer_within(PROBE):
            await _mark(ctx, api)
        services = [s for s in (await api.list(SERVICES)).items if s.spec.get("type") == "LoadBalancer"]
        for service in services:
            if not service.deleting:
                await _delete_service(api, service)
    except Unreachable as error:
        if ctx.running_for() < API_SILENCE and await _may_answer(ctx):
            return Waiting(f"its Services of type LoadBalancer cannot be asked for: {error.what}", again=POLL)
        services = []
    if services and ctx.running_for() < API_GRACE:
        return Waiting(f"{len(services)} Services of type LoadBalancer are being deleted", again=POLL)
    ctx.load_balancers_released = True
    return None


async def _never_lived(ctx: Context) -> bool:
    """Whether the cluster's intent never moved into its API: then nobody had any Service made there."""
    return bool((await ctx.book.list(CLUSTERS, NAMESPACE)).items)


async def _may_answer(ctx: Context) -> bool:
    """Whether an API that is silent may come back: some control plane is there, and so is etcd's majority."""
    there = any(i.role is Role.CONTROL_PLANE for i in ctx.instances.all())
    return there and await etcd.lost_quorum(ctx) is None


def _answering(ctx: Context) -> Api | None:
    if ctx.api is None and ctx.record.endpoint is not None and not ctx.load_balancers_released:
        ctx.api = ctx.seams.clients.connect(ctx.record.endpoint, ctx.secrets)
    return ctx.api


async def _mark(ctx: Context, api: Api) -> None:
    """The tombstone where a controller in the cluster looks."""
    try:
        cluster = await api.get(CLUSTERS, NAMESPACE, ctx.record.name)
        if TOMBSTONE not in cluster.annotations:
            patch = {"metadata": {"annotations": {TOMBSTONE: ctx.seams.holder}}}
            await api.merge_patch(CLUSTERS, NAMESPACE, ctx.record.name, patch)
    except NotFound:
        return


async def _delete_service(api: Api, service: Object) -> None:
    try:
        await api.delete(SERVICES, service.namespace, service.name, uid=service.uid)
    except NotFound:
        return


async def _delete_machines(ctx: Context, role: Role) -> Waiting | None:
    """Delete every instance of a role by tag. Nothing is drained: where to would the pods go?"""
    if role is Role.CONTROL_PLANE:
        await _give_up_lease(ctx)
    present = await _listed(ctx, role)
    for instance in present:
        on_its_way = instance.state is InstanceState.DELETING
        if not (on_its_way and ctx.ensured_lately(f"delete/{instance.id}", DELETE_AGAIN)):
            await _delete(ctx, instance)
    if present and _lists_are_exact(ctx):
        present = await _listed(ctx, role)
    return Waiting(f"{len(present)} {role} machines are being deleted", again=POLL) if present else None


async def _listed(ctx: Context, role: Role) -> list[Instance]:
    """The instances of a role that there are now."""
    await ctx.instances.refresh(ctx.record.ref)
    return [i for i in ctx.instances.all() if i.role is role and i.state is not InstanceState.TERMINATED]


def _lists_are_exact(ctx: Context) -> bool:
    """Whether what is deleted can be seen to be gone at once, and what was created to be there."""
    return ctx.cloud.limits.list_lag_seconds == 0


async def _delete(ctx: Context, instance: Instance) -> None:
    """Whoever began to delete it may have died in the middle, so this is called again after a while."""
    await ctx.cloud.delete(ctx.record.ref, instance)
    ctx.note_ensured(f"delete/{instance.id}")
    ctx.instances.deleted(instance)


async def _give_up_lease(ctx: Context) -> None:
    """The API goes away with the control plane: a Lease that can no longer be renewed must not stop us."""
    if ctx.lease_task is not None:
        ctx.lease_task.cancel()
        await asyncio.gather(ctx.lease_task, return_exceptions=True)
        ctx.lease_task = None
        await ctx.caches.stop()


def _outwait_list_lag(ctx: Context) -> Waiting | None:
    """A create that left just before the tombstone may not be in the lists yet."""
    if _lists_are_exact(ctx):
        return None
    since = ctx.world.age(parse_stamp(ctx.record.deleting_since))
    left = ctx.cloud.limits.list_lag_seconds + 5 - since
    return Waiting("late replies of the cloud are waited for", again=left) if left > 0 else None


async def _sweep(ctx: Context) -> tuple[Owned, ...]:
    """Delete whatever else carries our tags; returns what is still there."""
    found = await ctx.cloud.sweep(ctx.record.ref)
    ours = [o for o in found if not o.kept or ctx.record.delete_volumes]
    for owned in ours:
        await ctx.cloud.delete_owned(ctx.record.ref, owned)
    return tuple(ours)


def _named(left: tuple[Owned, ...]) -> str:
    shown = ", ".join(f"{o.kind} {o.name or o.id}" for o in left[:5])
    return shown + (f" and {len(left) - 5} more" if len(left) > 5 else "")


async def forget_cluster(store: Store, name: str) -> None:
    """Remove every record of the cluster; its own record last, so that a crash leaves it findable."""
    await clear_store_book(store, name)
    await store.delete(secrets_key(name))
    await store.delete(record_key(name))
