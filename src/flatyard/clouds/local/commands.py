"""Running the host's commands: what they are given, what they said, and no shell in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Mapping[str, str] = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
"""All that a host command sees of the environment: no proxies and no locale of the user's."""


class CommandFailed(Exception):
    """A command ended with another code than 0; `said` is what it wrote on both streams."""

    def __init__(self, command: tuple[str, ...], code: int, said: str) -> None:
        super().__init__(f"{' '.join(command)}: exit code {code}: {said.strip()[-2000:]}")
        self.command = command
        self.code = code
        self.said = said


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and what it wrote on stdout and stderr together."""

    code: int
    said: str


async def attempt(
    *command: str,
    env: Mapping[str, str] = ENVIRONMENT,
    cwd: Path | None = None,
    hear: Callable[[str], None] | None = None,
    apart: Path | None = None,
) -> Done:
    """Run a command to its end, whatever that is; `hear` gets each line as it is said.

    `apart` is a file for what it says on stderr, which is heard together with stdout otherwise.

    Cancelled, it kills the command and waits for it. Raises FileNotFoundError when there is no such command.
    """
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(apart.open("ab")) if apart else asyncio.subprocess.STDOUT
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=dict(env),
            cwd=cwd,
        )
    try:
        said = await _listen(process, hear)
        return Done(await process.wait(), said)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise


async def _listen(process: asyncio.subprocess.Process, hear: Callable[[str], None] | None) -> str:
    assert process.stdout is not None
    said, rest = [], b""
    while piece := await process.stdout.read(65536):
        said.append(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines if hear else ():
            hear(line.decode(errors="replace"))  # type: ignore[misc]
    if hear and rest:
        hear(rest.decode(errors="replace"))
    return b"".join(said).decode(errors="replace")


async def run(
    *command: str,
    env: Mapping[str, str] = ENVIRONMENT,
    cwd: Path | None = None,
    hear: Callable[[str], None] | None = None,
) -> str:
    """What a command said; raises CommandFailed unless it ended with 0."""
    done = await attempt(*command, env=env, cwd=cwd, hear=hear)
    if done.code != 0:
        raise CommandFailed(command, done.code, done.said)
    return done.said


def is_root() -> bool:
    """Whether this process may do what machines need."""
    return os.geteuid() == 0
