"""What clusters change of this machine's kernel, and what was there before the first of them.

    /run/flatyard/lock         held while a cluster's network is made or removed
    /run/flatyard/before.json  kernel settings and loop devices as they were before the first change

Both belong to the machine and to no cluster: clusters have homes of their own, and lose their files. The record is
written before anything is changed and removed once all is put back. It counts for one boot of this machine, since
a reboot puts everything back by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from flatyard.clouds.local import loops
from flatyard.clouds.local.folders import BeforeFile, held, read, write

FOLDER = Path("/run/flatyard")
FORWARD = "net/ipv4/ip_forward"
WATCHERS = "fs/inotify/max_user_instances"
ENOUGH_WATCHERS = 8192
"""What nodes set for themselves; a container cannot, and root's watchers are counted over all of them. With the
kernel's 128 the kubelets of a fourth machine see no file change any more: static pods never start."""


@asynccontextmanager
async def alone() -> AsyncIterator[None]:
    """Keep out whoever else makes or removes a network on this machine, whichever home it belongs to."""
    async with held(FOLDER / "lock", new_folder=True):
        try:
            yield
        finally:
            if before() is None:
                _tidy()


def _tidy() -> None:
    """Remove the folder and all in it, what was written by halves too; the lock goes last."""
    for path in sorted(FOLDER.iterdir(), key=lambda path: path.name == "lock"):
        path.unlink()
    with suppress(OSError):  # somebody waited for the lock and has begun anew
        FOLDER.rmdir()


def before() -> BeforeFile | None:
    """What was there before the first cluster; None when nothing has been changed since this machine started."""
    found = read(FOLDER / "before.json", BeforeFile)
    return found if found is not None and found.boot == _boot() else None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def remember() -> None:
    """Write down which loop devices there are, unless an earlier cluster did."""
    if before() is None:
        _keep(BeforeFile(boot=_boot(), loops=loops.present(), changed={}))


def _keep(value: BeforeFile) -> None:
    write(FOLDER / "before.json", value)


def change(name: str, value: str) -> None:
    """Give a kernel setting another value, once what it was is written down; `remember` comes before."""
    found, was = before(), setting(name)
    if found is None or was == value:
        return
    first, _ = found.changed.get(name, (was, ""))
    _keep(replace(found, changed={**found.changed, name: (first, value)}))
    _set(name, value)


def put_back(name: str) -> None:
    """Give a kernel setting its former value, unless somebody else has given it another one meanwhile."""
    found = before()
    if found is None or name not in found.changed:
        return
    was, ours = found.changed[name]
    if setting(name) == ours:
        _set(name, was)
    _keep(replace(found, changed={key: value for key, value in found.changed.items() if key != name}))


def restore() -> None:
    """Put everything back; for when no cluster is left."""
    found = before()
    if found is None:
        return
    for name in sorted(found.changed):
        put_back(name)
    loops.restore(found.loops)
    (FOLDER / "before.json").unlink()


def setting(name: str) -> str:
    """A kernel setting's value; names are those below /proc/sys."""
    return Path("/proc/sys", name).read_text().strip()


def _set(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(value)
