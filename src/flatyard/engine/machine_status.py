"""A Machine's status: phase, addresses, conditions, last operation and errors, all of which are really written.

Fields are machine-controller's (`model.machine.MachineStatus`), phases those of Cluster API.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from flatyard.base.world import rfc3339
from flatyard.clouds.cloud import Instance
from flatyard.engine.context import Context
from flatyard.engine.labels import NAMESPACE
from flatyard.kube.api import Json, Object
from flatyard.kube.merge import effective
from flatyard.kube.resources import MACHINES, NODES


class Phase(StrEnum):
    """Where a machine's life stands."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    PROVISIONED = "Provisioned"
    RUNNING = "Running"
    DELETING = "Deleting"
    FAILED = "Failed"


def status(
    ctx: Context,
    machine: Object,
    *,
    phase: Phase,
    instance: Instance | None = None,
    node: Object | None = None,
    operation: tuple[str, str] | None = None,
    error: tuple[str, str] | None = None,
) -> Json:
    """The status as a merge patch over the present one; only what changes differs from it."""
    now = rfc3339(ctx.world.now())
    wanted: Json = {"phase": phase.value, "errorReason": None, "errorMessage": None}
    if error:
        wanted |= {"errorReason": error[0], "errorMessage": error[1]}
    if instance is not None and instance.addresses:
        wanted["addresses"] = [{"type": kind, "address": value} for kind, value in instance.addresses]
    if node is not None:
        wanted |= _of_node(machine, node)
    if operation:
        wanted["lastOperation"] = _operation(operation, now)
    elif phase.value != machine.status.get("phase"):
        wanted["lastOperation"] = _operation((phase.value.lower(), error[1] if error else ""), now)
    if effective(wanted, machine.status):
        wanted["lastUpdated"] = now
    return wanted


def _operation(operation: tuple[str, str], now: str) -> Json:
    kind, said = operation
    return {
        "type": kind,
        "description": said or None,
        "state": "Processing" if said else "Done",
        "lastUpdated": now,
    }


async def write(
    ctx: Context,
    machine: Object,
    *,
    phase: Phase,
    instance: Instance | None = None,
    node: Object | None = None,
    error: tuple[str, str] | None = None,
) -> None:
    """Write the status and, once known, the providerID; no call when nothing differs."""
    wanted = status(ctx, machine, phase=phase, instance=instance, node=node, error=error)
    patch: Json = {}
    if effective(wanted, machine.status):
        patch["status"] = wanted
    provider_id = instance.provider_id if instance else ""
    if provider_id and machine.spec.get("providerID") != provider_id:
        patch["spec"] = {"providerID": provider_id}
    if patch:
        await ctx.book.merge_patch(MACHINES, NAMESPACE, machine.name, patch)


async def fail(
    ctx: Context, machine: Object, reason: str, message: str, instance: Instance | None = None
) -> None:
    """Write an error that will not go away by itself."""
    await write(ctx, machine, phase=Phase.FAILED, instance=instance, error=(reason, message))


def _of_node(machine: Object, node: Object) -> Json:
    ready = node_ready(node)
    before = {c["type"]: c for c in machine.status.get("conditions") or ()}
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "NodeReady" if ready else "NodeNotReady",
        "lastTransitionTime": _ready_since(node),
    }
    version = (node.status.get("nodeInfo") or {}).get("kubeletVersion", "")
    reference = {"apiVersion": NODES.api_version, "kind": NODES.kind, "name": node.name, "uid": node.uid}
    return {
        "nodeRef": reference,
        "versions": {"kubelet": version} if version else None,
        "conditions": [*(c for t, c in before.items() if t != "Ready"), condition],
    }


def hopeless(machines: Iterable[Object]) -> bool:
    """Whether what is missing is missing because of machines that failed for good."""
    phases = [m.status.get("phase") for m in machines if not m.deleting]
    return Phase.FAILED.value in phases and all(
        p in (Phase.FAILED.value, Phase.RUNNING.value) for p in phases
    )


def node_ready(node: Object) -> bool:
    """Whether the node's Ready condition is True."""
    return ready_condition(node).get("status") == "True"


def ready_condition(node: Object) -> Json:
    """The node's Ready condition; empty until its kubelet has written one."""
    found: list[Json] = node.status.get("conditions") or []
    return next((c for c in found if c.get("type") == "Ready"), {})


def _ready_since(node: Object) -> str | None:
    return str(ready_condition(node).get("lastTransitionTime") or "") or None
