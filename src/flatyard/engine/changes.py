"""A diff as a value: which fields differ, and what kind of change each one is.

Every changed field has a class that `plan` prints: in place, replaces machines, or refused with the way to do it
(DESIGN §3 "Three-way").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from flatyard.kube.api import Json


class ChangeClass(StrEnum):
    """What carrying out a change of a field means."""

    IN_PLACE = "in place"
    REPLACES = "replaces machines"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs; absent values are None. `way` says how to get there when it is refused."""

    path: str
    old: object
    new: object
    change: ChangeClass
    way: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    change: ChangeClass
    way: str = ""


def _rule(pattern: str, change: ChangeClass, way: str = "") -> _Rule:
    return _Rule(re.compile(pattern), change, way)


_NEW_CLUSTER = "make a second cluster and move the workloads; this cannot be changed on a living one"
_RULES: dict[str, tuple[_Rule, ...]] = {
    "Cluster": (
        _rule(r"spec\.cloud(\..*)?", ChangeClass.REFUSED, _NEW_CLUSTER),
        _rule(r"spec\.network\..*", ChangeClass.REFUSED, _NEW_CLUSTER),
        _rule(r"spec\.endpoint\..*", ChangeClass.REFUSED, _NEW_CLUSTER),
        _rule(r"spec\.kubernetes\.flavor", ChangeClass.REFUSED, _NEW_CLUSTER),
        _rule(
            r"spec\.kubernetes\.version",
            ChangeClass.REFUSED,
            "moving a living cluster to another version is not built yet (flatyard upgrade)",
        ),
        _rule(
            r"spec\.flatcar\..*",
            ChangeClass.REFUSED,
            "moving living nodes to another release is not built yet",
        ),
        _rule(
            r"spec\.controlPlane\.machine(\..*)?", ChangeClass.REFUSED, "replacing members is not built yet"
        ),
        _rule(r".*", ChangeClass.IN_PLACE),
    ),
    "MachineDeployment": (
        _rule(r"spec\.selector(\..*)?", ChangeClass.REFUSED, "make a MachineDeployment of another name"),
        _rule(r"spec\.template\.spec\.versions\.kubelet", ChangeClass.IN_PLACE),
        _rule(r"spec\.template(\..*)?", ChangeClass.REPLACES),
        _rule(r".*", ChangeClass.IN_PLACE),
    ),
}


def field_changes(kind: str, old: Json, new: Json, *, in_place: bool) -> tuple[FieldChange, ...]:
    """Fields that differ between two versions of one object, in order of their paths.

    Without the in-place strategy another kubelet version replaces machines like the rest of the template.
    """
    return tuple(_classified(kind, path, a, b, in_place) for path, a, b in differences(old, new))


def _classified(kind: str, path: str, old: object, new: object, in_place: bool) -> FieldChange:
    for rule in _RULES[kind]:
        if rule.pattern.fullmatch(path):
            change = rule.change
            if path.endswith(".versions.kubelet") and not in_place:
                change = ChangeClass.REPLACES
            return FieldChange(path, old, new, change, rule.way)
    raise AssertionError(path)


def differences(old: object, new: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Paths at which two JSON values differ; lists count as a whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted({**old, **new}):
            inner = f"{path}.{name}" if path else name
            yield from differences(old.get(name), new.get(name), inner)
    elif isinstance(old, dict) and new is None and old:
        yield from differences(old, {}, path)
    elif isinstance(new, dict) and old is None and new:
        yield from differences({}, new, path)
    elif old != new:
        yield path, old, new
