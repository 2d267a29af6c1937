"""What `flatyard butane` does, from reading to writing, for the click command and for the short way to it.

Nothing of flatyard is imported but `butane` and what stands below it, and nothing of click.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterator, Sequence

from flatyard.base.typed import TYPE_CHECKING
from flatyard.base.values import dataclass
from flatyard.cli.talk import Talk

if TYPE_CHECKING:
    from flatyard.butane import FilesDir, Translation

STDIN = "-"
FAILED = 1
"""The reference's code for every failure; 2 is a wrong command line."""


class WrongUsage(ValueError):
    """Options and files that do not go together."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options ask for, the same for every file; `files_dir` is empty without one."""

    files_dir: str
    strict: bool
    check: bool
    pretty: bool
    raw_errors: bool
    output: str = ""
    out_dir: str = ""


def run(jobs: Sequence[tuple[str, str]], wanted: Wanted, talk: Talk) -> int:
    """Every job, one after another, also past one that fails; the exit code."""
    several = len(jobs) > 1
    done = [_run(source, target, wanted, talk, several) for source, target in jobs]
    return 0 if all(done) else FAILED


def jobs(files: Sequence[str], wanted: Wanted) -> list[tuple[str, str]]:
    """Each document with the file to write, empty for standard output. Raises WrongUsage."""
    output, out_dir = wanted.output, wanted.out_dir
    if output and out_dir:
        raise WrongUsage("-o and --out-dir exclude each other.")
    if not out_dir:
        if len(files) > 1 and not wanted.check:
            raise WrongUsage("Several FILEs need --out-dir (or --check).")
        return [(file, output) for file in files or (STDIN,)]
    if not files or STDIN in files:
        raise WrongUsage("--out-dir needs FILEs: standard input has no name to write it under.")
    targets = [(file, posixpath.join(out_dir, f"{_stem(file)}.ign")) for file in files]
    sources: dict[str, str] = {}
    for file, target in targets:
        if sources.setdefault(target, file) != file:
            raise WrongUsage(f"{sources[target]} and {file} would both be written to {target}.")
    return targets


def _run(source: str, target: str, wanted: Wanted, talk: Talk, several: bool) -> bool:
    """One document from reading to writing; whether it went well."""
    from flatyard.butane import translate

    name = "<stdin>" if source == STDIN else source
    try:
        text = _read(source, talk)
    except OSError as problem:
        talk.error(f"cannot read {name}", why=problem.strerror or str(problem))
        return False
    result = translate(text, file=name, files=_files(wanted.files_dir))
    _say(result, text, wanted, talk, several)
    if result.config is None:
        return False
    if wanted.strict and result.report:
        _last_word("Config produced warnings and --strict was specified", name, talk, several)
        return False
    return wanted.check or _write(result.output(pretty=wanted.pretty), target, talk)


def _read(source: str, talk: Talk) -> bytes:
    """The document, at most one byte more than the decoder takes: an endless input ends in its refusal."""
    from flatyard.butane.syntax import LIMITS

    if source != STDIN:
        with open(source, "rb") as file:
            return file.read(LIMITS.bytes + 1)
    if sys.stdin.isatty():
        talk.say("reading Butane from standard input, up to Ctrl-D")
    return sys.stdin.buffer.read(LIMITS.bytes + 1)


def _files(directory: str) -> FilesDir | None:
    if not directory:
        return None
    from pathlib import Path

    from flatyard.cli.files_dir import DiskFiles

    return DiskFiles(Path(directory).absolute())


def _write(text: bytes, target: str, talk: Talk) -> bool:
    if not target:
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        return True
    try:
        os.makedirs(posixpath.dirname(target) or ".", exist_ok=True)
        with open(target, "wb") as file:
            file.write(text)
    except OSError as problem:
        talk.error(f"cannot write {target}", why=problem.strerror or str(problem))
        return False
    return True


def _stem(file: str) -> str:
    name = posixpath.basename(file)
    return posixpath.splitext(name)[0]


# ---- findings


def _say(result: Translation, text: bytes, wanted: Wanted, talk: Talk, several: bool) -> None:
    """The findings, then the reference's last word; -q keeps warnings back, -qq all of it."""
    if talk.quiet > 1:
        return
    for block in _blocks(result, text, wanted, talk, several):
        talk.line(block)
    if result.error:
        _last_word(f"Error translating config: {result.error}", result.file, talk, several)


def _blocks(result: Translation, text: bytes, wanted: Wanted, talk: Talk, several: bool) -> Iterator[str]:
    from flatyard.ignition.report import WIDEST_LINE, excerpts

    found = [entry for entry in result.report if not talk.quiet or entry.severity == "error"]
    if wanted.raw_errors:
        prefix = f"{result.file}: " if several else ""
        yield from (f"{prefix}{entry}" for entry in found)
        return
    width = talk.width or WIDEST_LINE
    for index, block in enumerate(excerpts(found, result.file, text, talk.style, width=width)):
        yield f"\n{block}" if index else block


def _last_word(what: str, name: str, talk: Talk, several: bool) -> None:
    if talk.quiet < 2:
        prefix = f"{name}: " if several else ""
        talk.line(f"{prefix}{what}")
