"""One codec for each type in the closed list, compiled once for each class.

A codec has three readings: ``node`` decodes a positioned tree and reports every problem; ``fast`` takes JSON that
is expected to be right and raises Slow at the first doubt, after which ``node`` finds out what is wrong;
``encode`` is the way back. DESIGN §3 closes the list: a new type is a new class here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from flatyard.decode.context import Context, Keys, nearest, shown
from flatyard.decode.dialects import Dialect, Mismatch, entries, is_null
from flatyard.decode.node import BOOL, NULL, NUMBER, STR, Node
from flatyard.decode.shape import Peek, Rule, Union
from flatyard.decode.types import JSON, ConfigVar, ConfigVarBool, Duration, Quantity, Raw

T = TypeVar("T")
Fast = Callable[[object, object, object], object]


class Slow(Exception):
    """The fast reading gives up; the careful one explains."""


class Failed:
    """The value of a node that could not be decoded; its problem is reported."""


FAILED = Failed()


class Codec(Protocol):
    """How one type is read and written."""

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        """The value, or FAILED with a problem added."""
        ...

    def fast(self, value: object, near: object, top: object) -> object:
        """The value; raises Slow."""
        ...

    def encode(self, value: object, full: bool) -> JSON:
        """JSON-able form; ``full`` writes defaults too."""
        ...


class Scalar(Generic[T]):
    """A scalar whose JSON form is the value itself: text, truth, whole number, number."""

    def __init__(self, cls: type[T], what: str, read: Callable[[Dialect], Callable[[Node], T]]) -> None:
        self._cls = cls
        self._what = what
        self._read = read

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        try:
            if node.kind == "scalar" and not is_null(node):
                return self._read(ctx.dialect)(node)
        except Mismatch:
            pass
        if self._cls is str:
            ctx.wants(node, keys, self._what, f'"{node.raw}"' if node.plain and node.raw else "")
        else:
            quoted = node.kind == "scalar" and not node.plain and node.tag in ("", STR)
            ctx.wants(node, keys, f"{self._what}, without quotes" if quoted else self._what)
        return FAILED

    def fast(self, value: object, near: object, top: object) -> object:
        if value.__class__ is self._cls:
            return value
        raise Slow

    def encode(self, value: object, full: bool) -> JSON:
        return value  # type: ignore[return-value]


class Real(Scalar[float]):
    """A number; JSON may write it without a fraction."""

    def fast(self, value: object, near: object, top: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise Slow


TEXT = Scalar(str, "a text", lambda dialect: dialect.text)
TRUTH = Scalar(bool, "true or false", lambda dialect: dialect.truth)
WHOLE = Scalar(int, "a whole number", lambda dialect: dialect.whole)
REAL = Real(float, "a number", lambda dialect: dialect.real)


class Parsed(Generic[T]):
    """A text with a form of its own: durations and quantities."""

    def __init__(self, parse: Callable[[str], T], text: Callable[[T], str], what: str) -> None:
        self._parse = parse
        self._text = text
        self._what = what

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        try:
            if node.kind == "scalar":
                return self._parse(node.raw)
        except ValueError:
            pass
        ctx.wants(node, keys, self._what)
        return FAILED

    def fast(self, value: object, near: object, top: object) -> object:
        try:
            return self._parse(str(value))
        except ValueError:
            raise Slow from None

    def encode(self, value: object, full: bool) -> JSON:
        return self._text(value)  # type: ignore[arg-type]


DURATION = Parsed(Duration.parse, str, "a duration like 90s, 30m or 1h30m")
QUANTITY = Parsed(Quantity.parse, lambda q: q.text, "a quantity like 500m, 2 or 1Gi")


class IntOrText:
    """A whole number or a text, as Kubernetes' IntOrString."""

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        for read in (ctx.dialect.whole, ctx.dialect.text):
            try:
                if node.kind == "scalar" and not is_null(node):
                    return read(node)
            except Mismatch:
                continue
        ctx.wants(node, keys, "a whole number or a text like 25%")
        return FAILED

    def fast(self, value: object, near: object, top: object) -> object:
        if value.__class__ is int or value.__class__ is str:
            return value
        raise Slow

    def encode(self, value: object, full: bool) -> JSON:
        return value  # type: ignore[return-value]


INT_OR_TEXT = IntOrText()


class OneOf:
    """One of a few texts (Literal, StrEnum)."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        if node.kind == "scalar" and node.raw in self.values:
            return self.values[node.raw]
        allowed = ", ".join(self.values)
        ctx.add(node, keys, f"{shown(node)} is not allowed here", allowed, nearest(node.raw, self.values))
        return FAILED

    def fast(self, value: object, near: object, top: object) -> object:
        found = self.values.get(value) if isinstance(value, str) else None
        if found is None:
            raise Slow
        return found

    def encode(self, value: object, full: bool) -> JSON:
        return str(value)


class RawValue:
    """Anything, kept as it is."""

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        try:
            return Raw(plain(node, ctx.dialect), node)
        except Mismatch as error:
            ctx.add(node, keys, f"{error} cannot be kept")
            return FAILED

    def fast(self, value: object, near: object, top: object) -> object:
        return Raw(value)  # type: ignore[arg-type]

    def encode(self, value: object, full: bool) -> JSON:
        return value.value if isinstance(value, Raw) else None


class ListOf:
    """A tuple of equal things."""

    def __init__(self, item: Codec) -> None:
        self.item = item

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        if node.kind != "list":
            ctx.wants(node, keys, "a list")
            return FAILED
        items = node.items
        if ctx.dialect.drop_nulls:
            items = tuple(item for item in items if not is_null(item))
        values = [self.item.node(ctx, item, (*keys, i), near, top) for i, item in enumerate(items)]
        return tuple(value for value in values if value is not FAILED)

    def fast(self, value: object, near: object, top: object) -> object:
        if not isinstance(value, list):
            raise Slow
        read = self.item.fast
        return tuple([read(item, near, top) for item in value])

    def encode(self, value: object, full: bool) -> JSON:
        return [self.item.encode(item, full) for item in value]  # type: ignore[attr-defined]


class MapOf:
    """Free keys to equal things."""

    def __init__(self, item: Codec) -> None:
        self.item = item

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        out: dict[str, object] = {}
        for key, _, value in pairs(ctx, node, keys) or ():
            found = self.item.node(ctx, value, (*keys, key), near, top)
            if found is not FAILED:
                out[key] = found
        return out if node.kind == "map" else FAILED

    def fast(self, value: object, near: object, top: object) -> object:
        if not isinstance(value, dict):
            raise Slow
        read = self.item.fast
        return {key: read(item, near, top) for key, item in value.items()}

    def encode(self, value: object, full: bool) -> JSON:
        return {key: self.item.encode(item, full) for key, item in value.items()}  # type: ignore[attr-defined]


class Reference:
    """A ConfigVar: a plain scalar, or a mapping that says where to read it."""

    def __init__(self, cls: type[ConfigVar] | type[ConfigVarBool], scalar: Codec, mapping: Codec) -> None:
        self._cls = cls
        self.forms = scalar, mapping
        self._scalar = scalar
        self._mapping = mapping
        self._nothing = cls()

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        if node.kind == "map":
            return self._mapping.node(ctx, node, keys, near, top)
        value = self._scalar.node(ctx, node, keys, near, top)
        return value if value is FAILED else self._cls(value)  # type: ignore[arg-type]

    def fast(self, value: object, near: object, top: object) -> object:
        if value.__class__ is dict:
            return self._mapping.fast(value, near, top)
        return self._cls(self._scalar.fast(value, near, top))  # type: ignore[arg-type]

    def encode(self, value: object, full: bool) -> JSON:
        assert isinstance(value, ConfigVar | ConfigVarBool)
        if value.secret_key_ref is None and value.config_map_key_ref is None and value != self._nothing:
            return value.value
        return self._mapping.encode(value, full)


class Chosen:
    """A field whose type hangs on another field; nothing when that one is missing or unknown."""

    def __init__(self, union: Union, types: Mapping[str, Codec]) -> None:
        self._choose = union.choose
        self.sibling = union.sibling
        self.types = types
        self._by_class = {union.types[tag]: codec for tag, codec in types.items()}

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        codec = self.types.get(self._choose(near, top) or "")
        return codec.node(ctx, node, keys, near, top) if codec else FAILED

    def fast(self, value: object, near: object, top: object) -> object:
        codec = self.types.get(self._choose(JsonPeek(near), JsonPeek(top)) or "")
        if codec is None:
            raise Slow
        return codec.fast(value, near, top)

    def encode(self, value: object, full: bool) -> JSON:
        return self._by_class[type(value)].encode(value, full)


@dataclass(frozen=True, slots=True)
class Checked:
    """A codec with a rule on top; nulls never reach it."""

    codec: Codec
    rule: Rule

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        value = self.codec.node(ctx, node, keys, near, top)
        if value is FAILED or self.rule.test(value):
            return value
        words = self.rule.schema.get("enum")
        known = [word for word in words if isinstance(word, str) and word] if isinstance(words, list) else []
        ctx.add(node, keys, f"{shown(node)} is not allowed here", self.rule.allowed, nearest(node.raw, known))
        return FAILED

    def fast(self, value: object, near: object, top: object) -> object:
        found = self.codec.fast(value, near, top)
        if self.rule.test(found):
            return found
        raise Slow

    def encode(self, value: object, full: bool) -> JSON:
        return self.codec.encode(value, full)


@dataclass(frozen=True, slots=True)
class NodePeek:
    """A look into a Node."""

    node: Node | None

    def text(self, *keys: str) -> str | None:
        found = self.node.at(*keys) if self.node else None
        return found.raw if found and found.kind == "scalar" else None

    def keys(self, *keys: str) -> tuple[str, ...]:
        found = self.node.at(*keys) if self.node else None
        return tuple(name.raw for name, value in found.entries if not is_null(value)) if found else ()


@dataclass(frozen=True, slots=True)
class JsonPeek:
    """A look into JSON."""

    value: object

    def text(self, *keys: str) -> str | None:
        found = self._at(keys)
        return found if isinstance(found, str) else None

    def keys(self, *keys: str) -> tuple[str, ...]:
        found = self._at(keys)
        return (
            tuple(key for key, value in found.items() if value is not None) if isinstance(found, dict) else ()
        )

    def _at(self, keys: tuple[str, ...]) -> object:
        value = self.value
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def pairs(ctx: Context, node: Node, keys: Keys) -> list[tuple[str, Node, Node]] | None:
    """Key, its node and the value of each entry that holds; None (and a problem) if this is no mapping."""
    if node.kind != "map":
        ctx.wants(node, keys, "a mapping")
        return None
    found: dict[str, tuple[str, Node, Node]] = {}
    try:
        for entry in entries(node, ctx.dialect):
            if entry.first is not None and ctx.dialect.duplicates == "error":
                ctx.add(entry.name, (*keys, entry.key), f"written twice, first on line {entry.first.line}")
            else:
                found[entry.key] = (entry.key, entry.name, entry.value)
    except Mismatch as error:
        ctx.add(node, keys, f"{error} cannot be used")
    return list(found.values())


def plain(node: Node, dialect: Dialect) -> JSON:
    """The untyped meaning of a tree; raises Mismatch for what JSON cannot say."""
    if node.kind == "scalar":
        return dialect.plain(node)
    if node.kind == "list":
        return [plain(item, dialect) for item in node.items]
    return {entry.key: plain(entry.value, dialect) for entry in entries(node, dialect)}


def node_of(value: JSON) -> Node:
    """A tree without places, from JSON."""
    if isinstance(value, dict):
        return Node(
            "map",
            0,
            0,
            entries=tuple((Node("scalar", 0, 0, str(k), STR), node_of(v)) for k, v in value.items()),
        )
    if isinstance(value, list | tuple):
        return Node("list", 0, 0, items=tuple(map(node_of, value)))
    if isinstance(value, bool):
        return Node("scalar", 0, 0, str(value).lower(), BOOL)
    if isinstance(value, int | float):
        return Node("scalar", 0, 0, repr(value), NUMBER)
    return Node("scalar", 0, 0, "null" if value is None else str(value), NULL if value is None else STR)
