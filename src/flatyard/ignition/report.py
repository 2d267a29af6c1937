"""What parsing and validation found: entries with the path and the place in the text they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from flatyard.base.errors import Position, Problem, Severity
from flatyard.base.patterns import pattern
from flatyard.base.values import dataclass

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
"""Columns of a source line that are shown where nobody says how wide the terminal is."""
_EXCERPTED_MAX = 16 << 20
_EXCERPTS_MAX = 1000
_ROOM_MIN = 20
_TAB = 8

_BOM = b"\xef\xbb\xbf"
_LINE_BREAK = pattern(rb"\r\n|[\r\n]|\xc2\x85|\xe2\x80[\xa8\xa9]")
_WORD = pattern(r"\S+")
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_CONTROLS |= dict.fromkeys((0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF), 0xFFFD)


def plain(text: str, _: str) -> str:
    """The style without colours."""
    return text


def visible(text: str) -> str:
    """Text with pictures in place of what controls a terminal or turns its line around: what a config says must
    not steer it."""
    return text.translate(_CONTROLS)


@dataclass(frozen=True, slots=True)
class Spot:
    """The characters of one line that a finding is about; lines count from 1, `start` and `end` from 0."""

    line: int
    start: int
    end: int


def excerpts(
    entries: Iterable[Entry], file: str, text: bytes, style: Style = plain, *, width: int = WIDEST_LINE
) -> Iterator[str]:
    """Each finding with the lines that it is about and carets under the word, as Butane 0.29 prints them.

    `text` is the YAML document that the places count in; lines end where YAML says that they do. What is wider
    than `width` columns is cut around the carets. A finding whose place shows no word (none is known, or it is
    the end of a line) has the raw form; so has every one after the first thousand, and in a text of more than
    16 MiB, whose lines would take many times its memory. No trailing line ends.
    """
    entries = tuple(entries)
    split = _LINE_BREAK.split(text.removeprefix(_BOM)) if entries and len(text) <= _EXCERPTED_MAX else ()
    lines = [line.decode("utf-8", "replace") for line in split]
    for number, entry in enumerate(entries):
        spot = _word(entry, lines) if number < _EXCERPTS_MAX else None
        yield excerpt(entry, spot, file, lines, style, width) if spot else visible(str(entry))


def excerpt(entry: Entry, spot: Spot, file: str, lines: Sequence[str], style: Style, width: int) -> str:
    """One finding with the lines around its spot; of a line that is too wide, the part around the carets."""
    first = max(1, spot.line - CONTEXT_LINES)
    last = min(len(lines), spot.line + CONTEXT_LINES)
    digits = len(str(last))
    room = max(_ROOM_MIN, width - digits - 4)
    rail = style(f" {'':{digits}} |", "dim")
    shown = [heading(entry, f"{file}:{spot.line}:{spot.start + 1}", style), rail]
    for number in range(first, last + 1):
        at = (spot.start, spot.end) if number == spot.line else (0, 0)
        line, start, end = _window(lines[number - 1], *at, room)
        shown.append(f"{style(f' {number:{digits}} |', 'dim')} {line}")
        if number == spot.line:
            carets = "^" * max(1, _width(line[start:end]))
            message = style(f"{carets} {visible(entry.message)}", entry.severity)
            shown.append(f"{rail} {_blank(line[:start])}{message}")
    return "\n".join([*shown, rail])


def heading(entry: Entry, place: str, style: Style) -> str:
    """The two lines that say which finding is where."""
    path = f"[{visible(dotted(entry.path))}]" if entry.path else ""
    return f"{style(f'{entry.severity}{path}:', entry.severity)}\n  {style('-->', 'dim')} {visible(place)}"


def _word(entry: Entry, lines: Sequence[str]) -> Spot | None:
    if not entry.line or not entry.column or entry.line > len(lines):
        return None
    start = entry.column - 1
    word = _WORD.match(lines[entry.line - 1], start, start + WIDEST_LINE)
    return Spot(entry.line, word.start(), word.end()) if word else None


def _window(line: str, start: int, end: int, room: int) -> tuple[str, int, int]:
    """The part of a line that fits into `room` columns, with the extent in it; looks no further than that."""
    if len(line) <= room and _width(visible(line)) <= room:
        return visible(line), start, end
    before = visible(line[max(0, start - room) : start].replace("\t", " "))[::-1]
    behind = visible(line[start : start + room].replace("\t", " "))
    right = _fitting(behind, room - 2 - _width(before[: _fitting(before, room // 3)]))
    left = _fitting(before, room - 2 - _width(behind[:right]))
    cut = "…" * (left < start), "…" * (start + right < len(line))
    at = left + len(cut[0])
    part = f"{cut[0]}{before[:left][::-1]}{behind[:right]}{cut[1]}"
    return part, at, at + max(1, min(end - start, right))


def _fitting(text: str, room: int) -> int:
    """How many characters of a text fit into so many columns."""
    for count, character in enumerate(text):
        room -= _columns(character)
        if room < 0:
            return count
    return len(text)


def _width(text: str) -> int:
    return sum(map(_columns, text))


def _blank(text: str) -> str:
    """As much empty space as the text takes."""
    return "".join("\t" if character == "\t" else " " * _columns(character) for character in text)


def _columns(character: str) -> int:
    """Columns of a terminal that a character takes; of a tab, at most."""
    if character.isascii():
        return _TAB if character == "\t" else 1
    import unicodedata

    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
