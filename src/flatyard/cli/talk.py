"""What a command says: data on stdout, talk on stderr, colours where they are wanted.

Light: imported by `flatyard --help`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from flatyard.base.errors import FlatyardError, InvalidInput, Problem, Severity

F = TypeVar("F", bound=Callable[..., Any])
COLORS = {"done": "green", "error": "red", "warning": "yellow", "hint": "cyan", "dim": "bright_black"}


def as_called(text: str) -> str:
    """Commands in the way that this one was called, so that they can be pasted: the launcher says `./flatyard`."""
    program = os.environ.get("FLATYARD_PROGRAM", "flatyard")
    return re.sub(r"(^|(?<=[\s`(]))flatyard (?=[a-z])", lambda _: f"{program} ", text)


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

    def paints(self, stream: Any) -> bool:  # noqa: ANN401 - any text stream
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
        return click.style(text, fg=COLORS[what]) if self.paints(stream) else text

    # ---- what

    def data(self, text: str) -> None:
        """The result, on stdout."""
        click.echo(text, color=self.paints(sys.stdout))

    def say(self, text: str) -> None:
        """Talk, on stderr; silent with -q."""
        if not self.quiet:
            click.echo(text, err=True, color=self.paints(sys.stderr))

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
        click.echo("\n".join(lines), err=True, color=self.paints(sys.stderr))

    def failure(self, error: FlatyardError) -> None:
        """An error that ends the command."""
        if isinstance(error, InvalidInput) and self.quiet < 2:
            for problem in error.problems:
                click.echo(self._problem(problem), err=True, color=self.paints(sys.stderr))
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


def talk_of() -> Talk:
    """The Talk of the running command."""
    talk = click.get_current_context().find_object(Talk)
    return talk if talk is not None else Talk()


def _quiet(ctx: click.Context, _: click.Parameter, value: int) -> None:
    ctx.ensure_object(Talk).quiet += value


def _verbose(ctx: click.Context, _: click.Parameter, value: int) -> None:
    ctx.ensure_object(Talk).verbose += value


def _color(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Talk).color = {"auto": None, "always": True, "never": False}[value]


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Talk).debug |= value


_OPTIONS = (
    click.option(
        "-q", "--quiet", count=True, expose_value=False, callback=_quiet, help="Say less; -qq: nothing."
    ),
    click.option("-v", "--verbose", count=True, expose_value=False, callback=_verbose, help="Say more."),
    click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        expose_value=False,
        callback=_color,
        help="Colours; auto: on a terminal.",
    ),
    click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_debug,
        help="Show tracebacks of unknown errors.",
    ),
)


def common(command: F) -> F:
    """The options that every command has, so that they may stand before or after the verb."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def output(*forms: str) -> Callable[[F], F]:
    """`-o`, with the forms that a command can print."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="Form of the result on stdout.",
    )
