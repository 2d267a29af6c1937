"""Processes of a machine, found by what the kernel says of them and not by what a file remembers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flatyard.clouds.local.commands import PATH, Done, attempt

SUPERVISOR = "flatyard.clouds.local.supervisor"
BALANCER = "flatyard.clouds.local.balancer"
PROC = Path("/proc")


def all_processes() -> Iterator[int]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)


def command_line(pid: int) -> tuple[str, ...]:
    """What it was started with; empty when it is gone."""
    try:
        return tuple((PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1])
    except OSError:
        return ()


def serving(module: str, folder: Path) -> tuple[int, ...]:
    """Processes that run our `module` for a folder; `unshare`, which becomes one, counts."""
    found = []
    for pid in all_processes():
        words = command_line(pid)
        if module in words and str(folder) in words:
            found.append(pid)
    return tuple(sorted(found))


def children(pid: int) -> tuple[int, ...]:
    try:
        return tuple(map(int, (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()))
    except OSError:
        return ()


def opened(pid: int) -> tuple[Path, ...]:
    """Files that it has open."""
    found = []
    with suppress(OSError):  # it is gone, or goes
        for link in (PROC / str(pid) / "fd").iterdir():
            found.append(link.readlink())
    return tuple(found)


def leader(nspawn: int) -> int:
    """The container's PID 1 as this machine numbers it; 0 while there is none."""
    for child in children(nspawn):
        with suppress(OSError):
            for line in (PROC / str(child) / "status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[2:] == ["1"]:
                    return child
    return 0


def end(pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    assert pid > 0, "0, as `leader` tells of none, would be this process' whole group"
    with suppress(ProcessLookupError):
        os.kill(pid, how)


async def inside(pid_one: int, *command: str) -> Done:
    """Run a command in the container, as root."""
    return await attempt(
        "nsenter", "-t", str(pid_one), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w",
        "/usr/bin/env", "-i", f"PATH={PATH}", "HOME=/root", "TERM=dumb", *command,
    )  # fmt: skip
