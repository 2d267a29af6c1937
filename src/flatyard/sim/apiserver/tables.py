"""Tables, as `kubectl get` asks for them."""

from __future__ import annotations

import re
from datetime import datetime

from flatyard.kube.api import Json, Object
from flatyard.kube.kinds import Column, ColumnType, Kind
from flatyard.sim.apiserver.columns import BUILT_IN, NAME, PLAIN
from flatyard.sim.apiserver.printers import CELLS, Cell, age, name_and_age

_STEP = re.compile(r"\.((?:\\.|[^.\[\]\\])+)|\[(\d+)\]|\['([^']+)'\]")


def definition(column: Column) -> Json:
    """A TableColumnDefinition."""
    return {
        "name": column.name,
        "type": column.type.value,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def look(raw: object, path: str) -> object:
    """The value at a simple JSONPath (fields, indexes), or None."""
    for name, index, quoted in _STEP.findall(path):
        if index:
            raw = raw[int(index)] if isinstance(raw, list) and int(index) < len(raw) else None
        else:
            key = quoted or name.replace("\\", "")
            raw = raw.get(key) if isinstance(raw, dict) else None
    return raw


def columns(kind: Kind) -> tuple[Column, ...]:
    """The columns of a kind's table."""
    if not kind.custom:
        return BUILT_IN.get(kind.resource.qualified, PLAIN)
    own = kind.columns or (Column("Age", ColumnType.DATE, ".metadata.creationTimestamp"),)
    described = (
        Column(c.name, c.type, c.path, c.priority, c.description or _custom_text(c.path), c.format)
        for c in own
    )
    return (NAME, *described)


def _custom_text(path: str) -> str:
    return f"Custom resource definition column (in JSONPath format): {path}"


def cells(kind: Kind, object: Object, now: datetime) -> list[Cell]:
    """One row's cells."""
    if not kind.custom:
        return CELLS.get(kind.resource.qualified, name_and_age)(object, now)
    own = columns(kind)[1:]
    return [object.name, *(_custom_cell(column, object, now) for column in own)]


def _custom_cell(column: Column, object: Object, now: datetime) -> Cell:
    value = look(object.raw, column.path)
    if value is None:
        return None
    if column.type is ColumnType.DATE:
        return age(value, now)
    if column.type is ColumnType.STRING:
        return value if isinstance(value, str) else _plain(value)
    return value if isinstance(value, (int, float, bool)) else None


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
