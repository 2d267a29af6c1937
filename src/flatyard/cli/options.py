"""The options that every command has, and how a command finds the Talk that they set up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from flatyard.cli.talk import Talk

F = TypeVar("F", bound=Callable[..., Any])


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
