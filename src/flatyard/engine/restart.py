"""Restarting a machine on request: gate, cordon, drain, reboot, and done once its node is Ready with another boot id.

What is wanted is an annotation with any text (`model.annotations.RESTART`); a text that was not yet done wants one
restart. How far it has come is kept on the Machine, and the boot that is to end is noted before the call that ends it:
whoever comes after a crash sees by the node's own boot id whether that call did its work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from flatyard.base.errors import Failed, FlatyardError, InvalidInput, Refused
from flatyard.base.world import World, parse_stamp, rfc3339_micro
from flatyard.clouds.cloud import Instance, Rejected, Role
from flatyard.decode import from_json
from flatyard.decode.context import nearest
from flatyard.engine import control_plane, events, machine_status
from flatyard.engine.context import Context
from flatyard.engine.disruption import Granted, Why
from flatyard.engine.identity import role_of
from flatyard.engine.labels import DISRUPTION, NAMESPACE, RESTARTED, RESTARTING
from flatyard.engine.machine_status import Phase, node_ready, ready_condition
from flatyard.engine.nodes import drain_node
from flatyard.engine.queue import Waiting
from flatyard.kube.api import Api, Json, Object
from flatyard.kube.drain import cordon, uncordon
from flatyard.kube.resources import MACHINES, NODES
from flatyard.model.annotations import RESTART, SKIP_EVICTION

AGAIN = 5.0
"""Seconds until the gate is asked again, or the node is looked at although nothing was heard of it."""
UNHEARD = 120.0
"""Seconds after the call after which a node that is still Ready with its old boot cannot have heard of it."""
PATIENCE = 600.0
"""Seconds that a machine has to boot again, and its node to become Ready."""
MOST_CALLS = 3
"""How often the cloud is asked for one restart before a person is."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one restart has come, as the Machine's annotation keeps it.

    `cordoned`: the node took pods before, so it shall again. `boot` is the node's boot that is to end, `sent` the
    stamp of the last of so many `calls` to the cloud; empty before the first. `refused` is what the cloud said to it.
    """

    id: str
    cordoned: bool
    boot: str = ""
    sent: str = ""
    calls: int = 0
    refused: str = ""


def progress_of(machine: Object) -> Progress | None:
    """How far the machine's restart has come; None when none has begun, or when somebody spoilt the note."""
    try:
        found = from_json(Progress, json.loads(machine.annotations.get(RESTARTING, "")))
        if found.sent:
            parse_stamp(found.sent)
    except (ValueError, RecursionError, InvalidInput):
        return None
    return found


def is_wanted(machine: Object) -> bool:
    """Whether a restart was asked for that is not done yet."""
    wanted = machine.annotations.get(RESTART, "")
    return bool(wanted) and wanted != machine.annotations.get(RESTARTED)


def is_due(machine: Object) -> bool:
    """Whether there is something to do: a restart is wanted, or one has begun."""
    return is_wanted(machine) or RESTARTING in machine.annotations


# ---- what is asked for


def chosen(cluster: str, machines: Sequence[Object], words: Sequence[str]) -> tuple[Object, ...]:
    """The machines that were named, by their own names or their nodes', as `machine/NAME` too; each one once.

    Raises Failed for a name that no machine and no node has.
    """
    known = {_node_name(m): m for m in machines if _node_name(m)} | {m.name: m for m in machines}
    found: dict[str, Object] = {}
    for word in words:
        bare = word.removeprefix("machine/").removeprefix("node/")
        machine = known.get(bare)
        if machine is None:
            near = nearest(bare, known)
            raise Failed(
                f"cluster {cluster} has no machine {bare!r}",
                why=f"did you mean {near}?" if near else "",
                next=f"flatyard get machines {cluster} lists them",
            )
        found[machine.name] = machine
    return tuple(found.values())


def refuse(cluster: str, machines: Sequence[Object], wanted: Sequence[Object]) -> None:
    """Raises Refused when one of the wanted machines cannot be restarted as the cluster stands."""
    for machine in wanted:
        phase = "being deleted" if machine.deleting else str(machine.status.get("phase") or Phase.PENDING)
        if phase != Phase.RUNNING:
            raise Refused(
                f"machine {machine.name} of cluster {cluster} cannot be restarted: it is {phase}, not Running",
                why=str(machine.status.get("errorMessage") or "").partition("\n")[0],
                next=f"flatyard status {cluster}",
            )
        unwell = _unwell_members(machines, machine)
        if unwell:
            raise Refused(
                f"machine {machine.name} of cluster {cluster} cannot be restarted now",
                why=f"etcd needs it until {', '.join(unwell)} is well",
                next=f"flatyard status {cluster}",
            )


def _unwell_members(machines: Sequence[Object], machine: Object) -> list[str]:
    """Other control planes that etcd's majority cannot count on."""
    if role_of(machine) is not Role.CONTROL_PLANE:
        return []
    others = [m for m in machines if role_of(m) is Role.CONTROL_PLANE and m.name != machine.name]
    return [m.name for m in others if not _says_ready(m)]


def _says_ready(machine: Object) -> bool:
    conditions: Sequence[Json] = machine.status.get("conditions") or ()
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and not machine.deleting


def _node_name(machine: Object) -> str:
    return str((machine.status.get("nodeRef") or {}).get("name", ""))


# ---- step by step


async def attend_restart(ctx: Context, machine: Object, instance: Instance, node: Object) -> Waiting | None:
    """Take the next step of the restart that is wanted of a machine; None when there is nothing to wait for."""
    if not is_due(machine) or not control_plane.lives_in_cluster(ctx):
        return None
    # live: a cache that lags would reboot it twice
    machine = await ctx.book.get(MACHINES, NAMESPACE, machine.name)
    if machine.deleting or not is_due(machine):
        return None
    begun = progress_of(machine)
    if begun is not None and begun.sent:
        return await _await_boot(ctx, machine, instance, node, begun)
    if not is_wanted(machine):
        await _settle(ctx, machine, node, begun or Progress("", cordoned=False), done=False)
        return None
    if begun is None:
        return await _begin(ctx, machine, instance, node)
    return await _empty(ctx, machine, instance, node, begun)


async def _begin(ctx: Context, machine: Object, instance: Instance, node: Object) -> Waiting | None:
    if machine.status.get("phase") != Phase.RUNNING.value:
        return None  # whatever it waits for is told; the restart begins afterwards
    waiting = _quorum(ctx, machine)
    if waiting is not None:
        return waiting
    answer = ctx.gate.ask(machine, Why.REBOOT)
    if not isinstance(answer, Granted):
        return Waiting(f"restart: {answer.reason}", again=AGAIN)
    try:
        live = await _kubernetes(ctx).get(NODES, "", node.name)
        begun = Progress(machine.annotations[RESTART], cordoned=not live.spec.get("unschedulable"))
        machine = await _note(ctx, machine, begun, f"draining node {node.name}")
    except FlatyardError:
        ctx.gate.release(machine.name)
        raise
    await events.tell(ctx, machine, "Draining", f"draining node {node.name} for restart {begun.id}")
    return await _empty(ctx, machine, instance, node, begun)


def _quorum(ctx: Context, machine: Object) -> Waiting | None:
    """Whether etcd can do without a control plane for a while; an only one takes the API with it, and back again."""
    if role_of(machine) is not Role.CONTROL_PLANE or len(control_plane.members(ctx)) == 1:
        return None
    waiting = control_plane.must_stay(ctx, machine)
    return replace(waiting, reason=f"restart: {waiting.reason}") if waiting else None


async def _empty(
    ctx: Context, machine: Object, instance: Instance, node: Object, begun: Progress
) -> Waiting | None:
    """Drain, as far as there is a kubelet that would end pods; then reboot."""
    if node_ready(node) and SKIP_EVICTION not in node.annotations:
        waiting = await drain_node(ctx, node)
        if waiting is not None:
            return replace(waiting, reason=f"restart: {waiting.reason}")
    elif not node.spec.get("unschedulable"):
        await cordon(_kubernetes(ctx), node.name)
    return _quorum(ctx, machine) or await _reboot(ctx, machine, instance, node, begun)


async def _reboot(
    ctx: Context, machine: Object, instance: Instance, node: Object, begun: Progress
) -> Waiting | None:
    """Note which boot is to end, then ask the cloud. Whatever was asked for until now is this restart."""
    live = await _kubernetes(ctx).get(NODES, "", node.name)
    now = rfc3339_micro(ctx.world.now())
    wanted = machine.annotations.get(RESTART) or begun.id
    noted = Progress(wanted, begun.cordoned, boot=_boot_of(live), sent=now, calls=begun.calls + 1)
    machine = await _note(ctx, machine, noted, f"restarting instance {instance.id}")
    await events.tell(
        ctx, machine, "Restarting", f"restarting instance {instance.id} to end boot {noted.boot}"
    )
    try:
        await ctx.cloud.restart(ctx.record.ref, instance)
    except Rejected as error:
        refused = replace(noted, refused=f"{ctx.cloud.name} rejected it: {error.what}")
        await _note(ctx, machine, refused, refused.refused)
        return _refused(machine, refused.refused, UNHEARD)
    return Waiting(f"restart: instance {instance.id} is restarting", again=AGAIN)


async def _await_boot(
    ctx: Context, machine: Object, instance: Instance, node: Object, begun: Progress
) -> Waiting | None:
    """The cloud was asked: done when the node is Ready with another boot, asked again when nothing came of it."""
    ready, age = node_ready(node), ctx.world.age(parse_stamp(begun.sent))
    if _boot_of(node) != begun.boot:
        if not ready:
            return _not_back(node, age)
        await _settle(ctx, machine, node, begun, done=True)
        return None
    left = (UNHEARD if ready else PATIENCE) - age
    if left > 0 and begun.refused:
        return _refused(machine, begun.refused, left)
    if left > 0:
        return Waiting(f"restart: instance {instance.id} is restarting", again=min(AGAIN, left))
    wanted = machine.annotations.get(RESTART, "")
    if not wanted:
        await _settle(ctx, machine, node, begun, done=False)
        return None
    calls = begun.calls if wanted == begun.id else 0
    if calls < MOST_CALLS:
        return await _reboot(ctx, machine, instance, node, replace(begun, calls=calls))
    asked = f"node {node.name} has not booted again, and the cloud was asked {calls} times"
    return _refused(machine, begun.refused or asked, 60)


def _refused(machine: Object, said: str, again: float) -> Waiting:
    """What a person must look into; the node stays as it is until then."""
    give_up = f"kubectl annotate machine -n {NAMESPACE} {machine.name} {RESTART}- gives it up"
    return Waiting(f"restart: {said}", again=again, final=True, next=give_up)


def _not_back(node: Object, age: float) -> Waiting:
    said = str(ready_condition(node).get("message") or "its kubelet has not said why")
    return Waiting(
        f"restart: node {node.name} has booted again and is not Ready: {said}",
        again=AGAIN if age < PATIENCE else 60,
        final=age >= PATIENCE,
        next=f"kubectl describe node {node.name}",
    )


async def _settle(ctx: Context, machine: Object, node: Object, begun: Progress, *, done: bool) -> None:
    """The node takes pods again if it did before; then the restart is done, or given up as it was withdrawn."""
    live = await _kubernetes(ctx).get(NODES, "", node.name)
    if begun.cordoned and live.spec.get("unschedulable"):
        await uncordon(_kubernetes(ctx), node.name)
    if done:
        message = f"node {node.name} is Ready again, in boot {_boot_of(live)}"
        await events.tell(ctx, machine, "Restarted", message)
    annotations: Json = {RESTARTING: None, DISRUPTION: None}
    await _patch(ctx, machine, annotations | ({RESTARTED: begun.id} if done else {}), "")
    ctx.gate.release(machine.name)


async def _note(ctx: Context, machine: Object, noted: Progress, said: str) -> Object:
    return await _patch(ctx, machine, {DISRUPTION: Why.REBOOT.value, RESTARTING: _encode(noted)}, said)


async def _patch(ctx: Context, machine: Object, annotations: Json, said: str) -> Object:
    status = machine_status.status(ctx, machine, phase=Phase.RUNNING, operation=("restart", said))
    patch = {"metadata": {"annotations": annotations}, "status": status}
    return await ctx.book.merge_patch(MACHINES, NAMESPACE, machine.name, patch)


def overtaken(machine: Object, world: World) -> Mapping[str, str | None]:
    """Annotations for a machine that is made anew, which is more than a restart: done when its new node is Ready."""
    begun = progress_of(machine)
    if begun is None:
        return {RESTARTED: machine.annotations[RESTART]} if is_wanted(machine) else {}
    wanted = machine.annotations.get(RESTART) or begun.id
    return {RESTARTING: _encode(replace(begun, id=wanted, boot="", sent=rfc3339_micro(world.now())))}


def _encode(noted: Progress) -> str:
    return json.dumps(asdict(noted), separators=(",", ":"))


def _kubernetes(ctx: Context) -> Api:
    """The cluster's own API; callers run where the intent lives in it."""
    assert ctx.api is not None
    return ctx.api


def _boot_of(node: Object) -> str:
    return str((node.status.get("nodeInfo") or {}).get("bootID", ""))
