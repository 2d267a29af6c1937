"""The kinds of resources: which model a body must fit, which parts have ids of their own, and what its rules are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .world import Body, Resource, World

Check = Callable[[World, Resource, Resource | None], None]
"""(world, as it would be, as it is): refuses, or completes the new one (addresses, defaults)."""
View = Callable[[World, Resource, Body], None]
"""Completes what GET shows."""


def nothing(*_: object) -> None:
    return None


@dataclass(frozen=True)
class Kind:
    name: str
    model: str
    patch: str = ""
    """Model of PATCH; "" where there is no PATCH."""
    tracked: bool = True
    """Has a location and tags, and is in resources.list."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Name of an inline list -> its items' model where they can be written by their own id, else ""."""
    takes: str = "other"
    """Which duration a PUT takes; "" where it is done at once."""
    delete_takes: str = "delete"
    accepted: bool = False
    made: int = 201
    """The status of an answer that tells of a new one, with its body."""
    """PUT of a new one is answered 202 with Location and no body (rules: operation-location)."""
    check: Check = nothing
    view: View = nothing
    may_go: Callable[[World, Resource], None] = nothing
    """Refuses a deletion."""
    gone: Callable[[World, Resource], None] = nothing
    """What goes with it."""
    begun: Callable[[World, Resource, Resource | None], None] = nothing
    """Right after a PUT was taken."""
    done: Callable[[World, Resource], None] = nothing
    """When a PUT's operation has ended well."""


KINDS: dict[str, Kind] = {}


def register(*kinds: Kind) -> None:
    KINDS.update({kind.name.lower(): kind for kind in kinds})
