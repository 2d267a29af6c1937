"""Which machine an object means: its minted id, its attempt, its role."""

from __future__ import annotations

from flatyard.base.world import World, ulid
from flatyard.clouds.cloud import Role
from flatyard.engine.labels import ATTEMPT, CONTROL_PLANE_LABEL, FINALIZER
from flatyard.kube.api import Json, Object
from flatyard.model.annotations import MACHINE_ID


def machine_id_of(machine: Object) -> str:
    """The minted machine id; empty on a Machine that somebody else made and we have not seen yet."""
    return machine.annotations.get(MACHINE_ID, "")


def attempt_of(machine: Object) -> int:
    """The number of the current attempt, from 1."""
    return int(machine.annotations.get(ATTEMPT) or 1)


def role_of(machine: Object) -> Role:
    return Role.CONTROL_PLANE if CONTROL_PLANE_LABEL in machine.labels else Role.WORKER


def pool_of(machine: Object) -> str:
    """The set that the machine belongs to: its owner's name, `control-plane`, or its own name."""
    if role_of(machine) is Role.CONTROL_PLANE:
        return Role.CONTROL_PLANE.value
    return machine.controller.name if machine.controller else machine.name


def control_plane_name(cluster: str, index: int) -> str:
    """`prod-control-plane-1`: by index, so that a lost reply cannot make a second one."""
    return f"{cluster}-control-plane-{index}"


def with_identity(machine: Object, world: World) -> Json:
    """The Machine with an id and our finalizer, as it must be before anything is created for it."""
    changed = machine.edit()
    metadata = changed["metadata"]
    metadata.setdefault("annotations", {}).setdefault(MACHINE_ID, ulid(world))
    finalizers = metadata.setdefault("finalizers", [])
    if FINALIZER not in finalizers and not machine.deleting:
        finalizers.append(FINALIZER)
    return changed
