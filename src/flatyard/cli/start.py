"""Where the `flatyard` command begins: the short way to `flatyard butane`, else the table of commands.

Butane is called by editors, by Makefiles and in loops, where a start that loads click, pathlib and all of PyYAML
costs more than the work. The short way takes the command line as people write it; whatever it does not know (help,
colours, a mistake) goes to click, which knows everything and says what is wrong.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from flatyard.base.values import dataclass

_FLAGS = {
    "-s": "strict",
    "--strict": "strict",
    "-c": "check",
    "--check": "check",
    "-p": "pretty",
    "--pretty": "pretty",
    "--raw-errors": "raw_errors",
    "-r": "",
    "--raw": "",
}
_VALUES = {
    "-d": "files_dir",
    "--files-dir": "files_dir",
    "-o": "output",
    "--output": "output",
    "--out-dir": "out_dir",
}
_COMPLETION = "_FLATYARD_COMPLETE"
_SELDOM = 50_000
"""Objects between two collections: with Python's 700 a start looks dozens of times through what it just imported."""


@dataclass(frozen=True, slots=True)
class Butane:
    """A plain `flatyard butane` line: its files, the flags that are set, and the values by option."""

    files: tuple[str, ...]
    flags: frozenset[str]
    values: dict[str, str]


def plain_butane(arguments: Sequence[str]) -> Butane | None:
    """A command line that needs no more than `butane_run`; None where click should look at it."""
    if arguments[:1] != ["butane"] or _COMPLETION in os.environ:
        return None
    files: list[str] = []
    flags: set[str] = set()
    values: dict[str, str] = {}
    rest = iter(arguments[1:])
    for word in rest:
        if word == "-" or not word.startswith("-"):
            files.append(word)
        elif word in _FLAGS:
            flags.add(_FLAGS[word])
        elif word in _VALUES:
            value = next(rest, None)
            if value is None:
                return None
            values[_VALUES[word]] = value
        else:
            return None
    return Butane(tuple(files), frozenset(flags), values)


def run_butane(line: Butane) -> int | None:
    """The exit code; None where the options do not go together, which click has words for."""
    from flatyard.decode import libyaml

    libyaml.alone()
    from flatyard.cli.butane_run import Wanted, WrongUsage, jobs, run
    from flatyard.cli.edge import at_the_edge
    from flatyard.cli.talk import Talk

    wanted = Wanted(
        strict="strict" in line.flags,
        check="check" in line.flags,
        pretty="pretty" in line.flags,
        raw_errors="raw_errors" in line.flags,
        files_dir=line.values.get("files_dir", ""),
        output=line.values.get("output", ""),
        out_dir=line.values.get("out_dir", ""),
    )
    talk = Talk()
    try:
        todo = jobs(line.files, wanted)
    except WrongUsage:
        return None
    return at_the_edge(lambda: run(todo, wanted, talk), talk)


def main() -> None:
    """The `flatyard` command."""
    line = plain_butane(sys.argv[1:])
    if line is not None:
        gc.disable()  # nothing of what so short a process makes goes round in circles
        code = run_butane(line)
        if code is not None:
            _leave(code)
    gc.set_threshold(_SELDOM)
    from flatyard.cli.main import main as commands

    try:
        commands()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _leave(end.code or 0)
        raise


def _leave(code: int) -> None:
    """End at once: taking the interpreter apart would cost a tenth of the command's time."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):  # nobody reads any more, or it was closed for that reason
            continue
    os._exit(code)
