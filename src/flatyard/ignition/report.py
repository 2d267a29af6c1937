"""What parsing and validation found: entries with the path and the place in the text they are about."""

from __future__ import annotations

from dataclasses import dataclass

from flatyard.base.errors import Position, Problem, Severity

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding. `path` is empty where the whole document is meant; `line` 0 is an unknown place,
    as is `column` 0. Columns count bytes from 1, as the reference does.

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
