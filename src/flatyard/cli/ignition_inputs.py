"""Configs that a command of `flatyard ignition` is given, and what is said about them.

Findings go to stderr with their source lines, or in the raw form of the reference implementation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from flatyard.base.errors import Failed, Severity
from flatyard.cli.options import talk_of
from flatyard.cli.talk import Talk
from flatyard.ignition.parse import LARGEST, Document, read
from flatyard.ignition.report import Entry, dotted, visible

if TYPE_CHECKING:
    from flatyard.ignition.excerpts import Places
    from flatyard.ignition.types import Config

F = TypeVar("F", bound=Callable[..., object])

STDIN = "-"
UNREADABLE = "couldn't parse config: "
"""What the reference puts before a finding that has no place in the text."""


def raw_errors(function: F) -> F:
    """`--raw-errors`, as `flatyard butane` has it."""
    text = "One line for each finding, in the reference's form."
    return click.option("--raw-errors", is_flag=True, help=text)(function)


# ---- what is given


class Input:
    """A file that was named, and what was found in it. Ends the command where it cannot be read."""

    def __init__(
        self, name: str, reader: Callable[[bytes], Document] = read, *, data: bytes | None = None
    ) -> None:
        self.name = "<stdin>" if name == STDIN else name
        self.data = _read(name) if data is None else data
        self.document = reader(self.data)

    @property
    def config(self) -> Config | None:
        return self.document.config

    @property
    def is_valid(self) -> bool:
        return self.document.is_valid


def once(names: Sequence[str]) -> Sequence[str]:
    if names.count(STDIN) > 1:
        raise click.UsageError("standard input can be read only once")
    return names


def _read(name: str) -> bytes:
    """At most one byte more than is taken: an endless input ends in its refusal."""
    if name == STDIN:
        return sys.stdin.buffer.read(LARGEST + 1)
    try:
        with Path(name).open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as problem:
        raise Failed(f"cannot read {name}", why=problem.strerror or str(problem)) from problem


def valid(file: str, raw_errors: bool) -> Config | None:
    """The config in a file; None, and its findings said, where Ignition would refuse it."""
    given = Input(file)
    tell([given], raw_errors)
    return given.config if given.is_valid else None


# ---- findings


def tell(inputs: Sequence[Input], raw_errors: bool) -> None:
    """Findings on stderr: -q leaves the warnings out, -qq all of them."""
    talk = talk_of()
    color = talk.paints(sys.stderr)
    blocks = _raw(inputs, talk) if raw_errors else _excerpts(inputs, talk)
    for index, block in enumerate(blocks):
        click.echo(block if raw_errors or not index else f"\n{block}", err=True, color=color)


def _told(given: Input, talk: Talk) -> list[Entry]:
    return [entry for entry in given.document.report if talk.quiet <= (entry.severity is Severity.ERROR)]


def _excerpts(inputs: Sequence[Input], talk: Talk) -> Iterator[str]:
    for given in inputs:
        found = _told(given, talk)
        if found:
            from flatyard.ignition.excerpts import WIDEST_JSON, json_excerpts

            width = talk.width or WIDEST_JSON
            yield from json_excerpts(found, given.name, given.data, talk.style, width=width)


def _raw(inputs: Sequence[Input], talk: Talk) -> Iterator[str]:
    for given in inputs:
        before = f"{visible(given.name)}: " if len(inputs) > 1 else ""
        yield from (f"{before}{_line(talk, entry, given.document)}" for entry in _told(given, talk))


def _line(talk: Talk, entry: Entry, document: Document) -> str:
    if document.config is None and entry.line is None:
        text = talk.style(UNREADABLE, "error") + visible(entry.message)
    else:
        word = entry.severity.value
        text = talk.style(word, word) + visible(str(entry)).removeprefix(word)
    return f"{text}\n  {talk.style('next:', 'hint')} {entry.hint}" if entry.hint else text


def as_json(given: Input) -> list[dict[str, object]]:
    """Findings for programs; lines and columns count characters from 1 and are null where no place is known."""
    if not given.document.report:
        return []
    from flatyard.ignition.excerpts import Places

    places = Places(given.data)
    return [_finding(given.name, entry, places) for entry in given.document.report]


def _finding(file: str, entry: Entry, places: Places) -> dict[str, object]:
    spot = places.spot(entry)
    return {
        "file": file,
        "severity": entry.severity.value,
        "path": dotted(entry.path),
        "line": spot.line if spot else None,
        "column": spot.start + 1 if spot else None,
        "message": entry.message,
        "hint": entry.hint,
    }
