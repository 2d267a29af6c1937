"""Loop devices: a machine's systemd takes them for its extension images and removes those that it frees.

Their numbers are the whole kernel's. A removed one takes this machine's own /dev/loopN with it, so they are put back.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

COUNT = 64
"""Nodes that each machine has; systemd leaks one with each refresh of extensions."""
MAJOR = 7
_CONTROL = Path("/dev/loop-control")
_BLOCK = Path("/sys/block")
_ADD, _REMOVE, _CLEAR = 0x4C80, 0x4C81, 0x4C01


def present() -> tuple[int, ...]:
    """Numbers of the loop devices that there are."""
    found = (re.fullmatch(r"loop(\d+)", entry.name) for entry in _BLOCK.iterdir())
    return tuple(sorted(int(match[1]) for match in found if match))


def backing(number: int) -> str:
    """The file that a loop device shows; empty when it is free."""
    with suppress(OSError):
        return (_BLOCK / f"loop{number}" / "loop/backing_file").read_text().strip()
    return ""


def used_by(folder: Path) -> tuple[int, ...]:
    """Loop devices whose file lies, or lay, below a folder."""
    return tuple(number for number in present() if f"{folder}/" in backing(number))


def detach(numbers: Iterable[int], nodes: Path) -> None:
    """Free loop devices, by the machine's own nodes in `nodes`; the kernel does it when their last user is gone."""
    for number in numbers:
        node = nodes / f"loop{number}"
        with suppress(OSError):
            device = os.open(node if node.exists() else f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CLEAR, 0)
            finally:
                os.close(device)


def restore(wanted: Iterable[int]) -> None:
    """Bring the devices back that there were, and remove free ones that there were not."""
    keep = set(wanted)
    if not keep or not _CONTROL.exists():
        return
    with _CONTROL.open("r+b", buffering=0) as control:
        for number in sorted(keep - set(present())):
            with suppress(OSError):
                fcntl.ioctl(control, _ADD, number)
        for number in present():
            if number not in keep and not backing(number):
                with suppress(OSError):  # somebody took it meanwhile
                    fcntl.ioctl(control, _REMOVE, number)


def make_nodes(folder: Path) -> Iterator[tuple[Path, str]]:
    """Device nodes of a machine's own, which stay when this machine's go: pairs of node and place in the machine."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for number in range(COUNT):
        node = folder / f"loop{number}"
        if not node.exists():
            os.mknod(node, 0o60660, os.makedev(MAJOR, number))
        yield node, f"/dev/loop{number}"
