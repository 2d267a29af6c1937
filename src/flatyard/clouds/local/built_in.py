"""The extensions that a Flatcar image brings along in /usr/share/flatcar/sysext: containerd and docker.

Up to Flatcar 4593 each is a bare squashfs. From 4628 on it is a disk image of its own with dm-verity (flatcar/scripts
`build_sysext`: `systemd-repart --make-ddi=sysext`), for which systemd-sysext needs device-mapper and a loop device's
partitions; a container has neither. So in the copy that is kept of an image, such a file is replaced by the file system
in it, which merges as the bare ones do. What it says is the same; its signature is no longer checked.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from flatyard.clouds.local import gpt
from flatyard.clouds.local.gpt import ImageError, Partition

FOLDER = Path("usr/share/flatcar/sysext")
_DATA = frozenset(
    uuid.UUID(each)
    for each in (
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",  # root of x86-64
        "b921b045-1df0-41c3-af44-4c6f280d3fae",  # root of arm64
        "8484680c-9521-48c6-9c11-b0720656f69e",  # /usr of x86-64
        "b0e01050-ee5f-4390-949a-9101b17104e9",  # /usr of arm64
    )
)
"""Types of the partitions that have an extension's files (Discoverable Partitions Specification)."""


def make_plain(tree: Path) -> None:
    """Replace every extension with dm-verity in a tree by the file system in it; others are left as they are."""
    for path in sorted((tree / FOLDER).glob("*.raw")):
        if path.is_file() and not path.is_symlink():
            with suppress(ImageError):
                _make_plain(path)


def _make_plain(path: Path) -> None:
    with path.open("rb") as file:
        found = gpt.partitions(lambda offset, size: os.pread(file.fileno(), size, offset))
        data = next((partition for partition in found if partition.type in _DATA), None)
        if data is None:
            return
        beside = path.with_suffix(".plain")
        beside.write_bytes(_content(file.fileno(), data))
    beside.chmod(path.stat().st_mode & 0o777)
    beside.replace(path)


def _content(descriptor: int, data: Partition) -> bytes:
    found = os.pread(descriptor, data.size, data.start)
    if len(found) < data.size:
        raise ImageError("the extension ends within its files", data.start + len(found))
    return found
