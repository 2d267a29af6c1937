"""Nodes → a Butane config, as go-yaml decodes into the reference's structs.

The type of the field decides what a scalar means. Every type error is found; their texts are go-yaml's.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, islice

from flatyard.base.patterns import pattern
from flatyard.base.typed import TYPE_CHECKING
from flatyard.butane import source
from flatyard.butane.syntax import YamlError
from flatyard.butane.versions import Version, keys
from flatyard.decode.dialects import BUTANE, Mismatch, integer, is_null, number
from flatyard.decode.node import Node
from flatyard.ignition import types
from flatyard.ignition.schema import Field, Kind

if TYPE_CHECKING:
    from typing import TypeVar

    _Scalar = TypeVar("_Scalar", str, int, bool)

_STRING, _BOOLEAN, _STRUCT = Kind.STRING, Kind.BOOLEAN, Kind.STRUCT
_STRINGS, _STRUCTS = Kind.STRINGS, Kind.STRUCTS
_USUAL_TRUTHS = {"true": True, "false": False}
_USUAL_MODES = {f"0{mode:o}": mode for mode in (0o644, 0o600, 0o755, 0o700)}
_UNUSUAL = ("<<", "")
"""The text of a key that merges, and of one that is a list or a mapping."""
_LONG_VALUE = 10
_REPEATS_SHOWN = 100
_SHOWN = 7
_TIMESTAMP = pattern(
    r"\d{4}-\d\d?-\d\d?(?:(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::?\d\d)?))?)?"
)
_SPECIAL_FLOAT = pattern(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMBER_LIKE = pattern(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TYPE_NAMES = {
    "ConfigRefs": "IgnitionConfig",
    "Tls": "TLS",
    "User": "PasswdUser",
    "Group": "PasswdGroup",
    "HttpHeader": "HTTPHeader",
}


class DecodeError(YamlError):
    """Type errors, all of them; the text is go-yaml's, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["yaml: unmarshal errors:", *(f"  {problem}" for problem in problems)]))


def read_common(root: Node) -> tuple[str, str]:
    """Variant and version, which decide how the rest is read.

    Raises DecodeError where the document is no mapping, repeats a key, or has the wrong type in them.
    """
    reader = _Reader(0, "config")
    values = {"variant": "", "version": ""}
    if is_null(root):
        return "", ""
    if root.kind != "map":
        reader.wrong(root, "config.commonFields")
        raise DecodeError(reader.problems)
    for key, node in reader.entries(root):
        if key in values and not is_null(node):
            values[key] = reader.scalar(node, BUTANE.text, "string") or ""
    if reader.problems:
        raise DecodeError(reader.problems)
    return values["variant"], values["version"]


def read_config(root: Node, version: Version) -> tuple[source.Config, bool]:
    """The whole config, and whether all that is written is in it: no unknown keys, nulls, aliases or merges.

    Raises DecodeError with every type error.
    """
    reader = _Reader(version.level, version.package)
    config = reader.struct(source.Config, root)
    if reader.problems:
        raise DecodeError(reader.problems)
    assert isinstance(config, source.Config)
    return config, reader.is_whole


class _Reader:
    def __init__(self, level: int, package: str) -> None:
        self.level = level
        self.package = package
        self.problems: list[str] = []
        self.is_whole = True

    def struct(self, cls: type, node: Node) -> object:
        known = keys(cls, self.level)
        values: dict[str, object] = {}
        for key, value in self.entries(node):
            field = known.get(key)
            if field is None or (value.kind == "scalar" and is_null(value)):
                self.is_whole = False
                continue
            read = self.value(field, value)
            if read is not None:
                values[key] = read
        return cls(**values)

    def value(self, field: Field, node: Node) -> object:
        kind = field.kind
        if kind is _STRING:
            return self.text(node)
        if kind is _STRUCT:
            return self.nested(field, node)
        if kind is _STRUCTS:
            return self.structs(field, node)
        if kind is _STRINGS:
            return self.strings(node)
        if kind is _BOOLEAN:
            truth = _USUAL_TRUTHS.get(node.raw) if node.plain else None
            return self.scalar(node, BUTANE.truth, "bool") if truth is None else truth
        mode = _USUAL_MODES.get(node.raw) if node.plain else None
        return self.scalar(node, BUTANE.whole, "int") if mode is None else mode

    def entries(self, node: Node) -> Iterable[tuple[str, Node]]:
        """Keys and values; merged ones follow where no explicit key stands against them."""
        written = {name.raw: value for name, value in node.entries}
        if len(written) == len(node.entries) and written.keys().isdisjoint(_UNUSUAL):
            return written.items()
        return self.unusual_entries(node)

    def unusual_entries(self, node: Node) -> Iterator[tuple[str, Node]]:
        """The same for mappings with repeated keys, merges, or keys that are no text."""
        self.is_whole = False
        seen: dict[str, int] = {}
        merges = []
        self.check_repeated(node)
        for name, value in node.entries:
            if name.raw == "<<" and name.plain:
                merges.append(value)
            elif name.kind != "scalar":
                self.wrong(name, "string")
            else:
                seen[name.raw] = name.line
                yield name.raw, value
        for merged in merges:
            yield from self.merged(merged, seen)

    def check_repeated(self, node: Node) -> None:
        """go-yaml reports every pair of equal keys, the earlier key's pairs first. A key that stands there n times
        makes n² / 2 pairs, so that not all of them can be said."""
        if len({name.raw for name, _ in node.entries}) == len(node.entries):
            return
        from json import dumps

        lines: dict[str, list[int]] = {}
        for name, _ in node.entries:
            lines.setdefault(name.raw, []).append(name.line)
        repeats = (
            repeat
            for key, places in lines.items()
            for repeat in _repeats(dumps(key, ensure_ascii=False), places)
        )
        self.problems += islice(repeats, _REPEATS_SHOWN)

    def merged(self, node: Node, seen: dict[str, int]) -> Iterator[tuple[str, Node]]:
        for mapping in node.items if node.kind == "list" else (node,):
            if mapping.kind != "map":
                raise YamlError("yaml: map merge requires map or sequence of maps as the value")
            for key, value in self.entries(mapping):
                if key not in seen:
                    seen[key] = mapping.line
                    yield key, value

    def scalar(self, node: Node, read: Callable[[Node], _Scalar], wanted: str) -> _Scalar | None:
        if node.kind == "scalar":
            _check_tag(node)
            try:
                return read(node)
            except Mismatch:
                pass
        self.wrong(node, wanted)
        return None

    def nested(self, field: Field, node: Node) -> object:
        assert field.struct is not None
        if node.kind != "map":
            self.wrong(node, self.type_name(field))
            return None
        if node.alias:
            self.is_whole = False
        return self.struct(field.struct, node)

    def text(self, node: Node) -> str | None:
        if node.kind == "scalar" and not node.tag:
            return node.raw  # what the dialect says, without asking it
        return self.scalar(node, BUTANE.text, "string")

    def strings(self, node: Node) -> tuple[str, ...] | None:
        if node.kind != "list":
            self.wrong(node, "[]string")
            return None
        read = [self.text(item) for item in node.items if not is_null(item)]
        return tuple([text for text in read if text is not None])

    def structs(self, field: Field, node: Node) -> tuple[object, ...] | None:
        if node.kind != "list":
            named = field.struct is types.HttpHeader
            self.wrong(node, f"{self.package}.HTTPHeaders" if named else f"[]{self.type_name(field)}")
            return None
        items = [item for item in node.items if not is_null(item)]
        if len(items) < len(node.items):
            self.is_whole = False
        return tuple([value for item in items if (value := self.nested(field, item)) is not None])

    def type_name(self, field: Field) -> str:
        assert field.struct is not None
        name = field.struct.__name__
        if field.struct is types.Owner:
            name = "NodeUser" if field.attr == "user" else "NodeGroup"
        return f"{self.package}.{_TYPE_NAMES.get(name, name)}"

    def wrong(self, node: Node, wanted: str) -> None:
        shown = ""
        if node.kind == "scalar":
            value = node.raw
            if len(value.encode()) > _LONG_VALUE:
                value = value.encode()[:_SHOWN].decode("utf-8", "ignore") + "..."
            shown = f" `{value}`"
        self.problems.append(f"line {node.line}: cannot unmarshal {short_tag(node)}{shown} into {wanted}")


def _repeats(quoted: str, lines: list[int]) -> Iterator[str]:
    for first, later in combinations(lines, 2):
        yield f"line {later}: mapping key {quoted} already defined at line {first}"


_SHORT = "tag:yaml.org,2002:"
_RESOLVED = ("!!int", "!!float", "!!bool", "!!null", "!!timestamp")


def short_tag(node: Node) -> str:
    """The tag that go-yaml gives a node."""
    if node.tag:
        return f"!!{node.tag.removeprefix(_SHORT)}" if node.tag.startswith(_SHORT) else node.tag
    if node.kind != "scalar":
        return "!!seq" if node.kind == "list" else "!!map"
    return _plain_tag(node.raw) if node.plain else "!!str"


def _check_tag(node: Node) -> None:
    """A written core tag must be what the text would be by itself; an integer may be called a float."""
    if not node.tag.startswith(_SHORT):
        return
    said, found = short_tag(node), _plain_tag(node.raw)
    if said == "!!binary" and not _is_base64(node.raw):
        raise YamlError("yaml: !!binary value contains invalid base64 data")
    if said in _RESOLVED and said != found and (said, found) != ("!!float", "!!int"):
        raise YamlError(f"yaml: cannot decode {found} `{node.raw}` as a {said}")


def _is_base64(text: str) -> bool:
    try:
        binascii.a2b_base64(text.replace("\n", "").replace("\r", ""), strict_mode=True)
    except ValueError:
        return False
    return True


def _plain_tag(raw: str) -> str:
    if raw in ("", "~", "null", "Null", "NULL"):
        return "!!null"
    if raw in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return "!!bool"
    if raw == "<<":
        return "!!merge"
    if isinstance(number(raw), int) and integer(raw) is not None:
        return "!!int"
    bare = raw.replace("_", "")
    if _SPECIAL_FLOAT.fullmatch(raw) or (raw[:1] != "_" and _NUMBER_LIKE.fullmatch(bare)):
        return "!!float"
    return "!!timestamp" if _TIMESTAMP.fullmatch(raw) else "!!str"
