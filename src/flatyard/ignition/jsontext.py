"""JSON text with the place of every key and value, and with Go's messages for what is malformed.

Only documents with something to report come here; the others are read by the standard library's C scanner.
Offsets count bytes, as Go's do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from flatyard.base.patterns import pattern
from flatyard.ignition.report import Path

MOST_VALUES = 1_000_000
_MAX_DEPTH = 100
_STRUCTURE = pattern(rb'(?s)"(?:[^"\\]++|\\.)*+"|([\[{,])')
_STRING = pattern(rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"')
_SPACE = pattern(rb"[ \t\r\n]*")
_PLAIN = pattern(rb'[^"\\\x00-\x1f]*')
_NUMBER = pattern(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_HEX = pattern(rb"[0-9a-fA-F]*")
_ESCAPES = b'"\\/bfnrt'


@dataclass(slots=True)
class JsonNode:
    """A value's extent in the text; `children` by key or index, `keys` with each key's own offset."""

    kind: str
    start: int
    end: int = 0
    children: dict[str | int, JsonNode] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)

    @property
    def anchor(self) -> int:
        """The offset that the reference reports: that of a scalar, or just inside a container."""
        return self.start + 1 if self.kind in ("object", "array") else self.start


class JsonSyntaxError(ValueError):
    """Malformed JSON; `offset` is the number of bytes read, as Go counts them."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def check_size(data: bytes) -> None:
    """Refuses what would take more memory than a config is worth: a megabyte of empty lists is thirty of Python's.

    Raises JsonSyntaxError for a text of more than a million values.
    """
    if sum(map(data.count, (b"[", b"{", b","))) <= MOST_VALUES:
        return
    count = 0
    for match in _STRUCTURE.finditer(data):
        count += match[1] is not None
        if count > MOST_VALUES:
            raise JsonSyntaxError(f"more than {MOST_VALUES} values", match.start())


def scan(data: bytes) -> JsonNode:
    """The tree of places in a document.

    Raises JsonSyntaxError with Go's message where the text is not JSON, or nests deeper than 100 levels.
    """
    scanner = _Scanner(data)
    position = scanner.skip(0)
    node = scanner.value(position, 0)
    rest = scanner.skip(node.end)
    if rest < len(data):
        raise scanner.unexpected(rest, "after top-level value")
    return node


def find(node: JsonNode, path: Path, *, key: bool = False) -> int:
    """The offset to report for `path`: of the deepest value that exists on the way (or of its key)."""
    for step in path[:-1] if key else path:
        child = node.children.get(step)
        if child is None:
            return node.anchor
        node = child
    if key:
        return node.keys.get(str(path[-1]), node.anchor)
    return node.anchor


def line_column(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column (in bytes, from 1) of an offset; (0, 0) past the end, as the reference has it."""
    if offset >= len(data):
        return 0, 0
    return data.count(b"\n", 0, offset) + 1, offset - (data.rfind(b"\n", 0, offset) + 1) + 1


def lines_columns(data: bytes, offsets: Iterable[int]) -> dict[int, tuple[int, int]]:
    """`line_column` of many offsets, in one pass over the text."""
    found: dict[int, tuple[int, int]] = {}
    line, start, before = 1, 0, 0
    for offset in sorted(set(offsets)):
        if offset >= len(data):
            found[offset] = 0, 0
            continue
        line += data.count(b"\n", before, offset)
        start = max(start, data.rfind(b"\n", before, offset) + 1)
        found[offset] = line, offset - start + 1
        before = offset
    return found


class _Scanner:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def skip(self, position: int) -> int:
        match = _SPACE.match(self.data, position)
        return match.end() if match else position

    def unexpected(self, position: int, context: str) -> JsonSyntaxError:
        if position >= len(self.data):
            return JsonSyntaxError("unexpected end of JSON input", len(self.data))
        return JsonSyntaxError(f"invalid character {_quote(self.data[position])} {context}", position + 1)

    def value(self, position: int, depth: int) -> JsonNode:
        if depth > _MAX_DEPTH:
            raise JsonSyntaxError("exceeded max depth", position)
        start = self.data[position : position + 1]
        if start == b"{":
            return self.object(position, depth)
        if start == b"[":
            return self.array(position, depth)
        if start == b'"':
            return JsonNode("string", position, self.string(position))
        if start in (b"t", b"f", b"n"):
            return self.literal(position)
        return self.number(position)

    def object(self, start: int, depth: int) -> JsonNode:
        node = JsonNode("object", start)
        position = self.skip(start + 1)
        if self.data[position : position + 1] == b"}":
            node.end = position + 1
            return node
        while True:
            position = self.member(node, position, depth)
            if self.data[position : position + 1] == b"}":
                node.end = position + 1
                return node
            if self.data[position : position + 1] != b",":
                raise self.unexpected(position, "after object key:value pair")
            position = self.skip(position + 1)

    def member(self, node: JsonNode, position: int, depth: int) -> int:
        if self.data[position : position + 1] != b'"':
            raise self.unexpected(position, "looking for beginning of object key string")
        end = self.string(position)
        name = _text(self.data[position:end])
        colon = self.skip(end)
        if self.data[colon : colon + 1] != b":":
            raise self.unexpected(colon, "after object key")
        child = self.value(self.skip(colon + 1), depth + 1)
        node.keys[name] = position
        node.children[name] = child
        return self.skip(child.end)

    def array(self, start: int, depth: int) -> JsonNode:
        node = JsonNode("array", start)
        position = self.skip(start + 1)
        if self.data[position : position + 1] == b"]":
            node.end = position + 1
            return node
        while True:
            child = self.value(position, depth + 1)
            node.children[len(node.children)] = child
            position = self.skip(child.end)
            if self.data[position : position + 1] == b"]":
                node.end = position + 1
                return node
            if self.data[position : position + 1] != b",":
                raise self.unexpected(position, "after array element")
            position = self.skip(position + 1)

    def string(self, start: int) -> int:
        whole = _STRING.match(self.data, start)
        if whole:
            return whole.end()
        position = start + 1
        while True:
            plain = _PLAIN.match(self.data, position)
            position = plain.end() if plain else position
            byte = self.data[position : position + 1]
            if byte == b'"':
                return position + 1
            if byte != b"\\":
                raise self.unexpected(position, "in string literal")
            position = self.escape(position + 1)

    def escape(self, position: int) -> int:
        byte = self.data[position : position + 1]
        if byte == b"u":
            digits = _HEX.match(self.data, position + 1, position + 5)
            end = digits.end() if digits else position + 1
            if end < position + 5:
                raise self.unexpected(end, "in \\u hexadecimal character escape")
            return end
        if not byte or byte not in _ESCAPES:
            raise self.unexpected(position, "in string escape code")
        return position + 1

    def literal(self, start: int) -> JsonNode:
        word = {b"t": b"true", b"f": b"false", b"n": b"null"}[self.data[start : start + 1]]
        for offset, wanted in enumerate(word):
            if self.data[start + offset : start + offset + 1] != bytes([wanted]):
                context = f"in literal {word.decode()} (expecting {_quote(wanted)})"
                raise self.unexpected(start + offset, context)
        kind = "null" if word == b"null" else "bool"
        return JsonNode(kind, start, start + len(word))

    def number(self, start: int) -> JsonNode:
        match = _NUMBER.match(self.data, start)
        if not match:
            if self.data[start : start + 1] == b"-":
                raise self.unexpected(start + 1, "in numeric literal")
            raise self.unexpected(start, "looking for beginning of value")
        end = match.end()
        following = self.data[end : end + 1]
        if following == b"." and b"." not in match[0]:
            raise self.unexpected(end + 1, "after decimal point in numeric literal")
        if following in (b"e", b"E") and b"e" not in match[0].lower():
            sign = self.data[end + 1 : end + 2] in (b"+", b"-")
            raise self.unexpected(end + 1 + sign, "in exponent of numeric literal")
        return JsonNode("number", start, end)


def _text(quoted: bytes) -> str:
    return str(json.loads(quoted.decode("utf-8", "replace")))


def _quote(byte: int) -> str:
    if byte == ord("'"):
        return "'\\''"
    if byte == ord('"'):
        return "'\"'"
    character = chr(byte)
    if character.isprintable():
        return f"'{character}'"
    return f"'\\x{byte:02x}'" if byte < 0x80 else f"'\\u{byte:04x}'"
