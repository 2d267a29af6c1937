"""JSON text (RFC 8259) to Nodes: strict, with the place of every value and key.

YAML's front end cannot stand in: it takes comments, trailing commas and unquoted keys, and reads ``\\u`` pairs and
tabs differently.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator

from flatyard.decode.node import BOOL, LIMITS, NULL, NUMBER, STR, Limits, Node, Reading, Unreadable, text_of

_SPACE = re.compile(r"[ \t\r\n]*+")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"')
_STRING_PART = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_WORD = re.compile(r"[A-Za-z0-9_.+-]++")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"true": BOOL, "false": BOOL, "null": NULL}


def read(data: bytes | str, file: str, limits: Limits = LIMITS) -> Reading:
    """The one value of a JSON text; a syntax error ends the reading and is its one problem."""
    try:
        return Reading(file, (_Scanner(text_of(data, limits), limits).document(),))
    except Unreadable as error:
        return Reading(file, (), (error.problem(file),))


class _Scanner:
    """Recursive descent; the depth limit bounds the recursion."""

    def __init__(self, text: str, limits: Limits) -> None:
        self._text = text
        self._limits = limits
        self._at = 0
        self._count = 0
        self._depth = 0
        self._lines = array("Q", _line_starts(text))

    def document(self) -> Node:
        """The value, with nothing behind it."""
        if self._peek() == "":
            raise self._error("empty; one JSON value was expected")
        node = self._value()
        if self._peek():
            raise self._error(f"{self._shown()} after the end of the value")
        return node

    def _value(self) -> Node:
        self._count += 1
        if self._count > self._limits.nodes:
            raise self._error(f"more than {self._limits.nodes} values")
        match self._peek():
            case "{":
                return self._map()
            case "[":
                return self._list()
            case '"':
                return self._string()
        return self._word()

    def _map(self) -> Node:
        line, column = self._enter()
        entries: list[tuple[Node, Node]] = []
        while self._peek() != "}":
            if entries:
                self._expect(",", "} or ,")
            if self._peek() != '"':
                raise self._error(f"{self._shown()} where a key was expected", 'a key in "quotes"')
            self._count += 1
            key = self._string()
            self._expect(":", ":")
            entries.append((key, self._value()))
        self._leave()
        return Node("map", line, column, entries=tuple(entries))

    def _list(self) -> Node:
        line, column = self._enter()
        items: list[Node] = []
        while self._peek() != "]":
            if items:
                self._expect(",", "] or ,")
            items.append(self._value())
        self._leave()
        return Node("list", line, column, items=tuple(items))

    def _string(self) -> Node:
        line, column = self._place(self._at)
        match = _STRING.match(self._text, self._at)
        if not match:
            raise self._bad_string()
        self._at = match.end()
        literal = match.group()
        raw = literal[1:-1]
        if "\\" in raw:
            raw = _SURROGATE.sub("\ufffd", json.loads(literal))
        return Node("scalar", line, column, raw, STR)

    def _word(self) -> Node:
        line, column = self._place(self._at)
        word = _WORD.match(self._text, self._at)
        text = word.group() if word else ""
        tag = _WORDS.get(text) or (NUMBER if _NUMBER.fullmatch(text) else "")
        if not tag:
            shown = repr(text) if text else self._shown()
            raise self._error(f"{shown} where a value was expected", 'a value; texts in "quotes"')
        self._at += len(text)
        return Node("scalar", line, column, text, tag)

    def _enter(self) -> tuple[int, int]:
        self._depth += 1
        if self._depth > self._limits.depth:
            raise self._error(f"nested deeper than {self._limits.depth} levels")
        line, column = self._place(self._at)
        self._at += 1
        return line, column

    def _leave(self) -> None:
        self._depth -= 1
        self._at += 1

    def _expect(self, character: str, allowed: str) -> None:
        if self._peek() != character:
            raise self._error(f"{self._shown()} where {allowed} was expected", allowed)
        self._at += 1

    def _peek(self) -> str:
        match = _SPACE.match(self._text, self._at)
        if match:
            self._at = match.end()
        return self._text[self._at : self._at + 1]

    def _shown(self) -> str:
        character = self._text[self._at : self._at + 1]
        return repr(character) if character else "the end of the text"

    def _bad_string(self) -> Unreadable:
        part = _STRING_PART.match(self._text, self._at)
        self._at = part.end() if part else self._at
        character = self._text[self._at : self._at + 1]
        if not character:
            return self._error("the text ends inside a string", 'a closing "')
        if character == "\\":
            escape = self._text[self._at : self._at + 2]
            return self._error(f"escape {escape!r} in a string", r"one of \" \\ \/ \b \f \n \r \t \uXXXX")
        return self._error(f"raw control character {character!r} in a string", f"\\u{ord(character):04x}")

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def _error(self, what: str, allowed: str = "") -> Unreadable:
        return Unreadable(f"not JSON: {what}", *self._place(self._at), allowed)


def _line_starts(text: str) -> Iterator[int]:
    yield 0
    start = text.find("\n") + 1
    while start:
        yield start
        start = text.find("\n", start) + 1
