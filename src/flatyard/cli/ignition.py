"""`flatyard ignition`: validate, merge, fit and show configs by themselves; nothing of the engine is needed.

Findings go to stderr in the raw form of the reference implementation, `error at $.path, line L col C: …`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import BinaryIO

import click

from flatyard.base.errors import Exit, Severity
from flatyard.cli.talk import Talk, common, talk_of
from flatyard.ignition import spec
from flatyard.ignition.encode import encode
from flatyard.ignition.fit import budget, inline
from flatyard.ignition.merge import merge_all
from flatyard.ignition.parse import Document, parse, read, up_translate
from flatyard.ignition.report import Entry
from flatyard.ignition.show import printable, show
from flatyard.ignition.types import Config

FILE = click.File("rb")
UNREADABLE = "couldn't parse config: "
"""What the reference puts before a finding that has no place in the text."""


@click.group("ignition", context_settings={"help_option_names": ["-h", "--help"]})
@common
def command() -> None:
    """Validate, merge, fit and show Ignition configs of the specs 3.0 to 3.6.

    FILE may be `-`, standard input. Exit codes: 0 fine, also with warnings; 1 errors; 2 usage.
    """


@command.command("validate")
@click.argument("file", type=FILE)
@common
def validate_command(file: BinaryIO) -> int:
    """Say what is wrong with FILE.

    The words and the exit code are those of ignition-validate 2.26.
    """
    document = read(file.read())
    _tell(document)
    return Exit.DONE if document.is_valid else Exit.FAILED


@command.command("merge")
@click.argument("parent", type=FILE)
@click.argument("children", metavar="CHILD...", type=FILE, nargs=-1, required=True)
@common
def merge_command(parent: BinaryIO, children: tuple[BinaryIO, ...]) -> int:
    """Print PARENT with each CHILD laid over it.

    Only the result is validated: a child may leave out what its parent has. Configs of older specs are
    translated to the newest that is given. References (ignition.config) are merged, not fetched.
    """
    files = (parent, *children)
    if len({id(file) for file in files}) < len(files):
        raise click.UsageError("standard input can be read only once")
    documents = [parse(file.read()) for file in files]
    for file, document in zip(files, documents, strict=True):
        _tell(document, before=f"{getattr(file, 'name', '<stdin>')}: ")
    configs = [document.config for document in documents if document.config is not None]
    if len(configs) < len(files):
        return Exit.FAILED
    merged = encode(merge_all(_of_one_version(configs)))
    click.echo(merged)
    result = read(merged)
    _tell(result)
    return Exit.DONE if result.is_valid else Exit.FAILED


@command.command("fit")
@click.option(
    "--limit",
    metavar="BYTES",
    type=click.IntRange(min=1),
    required=True,
    help="What the platform takes as user data, before any base64 of its own.",
)
@click.option("--gzip", "gzip_allowed", is_flag=True, help="The platform takes gzip (VMware, Akamai).")
@click.argument("file", type=FILE)
@common
def fit_command(limit: int, gzip_allowed: bool, file: BinaryIO) -> int:
    """Say whether FILE fits into user data.

    Where it does not, the ten entries that take most of it are listed, and the exit code is 1. What counts is
    the config without the blanks between its tokens.
    """
    config = _valid(file)
    if config is None:
        return Exit.FAILED
    talk = talk_of()
    size = len(encode(config))
    data = inline(config, limit, gzip_allowed=gzip_allowed)
    if data is not None:
        form = "inline" if len(data) == size else f"inline, gzip of {size} bytes"
        talk.data(f"{form}: {len(data)} of {limit} bytes")
        return Exit.DONE
    talk.data(f"too large: {size} bytes, {size - limit} more than {limit}; the largest entries:")
    for share in budget(config):
        talk.data(f"{share.size:>10}  {printable(share.entry)}")
    return Exit.FAILED


@command.command("show")
@click.argument("file", type=FILE)
@common
def show_command(file: BinaryIO) -> int:
    """Print what FILE does to a machine.

    Disks, filesystems, accounts, files, links and units as a tree. Contents and keys are not printed.
    """
    config = _valid(file)
    if config is None:
        return Exit.FAILED
    for line in show(config):
        talk_of().data(line)
    return Exit.DONE


def _valid(file: BinaryIO) -> Config | None:
    """The config in a file; None, and its findings said, where Ignition would refuse it."""
    document = read(file.read())
    _tell(document)
    return document.config if document.is_valid else None


def _of_one_version(configs: Iterable[Config]) -> list[Config]:
    configs = list(configs)
    newest = max((config.ignition.version for config in configs), key=spec.minor)
    return [up_translate(config, newest) for config in configs]


def _tell(document: Document, *, before: str = "") -> None:
    """Findings on stderr: -q leaves the warnings out, -qq all of them."""
    talk = talk_of()
    for entry in document.report:
        if talk.quiet <= (entry.severity is Severity.ERROR):
            click.echo(_line(talk, entry, document, before), err=True, color=talk.paints(sys.stderr))


def _line(talk: Talk, entry: Entry, document: Document, before: str) -> str:
    if document.config is None and entry.line is None:
        text = talk.style(UNREADABLE, "error") + printable(entry.message)
    else:
        word = entry.severity.value
        text = talk.style(word, word) + printable(str(entry)).removeprefix(word)
    hint = f"\n  {talk.style('next:', 'hint')} {entry.hint}" if entry.hint else ""
    return f"{printable(before)}{text}{hint}"
