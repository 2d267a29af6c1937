"""A plan as text and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from flatyard.cli.talk import Talk
from flatyard.engine.changes import ChangeClass, FieldChange
from flatyard.engine.plan import Change, Plan, Sign
from flatyard.kube.api import Json

MEANING = {
    Sign.CREATE: "create",
    Sign.CHANGE: "change in place",
    Sign.REPLACE: "replace, one machine after the other",
    Sign.DELETE: "delete",
}
COLOR = {Sign.CREATE: "done", Sign.CHANGE: "warning", Sign.REPLACE: "warning", Sign.DELETE: "error"}
_SECRET = re.compile(r"(?i)(password|secret|token|credential|accesskey|privatekey|serviceaccount)")
_LONG = 60


@dataclass(frozen=True, slots=True)
class Counts:
    """What the last line says; a replacement both adds and destroys machines but is one change."""

    add: int
    change: int
    destroy: int

    @property
    def any(self) -> bool:
        return bool(self.add or self.change or self.destroy)


def counts(plan: Plan) -> Counts:
    changed = plan.count(Sign.CHANGE) + plan.count(Sign.REPLACE)
    return Counts(plan.count(Sign.CREATE), changed, plan.count(Sign.DELETE))


def machines(plan: Plan) -> Counts:
    """The same for machines."""
    by_sign = {sign: sum(c.machines for c in plan.changes if c.sign is sign) for sign in Sign}
    return Counts(by_sign[Sign.CREATE], by_sign[Sign.REPLACE], by_sign[Sign.DELETE])


def last_line(plan: Plan, cluster: str) -> str:
    """`Plan: 3 to add, 1 to change, 0 to destroy`, or that there is nothing to do."""
    found = counts(plan)
    if not found.any:
        return f"No changes. Cluster {cluster} matches the files."
    return f"Plan: {found.add} to add, {found.change} to change, {found.destroy} to destroy"


def lines(plan: Plan, talk: Talk, *, title: str) -> Iterator[str]:
    """The whole plan, ending with its last line."""
    if plan.changes:
        yield title
        yield ""
        width = max(len(change.object) for change in plan.changes)
        for change in plan.changes:
            yield from _change(change, width, talk)
        yield ""
    if plan.untouched:
        yield "Left alone:"
        for left in plan.untouched:
            yield f"      {left.object}: {left.why}"
        yield ""
    if plan.changes:
        yield _legend(plan)
        found = machines(plan)
        yield f"Machines: {found.add} to add, {found.change} to replace, {found.destroy} to destroy"
    yield last_line(plan, plan.cluster)


def _change(change: Change, width: int, talk: Talk) -> Iterator[str]:
    sign = talk.style(f"{change.sign.value:>5}", COLOR[change.sign], err=False)
    yield f"{sign} {change.object:<{width}}  {change.why}"
    for field in change.fields:
        yield f"        {_field(field, talk)}"


def _field(field: FieldChange, talk: Talk) -> str:
    old, new = (_value(field.path, value) for value in (field.old, field.new))
    text = f"{field.path}: {old} → {new}  # {field.change.value}"
    if field.change is ChangeClass.IN_PLACE:
        return text
    text = talk.style(text, "error", err=False)
    return f"{text}\n          {field.way}" if field.way else text


def _value(path: str, value: object) -> str:
    if value is None:
        return "(unset)"
    if _SECRET.search(path.rpartition(".")[2]):
        return "(sensitive)"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _legend(plan: Plan) -> str:
    used = [sign for sign in Sign if plan.count(sign)]
    return "Signs: " + "   ".join(f"{sign.value} {MEANING[sign]}" for sign in used)


def as_json(plan: Plan, *, simulated: bool, compared_with: str) -> Json:
    """The plan for programs; no wall time in it."""
    found, moved = counts(plan), machines(plan)
    return {
        "cluster": plan.cluster,
        "simulated": simulated,
        "comparedWith": compared_with,
        "summary": {"add": found.add, "change": found.change, "destroy": found.destroy},
        "machines": {"add": moved.add, "replace": moved.change, "destroy": moved.destroy},
        "changes": [_change_json(change) for change in plan.changes],
        "untouched": [{"object": left.object, "why": left.why} for left in plan.untouched],
    }


def _change_json(change: Change) -> Json:
    return {
        "sign": change.sign.value,
        "object": change.object,
        "why": change.why,
        "machines": change.machines,
        "fields": [
            {
                "path": field.path,
                "old": "(sensitive)" if _SECRET.search(field.path) else field.old,
                "new": "(sensitive)" if _SECRET.search(field.path) else field.new,
                "class": field.change.value,
                "way": field.way,
            }
            for field in change.fields
        ],
    }
