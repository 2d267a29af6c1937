"""Dataclasses: the codec that reads, keeps and writes fields, and the compiler from annotations to codecs."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from flatyard.base.errors import Severity
from flatyard.decode import codecs as c
from flatyard.decode.context import Context, Keys, nearest
from flatyard.decode.dialects import Mismatch, is_null
from flatyard.decode.node import Node
from flatyard.decode.shape import Meta, Peek, shape_of
from flatyard.decode.types import JSON, ConfigVar, ConfigVarBool, Duration, Quantity, Raw

_PLAIN = Meta()
_REQUIRED: Any = object()


def _camel(name: str) -> str:
    first, *rest = name.strip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a record, ready for use. ``constant``: its type has one value, which is always written."""

    name: str
    key: str
    codec: c.Codec
    meta: Meta
    default: object
    constant: bool

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED


class Record:
    """A frozen dataclass."""

    def __init__(self, cls: type, strict: bool) -> None:
        self.cls = cls
        self.strict = strict
        self.fields: tuple[Field, ...] = ()
        self.rest = ""
        self._by_key: dict[str, Field] = {}
        self._fast: dict[str, tuple[str, c.Fast]] = {}
        self._required: tuple[Field, ...] = ()

    def compile(self) -> None:
        """Fill in the fields; apart from construction because types may contain themselves."""
        style = shape_of(self.cls).keys
        hints = get_type_hints(self.cls)
        fields = []
        for each in dataclasses.fields(self.cls):
            meta: Meta = each.metadata.get("decode", _PLAIN)
            if meta.rest:
                self.rest = each.name
                continue
            key = meta.key or (each.name if style == "snake" else _camel(each.name))
            codec = _field_codec(_without_none(hints[each.name]), meta, self.strict)
            constant = isinstance(codec, c.OneOf) and len(codec.values) == 1
            fields.append(Field(each.name, key, codec, meta, _default(each), constant))
        self.fields = tuple(fields)
        self._by_key = {each.key: each for each in fields}
        self._fast = {each.key: (each.name, each.codec.fast) for each in fields}
        self._required = tuple(each for each in fields if each.required)

    @property
    def keeps(self) -> bool:
        """Whether unknown keys are kept with a warning rather than refused."""
        return bool(self.rest) and not self.strict

    def node(self, ctx: Context, node: Node, keys: Keys, near: Peek, top: Peek) -> object:
        found = c.pairs(ctx, node, keys)
        if found is None:
            return c.FAILED
        out: dict[str, object] = {}
        rest: dict[str, JSON] = {}
        here = c.NodePeek(node)
        written: set[str] = set()
        for key, name, value in found:
            each = self._field(ctx, key)
            if each is None:
                written.add(self._unknown(ctx, key, name, value, keys, rest))
            elif not is_null(value):
                written.add(each.key)
                out[each.name] = each.codec.node(ctx, value, (*keys, each.key), here, top)
        good = {name: value for name, value in out.items() if value is not c.FAILED}
        if not self._complete(ctx, node, keys, good, written):
            return c.FAILED
        return self.cls(**good, **({self.rest: rest} if rest else {}))

    def _complete(
        self, ctx: Context, node: Node, keys: Keys, good: dict[str, object], written: set[str]
    ) -> bool:
        """Whether every required field is there; reports those that were not written, not even misspelt."""
        missing = [each for each in self._required if each.name not in good]
        for each in missing:
            if each.key not in written:
                allowed = each.meta.rule.allowed if each.meta.rule else each.meta.doc.rstrip(".")
                ctx.add(node, (*keys, each.key), f"{each.key} is missing", allowed)
        return not missing

    def _field(self, ctx: Context, key: str) -> Field | None:
        exact = self._by_key.get(key)
        if exact is not None or not ctx.dialect.fold_keys:
            return exact
        return next((each for each in self.fields if each.key.lower() == key.lower()), None)

    def _unknown(
        self, ctx: Context, key: str, name: Node, value: Node, keys: Keys, rest: dict[str, JSON]
    ) -> str:
        """Refuse or keep it; returns the key that was probably meant."""
        allowed = ", ".join(self._by_key)
        hint = "" if ctx.full else nearest(key, self._by_key)
        if not self.keeps:
            ctx.add(name, (*keys, key), f"unknown key {key!r}", allowed, hint)
            return hint
        try:
            rest[key] = c.plain(value, ctx.dialect)
        except Mismatch as error:
            ctx.add(value, (*keys, key), f"{error} cannot be kept")
            return ""
        what = f"unknown key {key!r} is kept and has no effect"
        ctx.add(name, (*keys, key), what, allowed, hint, Severity.WARNING)
        return ""

    def fast(self, value: object, near: object, top: object) -> object:
        if not isinstance(value, dict):
            raise c.Slow
        table = self._fast
        out: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for key, item in value.items():
            found = table.get(key)
            if found is None:
                rest[key] = item
            elif item is not None:
                out[found[0]] = found[1](item, value, top)
        if rest:
            if not self.keeps:
                raise c.Slow
            out[self.rest] = rest
        for each in self._required:
            if each.name not in out:
                raise c.Slow
        return self.cls(**out)

    def encode(self, value: object, full: bool) -> JSON:
        out: dict[str, JSON] = {}
        for each in self.fields:
            item = getattr(value, each.name)
            if item is None or (item == each.default and not (full or each.constant)):
                continue
            written = each.codec.encode(item, full)
            if item != each.default or written not in ("", [], {}, None):
                out[each.key] = written
        return {**out, **getattr(value, self.rest)} if self.rest else out


def _default(each: dataclasses.Field[Any]) -> object:
    if each.default is not dataclasses.MISSING:
        return each.default
    return each.default_factory() if each.default_factory is not dataclasses.MISSING else _REQUIRED


def _without_none(hint: object) -> object:
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    args = tuple(arg for arg in get_args(hint) if arg is not type(None))
    return args[0] if len(args) == 1 else Union[args]  # noqa: UP007


def _field_codec(hint: object, meta: Meta, strict: bool) -> c.Codec:
    if meta.union:
        return c.Chosen(meta.union, {tag: record_of(cls, strict) for tag, cls in meta.union.types.items()})
    codec = codec_of(hint, strict)
    return c.Checked(codec, meta.rule) if meta.rule else codec


_LEAVES: dict[object, c.Codec] = {
    str: c.TEXT,
    bool: c.TRUTH,
    int: c.WHOLE,
    float: c.REAL,
    Duration: c.DURATION,
    Quantity: c.QUANTITY,
    Raw: c.RawValue(),
    int | str: c.INT_OR_TEXT,
}


def codec_of(hint: object, strict: bool) -> c.Codec:
    """The codec of an annotation; raises TypeError for a type that is not in the closed list."""
    leaf = _LEAVES.get(hint) if not isinstance(hint, list) else None
    if leaf is not None:
        return leaf
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return c.OneOf({str(arg): arg for arg in args})
    if origin is tuple and len(args) == 2 and args[1] is ...:
        return c.ListOf(codec_of(args[0], strict))
    if origin in (Mapping, dict) and args[0] is str:
        return c.MapOf(codec_of(args[1], strict))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return c.OneOf({str(member): member for member in hint})
    if hint is ConfigVar or hint is ConfigVarBool:
        return c.Reference(hint, c.TEXT if hint is ConfigVar else c.TRUTH, record_of(hint, strict))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return record_of(hint, strict)
    raise TypeError(f"{hint!r} is not a type that can be decoded (the list is closed)")


def record_of(cls: type, strict: bool) -> Record:
    """The compiled codec of a dataclass, given whether what is around it is strict."""
    unknown = shape_of(cls).unknown
    return _record(cls, strict if unknown == "inherit" else unknown == "error")


_records: dict[tuple[type, bool], Record] = {}


def _record(cls: type, strict: bool) -> Record:
    known = _records.get((cls, strict))
    if known is None:
        known = _records[cls, strict] = Record(cls, strict)
        known.compile()
    return known
