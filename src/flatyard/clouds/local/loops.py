"""Loop devices: a machine's systemd takes them for its extension images and removes those that it frees.

Their numbers are the whole kernel's. A removed one takes this machine's own /dev/loopN with it, so they are put back.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

COUNT = 64
"""Nodes that each machine has; systemd leaks one with each refresh of extensions."""
MAJOR = 7
_CONTROL = Path("/dev/loop-control")
_BLOCK = Path("/sys/block")
_ADD, _REMOVE, _CLEAR, _STATUS = 0x4C80, 0x4C81, 0x4C01, 0x4C05
_STATUS_SIZE = 232


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
    """Loop devices whose file lies in a machine's folder, or lay there.

    The kernel tells a file's path as the machine sees it, so the inode says whose it is.
    """
    return tuple(number for number in present() if backing(number) and _is_below(folder, number))


def _is_below(folder: Path, number: int) -> bool:
    shown = backing(number)
    if shown.startswith(f"{folder}/"):
        return True
    try:
        return (folder / "root" / shown.lstrip("/")).stat().st_ino == _inode(folder, number)
    except OSError:
        return False


def _inode(folder: Path, number: int) -> int:
    """The inode of a device's file (LOOP_GET_STATUS64: device and inode come first)."""
    status = bytearray(_STATUS_SIZE)
    with _opened(folder, number) as device:
        fcntl.ioctl(device, _STATUS, status)
    return int.from_bytes(status[8:16], sys.byteorder)


def detach(folder: Path) -> None:
    """Free the devices that a machine without power still has; the kernel does it when their last user is gone."""
    for number in used_by(folder):
        with suppress(OSError), _opened(folder, number) as device:
            fcntl.ioctl(device, _CLEAR, 0)


@contextmanager
def _opened(folder: Path, number: int) -> Iterator[int]:
    """A descriptor of a device, by the machine's own node where it has one."""
    node = folder / "devices" / f"loop{number}"
    device = os.open(node if node.exists() else f"/dev/loop{number}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield device
    finally:
        os.close(device)


def restore(wanted: Iterable[int]) -> None:
    """Bring the devices back that there were, and remove free ones that there were not."""
    keep = set(wanted)
    if not _CONTROL.exists():
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
