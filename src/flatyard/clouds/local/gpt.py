"""Reading the partition table of a disk image: GUID Partition Table, sectors of 512 bytes.

Source: the UEFI specification, "GUID Partition Table (GPT) Disk Layout". Nothing is repaired: the copy at the disk's
end is not looked at, since a download with a broken beginning is to be downloaded again.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass

SECTOR = 512
Read = Callable[[int, int], bytes]
"""`read(offset, size)`: the bytes there, fewer where the image ends before."""
_HEADER = struct.Struct("<8s4sIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_SIGNATURE = b"EFI PART"
_BOOT_SIGNATURE = b"\x55\xaa"
_QCOW = b"QFI\xfb"
_MOST_ENTRIES, _LARGEST_ENTRY = 1024, 4096
_NO_TYPE = bytes(16)


class ImageError(Exception):
    """What is wrong with an image, and at which byte of the disk where that is known."""

    def __init__(self, what: str, at: int | None = None) -> None:
        super().__init__(what if at is None else f"byte {at}: {what}")
        self.what = what
        self.at = at


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition. `start` and `size` are bytes; `entry` is the byte where the table tells of it."""

    number: int
    label: str
    type: uuid.UUID
    start: int
    size: int
    entry: int

    @property
    def end(self) -> int:
        return self.start + self.size


def partitions(read: Read) -> tuple[Partition, ...]:
    """Every partition of an image, in the table's order. Raises ImageError for what is no sound table."""
    first = read(0, SECTOR)
    if len(first) < SECTOR:
        raise ImageError(f"no disk image: {len(first)} bytes are less than one sector", 0)
    if first.startswith(_QCOW):
        raise ImageError("a qcow2 image for qemu; flatcar_production_image.bin.bz2 is the one to take", 0)
    if first[510:512] != _BOOT_SIGNATURE:
        raise ImageError("no disk image: the first sector does not end with 55 aa", 510)
    raw = read(SECTOR, SECTOR)
    if not raw.startswith(_SIGNATURE):
        raise ImageError("no GPT: EFI PART is missing, where a Flatcar image has it", SECTOR)
    if len(raw) < SECTOR:
        raise ImageError("the image ends within the header of its partition table", SECTOR + len(raw))
    return _entries(read, *_table(raw))


def _table(raw: bytes) -> tuple[int, int, int, int]:
    """Where the entries are, how many, how long each, and their checksum; from the header's sector."""
    _, _, size, checksum, _, here, _, _, _, _, at, count, length, sums = _HEADER.unpack_from(raw)
    if not _HEADER.size <= size <= SECTOR:
        raise ImageError(f"a GPT header of {size} bytes", SECTOR + 12)
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:size]) != checksum:
        raise ImageError("the checksum of the GPT header is wrong", SECTOR + 16)
    if here != 1:
        raise ImageError(f"the GPT header says that it is sector {here}", SECTOR + 24)
    if not 0 < count <= _MOST_ENTRIES or not _ENTRY.size <= length <= _LARGEST_ENTRY:
        raise ImageError(f"a table of {count} entries with {length} bytes each", SECTOR + 80)
    return at * SECTOR, count, length, sums


def _entries(read: Read, at: int, count: int, length: int, checksum: int) -> tuple[Partition, ...]:
    raw = read(at, count * length)
    if len(raw) < count * length:
        raise ImageError("the image ends within its partition table", at + len(raw))
    if zlib.crc32(raw) != checksum:
        raise ImageError("the checksum of the partition table is wrong", at)
    found = (_partition(raw, number, at, length) for number in range(count))
    return tuple(partition for partition in found if partition is not None)


def _partition(raw: bytes, number: int, at: int, length: int) -> Partition | None:
    kind, _, first, last, _, name = _ENTRY.unpack_from(raw, number * length)
    if kind == _NO_TYPE:
        return None
    entry = at + number * length
    if last < first:
        raise ImageError(
            f"partition {number + 1} ends at sector {last}, before its start {first}", entry + 32
        )
    label = name.decode("utf-16-le", errors="replace").partition("\0")[0]
    kind = uuid.UUID(bytes_le=kind)
    return Partition(number + 1, label, kind, first * SECTOR, (last - first + 1) * SECTOR, entry)
