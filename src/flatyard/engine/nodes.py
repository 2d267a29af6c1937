"""Machine and node: finding the one that belongs to the other, and giving the node what its machine says."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from flatyard.base.world import parse_stamp
from flatyard.clouds.cloud import Instance
from flatyard.engine import events, machine_status, requests, tokens
from flatyard.engine.caches import MACHINE
from flatyard.engine.context import Context
from flatyard.engine.delivery import withdraw
from flatyard.engine.identity import machine_id_of
from flatyard.engine.labels import NAMESPACE
from flatyard.engine.machine_status import Phase, node_ready, ready_condition
from flatyard.engine.queue import Done, Gone, Key, Result, Waiting
from flatyard.kube.api import Conflict, Json, NotFound, Object
from flatyard.kube.drain import cordon, drain_step
from flatyard.kube.resources import NODES
from flatyard.model.annotations import CLUSTER_AUTOSCALER_MACHINE, MACHINE_ID, OPERATING_SYSTEM, OWNED_BY
from flatyard.node.layout import KUBELET_UNIT

NO_NETWORK = "cni plugin not initialized"
"""containerd's words, in the kubelet's: there is no file below /etc/cni/net.d."""
NETWORK_GRACE = 15.0
"""Seconds that a node may be without a network before it is called one that stays so."""
JOIN_TIMEOUT = "JoinClusterTimeoutError"
"""The error reason of a node that joined and cannot become Ready by itself."""
ADD_NETWORK = "network.cni is none: install a network add-on, or write its file into /etc/cni/net.d"


def node_of(ctx: Context, instance: Instance) -> Object | None:
    """The node of an instance: by providerID, else by the name that this cloud gives it."""
    found = ctx.caches.nodes_by_provider.find(instance.provider_id.lower())
    if found:
        return found[0]
    node = ctx.caches.node(instance.node_name)
    return node if node is not None and not node.spec.get("providerID") else None


async def reconcile_node(ctx: Context, key: Key) -> Result:
    """A node changed: wake the machine that it belongs to."""
    node = ctx.caches.node(key.name)
    if node is None:
        for machine in ctx.caches.machines():
            if (machine.status.get("nodeRef") or {}).get("name") == key.name:
                ctx.enqueue(Key(MACHINE, machine.name))
        return Gone()
    machine_id = node.annotations.get(MACHINE_ID) or _machine_id_of(ctx, node)
    for machine in ctx.caches.machines_by_id.find(machine_id):
        ctx.enqueue(Key(MACHINE, machine.name))
    return Done()


def _machine_id_of(ctx: Context, node: Object) -> str:
    instance = ctx.instances.of_node(str(node.spec.get("providerID", "")), node.name)
    return instance.machine_id if instance else ""


async def attend_node(ctx: Context, machine: Object, instance: Instance, node: Object) -> Result:
    """The node is there: mark it as the machine's, clear first-boot secrets, mirror its state."""
    joined_before = (machine.status.get("nodeRef") or {}).get("uid") == node.uid
    patch = _node_patch(machine, node)
    if patch and ctx.api is not None:
        await ctx.api.merge_patch(NODES, "", node.name, patch)
    if not joined_before:
        await _clear_first_boot(ctx, machine)
    ready = node_ready(node)
    if ready or machine.status.get("errorReason") != JOIN_TIMEOUT:
        phase = Phase.RUNNING if ready or joined_before else Phase.PROVISIONED
        await machine_status.write(ctx, machine, phase=phase, instance=instance, node=node)
    if not joined_before:
        await events.tell(ctx, machine, "NodeJoined", f"node {node.name} joined")
    if ready:
        return Done()
    return await _not_ready(ctx, machine, instance, node)


async def _not_ready(ctx: Context, machine: Object, instance: Instance, node: Object) -> Result:
    """A node without a network add-on waits for ever where bringing one is left to the user."""
    condition = ready_condition(node)
    said = str(condition.get("message") or "its kubelet has not said why")
    reason = f"node {node.name} is not Ready: {said}"
    if NO_NETWORK not in said or ctx.wanted().spec.network.cni != "none":
        return Waiting(reason, again=60)
    patience = max(NETWORK_GRACE, ctx.cloud.limits.evidence_after_seconds)
    left = patience - ctx.world.age(parse_stamp(str(condition["lastTransitionTime"])))
    if left > 0:
        return Waiting(reason, again=left)
    reason = f"{KUBELET_UNIT}: {said}"
    await machine_status.write(
        ctx, machine, phase=Phase.FAILED, instance=instance, node=node, error=(JOIN_TIMEOUT, reason)
    )
    return Waiting(reason, again=60, final=True, next=f"{ADD_NETWORK}; kubectl describe node {node.name}")


async def drain_node(ctx: Context, node: Object) -> Waiting | None:
    """Cordon the node and evict what may go now; None when it is empty. The cluster's API must be known."""
    assert ctx.api is not None
    if not node.spec.get("unschedulable"):
        await cordon(ctx.api, node.name)
    progress = await drain_step(ctx.api, node.name)
    if progress.blockers:
        return Waiting(f"draining {node.name}: {progress.blockers[0]}", again=10)
    if not progress.done:
        count = len(progress.leaving)
        leaving = "1 pod is" if count == 1 else f"{count} pods are"
        return Waiting(f"draining {node.name}: {leaving} leaving", again=2)
    return None


async def forget_node(ctx: Context, machine: Object) -> None:
    """Delete the machine's node, as its cloud controller manager would some day."""
    node = machine.status.get("nodeRef") or {}
    if node.get("name") and ctx.api is not None:
        with suppress(NotFound, Conflict):
            await ctx.api.delete(NODES, "", node["name"], uid=node.get("uid", ""))


async def _clear_first_boot(ctx: Context, machine: Object) -> None:
    """Nothing of the first boot may work any more once the machine has joined."""
    machine_id = machine_id_of(machine)
    await withdraw(ctx, machine)
    await tokens.remove(ctx.book, machine_id)
    await requests.drop(ctx.book, machine_id)


def _node_patch(machine: Object, node: Object) -> Json:
    """What the node lacks of its machine's labels, annotations and taints; nothing is taken away."""
    template: Json = machine.spec.get("metadata") or {}
    labels = dict(template.get("labels") or {}) | {OWNED_BY: machine.uid, OPERATING_SYSTEM: "flatcar"}
    annotations = dict(template.get("annotations") or {}) | {
        MACHINE_ID: machine_id_of(machine),
        CLUSTER_AUTOSCALER_MACHINE: f"{NAMESPACE}/{machine.name}",
    }
    metadata: Json = {}
    _missing(metadata, "labels", labels, node.labels)
    _missing(metadata, "annotations", annotations, node.annotations)
    patch: Json = {"metadata": metadata} if metadata else {}
    taints = _with_taints(node.spec.get("taints") or [], machine.spec.get("taints") or [])
    if taints is not None:
        patch["spec"] = {"taints": taints}
    return patch


def _missing(into: Json, name: str, wanted: Mapping[str, str], present: Mapping[str, str]) -> None:
    lacking = {k: v for k, v in wanted.items() if present.get(k) != v}
    if lacking:
        into[name] = lacking


def _with_taints(present: list[Json], wanted: list[Json]) -> list[Json] | None:
    have = {(t.get("key"), t.get("effect")) for t in present}
    lacking = [t for t in wanted if (t.get("key"), t.get("effect")) not in have]
    return [*present, *lacking] if lacking else None
