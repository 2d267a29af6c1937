"""Strategic merge patch for the built-in kinds: lists that merge by a key instead of being replaced.

Source: the Kubernetes documentation, "Update API Objects in Place Using kubectl patch", and the patch
annotations of the API types (patchStrategy, patchMergeKey), which the table holds as data.
"""

from __future__ import annotations

from typing import cast

from flatyard.kube.api import Json
from flatyard.kube.merge import clone
from flatyard.kube.refusals import bad_request
from flatyard.sim.apiserver import types

PATCH = "$patch"
RETAIN = "$retainKeys"
DELETE_FROM = "$deleteFromPrimitiveList/"
ORDER = "$setElementOrder/"

MERGE_KEYS: dict[tuple[str, str], str] = {
    ("meta_v1.ObjectMeta", "ownerReferences"): "uid",
    ("core_v1.NodeStatus", "conditions"): "type",
    ("core_v1.NodeStatus", "addresses"): "type",
    ("core_v1.PodStatus", "conditions"): "type",
    ("core_v1.PodStatus", "podIPs"): "ip",
    ("core_v1.PodStatus", "hostIPs"): "ip",
    ("core_v1.PodSpec", "containers"): "name",
    ("core_v1.PodSpec", "initContainers"): "name",
    ("core_v1.PodSpec", "ephemeralContainers"): "name",
    ("core_v1.PodSpec", "volumes"): "name",
    ("core_v1.PodSpec", "imagePullSecrets"): "name",
    ("core_v1.PodSpec", "hostAliases"): "ip",
    ("core_v1.PodSpec", "topologySpreadConstraints"): "topologyKey",
    ("core_v1.Container", "env"): "name",
    ("core_v1.Container", "ports"): "containerPort",
    ("core_v1.Container", "volumeMounts"): "mountPath",
    ("core_v1.Container", "volumeDevices"): "devicePath",
    ("core_v1.ServiceSpec", "ports"): "port",
    ("core_v1.ServiceStatus", "conditions"): "type",
    ("core_v1.ServiceAccount", "secrets"): "name",
    ("core_v1.ServiceAccount", "imagePullSecrets"): "name",
    ("core_v1.NamespaceStatus", "conditions"): "type",
    ("core_v1.PersistentVolumeClaimStatus", "conditions"): "type",
    ("apps_v1.DeploymentStatus", "conditions"): "type",
    ("apps_v1.ReplicaSetStatus", "conditions"): "type",
    ("apps_v1.DaemonSetStatus", "conditions"): "type",
    ("apps_v1.StatefulSetStatus", "conditions"): "type",
    ("policy_v1.PodDisruptionBudgetStatus", "conditions"): "type",
}
"""Lists of objects that merge, with the field by which their elements are told apart."""

MERGED_VALUES = frozenset({("meta_v1.ObjectMeta", "finalizers"), ("core_v1.NodeSpec", "podCIDRs")})
"""Lists of plain values that merge."""

RETAINS_KEYS = frozenset({("apps_v1.DeploymentSpec", "strategy"), ("core_v1.PodSpec", "volumes")})
"""Fields whose patches name the keys that may stay (for the OpenAPI document)."""


def apply(type_name: str, target: Json, patch: Json) -> Json:
    """`target` after the patch; neither is changed. Raises Invalid (400) for a patch that makes no sense."""
    return _merge(type_name, target, patch)


def _merge(name: str, target: Json, patch: Json) -> Json:
    directive = patch.get(PATCH)
    if directive == "replace":
        return clone({key: value for key, value in patch.items() if key != PATCH})
    if directive == "delete":
        return {}
    merged = _retained(target, patch)
    known = types.fields(name)
    for key, value in patch.items():
        if key.startswith("$"):
            _special(merged, key, value)
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _field(name, key, known.get(key, "any"), merged.get(key), value)
    _order(name, merged, patch)
    return merged


def _retained(target: Json, patch: Json) -> Json:
    keep = patch.get(RETAIN)
    return dict(target) if keep is None else {key: value for key, value in target.items() if key in keep}


def _special(merged: Json, key: str, value: object) -> None:
    if key.startswith(DELETE_FROM):
        field = key.removeprefix(DELETE_FROM)
        gone = value if isinstance(value, list) else []
        merged[field] = [item for item in merged.get(field) or () if item not in gone]
    elif key not in (PATCH, RETAIN) and not key.startswith(ORDER):
        raise bad_request(f"unknown directive {key} in the patch")


def _field(name: str, key: str, shape: str, old: object, new: object) -> object:
    if isinstance(new, dict):
        inner = shape if "." in shape and not shape.startswith("[]") else ""
        return _merge(inner, old if isinstance(old, dict) else {}, new)
    if not isinstance(new, list):
        return new
    before = old if isinstance(old, list) else []
    if (name, key) in MERGED_VALUES:
        return [*new, *(item for item in before if item not in new)]
    merge_key = MERGE_KEYS.get((name, key))
    if merge_key is None:
        return clone([item for item in new if not _is_directive(item)])
    return _merge_list(shape.removeprefix("[]"), merge_key, before, new)


def _is_directive(item: object) -> bool:
    return isinstance(item, dict) and PATCH in item


def _merge_list(name: str, merge_key: str, old: list[Json], new: list[Json]) -> list[Json]:
    if any(item.get(PATCH) == "replace" and len(item) == 1 for item in new):
        return clone([item for item in new if PATCH not in item])
    changed = []
    deleted = []
    for item in new:
        before = next((o for o in old if o.get(merge_key) == item.get(merge_key)), None)
        if item.get(PATCH) == "delete":
            deleted.append(item.get(merge_key))
        else:
            changed.append(_merge(name, before or {}, item))
    named = [item.get(merge_key) for item in (*changed, *new)]
    rest = [item for item in old if item.get(merge_key) not in (*named, *deleted)]
    return _interleaved(changed, rest, [item.get(merge_key) for item in old], merge_key)


def _interleaved(changed: list[Json], rest: list[Json], order: list[object], merge_key: str) -> list[Json]:
    """The patch's elements in its own order, the others in between where their old order puts them.

    An element that is new stands before all that were there: nothing tells where else it belongs.
    """
    rank = {str(key): place for place, key in enumerate(order)}
    merged = list(changed)
    at = 0
    for item in rest:
        own = rank[str(item.get(merge_key))]
        while at < len(merged) and own >= rank.get(str(merged[at].get(merge_key)), -1):
            at += 1
        merged.insert(at, item)
        at += 1
    return merged


def _order(name: str, merged: Json, patch: Json) -> None:
    """Put lists in the order that the patch gives for them."""
    for key, wanted in patch.items():
        if not key.startswith(ORDER) or not isinstance(wanted, list):
            continue
        field = key.removeprefix(ORDER)
        items = merged.get(field)
        if isinstance(items, list):
            merged[field] = _ordered(items, wanted, MERGE_KEYS.get((name, field)))


def _ordered(items: list[object], wanted: list[object], merge_key: str | None) -> list[object]:
    """Elements that the order names go in that order; others stay before the ones they stood before."""

    def identity(item: object) -> str:
        return str(cast(Json, item).get(merge_key)) if merge_key and isinstance(item, dict) else str(item)

    ranks = {identity(item): rank for rank, item in enumerate(wanted)}
    known = sorted((i for i in items if identity(i) in ranks), key=lambda i: ranks[identity(i)])
    others = [i for i in items if identity(i) not in ranks]
    return [*known, *others]
