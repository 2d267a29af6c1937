"""The Cluster itself: network, endpoint, control plane, the move of its intent into its own API, base manifests.

One pass tries every step in order and stops at the first that has to wait; each step looks first and acts only
where something is missing, so a pass may begin anywhere after a crash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from flatyard.base.errors import InvalidInput, Refused, Severity
from flatyard.decode import from_json
from flatyard.engine import book, control_plane, etcd, images, manifests
from flatyard.engine.context import Context
from flatyard.engine.instances import alive
from flatyard.engine.labels import NAMESPACE
from flatyard.engine.leadership import take_lease
from flatyard.engine.patience import answer_within
from flatyard.engine.pod_network import node_mask
from flatyard.engine.queue import Done, Key, Result, Waiting
from flatyard.engine.record import Phase
from flatyard.engine.teardown import tear_down
from flatyard.kube.api import ApiError, NotFound, Unreachable
from flatyard.kube.resources import CLUSTERS, NAMESPACES
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.traits import StashScheme

ENSURE_AGAIN = 600.0
"""Seconds after which network and endpoint are compared with the cloud again."""
PROBE = 5.0
ANSWER = 10.0
"""Seconds after which an API that took the question and says nothing counts as silent."""
MAJORITY_AGAIN = 30.0
"""Seconds after which the members of an API that does not answer are counted again."""

Step = Callable[[Context], Awaitable[Waiting | None]]


async def reconcile_cluster(ctx: Context, key: Key) -> Result:
    """One pass over the cluster."""
    if ctx.record.phase is Phase.DELETING:
        return await tear_down(ctx)
    if ctx.record.phase is Phase.RUNNING and ctx.book is not ctx.api:
        waiting = await _answers(ctx) or await _move_in(ctx)
        if waiting is not None:
            return waiting
    found = ctx.caches.cluster(ctx.record.name)
    if found is None:
        return Waiting("its Cluster object is missing", final=True, next="flatyard up FILE writes it again")
    if ctx.cluster is None or ctx.cluster_generation != (found.uid, found.generation):
        ctx.cluster = from_json(Cluster, found.raw)
        ctx.cluster_generation = (found.uid, found.generation)
    for step in STEPS:
        waiting = await step(ctx)
        if waiting is not None:
            return waiting
    return Done()


async def _preflight(ctx: Context) -> Waiting | None:
    """Once per cluster, before anything is created: what the cloud would refuse later anyway."""
    if ctx.record.preflighted:
        return None
    traits = ctx.cloud.traits
    if traits.stash is StashScheme.NONE and not traits.user_data_vanishes:
        raise Refused(
            f"control planes cannot be started on {ctx.cloud.name} yet",
            why="it has no object store, and its user data can be read for as long as the machine lives",
            next="flatyard plan FILE shows what would be made",
        )
    problems = await ctx.cloud.preflight(ctx.wanted(), deployments(ctx))
    if any(p.severity is Severity.ERROR for p in problems):
        raise InvalidInput(problems, next=f"flatyard plan shows the same without touching {ctx.cloud.name}")
    await ctx.save(replace(ctx.record, preflighted=True))
    return None


def deployments(ctx: Context) -> tuple[MachineDeployment, ...]:
    """The MachineDeployments as typed values."""
    found = []
    for deployment in ctx.caches.deployments():
        with suppress(InvalidInput):  # its own reconciler tells
            found.append(from_json(MachineDeployment, deployment.raw))
    return tuple(found)


async def _network(ctx: Context) -> Waiting | None:
    if ctx.record.network is not None and ctx.ensured_lately("network", ENSURE_AGAIN):
        return None
    mask = ctx.record.node_mask
    if ctx.record.network is None:
        mask = node_mask(ctx.wanted().spec.network.pods, _nodes_wanted(ctx))
    network = await ctx.cloud.ensure_network(ctx.record.ref, ctx.wanted())
    if network != ctx.record.network:
        await ctx.save(replace(ctx.record, network=network, node_mask=mask))
    ctx.note_ensured("network")
    return None


def _nodes_wanted(ctx: Context) -> int:
    workers = sum(int(d.spec.get("replicas", 1)) for d in ctx.caches.deployments())
    return ctx.wanted().spec.control_plane.replicas + workers


async def _endpoint(ctx: Context) -> Waiting | None:
    backends = _backends(ctx)
    known = ctx.record.endpoint
    if known is not None and known.backends == backends and ctx.ensured_lately("endpoint", ENSURE_AGAIN):
        return None
    assert ctx.record.network is not None
    endpoint = await ctx.cloud.ensure_endpoint(ctx.record.ref, ctx.wanted(), ctx.record.network, backends)
    endpoint = replace(endpoint, backends=backends)
    if endpoint != known:
        await ctx.save(replace(ctx.record, endpoint=endpoint))
        for machine in ctx.caches.machines():
            ctx.enqueue(Key("machine", machine.name))
    ctx.note_ensured("endpoint")
    return None


def _backends(ctx: Context) -> tuple[str, ...]:
    members = [i.id for i in ctx.instances.all() if i.role.value == "control-plane" and alive(i)]
    return tuple(sorted(members))


async def _answers(ctx: Context) -> Waiting | None:
    """Wait for the API's first answer; from then on nodes are watched."""
    if ctx.api is not None:
        return None
    assert ctx.record.endpoint is not None
    api = ctx.seams.clients.connect(ctx.record.endpoint, ctx.secrets)
    try:
        async with answer_within(ANSWER):
            await api.get(NAMESPACES, "", NAMESPACE)
    except (Unreachable, NotFound) as error:
        final = control_plane.failed(ctx)
        return await _for_ever_silent(ctx) or Waiting(_silence(error), again=PROBE, final=final)
    waiting = await take_lease(ctx, api)
    if waiting is not None:
        return waiting
    ctx.api = api
    await ctx.caches.watch_nodes(api, ctx.group)
    return None


async def _for_ever_silent(ctx: Context) -> Waiting | None:
    """An API that once answered: whether etcd has lost its majority for good."""
    if ctx.record.phase is not Phase.RUNNING or ctx.ensured_lately("majority", MAJORITY_AGAIN):
        return None
    waiting = await etcd.lost_quorum(ctx)
    if waiting is None:
        ctx.note_ensured("majority")
    return waiting


def _silence(error: ApiError) -> str:
    said = "does not answer"
    return error.what if said in error.what else f"the Kubernetes API {said} yet: {error.what}"


async def _move_in(ctx: Context) -> Waiting | None:
    """Copy the intent into the cluster and go on from there."""
    assert ctx.api is not None
    if ctx.book is ctx.api:
        return None
    if ctx.record.phase is Phase.BOOTSTRAPPING:
        await manifests.apply_definitions(ctx.api)
        await _move_while_nobody_writes(ctx)
    else:
        await _use_api_as_book(ctx)
    await book.clear_store_book(ctx.seams.store, ctx.record.name)
    return None


async def _move_while_nobody_writes(ctx: Context) -> None:
    """Other reconcilers hold their writes meanwhile: what they would write to the old book would be lost."""
    assert ctx.api is not None
    async with ctx.exclusively():
        await book.move(ctx.book, ctx.api)
        await ctx.save(replace(ctx.record, phase=Phase.RUNNING))
        await _use_api_as_book(ctx)


async def _use_api_as_book(ctx: Context) -> None:
    assert ctx.api is not None
    ctx.book = ctx.api
    await ctx.caches.watch_book(ctx.api, ctx.group)
    await ctx.caches.watch_signing_requests(ctx.api, ctx.group)


async def _status(ctx: Context) -> Waiting | None:
    found = ctx.caches.cluster(ctx.record.name)
    if found is None or ctx.api is None:
        return None
    endpoint = ctx.record.endpoint
    wanted = {
        "phase": "Running",
        "clusterID": ctx.record.id,
        "kubernetes": ctx.wanted().spec.kubernetes.version,
        "flatcar": ctx.record.images.flatcar,
        "endpoint": f"{endpoint.host}:{endpoint.port}" if endpoint else "",
        "simulated": ctx.cloud.traits.simulated,
    }
    if any(found.status.get(k) != v for k, v in wanted.items()):
        await ctx.api.merge_patch(CLUSTERS, NAMESPACE, found.name, {"status": wanted}, subresource="status")
    return None


async def _instances(ctx: Context) -> Waiting | None:
    if not ctx.instances.refreshed:
        await ctx.instances.refresh(ctx.record.ref)
    return None


async def reconcile_instances(ctx: Context, key: Key) -> Result:
    """List the cloud's instances again and wake the machines whose instance changed."""
    changed = await ctx.instances.refresh(ctx.record.ref)
    for machine_id in changed:
        for machine in ctx.caches.machines_by_id.find(machine_id):
            ctx.enqueue(Key("machine", machine.name))
    moving = [i for i in ctx.instances.all() if i.state.value in ("pending", "deleting")]
    if changed and _backends(ctx) != (ctx.record.endpoint.backends if ctx.record.endpoint else ()):
        ctx.enqueue(Key("cluster"))
    return Done(resync=10.0 if moving else 300.0)


STEPS: tuple[Step, ...] = (
    _preflight,
    images.resolve_images,
    _network,
    _instances,
    control_plane.ensure_first_machine,
    _endpoint,
    _answers,
    manifests.apply_rights,
    _move_in,
    manifests.apply_base,
    control_plane.ensure_size,
    _endpoint,
    _status,
)

__all__ = ["reconcile_cluster", "reconcile_instances"]
