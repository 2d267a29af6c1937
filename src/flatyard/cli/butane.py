"""`flatyard butane [FILE…]`: the options and exit codes are the reference's, so that it can stand in for it.

Light on purpose: nothing of flatyard is imported but `butane` and what stands below it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flatyard.cli.talk import Talk, common, talk_of

if TYPE_CHECKING:
    from flatyard.butane import FilesDir, Translation

STDIN = "-"
FAILED = 1
"""The reference's code for every failure; 2 is a wrong command line."""


@click.command("butane")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("-d", "--files-dir", metavar="DIR", help="Where the paths of `local:` count from.")
@click.option("-s", "--strict", is_flag=True, help="Warnings fail too; then nothing is written.")
@click.option("-c", "--check", is_flag=True, help="Look for mistakes only; no output.")
@click.option("-p", "--pretty", is_flag=True, help="Indented JSON.")
@click.option("--raw-errors", is_flag=True, help="One line for each finding, without source lines.")
@click.option("-r", "--raw", is_flag=True, hidden=True, help="Accepted; it changes nothing for this variant.")
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to standard output.")
@click.option(
    "--out-dir", metavar="DIR", help="Write NAME.ign there for each NAME.bu; several FILEs may follow."
)
@common
def command(files: tuple[str, ...], output: str | None, out_dir: str | None, **options: object) -> int:
    """Turn Butane (variant flatcar, versions 1.0.0 and 1.1.0) into Ignition JSON.

    Reads FILE, or standard input without one or with `-`. Findings go to standard error, each with its place in
    the YAML. Several FILEs need --out-dir or --check.

    Exit code 0: done, warnings allowed; 1: any failure, or a warning with --strict; 2: a wrong command line.
    """
    wanted = Wanted(
        files_dir=str(options["files_dir"] or ""),
        strict=bool(options["strict"]),
        check=bool(options["check"]),
        pretty=bool(options["pretty"]),
        raw_errors=bool(options["raw_errors"]),
        several=len(files) > 1,
    )
    jobs = _jobs(files, output, out_dir, check=wanted.check)
    talk = talk_of()
    done = [_run(source, target, wanted, talk) for source, target in jobs]
    return 0 if all(done) else FAILED


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options ask for, the same for every file; `files_dir` is empty without one."""

    files_dir: str
    strict: bool
    check: bool
    pretty: bool
    raw_errors: bool
    several: bool


def _jobs(
    files: tuple[str, ...], output: str | None, out_dir: str | None, *, check: bool
) -> list[tuple[str, str]]:
    """Each document with the file to write, empty for standard output. Raises click.UsageError."""
    if output and out_dir:
        raise click.UsageError("-o and --out-dir exclude each other.")
    if not out_dir:
        if len(files) > 1 and not check:
            raise click.UsageError("Several FILEs need --out-dir (or --check).")
        return [(file, output or "") for file in files or (STDIN,)]
    if not files or STDIN in files:
        raise click.UsageError("--out-dir needs FILEs: standard input has no name to write it under.")
    jobs = [(file, str(Path(out_dir) / f"{Path(file).stem}.ign")) for file in files]
    sources: dict[str, str] = {}
    for file, target in jobs:
        if sources.setdefault(target, file) != file:
            raise click.UsageError(f"{sources[target]} and {file} would both be written to {target}.")
    return jobs


def _run(source: str, target: str, wanted: Wanted, talk: Talk) -> bool:
    """One document from reading to writing; whether it went well."""
    from flatyard.butane import translate

    name = "<stdin>" if source == STDIN else source
    try:
        text = _read(source, talk)
    except OSError as problem:
        talk.error(f"cannot read {name}", why=problem.strerror or str(problem))
        return False
    result = translate(text, file=name, files=_files(wanted.files_dir))
    _say(result, text, wanted, talk)
    if result.config is None:
        return False
    if wanted.strict and result.report:
        _last_word("Config produced warnings and --strict was specified", name, wanted, talk)
        return False
    return wanted.check or _write(result.output(pretty=wanted.pretty), target, talk)


def _read(source: str, talk: Talk) -> bytes:
    """The document, at most one byte more than the decoder takes: an endless input ends in its refusal."""
    from flatyard.butane.syntax import LIMITS

    if source != STDIN:
        with Path(source).open("rb") as file:
            return file.read(LIMITS.bytes + 1)
    if sys.stdin.isatty():
        talk.say("reading Butane from standard input, up to Ctrl-D")
    return sys.stdin.buffer.read(LIMITS.bytes + 1)


def _files(directory: str) -> FilesDir | None:
    if not directory:
        return None
    from flatyard.cli.files_dir import DiskFiles

    return DiskFiles(Path(directory).absolute())


def _write(text: bytes, target: str, talk: Talk) -> bool:
    if not target:
        click.echo(text, nl=False)
        return True
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    except OSError as problem:
        talk.error(f"cannot write {target}", why=problem.strerror or str(problem))
        return False
    return True


# ---- findings


def _say(result: Translation, text: bytes, wanted: Wanted, talk: Talk) -> None:
    """The findings, then the reference's last word; -q keeps warnings back, -qq all of it."""
    if talk.quiet > 1:
        return
    color = talk.paints(sys.stderr)
    for block in _blocks(result, text, wanted, talk):
        click.echo(block, err=True, color=color)
    if result.error:
        _last_word(f"Error translating config: {result.error}", result.file, wanted, talk)


def _blocks(result: Translation, text: bytes, wanted: Wanted, talk: Talk) -> Iterator[str]:
    from flatyard.ignition.report import WIDEST_LINE, excerpts

    found = [entry for entry in result.report if not talk.quiet or entry.severity == "error"]
    if wanted.raw_errors:
        prefix = f"{result.file}: " if wanted.several else ""
        yield from (f"{prefix}{entry}" for entry in found)
        return
    width = talk.width or WIDEST_LINE
    for index, block in enumerate(excerpts(found, result.file, text, talk.style, width=width)):
        yield f"\n{block}" if index else block


def _last_word(what: str, name: str, wanted: Wanted, talk: Talk) -> None:
    if talk.quiet < 2:
        prefix = f"{name}: " if wanted.several else ""
        click.echo(f"{prefix}{what}", err=True)
