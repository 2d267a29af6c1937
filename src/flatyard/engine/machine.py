"""One Machine: an instance that boots, joins as a node and, in the end, is drained and deleted.

Each call looks at what is there and takes the next step; the order is that of machine-controller with what it
leaves out: phases and last operations are written, a boot that failed is told with its evidence, and the create
request is fixed before it is sent.
"""

from __future__ import annotations

from flatyard.base.world import parse_stamp, rfc3339_micro
from flatyard.clouds.cloud import (
    CreateRequest,
    Instance,
    InstanceState,
    NoCapacity,
    QuotaExceeded,
    Rejected,
    Role,
)
from flatyard.engine import control_plane, etcd, events, machine_status, requests, tokens
from flatyard.engine.context import Context
from flatyard.engine.deletion import delete_machine, see_it_go
from flatyard.engine.delivery import withdraw
from flatyard.engine.identity import attempt_of, machine_id_of, role_of, with_identity
from flatyard.engine.labels import ATTEMPT, BOOTSTRAP, CREATE_SENT, NAMESPACE, STASHED, ZONE
from flatyard.engine.machine_status import Phase, node_ready
from flatyard.engine.nodes import attend_node, forget_node, node_of
from flatyard.engine.queue import Done, Gone, Key, Result, Waiting
from flatyard.engine.reading import unreadable
from flatyard.engine.record import Phase as ClusterPhase
from flatyard.engine.rendering import render_request
from flatyard.engine.restart import attend_restart, overtaken
from flatyard.kube.api import Object
from flatyard.kube.resources import MACHINES
from flatyard.model.annotations import INITIALIZERS
from flatyard.model.machine import Machine
from flatyard.node.evidence import is_passing, remedy, told

POLL = 15.0
JUST_LISTED = 1.0
"""A list of so many seconds is believed when it says that a control plane is gone; an older one is asked for again."""
ROOM_AGAIN = 60.0
"""Seconds after which a cloud that was full is asked again. Whoever waits for the machine is told at once."""
ATTEMPTS = 3
"""The attempt from which on a machine whose instance its cloud gave up is told to have failed, and tried on seldom."""
SELDOM = 300.0
SILENT_EVERY = 60.0
"""Seconds after which the cloud is asked again whether the machine of a node that is not Ready still exists."""


async def reconcile_machine(ctx: Context, key: Key) -> Result:
    """Bring one Machine a step further."""
    machine = ctx.caches.machine(key.name)
    if machine is None:
        ctx.gate.release(key.name)
        return Gone()
    if not machine_id_of(machine):
        await ctx.book.replace(MACHINES, with_identity(machine, ctx.world))
        return Waiting("its machine id is being written")
    if not ctx.instances.refreshed:
        return Waiting("the cloud's list of instances is being read", again=POLL)
    if machine.deleting:
        return await delete_machine(ctx, machine)
    waiting = await unreadable(ctx, machine, Machine)
    if waiting is not None:
        return waiting
    if machine.annotations.get(INITIALIZERS):
        return Done()
    return await _keep_alive(ctx, machine)


async def _keep_alive(ctx: Context, machine: Object) -> Result:
    doubles = ctx.instances.duplicates(machine_id_of(machine))
    if doubles:
        await events.warn(
            ctx, machine, "Duplicate", f"instances {', '.join(i.id for i in doubles)} share its id"
        )
    instance = ctx.instances.get(machine_id_of(machine))
    if instance is None and machine.spec.get("providerID"):
        return await _vanished(ctx, machine)
    if instance is None or instance.attempt < attempt_of(machine):
        return await _create(ctx, machine)
    node = node_of(ctx, instance)
    if instance.state in (InstanceState.TERMINATED, InstanceState.ERROR, InstanceState.DELETING):
        if not _works_nonetheless(machine, instance, node):
            return await _failed(ctx, machine, instance)
        said = f"instance {instance.id} is error and its node is ready: {instance.error}"
        await events.warn(ctx, machine, "InstanceError", said)
    if node is None:
        return await _await_node(ctx, machine, instance)
    result = await attend_node(ctx, machine, instance, node)
    result = await attend_restart(ctx, machine, instance, node) or result
    if isinstance(result, Waiting) and not ctx.ensured_lately(f"silent/{machine.name}", SILENT_EVERY):
        ctx.note_ensured(f"silent/{machine.name}")
        ctx.enqueue(Key("instances"))
    return result


async def _create(ctx: Context, machine: Object) -> Result:
    if ctx.record.phase is ClusterPhase.DELETING:
        return Done()
    request = await requests.load(ctx.book, machine_id_of(machine))
    if request is None:
        rendered = await render_request(ctx, machine)
        if not isinstance(rendered, CreateRequest):
            await machine_status.write(ctx, machine, phase=Phase.PENDING)
            return rendered
        request = await requests.keep(ctx.book, machine, rendered, ctx.wanted().spec.cloud.twin)
    machine = await _note_create(ctx, machine, request)
    try:
        instance = await ctx.cloud.create(request)
    except Rejected as error:
        await machine_status.fail(ctx, machine, "InvalidConfiguration", str(error.what))
        return Waiting(f"{ctx.cloud.name} rejected it: {error.what}", again=300, final=True, next=error.next)
    except QuotaExceeded as error:
        await machine_status.fail(ctx, machine, "InsufficientResources", str(error.what))
        return Waiting(error.what, again=ROOM_AGAIN, final=True, next=error.next)
    except NoCapacity as error:
        ctx.zones.note_full(request.zone, request.machine)
        if not ctx.zones.another(machine, request.machine, request.network):
            raise
        return await _next_attempt(ctx, machine, request.attempt, error.what, reason="NoCapacity")
    ctx.instances.created(instance)
    ctx.enqueue(Key("instances"), min(POLL, ctx.cloud.limits.evidence_after_seconds))
    if role_of(machine) is Role.CONTROL_PLANE:
        ctx.enqueue(Key("cluster"))
    await events.tell(ctx, machine, "Created", f"created instance {instance.id}")
    return await _await_node(ctx, machine, instance)


async def _note_create(ctx: Context, machine: Object, request: CreateRequest) -> Object:
    """Write down that a create call may have left, before it leaves."""
    if CREATE_SENT in machine.annotations:
        return machine
    annotations = {
        CREATE_SENT: rfc3339_micro(ctx.world.now()),
        STASHED: request.stash_key or None,
        ZONE: request.zone or None,
    }
    patch = {
        "metadata": {"annotations": annotations},
        "status": machine_status.status(ctx, machine, phase=Phase.PROVISIONING, operation=("create", "")),
    }
    return await ctx.book.merge_patch(MACHINES, NAMESPACE, machine.name, patch)


async def _vanished(ctx: Context, machine: Object) -> Result:
    """There was an instance and the list shows none: gone, if the list was taken late enough to show it."""
    age_when_listed = _age_of_create(ctx, machine) - ctx.instances.age()
    left = ctx.cloud.limits.list_lag_seconds - age_when_listed
    if left > 0:
        ctx.enqueue(Key("instances"), left)
        return Waiting("its instance is not in the cloud's list yet", again=left + 1)
    return await _try_again(ctx, machine, attempt_of(machine), "its instance vanished")


def _works_nonetheless(machine: Object, instance: Instance, node: Object | None) -> bool:
    """Whether only an act on a worker's instance failed (a resize, a disk): clouds then call all of it broken, and a
    worker that runs pods would go.
    """
    is_broken_worker = instance.state is InstanceState.ERROR and role_of(machine) is Role.WORKER
    return is_broken_worker and node is not None and node_ready(node)


async def _failed(ctx: Context, machine: Object, instance: Instance) -> Result:
    """The instance is going, gone, or never came up."""
    if role_of(machine) is Role.CONTROL_PLANE and machine.status.get("nodeRef"):
        if instance.state is InstanceState.ERROR:
            return await _broken_member(ctx, machine, instance)
        if instance.state is InstanceState.DELETING:
            return await see_it_go(ctx, instance)
    said = f"instance {instance.id} is {instance.state}{': ' + instance.error if instance.error else ''}"
    request = await requests.load(ctx.book, machine_id_of(machine)) if instance.no_capacity else None
    if request is not None:
        ctx.zones.note_full(request.zone, request.machine)
    if instance.state is InstanceState.ERROR:
        pause = _until_next_attempt(ctx, machine, instance)
        if pause > 0:
            await machine_status.fail(ctx, machine, "CreateError", said, instance=instance)
            tried = f"attempt {instance.attempt}: {said}"
            return Waiting(tried, again=pause, final=True, next=_next(ctx, said))
        await ctx.cloud.delete(ctx.record.ref, instance)
        ctx.instances.deleted(instance)
    return await _try_again(ctx, machine, instance.attempt, said)


def _until_next_attempt(ctx: Context, machine: Object, instance: Instance) -> float:
    """Seconds until another instance is tried: at once at first, then seldom, since it will hardly fare better."""
    if instance.attempt < ATTEMPTS:
        return 0.0
    what = f"attempt/{machine.name}/{instance.attempt}"
    if not ctx.ensured_ever(what):
        ctx.note_ensured(what)
    return ctx.ensured_for(what, SELDOM)


async def _broken_member(ctx: Context, machine: Object, instance: Instance) -> Result:
    """Its cloud gave it up, but it may still run and vote: whether it goes is for a person to say."""
    said = f"instance {instance.id} is {instance.state}{': ' + instance.error if instance.error else ''}"
    await machine_status.fail(ctx, machine, "InstanceError", said, instance=instance)
    return Waiting(
        said, again=300, final=True, next=f"kubectl delete machine -n {NAMESPACE} {machine.name} replaces it"
    )


async def _try_again(ctx: Context, machine: Object, attempt: int, said: str) -> Result:
    """A new attempt with a new request; the old attempt's node must not stand beside the new one's.

    A control plane's member leaves etcd first: it would be waited for by whoever joins, and counts in the majority.
    """
    if role_of(machine) is not Role.CONTROL_PLANE:
        return await _next_attempt(ctx, machine, attempt, said)
    if control_plane.lives_in_cluster(ctx):
        async with ctx.membership:
            return await _replace_member(ctx, machine, attempt, said)
    if machine.status.get("nodeRef"):
        return Waiting(
            f"{said}, and the cluster's only etcd with it",
            again=300,
            final=True,
            next=f"flatyard down {ctx.record.name}, then flatyard up again: nothing was in it yet",
        )
    return await _next_attempt(ctx, machine, attempt, said)


async def _replace_member(ctx: Context, machine: Object, attempt: int, said: str) -> Result:
    """The member goes, then, when it is this machine's turn, the node; then a new machine joins."""
    if ctx.instances.age() > JUST_LISTED:
        await ctx.instances.refresh(ctx.record.ref)
    if not control_plane.is_lost(ctx, machine):
        return Waiting("its instance is in the cloud's list again", again=1)
    waiting = await etcd.release(ctx, machine)
    if waiting is not None:
        return waiting
    before = control_plane.not_yet(ctx, machine)
    if before:
        return Waiting(f"{said}; {before}", again=POLL)
    return await _next_attempt(ctx, machine, attempt, said)


async def _next_attempt(
    ctx: Context, machine: Object, attempt: int, said: str, reason: str = "InstanceGone"
) -> Result:
    await withdraw(ctx, machine)
    await requests.drop(ctx.book, machine_id_of(machine))
    await forget_node(ctx, machine)
    annotations = {ATTEMPT: str(attempt + 1), CREATE_SENT: None, STASHED: None}
    annotations |= overtaken(machine, ctx.world)
    if control_plane.lives_in_cluster(ctx):
        annotations[BOOTSTRAP] = None  # the cluster is there: whoever made it once joins it now
    status = machine_status.status(ctx, machine, phase=Phase.PENDING, operation=("recreate", said))
    patch = {
        "metadata": {"annotations": annotations},
        "spec": {"providerID": None},
        "status": status | {"nodeRef": None, "addresses": None, "conditions": None},
    }
    await ctx.book.merge_patch(MACHINES, NAMESPACE, machine.name, patch)
    await events.warn(ctx, machine, reason, said)
    return Waiting(f"{said}; attempt {attempt + 1} follows", again=POLL)


async def _await_node(ctx: Context, machine: Object, instance: Instance) -> Result:
    if instance.state is not InstanceState.RUNNING:
        return await _without_power(ctx, machine, instance)
    if ctx.api is not None:
        await tokens.ensure(ctx.book, ctx.world, machine_id_of(machine))
    pause = _until_evidence(ctx, machine)
    if pause > 0:
        if machine.status.get("phase") != Phase.FAILED.value:
            await machine_status.write(ctx, machine, phase=Phase.PROVISIONED, instance=instance)
        return _not_joined(ctx, machine, pause)
    every = ctx.cloud.limits.evidence_every_seconds
    ctx.note_ensured(f"evidence/{machine.name}")
    found = await ctx.cloud.evidence(ctx.record.ref, instance)
    if found is None:
        await machine_status.write(ctx, machine, phase=Phase.PROVISIONED, instance=instance)
        return Waiting("instance runs; its node has not joined yet", again=every)
    reason, before = told(found.unit, found.lines), str(machine.status.get("errorMessage") or "")
    if before.partition("\n")[0] == reason.partition("\n")[0]:
        reason = before  # further attempts push the first one's lines out of the log's end
    await machine_status.fail(ctx, machine, "CreateError", reason, instance=instance)
    return _first_boot_failed(ctx, reason, every)


async def _without_power(ctx: Context, machine: Object, instance: Instance) -> Result:
    """Not switched on yet, or off again before it joined: its cloud may know why."""
    stopped = instance.state is InstanceState.STOPPED
    found = await ctx.cloud.evidence(ctx.record.ref, instance) if stopped else None
    if found is None:
        await machine_status.write(ctx, machine, phase=Phase.PROVISIONING, instance=instance)
        return Waiting(f"instance {instance.id} is {instance.state}", again=60)
    reason = told(found.unit, found.lines)
    await machine_status.fail(ctx, machine, "CreateError", reason, instance=instance)
    return _first_boot_failed(ctx, reason, 60)


def _until_evidence(ctx: Context, machine: Object) -> float:
    """Seconds until the machine's evidence is worth a look: not before it could have joined, and not often."""
    limits = ctx.cloud.limits
    early = limits.evidence_after_seconds - _age_of_create(ctx, machine)
    return max(early, ctx.ensured_for(f"evidence/{machine.name}", limits.evidence_every_seconds))


def _not_joined(ctx: Context, machine: Object, again: float) -> Waiting:
    reason = str(machine.status.get("errorMessage") or "")
    if reason and machine.status.get("phase") == Phase.FAILED.value:
        return _first_boot_failed(ctx, reason, again)
    return Waiting("instance runs; its node has not joined yet", again=again)


def _first_boot_failed(ctx: Context, reason: str, again: float) -> Waiting:
    final = not is_passing(reason)
    return Waiting(f"first boot failed, {reason}", again=again, final=final, next=_next(ctx, reason))


def _next(ctx: Context, reason: str) -> str:
    """What helps against a known reason, and where to read more."""
    look = f"flatyard get machines {ctx.record.name} -o yaml"
    helps = remedy(reason)
    return f"{helps}; {look}" if helps else look


def _age_of_create(ctx: Context, machine: Object) -> float:
    stamp = machine.annotations.get(CREATE_SENT)
    return ctx.world.age(parse_stamp(stamp)) if stamp else 0.0
