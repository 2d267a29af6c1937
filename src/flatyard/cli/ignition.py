"""`flatyard ignition`: validate, merge, fit, show and apply configs by themselves; nothing of the engine is needed.

Findings go to stderr with their source lines, or in the raw form of the reference implementation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from flatyard.base.errors import Exit, Failed, Severity
from flatyard.cli.ignition_apply import apply_command
from flatyard.cli.options import common, output, talk_of
from flatyard.cli.talk import Talk
from flatyard.ignition import spec
from flatyard.ignition.parse import LARGEST, Document, parse, read, up_translate
from flatyard.ignition.report import Entry, dotted, visible

if TYPE_CHECKING:
    from flatyard.ignition.excerpts import Places
    from flatyard.ignition.types import Config

F = TypeVar("F", bound=Callable[..., object])

STDIN = "-"
FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)
UNREADABLE = "couldn't parse config: "
"""What the reference puts before a finding that has no place in the text."""
MERGED = "the merged config"
PLATFORMS = ("aws", "azure", "gcp", "openstack", "vsphere")


def raw_errors(function: F) -> F:
    """`--raw-errors`, as `flatyard butane` has it."""
    text = "One line for each finding, in the reference's form."
    return click.option("--raw-errors", is_flag=True, help=text)(function)


@click.group("ignition", context_settings={"help_option_names": ["-h", "--help"]})
@common
def command() -> None:
    """Validate, merge, fit, show and apply Ignition configs of the specs 3.0 to 3.6.

    FILE may be `-`, standard input. Findings go to standard error, each with its place in the JSON. Exit codes: 0
    fine, also with warnings; 1 errors; 2 a wrong command line, or a FILE that is not there.
    """


command.add_command(apply_command)


# ---- validate


@command.command("validate")
@click.argument("files", metavar="FILE...", type=FILE, nargs=-1, required=True)
@raw_errors
@output("text", "json")
@common
def validate_command(files: tuple[str, ...], raw_errors: bool, output: str) -> int:
    """Say what is wrong with each FILE.

    The words and the order are those of ignition-validate 2.26. With `-o json` the findings are a list on standard
    output.
    """
    inputs = [Input(name) for name in _once(files)]
    if output == "json":
        talk_of().data(json.dumps([found for given in inputs for found in _as_json(given)], indent=2))
    else:
        tell(inputs, raw_errors)
    return _code(all(given.is_valid for given in inputs))


# ---- merge


@command.command("merge")
@click.argument("parent", type=FILE)
@click.argument("children", metavar="CHILD...", type=FILE, nargs=-1, required=True)
@click.option("-p", "--pretty", is_flag=True, help="Indented JSON.")
@raw_errors
@common
def merge_command(parent: str, children: tuple[str, ...], pretty: bool, raw_errors: bool) -> int:
    """Print PARENT with each CHILD laid over it.

    Only the result is validated: a child may leave out what its parent has. Configs of older specs are
    translated to the newest that is given. References (ignition.config) are merged, not fetched.
    """
    from flatyard.ignition.encode import encode, encode_pretty
    from flatyard.ignition.merge import merge_all

    inputs = [Input(name, parse) for name in _once((parent, *children))]
    tell(inputs, raw_errors)
    configs = [given.config for given in inputs if given.config is not None]
    if len(configs) < len(inputs):
        return Exit.FAILED
    merged = merge_all(_of_one_version(configs))
    text = encode_pretty(merged) if pretty else encode(merged)
    click.echo(text)
    result = Input(MERGED, data=text)
    tell([result], raw_errors)
    return _code(result.is_valid)


def _of_one_version(configs: Iterable[Config]) -> list[Config]:
    configs = list(configs)
    newest = max((config.ignition.version for config in configs), key=spec.minor)
    return [up_translate(config, newest) for config in configs]


# ---- fit


@command.command("fit")
@click.option("--platform", type=click.Choice(PLATFORMS), help="Take the limit of this platform.")
@click.option(
    "--limit",
    metavar="BYTES",
    type=click.IntRange(min=1),
    help="What the platform takes as user data, before any base64 of its own.",
)
@click.option("--gzip", "gzip_allowed", is_flag=True, help="The platform takes gzip (vSphere, Akamai).")
@click.option(
    "--stub", "url", metavar="URL", help="Make user data that fetches the config from there instead."
)
@click.option("--payload", metavar="PATH", type=click.Path(dir_okay=False), help="Write what URL must serve.")
@click.option("--write", metavar="PATH", type=click.Path(dir_okay=False), help="Write the user data.")
@raw_errors
@output("text", "json")
@click.argument("file", type=FILE)
@common
def fit_command(file: str, raw_errors: bool, output: str, **options: object) -> int:
    """Say whether FILE fits into user data; make what fits.

    What counts is the config without the blanks between its tokens. Where it does not fit, the ten entries that
    take most of it are listed, and the exit code is 1. Such a config can be served from elsewhere: --stub prints
    user data that is replaced by what URL serves, with its SHA-512.
    """
    from flatyard.cli import ignition_fit

    wanted = ignition_fit.wanted(options)
    config = _valid(file, raw_errors)
    if config is None:
        return Exit.FAILED
    return ignition_fit.run(config, wanted, file, as_json=output == "json")


# ---- show


@command.command("show")
@click.argument("file", type=FILE)
@raw_errors
@output("text", "json")
@common
def show_command(file: str, raw_errors: bool, output: str) -> int:
    """Print what FILE does to a machine.

    Disks, filesystems, accounts, files, links and units as a tree. Contents and keys are not printed. With `-o
    json` it is a list of lines, each with its section and the lines below it.
    """
    from flatyard.ignition.show import listed, show

    config = _valid(file, raw_errors)
    if config is None:
        return Exit.FAILED
    talk = talk_of()
    if output == "json":
        talk.data(json.dumps(listed(config), indent=2, ensure_ascii=False))
    else:
        for line in show(config):
            talk.data(line)
    return Exit.DONE


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


def _once(names: Sequence[str]) -> Sequence[str]:
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


def _valid(file: str, raw_errors: bool) -> Config | None:
    """The config in a file; None, and its findings said, where Ignition would refuse it."""
    given = Input(file)
    tell([given], raw_errors)
    return given.config if given.is_valid else None


def _code(is_valid: bool) -> int:
    return Exit.DONE if is_valid else Exit.FAILED


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


def _as_json(given: Input) -> list[dict[str, object]]:
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
