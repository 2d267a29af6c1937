"""The control plane's Machines: the first one, which makes the cluster, then the others, one at a time.

etcd gains a member with each join, so the next machine is only made when all present ones are Ready. A lost one is
made anew in its turn, after its vote was taken away; a living one goes only while all the others are well.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from flatyard.base.world import ulid
from flatyard.clouds.cloud import InstanceState, Role
from flatyard.decode import JSON, encode
from flatyard.engine.context import Context
from flatyard.engine.identity import attempt_of, control_plane_name, machine_id_of, role_of
from flatyard.engine.instances import alive
from flatyard.engine.labels import BOOTSTRAP, CONTROL_PLANE_LABEL, FINALIZER, NAMESPACE
from flatyard.engine.machine_status import hopeless, node_ready
from flatyard.engine.queue import Waiting
from flatyard.kube.api import AlreadyExists, Conflict, Json, NotFound, Object
from flatyard.kube.resources import MACHINES
from flatyard.model.annotations import MACHINE_ID
from flatyard.model.cluster import Cluster
from flatyard.model.machines import BY_CLOUD, PROVIDER_OF_CLOUD, MachineSpec


def members(ctx: Context) -> list[Object]:
    """The control plane's Machines, in order of their names."""
    return sorted(
        (m for m in ctx.caches.machines() if role_of(m) is Role.CONTROL_PLANE), key=lambda m: m.name
    )


def failed(ctx: Context) -> bool:
    """Whether the control plane cannot come up by itself any more."""
    return hopeless(members(ctx))


async def ensure_first_machine(ctx: Context) -> Waiting | None:
    """The Machine that runs `kubeadm init`."""
    if not members(ctx) and ctx.api is None:
        await _create(ctx, 1, first=True)
    return None


async def ensure_size(ctx: Context) -> Waiting | None:
    """As many members as wanted; a new one only when all present ones are Ready."""
    present = members(ctx)
    wanted = ctx.wanted().spec.control_plane.replicas
    behind = [m.name for m in present if m.status.get("phase") != "Running"]
    if behind:
        reason = f"control plane: {', '.join(behind)} not Ready yet"
        return Waiting(reason, again=60, final=hopeless(present))
    if len(present) > wanted:
        await _delete_one(ctx, present)
        return Waiting(f"control plane has {len(present)} machines, {wanted} wanted", again=60)
    if len(present) < wanted:
        taken = {m.name for m in present}
        free = next(i for i in range(1, wanted + 1) if control_plane_name(ctx.record.name, i) not in taken)
        await _create(ctx, free, first=False)
        return Waiting(f"control plane: {len(present)} of {wanted} machines", again=60)
    leaving = [m.name for m in present if m.deleting]
    if leaving and len(present) > 1:  # the only one stays, and says so itself
        return Waiting(f"control plane: {', '.join(leaving)} will be made anew", again=60)
    if ctx.record.planes != len(present):
        await ctx.save(replace(ctx.record, planes=len(present)))
    return None


async def _delete_one(ctx: Context, present: list[Object]) -> None:
    """The one with the highest number goes first; its deletion takes its vote away."""
    if any(machine.deleting for machine in present):
        return
    last = max(present, key=lambda m: (len(m.name), m.name))
    with suppress(NotFound, Conflict):
        await ctx.book.delete(MACHINES, NAMESPACE, last.name, uid=last.uid)


# ---- machines that are lost, or are to go


def lives_in_cluster(ctx: Context) -> bool:
    """Whether the cluster has begun: from then on a control plane joins, and never makes a cluster of its own."""
    return ctx.api is not None and ctx.book is ctx.api


def is_lost(ctx: Context, machine: Object) -> bool:
    """Whether the machine had an instance that, by the cloud's word, is gone or going."""
    instance = ctx.instances.get(machine_id_of(machine))
    if instance is None:
        return bool(machine.spec.get("providerID"))
    return instance.attempt >= attempt_of(machine) and not alive(instance)


def not_yet(ctx: Context, machine: Object) -> str:
    """Why a lost machine's successor must wait, empty when it is its turn: members join one at a time."""
    for other in members(ctx):
        if other.name == machine.name or other.deleting:
            continue
        lost = is_lost(ctx, other)
        if lost and other.name < machine.name:
            return f"{other.name} is made anew first"
        if not lost and other.status.get("phase") != "Running":
            return f"{other.name} joins first"
    return ""


def must_stay(ctx: Context, machine: Object) -> Waiting | None:
    """Why a living machine's member cannot go now; None when all the others are well, and enough of them."""
    others = [m for m in members(ctx) if m.name != machine.name]
    if not others:
        said = f"{machine.name} is the only control plane machine: etcd's data would go with it"
        return Waiting(
            said, again=600, final=True, next=f"flatyard down {ctx.record.name} deletes the whole cluster"
        )
    unwell = [m.name for m in others if not _is_well(ctx, m)]
    if unwell:
        return Waiting(f"etcd needs {machine.name} until {', '.join(unwell)} is well", again=15)
    wanted = ctx.wanted().spec.control_plane.replicas
    if len(others) < wanted - 1:
        return Waiting(f"{machine.name} goes when the control plane has {wanted} machines again", again=15)
    return None


def _is_well(ctx: Context, machine: Object) -> bool:
    instance = ctx.instances.get(machine_id_of(machine))
    node = ctx.caches.node((machine.status.get("nodeRef") or {}).get("name", ""))
    running = instance is not None and instance.state is InstanceState.RUNNING
    return running and node is not None and node_ready(node)


async def _create(ctx: Context, index: int, *, first: bool) -> None:
    machine = new_machine(
        ctx.wanted(), control_plane_name(ctx.record.name, index), ulid(ctx.world), first=first
    )
    try:
        await ctx.book.create(MACHINES, machine)
    except AlreadyExists:
        return


def new_machine(cluster: Cluster, name: str, machine_id: str, *, first: bool) -> Json:
    """A control plane Machine as a Kubernetes object."""
    annotations = {MACHINE_ID: machine_id}
    if first:
        annotations[BOOTSTRAP] = "init"
    provider: dict[str, JSON] = {
        "cloudProvider": PROVIDER_OF_CLOUD[cluster.spec.cloud.twin],
        "cloudProviderSpec": encode(spec_of(cluster)),
        "operatingSystem": "flatcar",
        "operatingSystemSpec": {},
    }
    return {
        "apiVersion": MACHINES.api_version,
        "kind": MACHINES.kind,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {CONTROL_PLANE_LABEL: ""},
            "annotations": annotations,
            "finalizers": [FINALIZER],
        },
        "spec": {
            "providerSpec": {"value": provider},
            "versions": {"kubelet": cluster.spec.kubernetes.version},
        },
    }


def spec_of(cluster: Cluster) -> MachineSpec:
    """The control plane's machine spec: as written, or the cloud's defaults."""
    return cluster.spec.control_plane.machine or BY_CLOUD[cluster.spec.cloud.twin]()
