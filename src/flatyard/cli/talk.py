"""What a command says: data on stdout, talk on stderr, colours where they are wanted.

Light: imported by `flatyard --help` and `flatyard butane`, so nothing of click is here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from flatyard.base.errors import FlatyardError, InvalidInput, Problem, Severity
from flatyard.base.patterns import pattern
from flatyard.base.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

COLORS = {"done": 32, "error": 31, "warning": 33, "hint": 36, "dim": 90}
"""SGR codes (ECMA-48): green, red, yellow, cyan, and black made bright."""

_OURS = pattern(r"(^|(?<=[\s`(]))flatyard (?=[a-z])")
_ESCAPES = pattern(r"\x1b\[[0-?]*[ -/]*[@-~]")


def as_called(text: str) -> str:
    """Commands in the way that this one was called, so that they can be pasted: the launcher says `./flatyard`."""
    program = os.environ.get("FLATYARD_PROGRAM", "flatyard")
    return _OURS.sub(lambda _: f"{program} ", text)


class Talk:
    """How loud a command is and whether it paints; one per run, set by options on either side of the verb."""

    def __init__(self) -> None:
        self.quiet = 0
        self.verbose = 0
        self.color: bool | None = None
        self.debug = False
        self.sources: dict[str, list[str]] = {}
        """Texts that problems point into, by file name."""

    # ---- where

    @property
    def live(self) -> bool:
        """Whether stderr is a terminal that can show moving lines, and they are wanted."""
        dumb = os.environ.get("TERM") == "dumb" or "FLATYARD_NO_PROGRESS" in os.environ
        return sys.stderr.isatty() and not (dumb or self.quiet or self.verbose)

    @property
    def width(self) -> int | None:
        """Columns of the terminal that stderr is; None where it is none, or does not say."""
        try:
            return os.get_terminal_size(sys.stderr.fileno()).columns or None
        except (OSError, ValueError):
            return None

    def paints(self, stream: TextIO) -> bool:
        """Whether colours go to a stream: --color, then NO_COLOR, CLICOLOR_FORCE, TERM, then a terminal."""
        if self.color is not None:
            return self.color
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("CLICOLOR_FORCE", "0") != "0":
            return True
        return os.environ.get("TERM") != "dumb" and bool(stream.isatty())

    def style(self, text: str, what: str, *, err: bool = True) -> str:
        """A piece of text in the colour of its meaning."""
        stream = sys.stderr if err else sys.stdout
        return f"\x1b[{COLORS[what]}m{text}\x1b[0m" if self.paints(stream) else text

    # ---- what

    def line(self, text: str) -> None:
        """A finding or a last word, on stderr, however quiet: whoever calls has decided."""
        self._write(sys.stderr, text)

    def _write(self, stream: TextIO, text: str) -> None:
        """One text and a line end; where nothing is painted, colours in it are taken out."""
        stream.write(f"{text if self.paints(stream) else _ESCAPES.sub('', text)}\n")
        stream.flush()

    def data(self, text: str) -> None:
        """The result, on stdout."""
        self._write(sys.stdout, text)

    def say(self, text: str) -> None:
        """Talk, on stderr; silent with -q."""
        if not self.quiet:
            self._write(sys.stderr, text)

    def detail(self, text: str) -> None:
        """Talk for -v."""
        if self.verbose:
            self.say(text)

    def warn(self, problems: Iterable[Problem]) -> None:
        """Warnings about what the user wrote."""
        for problem in problems:
            self.say(self._problem(problem))

    def next(self, *commands: tuple[str, str]) -> None:
        """The commands that help now, with what each is for."""
        if not commands:
            return
        commands = tuple((as_called(command), why) for command, why in commands)
        self.say("")
        self.say("next:")
        width = max(len(command) for command, _ in commands)
        for command, why in commands:
            padding = " " * (width - len(command))
            self.say(f"  {self.style(command, 'hint')}{padding}  {self.style('# ' + why, 'dim')}")

    def error(self, what: str, *, why: str = "", next: str = "") -> None:
        """What, why, next; silent with -qq."""
        if self.quiet > 1:
            return
        lines = [f"{self.style('error:', 'error')} {what}"]
        if why:
            lines.append(f"  why: {why}")
        if next:
            lines.append(f"  {self.style('next:', 'hint')} {as_called(next)}")
        self._write(sys.stderr, "\n".join(lines))

    def failure(self, error: FlatyardError) -> None:
        """An error that ends the command."""
        if isinstance(error, InvalidInput) and self.quiet < 2:
            for problem in error.problems:
                self._write(sys.stderr, self._problem(problem))
            self.error(error.what, next=error.next)
        else:
            self.error(error.what, why=error.why, next=error.next)

    def _problem(self, problem: Problem) -> str:
        """One problem as file:line:column, with the line and a caret under it where the text is known."""
        text = str(problem)
        word = problem.severity.value
        kind = "error" if problem.severity is Severity.ERROR else "warning"
        text = text.replace(f"{word}:", self.style(f"{word}:", kind), 1)
        place = problem.position
        lines = self.sources.get(place.file, []) if place else []
        if place is None or not 0 < place.line <= len(lines):
            return text
        margin = f"{place.line:5} | "
        line = lines[place.line - 1].expandtabs(1)[:160]
        return f"{text}\n{margin}{line}\n{' ' * (len(margin) - 2)}| {' ' * (place.column - 1)}^"
