"""What parsing and validation found: entries with the path and the place in the text they are about."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flatyard.base.errors import Position, Problem, Severity

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding. `path` is empty where the whole document is meant; `line` 0 is an unknown place,
    as is `column` 0. Columns count from 1, as the reference does: characters in YAML, bytes in JSON.

    `hint` is our own addition to the reference's message: what to do about it.
    """

    severity: Severity
    message: str
    path: Path = ()
    line: int | None = None
    column: int | None = None
    hint: str = ""

    def __str__(self) -> str:
        """The reference's raw form: `error at $.a.0.b, line L col C: message`."""
        places = []
        if self.path:
            places.append(dotted(self.path))
        if self.line is not None:
            places.append(f"line {self.line} col {self.column}")
        where = f" at {', '.join(places)}" if places else ""
        return f"{self.severity}{where}: {self.message}"

    def problem(self, file: str) -> Problem:
        """The same finding as flatyard's commands print it."""
        position = Position(file, self.line, self.column or 1) if self.line else None
        what = f"{self.message}; {self.hint}" if self.hint else self.message
        return Problem(self.severity, position, dotted(self.path) if self.path else "", what)


def dotted(path: Path) -> str:
    """`("storage", "files", 0)` → `$.storage.files.0`."""
    return ".".join(["$", *map(str, path)])


def error(message: str, path: Path = (), *, hint: str = "") -> Entry:
    """An error entry without a place."""
    return Entry(Severity.ERROR, message, path, hint=hint)


def warning(message: str, path: Path = (), *, hint: str = "") -> Entry:
    """A warning entry without a place."""
    return Entry(Severity.WARNING, message, path, hint=hint)


def is_fatal(entries: tuple[Entry, ...]) -> bool:
    """Whether any entry is an error."""
    return any(entry.severity is Severity.ERROR for entry in entries)


Style = Callable[[str, str], str]
"""Paints a piece of text by its meaning: error, warning or dim."""

CONTEXT_LINES = 2
WIDEST_LINE = 500
"""Characters of a source line that are shown; one long line with many mistakes must not flood the reader."""

_BOM = b"\xef\xbb\xbf"
_LINE_BREAK = re.compile(rb"\r\n|[\r\n]|\xc2\x85|\xe2\x80[\xa8\xa9]")
_WORD = re.compile(r"\S+")
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def plain(text: str, _: str) -> str:
    """The style without colours."""
    return text


def visible(text: str) -> str:
    """Text with pictures in place of control characters: what a config says must not steer a terminal."""
    return text.translate(_CONTROLS)


def excerpts(entries: Iterable[Entry], file: str, text: bytes, style: Style = plain) -> Iterator[str]:
    """Each finding with the lines that it is about and carets under the word, as Butane 0.29 prints them.

    `text` is the YAML document that the places count in; lines end where YAML says that they do. A finding whose
    place shows no word (none is known, or it is the end of a line) has the raw form. No trailing line ends.
    """
    lines = _LINE_BREAK.split(text.removeprefix(_BOM))
    for entry in entries:
        yield _excerpt(entry, file, lines, style) or visible(str(entry))


def _excerpt(entry: Entry, file: str, lines: list[bytes], style: Style) -> str:
    carets = _carets(entry, lines)
    if not carets or entry.line is None:
        return ""
    first = max(1, entry.line - CONTEXT_LINES)
    last = min(len(lines), entry.line + CONTEXT_LINES)
    width = len(str(last))
    rail = style(f" {'':{width}} |", "dim")
    path = f"[{visible(dotted(entry.path))}]" if entry.path else ""
    shown = [
        f"{style(f'{entry.severity}{path}:', entry.severity)}",
        f"  {style('-->', 'dim')} {visible(file)}:{entry.line}:{entry.column}",
        rail,
    ]
    for number in range(first, last + 1):
        line = lines[number - 1].decode("utf-8", "replace")
        shown.append(f"{style(f' {number:{width}} |', 'dim')} {_cut(visible(line))}")
        if number == entry.line:
            shown.append(
                f"{rail} {carets[0]}{style(f'{carets[1]} {visible(entry.message)}', entry.severity)}"
            )
    return "\n".join([*shown, rail])


def _carets(entry: Entry, lines: list[bytes]) -> tuple[str, str] | None:
    """The indent and the carets under the word at a finding's place; nothing where no word can be shown."""
    if not entry.line or not entry.column or entry.line > len(lines):
        return None
    line = lines[entry.line - 1].decode("utf-8", "replace")
    before = line[: entry.column - 1]
    word = _WORD.match(line, len(before))
    if word is None or len(before) >= WIDEST_LINE:
        return None
    indent = "".join("\t" if character == "\t" else " " * _columns(character) for character in before)
    return indent, "^" * sum(map(_columns, word[0][: WIDEST_LINE - len(before)]))


def _columns(character: str) -> int:
    """Columns of a terminal that a character takes."""
    if character.isascii():
        return 1
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(line: str) -> str:
    return line if len(line) <= WIDEST_LINE else line[:WIDEST_LINE] + "…"
