"""The control plane's Machines: the first one, which makes the cluster, then the others, one at a time.

etcd gains a member with each join, so the next machine is only made when all present ones are Ready.
"""

from __future__ import annotations

from flatyard.base.world import ulid
from flatyard.clouds.cloud import Role
from flatyard.decode import JSON, encode
from flatyard.engine.context import Context
from flatyard.engine.identity import control_plane_name, role_of
from flatyard.engine.labels import BOOTSTRAP, CONTROL_PLANE_LABEL, FINALIZER, NAMESPACE
from flatyard.engine.machine_status import hopeless
from flatyard.engine.queue import Waiting
from flatyard.kube.api import AlreadyExists, Json, Object
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
        return Waiting(
            f"control plane has {len(present)} machines, {wanted} wanted",
            again=600,
            final=True,
            next="taking etcd members away is not built yet: set controlPlane.replicas back",
        )
    if len(present) < wanted:
        taken = {m.name for m in present}
        free = next(i for i in range(1, wanted + 1) if control_plane_name(ctx.record.name, i) not in taken)
        await _create(ctx, free, first=False)
        return Waiting(f"control plane: {len(present)} of {wanted} machines", again=60)
    return None


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
