"""A MachineSet: so many equal Machines, made and deleted one by one, and their count as status.

Which machines go first follows machine-controller: those marked for deletion, those with errors, then by the
set's delete policy; where that leaves it open (`Random`), those of the zone that has most, so that the rest is spread.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence

from flatyard.base.world import World, parse_stamp, ulid
from flatyard.engine import events
from flatyard.engine.caches import MACHINE_DEPLOYMENT
from flatyard.engine.context import Context
from flatyard.engine.labels import FINALIZER, NAMESPACE, ZONE
from flatyard.engine.machine_status import hopeless
from flatyard.engine.queue import Done, Gone, Key, Result, Waiting
from flatyard.engine.reading import unreadable
from flatyard.engine.record import Phase
from flatyard.kube.api import Json, NotFound, Object
from flatyard.kube.resources import MACHINE_SETS, MACHINES
from flatyard.model.annotations import DELETE_MACHINE, MACHINE_ID
from flatyard.model.machine import MachineSet

SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names: no vowels, nothing that looks like something else (apimachinery rand)."""


async def reconcile_machine_set(ctx: Context, key: Key) -> Result:
    """Bring the number of Machines to what the set wants."""
    machine_set = ctx.caches.machine_set(key.name)
    if machine_set is None:
        return Gone()
    if machine_set.deleting:
        return Done()
    waiting = await unreadable(ctx, machine_set, MachineSet)
    if waiting is not None:
        return waiting
    owned = ctx.caches.machines_by_owner.find(machine_set.uid)
    wanted = int(machine_set.spec.get("replicas", 1))
    if len([m for m in owned if not m.deleting]) != wanted and ctx.record.phase is not Phase.DELETING:
        owned = await _live(ctx, machine_set)
        await _resize(ctx, machine_set, [m for m in owned if not m.deleting], wanted)
    counted = count(machine_set, owned, ctx.world)
    await _write_status(ctx, machine_set, counted.status)
    result = _result(wanted, counted, owned)
    if isinstance(result, Waiting) and result.final and machine_set.controller:
        # its status says nothing of machines that failed, so nothing else would wake its owner
        ctx.enqueue(Key(MACHINE_DEPLOYMENT, machine_set.controller.name))
    return result


async def _live(ctx: Context, machine_set: Object) -> tuple[Object, ...]:
    """The set's Machines as they are now: a cache that lags must not make one twice."""
    listed = await ctx.book.list(MACHINES, NAMESPACE)
    return tuple(m for m in listed.items if m.controller and m.controller.uid == machine_set.uid)


async def _resize(ctx: Context, machine_set: Object, machines: Sequence[Object], wanted: int) -> None:
    if len(machines) < wanted:
        await events.tell(ctx, machine_set, "ScalingUp", f"from {len(machines)} to {wanted} machines")
        taken = {m.name for m in machines}
        for _ in range(wanted - len(machines)):
            await ctx.book.create(MACHINES, new_machine(machine_set, ctx.world, taken))
    surplus = len(machines) - wanted
    for machine in first_to_go(machine_set, machines)[:surplus] if surplus > 0 else ():
        try:
            await ctx.book.delete(MACHINES, NAMESPACE, machine.name, uid=machine.uid)
        except NotFound:
            continue


def new_machine(machine_set: Object, world: World, taken: set[str]) -> Json:
    """One more Machine from the set's template, with a minted id and a free name, which is added to `taken`."""
    template = machine_set.spec["template"]
    metadata = template.get("metadata") or {}
    name = _free_name(machine_set.name, world, taken)
    owner = {
        "apiVersion": MACHINE_SETS.api_version,
        "kind": MACHINE_SETS.kind,
        "name": machine_set.name,
        "uid": machine_set.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": MACHINES.api_version,
        "kind": MACHINES.kind,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}) | {MACHINE_ID: ulid(world)},
            "finalizers": [FINALIZER],
            "ownerReferences": [owner],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def _free_name(prefix: str, world: World, taken: set[str]) -> str:
    while True:
        name = f"{prefix}-{''.join(world.random().choice(SUFFIX) for _ in range(5))}"
        if name not in taken:
            taken.add(name)
            return name


def first_to_go(machine_set: Object, machines: Sequence[Object]) -> list[Object]:
    """The set's machines, those to be deleted first in front."""
    policy = machine_set.spec.get("deletePolicy") or "Random"
    by_age = sorted(machines, key=lambda m: (str(m.metadata.get("creationTimestamp", "")), m.name))
    if policy == "Newest":
        by_age.reverse()
    elif policy == "Random":
        return _from_fullest(sorted(machines, key=lambda m: m.uid))
    return sorted(by_age, key=_how_dear)


def _from_fullest(machines: Sequence[Object]) -> list[Object]:
    """The cheapest first, and of those that are equally dear one of the zone that has most machines left."""
    left = Counter(m.annotations.get(ZONE, "") for m in machines)
    waiting: dict[int, dict[str, list[Object]]] = {}
    for machine in reversed(machines):
        zones = waiting.setdefault(_how_dear(machine), {})
        zones.setdefault(machine.annotations.get(ZONE, ""), []).append(machine)
    ordered: list[Object] = []
    for dear in sorted(waiting):
        zones = waiting[dear]
        for _ in range(sum(map(len, zones.values()))):
            zone = max((name for name in sorted(zones) if zones[name]), key=lambda name: left[name])
            left[zone] -= 1
            ordered.append(zones[zone].pop())
    return ordered


def _how_dear(machine: Object) -> int:
    if machine.annotations.get(DELETE_MACHINE):
        return 0
    if machine.status.get("errorReason") or machine.status.get("errorMessage"):
        return 1
    return 3 if machine.status.get("nodeRef") else 2


class Count:
    """How a set stands: its status, and when another machine becomes available by the mere passing of time."""

    def __init__(self, status: Json, next_available: float | None) -> None:
        self.status = status
        self.next_available = next_available


def count(machine_set: Object, machines: Sequence[Object], world: World) -> Count:
    """Count the set's machines: all, with all labels, ready, and ready for `minReadySeconds`."""
    minimum = float(machine_set.spec.get("minReadySeconds") or 0)
    labels = ((machine_set.spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    present = [m for m in machines if not m.deleting]
    ready_for = [age for m in present if (age := _ready_for(m, world)) is not None]
    remaining = [minimum - age for age in ready_for if age < minimum]
    status: Json = {
        "replicas": len(present),
        "fullyLabeledReplicas": sum(1 for m in present if labels.items() <= dict(m.labels).items()),
        "readyReplicas": len(ready_for),
        "availableReplicas": len(ready_for) - len(remaining),
        "observedGeneration": machine_set.generation,
    }
    return Count(status, min(remaining) if remaining else None)


def _ready_for(machine: Object, world: World) -> float | None:
    """Seconds for which the machine's node has been Ready; None when it is not."""
    for condition in machine.status.get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            since = condition.get("lastTransitionTime")
            return world.age(parse_stamp(since)) if since else 0.0
    return None


async def _write_status(ctx: Context, machine_set: Object, status: Json) -> None:
    if any(machine_set.status.get(name) != value for name, value in status.items()):
        await ctx.book.merge_patch(
            MACHINE_SETS, NAMESPACE, machine_set.name, {"status": status}, subresource="status"
        )


def _result(wanted: int, counted: Count, owned: Sequence[Object]) -> Result:
    available = counted.status["availableReplicas"]
    if available == wanted == len(owned):
        return Done()
    again = 600.0 if counted.next_available is None else counted.next_available + 0.01
    going = len(owned) - counted.status["replicas"]
    leaving = f", {going} going away" if going else ""
    final = len(owned) == wanted and hopeless(owned)
    return Waiting(f"{available} of {wanted} machines available{leaving}", again=again, final=final)
