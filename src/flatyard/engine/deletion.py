"""Deleting a Machine: gate, drain, instance, node, secrets; then the finalizer lets it go.

The order and the reasons to skip the drain are machine-controller's (facts of its `pkg/node/eviction`): a node
that is missing, not Ready or told so is not drained.
"""

from __future__ import annotations

from flatyard.base.world import parse_stamp
from flatyard.clouds.cloud import Instance, InstanceState, Role
from flatyard.engine import control_plane, etcd, events, machine_status, requests, tokens
from flatyard.engine.context import Context
from flatyard.engine.delivery import withdraw
from flatyard.engine.disruption import Granted, Why
from flatyard.engine.identity import machine_id_of, role_of
from flatyard.engine.labels import CREATE_SENT, DISRUPTION, DRAINED, FINALIZER, NAMESPACE
from flatyard.engine.machine_status import Phase, node_ready
from flatyard.engine.nodes import drain_node, forget_node, node_of
from flatyard.engine.queue import Done, Key, Result, Waiting
from flatyard.kube.api import Object
from flatyard.kube.resources import MACHINES
from flatyard.model.annotations import SKIP_EVICTION

SKIP_EVICTION_AFTER = 2 * 3600.0
DELETE_AGAIN = 60.0


async def delete_machine(ctx: Context, machine: Object) -> Result:
    """Take the next step of a Machine's deletion."""
    if FINALIZER not in machine.finalizers:
        return Done()
    member = role_of(machine) is Role.CONTROL_PLANE
    instance = ctx.instances.get(machine_id_of(machine))
    if instance is None or instance.state is InstanceState.TERMINATED:
        return (await _release_member(ctx, machine) if member else None) or await _finish(ctx, machine)
    if instance.state is InstanceState.DELETING:
        return await see_it_go(ctx, instance)
    waiting = await _let_member_go(ctx, machine) if member else None
    waiting = waiting or await _take_node_away(ctx, machine, instance)
    waiting = waiting or (await _release_member(ctx, machine) if member else None)
    if waiting is not None:
        return waiting
    return await see_it_go(ctx, instance)


async def see_it_go(ctx: Context, instance: Instance) -> Waiting:
    """Delete the instance, and again while it is on its way: whoever began may have died in the middle."""
    if not ctx.ensured_lately(f"delete/{instance.id}", DELETE_AGAIN):
        await ctx.cloud.delete(ctx.record.ref, instance)
        ctx.note_ensured(f"delete/{instance.id}")
        ctx.instances.deleted(instance)
        ctx.enqueue(Key("instances"), 10)
    return Waiting(f"instance {instance.id} is being deleted", again=DELETE_AGAIN)


async def _let_member_go(ctx: Context, machine: Object) -> Waiting | None:
    """Whether etcd can do without a living control plane; the gate is asked although its node may not be drained."""
    waiting = control_plane.must_stay(ctx, machine)
    if waiting is not None:
        if waiting.final:
            await events.warn(ctx, machine, "DeleteRefused", waiting.reason)
        return waiting
    answer = ctx.gate.ask(machine, Why.DELETED)
    return None if isinstance(answer, Granted) else Waiting(answer.reason, again=15)


async def _release_member(ctx: Context, machine: Object) -> Waiting | None:
    if not control_plane.lives_in_cluster(ctx):
        return None
    async with ctx.membership:
        return await etcd.release(ctx, machine)


async def _take_node_away(ctx: Context, machine: Object, instance: Instance) -> Waiting | None:
    """Ask the gate and drain; None when nothing stands in the way of deleting the instance."""
    node = node_of(ctx, instance)
    if DRAINED in machine.annotations or node is None or not _to_be_drained(ctx, machine, node):
        return None
    answer = ctx.gate.ask(machine, Why.DELETED)
    if not isinstance(answer, Granted):
        return Waiting(answer.reason, again=15)
    if machine.annotations.get(DISRUPTION) != Why.DELETED.value:
        machine = await _annotate(ctx, machine, DISRUPTION, Why.DELETED.value)
        await machine_status.write(ctx, machine, phase=Phase.DELETING)
        await events.tell(ctx, machine, "Draining", f"draining node {node.name}")
    waiting = await drain_node(ctx, node)
    if waiting is not None:
        return waiting
    await _annotate(ctx, machine, DRAINED, "true")
    return None


def _to_be_drained(ctx: Context, machine: Object, node: Object) -> bool:
    stamp = machine.metadata.get("deletionTimestamp")
    too_long = stamp is not None and ctx.world.age(parse_stamp(stamp)) > SKIP_EVICTION_AFTER
    return ctx.api is not None and node_ready(node) and SKIP_EVICTION not in node.annotations and not too_long


async def _annotate(ctx: Context, machine: Object, name: str, value: str) -> Object:
    patch = {"metadata": {"annotations": {name: value}}}
    return await ctx.book.merge_patch(MACHINES, NAMESPACE, machine.name, patch)


async def _finish(ctx: Context, machine: Object) -> Result:
    """The instance is gone: remove its node and secrets, then let the Machine go."""
    waiting = _outwait_lost_create(ctx, machine)
    if waiting is not None:
        return waiting
    await forget_node(ctx, machine)
    await withdraw(ctx, machine)
    await tokens.remove(ctx.book, machine_id_of(machine))
    await requests.drop(ctx.book, machine_id_of(machine))
    changed = machine.edit()
    changed["metadata"]["finalizers"] = [f for f in machine.finalizers if f != FINALIZER]
    await ctx.book.replace(MACHINES, changed)
    ctx.gate.release(machine.name)
    return Done()


def _outwait_lost_create(ctx: Context, machine: Object) -> Waiting | None:
    """A create whose reply was lost may still show up in the list: do not forget the machine before that."""
    stamp = machine.annotations.get(CREATE_SENT)
    joined = bool(machine.spec.get("providerID"))
    if stamp is None or joined:
        return None
    age_when_listed = ctx.world.age(parse_stamp(stamp)) - ctx.instances.age()
    left = ctx.cloud.limits.list_lag_seconds + 5 - age_when_listed
    if left <= 0:
        return None
    ctx.enqueue(Key("instances"), left)
    return Waiting("a create call may still show up in the cloud's list", again=left + 1)
