"""Flatcar's disk images, as downloaded: their /usr, taken out once and kept below the cache.

`flatcar_production_image.bin`, or `.bin.bz2`, has a GPT with nine partitions (flatcar/scripts `disk_layout.json`).
All of the OS is in USR-A: a read-only /usr, btrfs since October 2023, ext4 before. USR-B and ROOT are empty until the
first boot, OEM is for a cloud's agents, EFI-SYSTEM for machines with firmware. So of an image only USR-A is unpacked,
and of that only the files are kept: nothing stays mounted, and no loop device is left.

What is kept is found by the sha256 of USR-A, the same for both forms of a download; which file had which is remembered
by its path, size and time, so that a second look takes a millisecond.

Known of real images from Flatcar's own sources only: none could be fetched where this was written.
"""

from __future__ import annotations

import asyncio
import bz2
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from flatyard.clouds.local import built_in, gpt, loops
from flatyard.clouds.local.commands import CommandFailed, run
from flatyard.clouds.local.folders import held, make_private, write_whole
from flatyard.clouds.local.gpt import ImageError, Partition
from flatyard.clouds.local.os_release import Release, release_of

LABEL = "USR-A"
TYPE = uuid.UUID("5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6")
"""Type of Flatcar's /usr partitions."""
GROWS = 2
"""How many times USR-A's size is taken below the cache while it is unpacked: the partition, and the files in it."""
_BEGIN = 1 << 20
"""Bytes that have the whole partition table of any image that Flatcar publishes."""
_BLOCK = 48 << 20
"""More than one block of bzip2 unpacks to, each of which has its checksum at its end."""
_PIECE = 1 << 22
_TELL_EVERY = 256 << 20
_BZ2 = b"BZh"
_MAGIC = {"btrfs": (0x10040, b"_BHRfS_M"), "ext4": (0x438, b"\x53\xef"), "squashfs": (0, b"hsqs")}
_MOUNT = """\
set -e
mount -t "$1" -o "ro,nodev,nosuid,loop,offset=$2,sizelimit=$3" "$4" "$5"
cp -a --reflink=auto "$5/." "$6"
umount "$5"
"""
_ALONE = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"),
)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """An image whose /usr is below the cache. `digest` is the sha256 of its USR-A."""

    digest: str
    tree: Path
    release: Release


@dataclass(frozen=True, slots=True)
class Look:
    """What the beginning of an image tells."""

    usr: Partition
    filesystem: str


def is_packed(path: Path) -> bool:
    """Whether a file is compressed with bzip2."""
    with path.open("rb") as file:
        return file.read(len(_BZ2)) == _BZ2


# ---- looking


def look(path: Path) -> Look:
    """Find USR-A and its file system, reading no more than a few sectors. Raises ImageError, and OSError."""
    with _reader(path) as read:
        usr = _usr(gpt.partitions(read))
        if not is_packed(path) and (size := path.stat().st_size) < usr.end:
            raise _cut(usr, size)
        return Look(usr, _filesystem(read, usr))


@contextmanager
def _reader(path: Path) -> Iterator[gpt.Read]:
    if not is_packed(path):
        with path.open("rb") as file:
            yield lambda offset, length: os.pread(file.fileno(), length, offset)
    else:
        with _unpacking(path) as (file, _):
            begin = _exactly(file, path, _BEGIN)
            try:
                yield lambda offset, length: begin[offset : offset + length]
            except ImageError:
                # damaged data look like anything until bzip2 comes to their checksum
                _exactly(file, path, _BLOCK)
                raise


@contextmanager
def _unpacking(path: Path) -> Iterator[tuple[bz2.BZ2File, BinaryIO]]:
    """What a bzip2 file has in it, and the file itself, whose position says how far it is."""
    with path.open("rb") as raw, bz2.BZ2File(raw) as file:
        yield file, raw


def _exactly(file: bz2.BZ2File, path: Path, size: int) -> bytes:
    """The next bytes of a bzip2 file, fewer at its end. Raises ImageError where it is cut or damaged."""
    try:
        return file.read(size)
    except EOFError:
        raise ImageError(f"it is cut: bzip2's data go on after its {path.stat().st_size} bytes") from None
    except OSError as error:
        raise ImageError(f"its bzip2 data are damaged: {error}") from None


def _usr(found: tuple[Partition, ...]) -> Partition:
    for partition in found:
        if partition.label == LABEL:
            if partition.type != TYPE:
                what = f"{LABEL} has type {partition.type}, Flatcar's has {TYPE}"
                raise ImageError(what, partition.entry)
            return partition
    labels = ", ".join(partition.label or "one without a label" for partition in found) or "none at all"
    raise ImageError(f"no partition {LABEL}, which a Flatcar image has; there are: {labels}", 2 * gpt.SECTOR)


def _filesystem(read: gpt.Read, usr: Partition) -> str:
    """By its magic number; empty where that is out of sight, as in a packed image."""
    for name, (offset, magic) in _MAGIC.items():
        if read(usr.start + offset, len(magic)) == magic:
            return name
    if not all(len(read(usr.start + offset, len(magic))) == len(magic) for offset, magic in _MAGIC.values()):
        return ""
    raise ImageError(f"no file system in {LABEL} that is known: {', '.join(_MAGIC)}", usr.start)


# ---- what is kept


def kept(cache: Path, path: Path) -> Kept | None:
    """What was taken out of a file earlier, unless the file is gone or has changed since."""
    try:
        found = json.loads(_note(cache, path).read_text())
    except FileNotFoundError:
        return None
    return by_digest(cache, found["digest"])


def by_digest(cache: Path, digest: str) -> Kept | None:
    """What was taken out of an image; the image itself may be gone."""
    tree = _place(cache, digest) / "tree"
    release = release_of(tree)
    return Kept(digest, tree, release) if release else None


def _place(cache: Path, digest: str) -> Path:
    return cache / "local" / f"flatcar-{digest[:16]}"


def _note(cache: Path, path: Path) -> Path:
    """Where it is remembered which image a file has. Raises FileNotFoundError without such a file."""
    found = path.resolve().stat()
    identity = [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return cache / "local/disk-images" / f"{name}.json"


async def ensure(cache: Path, path: Path, tell: Tell) -> Kept:
    """An image's /usr, taken out if it is not there yet: three minutes for a packed one. Needs root.

    Raises ImageError for what is wrong with the image, OSError for what is wrong with this machine.
    """
    found = kept(cache, path)
    if found:
        return found
    note = _note(cache, path)
    make_private(note.parent)
    async with held(note.with_suffix(".lock")):
        found = kept(cache, path) or await _take_out(cache, path, note, tell)
        source = {"digest": found.digest, "file": str(path.resolve()), "release": asdict(found.release)}
        write_whole(note, (json.dumps(source, indent=1) + "\n").encode())
    return found


async def _take_out(cache: Path, path: Path, note: Path, tell: Tell) -> Kept:
    usr = (await asyncio.to_thread(look, path)).usr
    unpacked = note.with_suffix(".usr-a")
    try:
        if is_packed(path):
            tell(f"unpacking {path.name}; this happens once for each image and takes minutes")
            digest = await asyncio.to_thread(_unpack, path, usr, unpacked, tell)
            source, start = unpacked, 0
        else:
            tell(f"reading {path.name}")
            digest = await asyncio.to_thread(_digest, path, usr)
            source, start = path, usr.start
        found = by_digest(cache, digest)
        if found is None:
            await _copy(source, start, usr.size, _place(cache, digest), tell)
            found = by_digest(cache, digest)
    finally:
        unpacked.unlink(missing_ok=True)
    if found is None:
        raise ImageError(f"{LABEL} has no lib/os-release, so it is no /usr of an OS", usr.start)
    return found


def _digest(path: Path, usr: Partition) -> str:
    made = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(usr.start)
        for piece in _pieces(file.read, usr):
            made.update(piece)
    return made.hexdigest()


def _pieces(read: Callable[[int], bytes], usr: Partition) -> Iterator[bytes]:
    """A partition's bytes. Raises ImageError where they end too early."""
    left = usr.size
    while left:
        piece = read(min(left, _PIECE))
        if not piece:
            raise _cut(usr, usr.end - left)
        yield piece
        left -= len(piece)


def _cut(usr: Partition, end: int) -> ImageError:
    return ImageError(f"the image ends before {LABEL} does, which reaches to byte {usr.end}", end)


def _unpack(path: Path, usr: Partition, to: Path, tell: Tell) -> str:
    """Write one partition of a packed image to a file, with holes for zeros; its sha256.

    The rest is read as well: only the end tells that the download was whole.
    """
    made = hashlib.sha256()
    with _unpacking(path) as (file, raw), to.open("wb") as out:

        def read(size: int) -> bytes:
            return _exactly(file, path, size)

        progress = _Progress(path, raw, tell)
        _skip(read, usr.start, progress)
        for piece in _pieces(read, usr):
            made.update(piece)
            _write_sparse(out, piece)
            progress.at()
        while read(_PIECE):
            progress.at()
        out.truncate(usr.size)
    return made.hexdigest()


def _skip(read: Callable[[int], bytes], left: int, progress: _Progress) -> None:
    while left and (piece := read(min(left, _PIECE))):
        left -= len(piece)
        progress.at()


def _write_sparse(out: BinaryIO, piece: bytes) -> None:
    if piece.count(0) == len(piece):
        out.seek(len(piece), os.SEEK_CUR)
    else:
        out.write(piece)


class _Progress:
    """Tells how much of a packed file is read, every so many bytes of it."""

    def __init__(self, path: Path, raw: BinaryIO, tell: Tell) -> None:
        self._name, self._raw, self._tell = path.name, raw, tell
        self._size = path.stat().st_size
        self._told = 0

    def at(self) -> None:
        here = self._raw.tell()
        step = min(_TELL_EVERY, max(1, self._size // 10))
        if here >= self._told + step:
            self._told = here
            self._tell(f"unpacking {self._name}: {100 * here // self._size} %")


async def _copy(source: Path, start: int, size: int, place: Path, tell: Tell) -> None:
    """Copy a partition's files. It is mounted where only the copying command sees it, and that dies with us."""
    tell(f"copying /usr out of {LABEL}")
    with source.open("rb") as file:
        filesystem = _filesystem(
            lambda at, length: os.pread(file.fileno(), length, start + at), _at_zero(size)
        )
    make_private(place)
    async with held(place / "lock"):
        if (place / "tree").exists():
            return
        work, seen = place / "tree.build", place / "mounted"
        await run("rm", "-rf", "--one-file-system", str(work))
        (work / "usr").mkdir(parents=True)
        seen.mkdir(exist_ok=True)
        before = loops.present()
        arguments = (filesystem, str(start), str(size), str(source), str(seen), str(work / "usr"))
        try:
            await run(*_ALONE, "sh", "-c", _MOUNT, "sh", *arguments)
        except CommandFailed as error:
            raise ImageError(_why(filesystem, error.said), start) from None
        finally:
            loops.restore(before)
            seen.rmdir()
        built_in.make_plain(work)
        work.rename(place / "tree")


def _at_zero(size: int) -> Partition:
    return Partition(0, LABEL, TYPE, 0, size, 0)


def _why(filesystem: str, said: str) -> str:
    return f"the {filesystem} in {LABEL} cannot be read: {said.strip()[-500:]}"
