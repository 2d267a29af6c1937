"""Findings about JSON with the lines that they are about.

The reference counts columns in bytes and points behind what is malformed and into what is a container; here the
carets stand under the value itself, and columns count characters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from flatyard.ignition import jsontext
from flatyard.ignition.report import Entry, Spot, Style, excerpt, heading, plain, visible

_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"?|[^\s\[\]{},:"]+|\S')
WIDEST_JSON = 120
"""Columns where nobody says how wide the terminal is: JSON often comes as one line of a hundred kilobytes."""
_LONGEST_TOKEN = 4096
"""Bytes before a place in which the token that it ends is looked for."""


class Places:
    """A JSON document's lines, and where in them findings about it belong."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        raw = data.split(b"\n")
        shown = raw[:-1] if len(raw) > 1 and not raw[-1] else raw
        self.lines = [line.removesuffix(b"\r").decode("utf-8", "replace") for line in shown]
        self.starts = [0]
        for line in raw:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.counted = (0, 0, 0)
        self.root = _scanned(data)

    def spot(self, entry: Entry) -> Spot | None:
        """The characters that a finding is about; None where it is about no part of the text."""
        extent = self._extent(entry)
        if extent is None:
            return None
        line = bisect_right(self.starts, extent[0]) - 1
        start = self._characters(line, extent[0] - self.starts[line])
        end = min(extent[1], self.starts[line + 1] - 1)
        length = len(self.data[extent[0] : end].decode("utf-8", "replace"))
        return Spot(line + 1, start, start + max(1, length))

    def _extent(self, entry: Entry) -> tuple[int, int] | None:
        """First byte and the one behind the last."""
        if entry.path and self.root is not None:
            return self._value(self.root, entry)
        if entry.line is not None:
            return self._read_last(entry)
        node = self.root
        for step in ("ignition", "version"):
            node = None if node is None else node.children.get(step)
        return None if node is None else (node.start, node.end)

    def _value(self, node: jsontext.JsonNode, entry: Entry) -> tuple[int, int]:
        """Of the deepest value that exists on the way to a path; of a container its bracket."""
        is_key = entry.message.startswith("unused key ")
        for step in entry.path[:-1] if is_key else entry.path:
            child = node.children.get(step)
            if child is None:
                break
            node = child
        start = node.keys.get(str(entry.path[-1])) if is_key else None
        if start is not None:
            token = _TOKEN.match(self.data, start)
            return (start, token.end() if token else start + 1)
        return (node.start, node.start + 1 if node.children or node.kind in ("object", "array") else node.end)

    def _read_last(self, entry: Entry) -> tuple[int, int] | None:
        """Of the token that was read last: places of syntax and type errors are behind it."""
        end = len(self.data.rstrip())
        if entry.line and entry.column:
            end = self.starts[entry.line - 1] + entry.column - 1
        before = max(self.data.rfind(b"\n", 0, max(0, end - 1)) + 1, end - _LONGEST_TOKEN)
        token = next((t for t in _TOKEN.finditer(self.data, before, end) if t.end() == end), None)
        if token is None:
            return (end - 1, end) if end else None
        return token.span()

    def _characters(self, line: int, column: int) -> int:
        """Characters before a byte of a line; goes on from the place asked for before."""
        seen, at, count = self.counted
        if seen != line or at > column:
            at = count = 0
        begin = self.starts[line]
        count += len(self.data[begin + at : begin + column].decode("utf-8", "replace"))
        self.counted = (line, column, count)
        return count


def _scanned(data: bytes) -> jsontext.JsonNode | None:
    try:
        jsontext.check_size(data)
        return jsontext.scan(data)
    except jsontext.JsonSyntaxError:
        return None


def json_excerpts(
    entries: Iterable[Entry], file: str, data: bytes, style: Style = plain, *, width: int = WIDEST_JSON
) -> Iterator[str]:
    """Each finding about a JSON document with source lines and carets, at most `width` columns wide, and with
    what to do about it where that is known. One about no part of the text names the file only."""
    places = Places(data)
    for entry in entries:
        spot = places.spot(entry)
        if spot is None:
            block = f"{heading(entry, file, style)}\n  {visible(entry.message)}"
        else:
            block = excerpt(entry, spot, file, places.lines, style, width)
        yield f"{block}\n  {style('next:', 'hint')} {entry.hint}" if entry.hint else block
