"""Errors as values: what happened, where, why, and what to do next.

FlatyardError
├── InvalidInput         what the user wrote cannot be used (exit 2); carries every problem at once
├── Refused              a change or a command that flatyard will not do, with the way to do it (exit 2)
├── Failed               something outside said no, or a deadline passed (exit 1)
└── PartlyDone           stopped part-way; running the same command again goes on (exit 5)

Exit codes follow DESIGN §3 "Errors and exit codes".
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum

from flatyard.base.typed import TYPE_CHECKING
from flatyard.base.values import dataclass

if TYPE_CHECKING:
    from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNHEALTHY = 3
    CHANGES_PENDING = 4
    PARTLY_DONE = 5
    INTERRUPTED = 130


class Severity(StrEnum):
    """How much a problem weighs: an error stops, a warning is shown."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text that the user wrote; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what the user wrote, or that the user should know.

    `path` is the field's path in the document (`spec.controlPlane.replicas`), `allowed` says what may stand
    there, `suggestion` is the nearest right spelling, ready to be pasted.
    """

    severity: Severity
    position: Position | None
    path: str
    what: str
    allowed: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.position}: " if self.position else ""
        path = f"{self.path}: " if self.path else ""
        allowed = f"; allowed: {self.allowed}" if self.allowed else ""
        hint = f"; did you mean {self.suggestion!r}?" if self.suggestion else ""
        return f"{where}{self.severity}: {path}{self.what}{allowed}{hint}"


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems in the order in which a reader meets them: by file, line and column, errors first."""
    nowhere = Position("", 0, 0)
    return tuple(sorted(problems, key=lambda p: (p.position or nowhere, p.severity, p.path, p.what)))


class FlatyardError(Exception):
    """Base of every error that a user may see.

    `what` is one sentence, `why` the cause as far as known, `next` a command or an act that helps.
    """

    exit: ClassVar[Exit] = Exit.FAILED

    def __init__(self, what: str, *, why: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next = next

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.next:
            lines.append(f"  next: {self.next}")
        return "\n".join(lines)


class InvalidInput(FlatyardError):
    """What the user wrote cannot be used; `problems` holds every error and warning found."""

    exit = Exit.USAGE

    def __init__(self, problems: Iterable[Problem], *, next: str = "") -> None:
        self.problems = in_order(problems)
        errors = sum(1 for p in self.problems if p.severity is Severity.ERROR)
        noun = "error" if errors == 1 else "errors"
        super().__init__(f"{errors} {noun} in the input", next=next)

    def __str__(self) -> str:
        return "\n".join(str(p) for p in self.problems)


class Refused(FlatyardError):
    """A change or command that flatyard will not carry out; `next` says how to get there instead."""

    exit = Exit.USAGE


class Failed(FlatyardError):
    """Something outside refused, or a deadline passed."""


class PartlyDone(FlatyardError):
    """Stopped part-way; nothing is lost and the same command goes on from here."""

    exit = Exit.PARTLY_DONE
