"""A MachineDeployment: one MachineSet for its present template, older ones on their way out, and the rollout between.

Surge, unavailability, revisions, history and pause follow machine-controller; unlike there, the progress deadline
is evaluated and conditions are written, and OnDelete is a strategy.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from flatyard.base.world import parse_stamp, rfc3339
from flatyard.engine import events
from flatyard.engine.context import Context
from flatyard.engine.labels import NAMESPACE
from flatyard.engine.machine_status import hopeless
from flatyard.engine.queue import Done, Gone, Key, Result, Waiting
from flatyard.engine.reading import unreadable
from flatyard.engine.record import Phase
from flatyard.engine.rollout import SetState, Strategy, next_sizes, strategy, surplus_share
from flatyard.engine.template import template_hash
from flatyard.kube.api import AlreadyExists, Json, NotFound, Object
from flatyard.kube.resources import MACHINE_DEPLOYMENTS, MACHINE_SETS
from flatyard.model.annotations import DESIRED_REPLICAS, MAX_REPLICAS, REVISION, TEMPLATE_HASH
from flatyard.model.machine import MachineDeployment


async def reconcile_machine_deployment(ctx: Context, key: Key) -> Result:
    """Bring one MachineDeployment a step further."""
    deployment = ctx.caches.deployment(key.name)
    if deployment is None:
        return Gone()
    if deployment.deleting or ctx.record.phase is Phase.DELETING:
        return Done()
    waiting = await unreadable(ctx, deployment, MachineDeployment)
    if waiting is not None:
        return waiting
    sets = _by_revision(ctx.caches.sets_by_owner.find(deployment.uid))
    new = await _ensure_new_set(ctx, deployment, sets)
    if new is None:
        return Waiting("its machine set is being made", again=60)
    old = [s for s in sets if s.name != new.name]
    if not deployment.spec.get("paused"):
        await _roll(ctx, deployment, new, old)
        await _clean_up(ctx, deployment, old)
    status = deployment_status(ctx, deployment, new, old)
    await _write_status(ctx, deployment, status)
    return _result(ctx, deployment, status, (new, *old))


def _by_revision(sets: Sequence[Object]) -> list[Object]:
    present = [s for s in sets if not s.deleting]
    return sorted(present, key=lambda s: (_revision(s), s.name))


def _revision(machine_set: Object) -> int:
    return int(machine_set.annotations.get(REVISION) or 0)


async def _ensure_new_set(ctx: Context, deployment: Object, sets: Sequence[Object]) -> Object | None:
    """The set of the present template; made, or brought up to date where that replaces no machine."""
    template = deployment.spec["template"]
    digest = template_hash(template, in_place=ctx.wanted().update_strategy == "inPlace")
    found = next((s for s in sets if s.labels.get(TEMPLATE_HASH) == digest), None)
    if found is None:
        return await _create_set(ctx, deployment, sets, digest)
    newest = max((_revision(s) for s in sets), default=0)
    wanted = _set_object(deployment, digest, max(newest, _revision(found)))
    if _revision(found) < newest:
        wanted["metadata"]["annotations"][REVISION] = str(newest + 1)
    patch = _set_patch(found, wanted)
    if patch:
        return await ctx.book.merge_patch(MACHINE_SETS, NAMESPACE, found.name, patch)
    return found


async def _create_set(ctx: Context, deployment: Object, sets: Sequence[Object], digest: str) -> Object | None:
    newest = max((_revision(s) for s in sets), default=0)
    wanted = _set_object(deployment, digest, newest + 1)
    wanted["spec"]["replicas"] = 0 if sets else _replicas(deployment)
    try:
        return await ctx.book.create(MACHINE_SETS, wanted)
    except AlreadyExists:
        return None


def _set_object(deployment: Object, digest: str, revision: int) -> Json:
    template = copy.deepcopy(deployment.spec["template"])
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels[TEMPLATE_HASH] = digest
    selector = copy.deepcopy(deployment.spec["selector"])
    selector.setdefault("matchLabels", {})[TEMPLATE_HASH] = digest
    owner = {
        "apiVersion": MACHINE_DEPLOYMENTS.api_version,
        "kind": MACHINE_DEPLOYMENTS.kind,
        "name": deployment.name,
        "uid": deployment.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    rolling = _strategy(deployment)
    return {
        "apiVersion": MACHINE_SETS.api_version,
        "kind": MACHINE_SETS.kind,
        "metadata": {
            "name": f"{deployment.name}-{digest}",
            "namespace": NAMESPACE,
            "labels": dict(labels),
            "annotations": {
                REVISION: str(revision),
                DESIRED_REPLICAS: str(rolling.replicas),
                MAX_REPLICAS: str(rolling.most),
            },
            "ownerReferences": [owner],
        },
        "spec": {
            "minReadySeconds": deployment.spec.get("minReadySeconds") or 0,
            "selector": selector,
            "template": template,
        },
    }


def _set_patch(found: Object, wanted: Json) -> Json:
    """What must change in a set whose machines stay: annotations, min-ready, in-place template fields."""
    patch: Json = {}
    revision = wanted["metadata"]["annotations"][REVISION]
    if found.annotations.get(REVISION) != revision:
        patch["metadata"] = {"annotations": {REVISION: revision}}
    spec = {k: wanted["spec"][k] for k in ("minReadySeconds",) if found.spec.get(k) != wanted["spec"][k]}
    versions = (wanted["spec"]["template"].get("spec") or {}).get("versions")
    if versions and ((found.spec.get("template") or {}).get("spec") or {}).get("versions") != versions:
        spec["template"] = {"spec": {"versions": versions}}
    if spec:
        patch["spec"] = spec
    return patch


async def _roll(ctx: Context, deployment: Object, new: Object, old: Sequence[Object]) -> None:
    sizes = _sizes(deployment, new, old)
    for machine_set in (new, *old):
        patch = _resize_patch(deployment, machine_set, sizes.get(machine_set.name), machine_set is new)
        if not patch:
            continue
        if "spec" in patch:
            await events.tell(ctx, deployment, "Scaled", f"{machine_set.name} to {sizes[machine_set.name]}")
        await ctx.book.merge_patch(MACHINE_SETS, NAMESPACE, machine_set.name, patch)


def _resize_patch(deployment: Object, machine_set: Object, size: int | None, is_new: bool) -> Json:
    patch: Json = {}
    if size is not None and size != _replicas(machine_set):
        patch["spec"] = {"replicas": size}
    rolling = _strategy(deployment)
    noted = {DESIRED_REPLICAS: str(rolling.replicas), MAX_REPLICAS: str(rolling.most)}
    if is_new and any(machine_set.annotations.get(k) != v for k, v in noted.items()):
        patch["metadata"] = {"annotations": noted}
    return patch


def _sizes(deployment: Object, new: Object, old: Sequence[Object]) -> dict[str, int]:
    rolling = _strategy(deployment)
    states = [_state(s) for s in old if _replicas(s)]
    if _kind(deployment) == "OnDelete":
        others = sum(s.wanted for s in states)
        return {new.name: max(0, rolling.replicas - others)}
    if states and _was_scaled(deployment, new):
        return surplus_share(rolling.replicas, [*states, _state(new)])
    return next_sizes(rolling, _state(new), states)


def _was_scaled(deployment: Object, new: Object) -> bool:
    """Whether `replicas` changed since the sets were last sized: then all of them scale in proportion."""
    desired = new.annotations.get(DESIRED_REPLICAS)
    return desired is not None and int(desired) != _replicas(deployment)


def _state(machine_set: Object) -> SetState:
    return SetState(
        machine_set.name, _replicas(machine_set), int(machine_set.status.get("availableReplicas") or 0)
    )


def _replicas(owner: Object) -> int:
    return int(owner.spec.get("replicas", 1))


def _kind(deployment: Object) -> str:
    return str((deployment.spec.get("strategy") or {}).get("type") or "RollingUpdate")


def _strategy(deployment: Object) -> Strategy:
    rolling = (deployment.spec.get("strategy") or {}).get("rollingUpdate") or {}
    return strategy(_replicas(deployment), rolling.get("maxSurge", 1), rolling.get("maxUnavailable", 0))


async def _clean_up(ctx: Context, deployment: Object, old: Sequence[Object]) -> None:
    """Delete empty old sets beyond the history limit, the oldest first."""
    empty = [s for s in old if not _replicas(s) and not int(s.status.get("replicas") or 0)]
    limit = int(deployment.spec.get("revisionHistoryLimit", 1))
    for machine_set in empty[: max(0, len(empty) - limit)]:
        if ctx.caches.machines_by_owner.find(machine_set.uid):
            continue
        try:
            await ctx.book.delete(MACHINE_SETS, NAMESPACE, machine_set.name, uid=machine_set.uid)
        except NotFound:
            continue


def deployment_status(ctx: Context, deployment: Object, new: Object, old: Sequence[Object]) -> Json:
    """Counts over all sets, and the conditions Available and Progressing as a Deployment has them."""
    total = {name: sum(int(s.status.get(name) or 0) for s in (new, *old)) for name in _COUNTS}
    wanted = _replicas(deployment)
    complete = (
        total["availableReplicas"] >= wanted and int(new.status.get("replicas") or 0) == total["replicas"]
    )
    status: Json = {
        **total,
        "updatedReplicas": int(new.status.get("replicas") or 0),
        "unavailableReplicas": max(0, wanted - total["availableReplicas"]),
        "observedGeneration": deployment.generation,
    }
    available = total["availableReplicas"] >= _strategy(deployment).fewest_available
    status["conditions"] = [
        _condition(
            ctx, deployment, "Available", available, "MinimumReplicasAvailable", "MinimumReplicasUnavailable"
        ),
        _progressing(ctx, deployment, complete, status),
    ]
    return status


DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
_COUNTS = ("replicas", "readyReplicas", "availableReplicas")


def _condition(
    ctx: Context, deployment: Object, kind: str, holds: bool, yes: str, no: str, message: str = ""
) -> Json:
    wanted = {"type": kind, "status": "True" if holds else "False", "reason": yes if holds else no}
    if message:
        wanted["message"] = message
    before = _find_condition(deployment, kind)
    same = before is not None and all(before.get(k) == v for k, v in wanted.items())
    if same and before is not None:
        return before
    kept = before is not None and before.get("status") == wanted["status"]
    now = rfc3339(ctx.world.now())
    since = before.get("lastTransitionTime", now) if kept and before is not None else now
    return wanted | {"lastTransitionTime": since, "lastUpdateTime": now}


def _find_condition(deployment: Object, kind: str) -> Json | None:
    return next((c for c in deployment.status.get("conditions") or () if c.get("type") == kind), None)


def _progressing(ctx: Context, deployment: Object, complete: bool, status: Json) -> Json:
    if complete:
        return _condition(ctx, deployment, "Progressing", True, "NewMachineSetAvailable", "")
    before = _find_condition(deployment, "Progressing")
    moved = any(
        deployment.status.get(k) != status[k] for k in (*_COUNTS, "updatedReplicas", "observedGeneration")
    )
    stamp = (before or {}).get("lastUpdateTime")
    deadline = float(deployment.spec.get("progressDeadlineSeconds") or 600)
    already = (before or {}).get("reason") == DEADLINE_EXCEEDED
    late = not moved and (already or (stamp is not None and ctx.world.age(parse_stamp(stamp)) > deadline))
    message = f"{status['updatedReplicas']} updated, {status['availableReplicas']} available"
    return _condition(
        ctx, deployment, "Progressing", not late, "MachineSetUpdated", DEADLINE_EXCEEDED, message
    )


async def _write_status(ctx: Context, deployment: Object, status: Json) -> None:
    if any(deployment.status.get(name) != value for name, value in status.items()):
        await ctx.book.merge_patch(
            MACHINE_DEPLOYMENTS, NAMESPACE, deployment.name, {"status": status}, subresource="status"
        )


def _result(ctx: Context, deployment: Object, status: Json, sets: Sequence[Object]) -> Result:
    wanted = _replicas(deployment)
    if deployment.spec.get("paused"):
        return Done()
    if status["availableReplicas"] == wanted == status["replicas"] == status["updatedReplicas"]:
        return Done()
    exceeded = status["conditions"][1]["reason"] == DEADLINE_EXCEEDED
    reason = f"{status['availableReplicas']} of {wanted} machines available"
    if exceeded:
        reason += "; no progress within its deadline"
    machines = [m for s in sets for m in ctx.caches.machines_by_owner.find(s.uid)]
    return Waiting(reason, again=120, final=hopeless(machines))
