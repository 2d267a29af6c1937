"""What the JSON form of each class in `types` looks like: keys, kinds, and the spec that added each field.

Read off the dataclasses once, so that encoding, parsing and merging share one description.
"""

from __future__ import annotations

import sys
from enum import Enum
from functools import cache

from flatyard.base.values import dataclass
from flatyard.ignition import types


class Kind(Enum):
    """What a field holds."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRUCT = "struct"
    STRINGS = "strings"
    STRUCTS = "structs"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: Python attribute, JSON key, kind, class of a struct (or of a list's items), whether absent
    and empty differ, and the minor version of the 3.x spec that introduced it."""

    attr: str
    key: str
    kind: Kind
    struct: type | None
    nullable: bool
    since: int


_SCALARS = {"str": Kind.STRING, "int": Kind.INTEGER, "bool": Kind.BOOLEAN}
_KEYS = {"size_mib": "sizeMiB", "start_mib": "startMiB"}
_SINCE: dict[tuple[type, str], int] = {
    (types.Resource, "http_headers"): 1,
    (types.Ignition, "proxy"): 1,
    (types.Filesystem, "mount_options"): 1,
    (types.Storage, "luks"): 2,
    (types.Partition, "resize"): 2,
    (types.User, "should_exist"): 2,
    (types.Group, "should_exist"): 2,
    (types.Config, "kernel_arguments"): 3,
    (types.Luks, "discard"): 4,
    (types.Luks, "open_options"): 4,
    (types.Tang, "advertisement"): 4,
    (types.Luks, "cex"): 5,
}


def json_key(attr: str) -> str:
    """`password_hash` → `passwordHash`."""
    head, *rest = attr.split("_")
    return _KEYS.get(attr) or head + "".join(part.capitalize() for part in rest)


@cache
def fields(cls: type) -> tuple[Field, ...]:
    """The fields of one class of `types` (or of a module built alike), in the reference's order."""
    return tuple(_field(cls, name, hint) for name, hint in cls.__annotations__.items())


@cache
def by_key(cls: type, minor: int) -> dict[str, Field]:
    """The fields that spec 3.`minor` knows, by JSON key."""
    return {f.key: f for f in fields(cls) if f.since <= minor}


def _field(cls: type, attr: str, annotation: str) -> Field:
    bare = annotation.removesuffix(" | None")
    kind, struct = _kind(cls, bare)
    since = _SINCE.get((cls, attr), 0)
    return Field(attr, json_key(attr), kind, struct, nullable=bare != annotation, since=since)


def _kind(cls: type, annotation: str) -> tuple[Kind, type | None]:
    if annotation in _SCALARS:
        return _SCALARS[annotation], None
    if annotation == "tuple[str, ...]":
        return Kind.STRINGS, None
    if annotation.startswith("tuple["):
        item = annotation.removeprefix("tuple[").removesuffix(", ...]")
        return Kind.STRUCTS, getattr(sys.modules[cls.__module__], item)
    return Kind.STRUCT, getattr(sys.modules[cls.__module__], annotation)
