"""How a dataclass says what its fields are called, what they allow and what happens to unknown keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from flatyard.decode.types import JSON

T = TypeVar("T")


class Peek(Protocol):
    """A look at what stands around a field, before anything is decoded."""

    def text(self, *keys: str) -> str | None:
        """The scalar below these keys."""
        ...

    def keys(self, *keys: str) -> tuple[str, ...]:
        """The keys of the mapping below these keys."""
        ...


@dataclass(frozen=True, slots=True)
class Rule:
    """What one value must satisfy besides its type; ``schema`` says the same in JSON Schema."""

    allowed: str
    test: Callable[[object], bool]
    schema: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Union:
    """The type of a field hangs on another field: ``choose(mapping, document)`` gives a key of ``types``.

    ``sibling``: the key beside the field that ``choose`` reads, where that is all it does.
    """

    choose: Callable[[Peek, Peek], str | None]
    types: Mapping[str, type[object]]
    sibling: str = ""


@dataclass(frozen=True, slots=True)
class Meta:
    """What a field says about itself beyond name, type and default."""

    key: str | None = None
    doc: str = ""
    rule: Rule | None = None
    union: Union | None = None
    rest: bool = False
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What a class says about itself.

    ``unknown``: ``error``, ``keep`` (a warning; the value goes to the class's rest field), or ``inherit`` from
    the class around it. ``keys``: how field names become keys.
    """

    unknown: Literal["error", "keep", "inherit"] = "inherit"
    keys: Literal["camel", "snake"] = "camel"


_shapes: dict[type, Shape] = {}


def meta(
    key: str | None = None,
    *,
    doc: str = "",
    rule: Rule | None = None,
    union: Union | None = None,
    secret: bool = False,
) -> dict[str, Meta]:
    """Metadata for ``dataclasses.field``: the key where camelCase of the name is not it, and the rest."""
    return {"decode": Meta(key, doc, rule, union, False, secret)}


REST = {"decode": Meta(rest=True)}
"""Metadata of the one field that takes unknown keys."""


def shape(
    *,
    unknown: Literal["error", "keep", "inherit"] = "inherit",
    keys: Literal["camel", "snake"] = "camel",
) -> Callable[[type[T]], type[T]]:
    """Class decorator (outermost) that records the Shape."""

    def record(cls: type[T]) -> type[T]:
        _shapes[cls] = Shape(unknown, keys)
        return cls

    return record


def shape_of(cls: type) -> Shape:
    """The recorded Shape, or the plain one."""
    return _shapes.get(cls, Shape())


def one_of(*values: str | int) -> Rule:
    """One of these texts or numbers."""
    return Rule(", ".join(str(v) for v in values if v != ""), lambda v: v in values, {"enum": list(values)})


def at_least(low: int) -> Rule:
    """A number not below ``low``."""
    return Rule(f"{low} or more", lambda v: isinstance(v, int) and v >= low, {"minimum": low})


def between(low: int, high: int) -> Rule:
    """A number from ``low`` to ``high``, both included."""
    schema: dict[str, JSON] = {"minimum": low, "maximum": high}
    return Rule(f"{low} to {high}", lambda v: isinstance(v, int) and low <= v <= high, schema)


def matches(pattern: str, allowed: str) -> Rule:
    """A text that the whole of ``pattern`` matches."""
    compiled = re.compile(pattern, re.ASCII)
    return Rule(
        allowed, lambda v: isinstance(v, str) and bool(compiled.fullmatch(v)), {"pattern": f"^(?:{pattern})$"}
    )
