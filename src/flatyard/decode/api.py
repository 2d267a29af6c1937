"""The decoder's face: ``decode`` for users' text, ``from_json`` for parsed JSON, ``encode`` for the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from flatyard.base.errors import InvalidInput, Problem, Severity
from flatyard.decode.codecs import FAILED, NodePeek, Slow, node_of
from flatyard.decode.context import At, Context
from flatyard.decode.dialects import KUBERNETES, Dialect
from flatyard.decode.node import Node
from flatyard.decode.record import record_of
from flatyard.decode.types import JSON

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """A value (None when a needed part is wrong), every problem found, and places for further checks.

    Where a field was wrong but has a default, the value carries the default, so that checks can go on.
    """

    value: T | None
    problems: tuple[Problem, ...]
    at: At


def decode(cls: type[T], node: Node, file: str, dialect: Dialect = KUBERNETES) -> Decoded[T]:
    """Read one document as ``cls``."""
    ctx = Context(file, dialect)
    value = _careful(cls, node, ctx)
    return Decoded(value, tuple(ctx.problems), At(file, node))


def from_json(cls: type[T], value: JSON) -> T:
    """Read parsed JSON, such as an object from the Kubernetes API; raises InvalidInput with every error."""
    try:
        return record_of(cls, True).fast(value, value, value)  # type: ignore[return-value]
    except Slow:
        pass
    ctx = Context(None, KUBERNETES)
    found = _careful(cls, node_of(value), ctx)
    if found is None or any(problem.severity is Severity.ERROR for problem in ctx.problems):
        raise InvalidInput(ctx.problems)
    return found


def encode(value: object, *, full: bool = False) -> dict[str, JSON]:
    """The JSON-able twin of a dataclass value. Defaults are left out unless ``full``."""
    written = record_of(type(value), True).encode(value, full)
    assert isinstance(written, dict)
    return written


def _careful(cls: type[T], node: Node, ctx: Context) -> T | None:
    peek = NodePeek(node)
    value = record_of(cls, True).node(ctx, node, (), peek, peek)
    return None if value is FAILED else value  # type: ignore[return-value]
