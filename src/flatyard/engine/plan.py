"""Wanted against observed, as a diff: what `up` will create, change and delete, why, and what it leaves alone.

Pure: the faces observe, this compares, `engine.apply` writes. The comparison is three-way: a field is written
only if the file changed it since the last apply; what somebody changed in the cluster stays (DESIGN §3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from flatyard.engine.changes import ChangeClass, FieldChange, differences, field_changes
from flatyard.engine.identity import control_plane_name
from flatyard.engine.labels import APPLIED
from flatyard.engine.wanted import Wanted
from flatyard.kube.api import Json
from flatyard.kube.merge import difference, effective
from flatyard.model.annotations import AUTOSCALER_MAX, AUTOSCALER_MIN


class Sign(StrEnum):
    """What happens to one object, in Terraform's signs."""

    CREATE = "+"
    CHANGE = "~"
    REPLACE = "-/+"
    DELETE = "-"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one object and why; `machines` counts the machines that it makes, replaces or deletes."""

    sign: Sign
    object: str
    why: str
    fields: tuple[FieldChange, ...] = ()
    machines: int = 0


@dataclass(frozen=True, slots=True)
class Untouched:
    """Something that differs and stays as it is, and why."""

    object: str
    why: str


@dataclass(frozen=True, slots=True)
class Write:
    """One write into the book: `object` to create, `patch` to merge, or neither to delete."""

    kind: str
    name: str
    object: Json | None = None
    patch: Json | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there: the objects in the book by `Kind/name`, those of the last apply, and whether it was made."""

    exists: bool
    live: Mapping[str, Json]
    applied: Mapping[str, Json]
    has_network: bool = False
    has_endpoint: bool = False
    control_planes: int = 0


NOTHING = Observed(False, {}, {})


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that `up` will do. `refused` changes stop it before the first write."""

    cluster: str
    changes: tuple[Change, ...]
    untouched: tuple[Untouched, ...]
    writes: tuple[Write, ...]

    @property
    def refused(self) -> tuple[tuple[str, FieldChange], ...]:
        return tuple(
            (change.object, field)
            for change in self.changes
            for field in change.fields
            if field.change is ChangeClass.REFUSED
        )

    def count(self, sign: Sign) -> int:
        return sum(1 for change in self.changes if change.sign is sign)


def plan(wanted: Wanted, observed: Observed) -> Plan:
    """The diff between what the documents want and what is there."""
    changes: list[Change] = [*_infrastructure(wanted, observed)]
    untouched: list[Untouched] = []
    writes: list[Write] = []
    objects = wanted.objects()
    in_place = wanted.cluster.update_strategy == "inPlace"
    for key, object in objects.items():
        _compare(key, object, observed, in_place, changes, untouched, writes)
    for key in observed.live:
        _prune(key, objects, observed, wanted.name, changes, untouched, writes)
    return Plan(wanted.name, tuple(changes), tuple(untouched), tuple(writes))


def _infrastructure(wanted: Wanted, observed: Observed) -> list[Change]:
    name = wanted.name
    changes = []
    if not observed.has_network:
        changes.append(
            Change(Sign.CREATE, f"Network/{name}", f"nodes live in {wanted.cluster.spec.network.nodes}")
        )
    if not observed.has_endpoint:
        kind = wanted.cluster.spec.endpoint.kind or "lb"
        port = wanted.cluster.spec.endpoint.port
        changes.append(
            Change(Sign.CREATE, f"Endpoint/{name}", f"a stable name for the API, kind {kind}, port {port}")
        )
    for index in range(observed.control_planes + 1, wanted.cluster.spec.control_plane.replicas + 1):
        why = "runs kubeadm init" if index == 1 else "joins the control plane"
        changes.append(Change(Sign.CREATE, f"Machine/{control_plane_name(name, index)}", why, machines=1))
    return changes


def _compare(
    key: str,
    object: Json,
    observed: Observed,
    in_place: bool,
    changes: list[Change],
    untouched: list[Untouched],
    writes: list[Write],
) -> None:
    kind, _, name = key.partition("/")
    live = observed.live.get(key)
    if live is None:
        changes.append(_creation(kind, key, object))
        writes.append(Write(kind, name, object=object))
        return
    last = observed.applied.get(key, {})
    patch = effective(difference(last, object), live)
    patch, kept = _without_autoscaled(patch, live)
    if kept:
        untouched.append(Untouched(key, "replicas belong to the cluster autoscaler"))
    untouched.extend(_drift(key, last, object, live))
    if patch:
        fields = field_changes(kind, _only(live, patch), _only(object, patch), in_place=in_place)
        changes.append(_change(key, fields, int(live.get("spec", {}).get("replicas") or 0)))
        writes.append(Write(kind, name, patch=patch))


def _creation(kind: str, key: str, object: Json) -> Change:
    if kind != "MachineDeployment":
        feed = (object["spec"].get("kubernetes") or {}).get("feed", "")
        return Change(
            Sign.CREATE, key, "the cluster's intent" + (f"; Kubernetes from {feed}" if feed else "")
        )
    replicas = int(object["spec"].get("replicas", 1))
    noun = "machine" if replicas == 1 else "machines"
    return Change(Sign.CREATE, key, f"{replicas} {noun}", machines=replicas)


def _change(key: str, fields: tuple[FieldChange, ...], machines: int) -> Change:
    replaces = any(f.change is ChangeClass.REPLACES for f in fields)
    sign = Sign.REPLACE if replaces else Sign.CHANGE
    why = f"{machines} machines are replaced one after the other" if replaces else "the file changed"
    return Change(sign, key, why, fields, machines if replaces else 0)


def _without_autoscaled(patch: Json, live: Json) -> tuple[Json, bool]:
    annotations = (live.get("metadata") or {}).get("annotations") or {}
    scaled = AUTOSCALER_MIN in annotations or AUTOSCALER_MAX in annotations
    if not scaled or "replicas" not in patch.get("spec", {}):
        return patch, False
    spec = {k: v for k, v in patch["spec"].items() if k != "replicas"}
    rest = {k: v for k, v in patch.items() if k != "spec"}
    return ({**rest, "spec": spec} if spec else rest), True


def _drift(key: str, last: Json, object: Json, live: Json) -> list[Untouched]:
    """Fields of ours that somebody changed in the cluster and that the file did not change."""
    ours = _only(live, last)
    found = []
    for path, was, now in differences(last, ours):
        unchanged = _at(object, path) == was
        if unchanged and not path.startswith(("metadata.annotations", "status")):
            found.append(Untouched(key, f"{path} is {now} in the cluster and {was} in the file: left alone"))
    return found


def _only(value: object, shape: object) -> Json:
    """The part of `value` that `shape` mentions."""
    if not isinstance(value, dict) or not isinstance(shape, dict):
        return value if isinstance(value, dict) else {}
    picked: Json = {}
    for name, inner in shape.items():
        if name in value:
            deeper = isinstance(inner, dict) and isinstance(value[name], dict)
            picked[name] = _only(value[name], inner) if deeper else value[name]
    return picked


def _at(value: object, path: str) -> object:
    """The value at a dotted path; keys that contain dots are tried as a whole."""
    if not path or not isinstance(value, dict):
        return value
    for end in range(len(path), 0, -1):
        if (end == len(path) or path[end] == ".") and path[:end] in value:
            return _at(value[path[:end]], path[end + 1 :])
    return None


def _prune(
    key: str,
    objects: Mapping[str, Json],
    observed: Observed,
    cluster: str,
    changes: list[Change],
    untouched: list[Untouched],
    writes: list[Write],
) -> None:
    kind, _, name = key.partition("/")
    if key in objects or kind != "MachineDeployment":
        return
    live = observed.live[key]
    if ((live.get("metadata") or {}).get("annotations") or {}).get(APPLIED) != cluster:
        untouched.append(Untouched(key, "not made by flatyard up"))
        return
    replicas = int(live.get("spec", {}).get("replicas") or 0)
    changes.append(Change(Sign.DELETE, key, "no longer in the file", machines=replicas))
    writes.append(Write(kind, name))
