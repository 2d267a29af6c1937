"""The positioned tree that both front ends make. What a scalar means is decided later, by its field's type."""

from __future__ import annotations

from collections.abc import Iterator

from flatyard.base.errors import Position, Problem, Severity
from flatyard.base.typed import TYPE_CHECKING
from flatyard.base.values import dataclass

if TYPE_CHECKING:
    from typing import Literal

STR = "tag:yaml.org,2002:str"
INT = "tag:yaml.org,2002:int"
FLOAT = "tag:yaml.org,2002:float"
BOOL = "tag:yaml.org,2002:bool"
NULL = "tag:yaml.org,2002:null"
BINARY = "tag:yaml.org,2002:binary"
NUMBER = "flatyard:json-number"
"""Tag of a JSON number, which is neither int nor float before its field says so."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a text may hold, so that none makes us run out of memory or stack."""

    depth: int = 100
    nodes: int = 1_000_000
    bytes: int = 16 * 1024 * 1024


LIMITS = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One scalar, list or map as written; ``line`` and ``column`` count from 1, columns in characters.

    ``raw`` is a scalar's text after unquoting. ``tag`` is the tag as written, or for JSON the value's type;
    empty for an untagged YAML scalar, whose meaning hangs on ``plain`` (neither quoted nor a block) and the
    dialect. ``entries`` keeps order, duplicates and merge keys. ``alias`` marks a ``*name`` in place of the
    thing itself; its ``items`` and ``entries`` are the anchored node's own.
    """

    kind: Literal["scalar", "list", "map"]
    line: int
    column: int
    raw: str = ""
    tag: str = ""
    plain: bool = False
    block: bool = False
    items: tuple[Node, ...] = ()
    entries: tuple[tuple[Node, Node], ...] = ()
    alias: bool = False

    def get(self, key: str) -> Node | None:
        """The value of the last entry with this key, as written; None for anything but a map."""
        return next((value for name, value in reversed(self.entries) if name.raw == key), None)

    def item(self, index: int) -> Node | None:
        """The item of a list; None beyond its end."""
        return self.items[index] if 0 <= index < len(self.items) else None

    def at(self, *keys: str | int) -> Node | None:
        """The node below these keys and indexes."""
        node: Node | None = self
        for key in keys:
            if node is None:
                return None
            node = node.get(key) if isinstance(key, str) else node.item(key)
        return node

    def walk(self) -> Iterator[Node]:
        """This node and everything below it, keys included, in the order of writing."""
        yield self
        for item in self.items:
            yield from item.walk()
        for key, value in self.entries:
            yield from key.walk()
            yield from value.walk()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a front end made of one text: its documents, and what stopped it. An empty document is a null scalar."""

    file: str
    documents: tuple[Node, ...]
    problems: tuple[Problem, ...] = ()


class Unreadable(Exception):
    """A front end cannot go on at this place (both count from 1)."""

    def __init__(self, what: str, line: int, column: int, allowed: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.line = line
        self.column = column
        self.allowed = allowed

    def problem(self, file: str) -> Problem:
        """The same as a value."""
        return Problem(Severity.ERROR, Position(file, self.line, self.column), "", self.what, self.allowed)


def text_of(data: bytes | str, limits: Limits = LIMITS) -> str:
    """UTF-8 as text; raises Unreadable for other bytes and for too many."""
    if len(data) > limits.bytes:
        raise Unreadable(f"the text is longer than {limits.bytes} bytes", 1, 1)
    try:
        raw = data.encode() if isinstance(data, str) else data
        text = raw.decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        what = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise Unreadable(what, *place(before, len(before)), "UTF-8 text") from error
    except UnicodeEncodeError as error:
        line, column = place(error.object, error.start)
        raise Unreadable("a lone surrogate is not text", line, column, "UTF-8 text") from error
    if len(raw) > limits.bytes:
        raise Unreadable(f"the text is longer than {limits.bytes} bytes", 1, 1)
    return text


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a character offset."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
