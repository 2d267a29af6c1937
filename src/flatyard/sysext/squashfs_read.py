"""What a squashfs image holds, read without root, without mounting and without squashfs-tools.

Follows Documentation/filesystems/squashfs.rst of Linux (version 4.0 of the format). Images come from anywhere: sizes,
depths and counts are bounded, and whatever does not fit the format is Unreadable with its byte.
"""

from __future__ import annotations

import lzma
import os
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from types import TracebackType
from typing import BinaryIO

MAGIC = b"hsqs"
MOST_NODES = 1_000_000
DEEPEST = 128
_METADATA = 8192
_LARGEST_BLOCK = 1 << 20
_NOWHERE = 0xFFFF_FFFF_FFFF_FFFF
_NO_INDEX = 0xFFFF_FFFF
_PLAIN_METADATA = 0x8000
_PLAIN_DATA = 1 << 24
_PER_BLOCK = 512
_OUT_OF_LINE = 0x100
_XATTR_PREFIXES = ("user.", "trusted.", "security.")
_COMPRESSORS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}


class Unreadable(Exception):
    """The image is no squashfs, is damaged, or is packed in a way that this reader does not know."""


class Kind(StrEnum):
    """What stands under a path."""

    FOLDER = "dir"
    FILE = "file"
    LINK = "link"
    OTHER = "other"
    """A device, a pipe or a socket."""


@dataclass(frozen=True, slots=True)
class Node:
    """One path of an image; paths have no leading slash, the root's is empty."""

    path: str
    kind: Kind
    mode: int
    size: int
    uid: int
    gid: int
    target: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """What an image says of itself: seconds since 1970 when it was made, its compressor, bytes in a block."""

    made: int
    compressor: str
    block: int
    size: int
    """Bytes in use; the file may be padded to a multiple of 4096."""


@dataclass(frozen=True, slots=True)
class _Super:
    inodes: int
    made: int
    block: int
    fragments: int
    compressor: int
    ids: int
    root: int
    used: int
    id_table: int
    xattr_table: int
    inode_table: int
    directory_table: int
    fragment_table: int


@dataclass(frozen=True, slots=True)
class _Inode:
    kind: int
    mode: int
    uid: int
    gid: int
    size: int = 0
    start: int = 0
    """Of a file's first block in the image, or of a folder's list in the directory table."""
    offset: int = 0
    fragment: int = _NO_INDEX
    blocks: tuple[int, ...] = ()
    target: bytes = b""
    xattr: int = _NO_INDEX


class SquashImage:
    """An open image: `nodes()` in the order of the directories, `content(path)` of one small file.

    Raises Unreadable, also while it is read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, os.SEEK_END)
        self._super = self._read_super()
        name = _COMPRESSORS.get(self._super.compressor, f"number {self._super.compressor}")
        self.summary = Summary(self._super.made, name, self._super.block, self._super.used)
        self._unpack = _unpacker(name)
        self._metadata = lru_cache(maxsize=256)(self._metadata_block)
        self._ids = self._table(self._super.id_table, self._super.ids, 4)
        self._files: dict[str, _Inode] = {}

    def __enter__(self) -> SquashImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def nodes(self) -> Iterator[Node]:
        """Every path, the root first, each folder before what it holds."""
        count = 0
        pending = [("", self._super.root, 0)]
        while pending:
            path, reference, depth = pending.pop()
            count += 1
            if count > MOST_NODES or depth > DEEPEST:
                raise Unreadable(f"more than {MOST_NODES} paths, or folders more than {DEEPEST} deep")
            inode = self._inode(reference)
            yield self._node(path, inode)
            if _is(inode, _FOLDERS):
                found = list(self._entries(inode))
                prefix = f"{path}/" if path else ""
                pending.extend((f"{prefix}{name}", where, depth + 1) for name, where in reversed(found))

    def content(self, path: str, limit: int = 1 << 20) -> bytes | None:
        """The bytes of a plain file that `nodes` has passed, None for anything else; Unreadable above `limit`."""
        inode = self._files.get(path)
        if inode is None:
            return None
        if inode.size > limit:
            raise Unreadable(f"/{path} has {inode.size} bytes, more than {limit}")
        return self._bytes(inode)

    # ---- nodes

    def _node(self, path: str, inode: _Inode) -> Node:
        kind = Kind.OTHER
        if _is(inode, _FOLDERS):
            kind = Kind.FOLDER
        elif _is(inode, _FILES):
            kind = Kind.FILE
            self._files[path] = inode
        elif _is(inode, _LINKS):
            kind = Kind.LINK
        size = inode.size if kind is Kind.FILE else 0
        target = os.fsdecode(inode.target)
        mode = stat.S_IMODE(inode.mode)
        uid, gid = self._owner(inode.uid), self._owner(inode.gid)
        return Node(path, kind, mode, size, uid, gid, target, self._xattrs(inode.xattr))

    def _owner(self, index: int) -> int:
        if index * 4 >= len(self._ids):
            raise Unreadable(f"owner {index} of {len(self._ids) // 4}")
        return int.from_bytes(self._ids[index * 4 : index * 4 + 4], "little")

    def _inode(self, reference: int) -> _Inode:
        cursor = _Cursor(self, self._super.inode_table + (reference >> 16), reference & 0xFFFF)
        kind, mode, uid, gid, _, _ = cursor.take("<HHHHII")
        read = _READERS.get(kind)
        if read is None:
            raise Unreadable(f"byte {cursor.block}: inode of kind {kind}")
        return read(_Inode(kind, mode, uid, gid), cursor, self._super.block)

    def _entries(self, inode: _Inode) -> Iterator[tuple[str, int]]:
        """Names in a folder, with where their inodes are."""
        left = inode.size - 3
        cursor = _Cursor(self, self._super.directory_table + inode.start, inode.offset)
        while left > 0:
            count, block, _ = cursor.take("<III")
            left -= 12
            if count >= _PER_BLOCK:
                raise Unreadable(f"byte {cursor.block}: {count} names at once")
            for _ in range(count + 1):
                offset, _, _, size = cursor.take("<HhHH")
                name = cursor.bytes(size + 1)
                left -= 9 + size
                if name in (b".", b"..") or b"/" in name or b"\0" in name:
                    raise Unreadable(f"byte {cursor.block}: {name!r} is no name")
                yield os.fsdecode(name), block << 16 | offset

    # ---- bytes of files

    def _bytes(self, inode: _Inode) -> bytes:
        parts: list[bytes] = []
        at = inode.start
        left = inode.size
        for size in inode.blocks:
            length = size & ~_PLAIN_DATA
            wanted = min(left, self._super.block)
            parts.append(self._data(at, size) if length else bytes(wanted))
            at, left = at + length, left - wanted
        if inode.fragment != _NO_INDEX:
            block = self._fragment(inode.fragment)
            parts.append(block[inode.offset : inode.offset + left])
        whole = b"".join(parts)
        if len(whole) != inode.size:
            raise Unreadable(f"byte {inode.start}: a file of {inode.size} bytes has {len(whole)}")
        return whole

    def _fragment(self, index: int) -> bytes:
        table = self._table(self._super.fragment_table, self._super.fragments, 16)
        if (index + 1) * 16 > len(table):
            raise Unreadable(f"fragment {index} of {self._super.fragments}")
        start, size, _ = struct.unpack_from("<QII", table, index * 16)
        return self._data(start, size)

    def _data(self, start: int, size: int) -> bytes:
        packed = self._at(start, min(size & ~_PLAIN_DATA, 2 * _LARGEST_BLOCK))
        return packed if size & _PLAIN_DATA else self._unpacked(packed, self._super.block, start)

    # ---- extended attributes

    def _xattrs(self, index: int) -> Mapping[str, bytes]:
        if index == _NO_INDEX or self._super.xattr_table == _NOWHERE:
            return {}
        start, count = struct.unpack("<QI", self._at(self._super.xattr_table, 12))
        ids = self._table(self._super.xattr_table + 16, count, 16)
        if (index + 1) * 16 > len(ids):
            raise Unreadable(f"extended attributes {index} of {count}")
        reference, pairs, _ = struct.unpack_from("<QII", ids, index * 16)
        cursor = _Cursor(self, start + (reference >> 16), reference & 0xFFFF)
        return dict(self._xattr(cursor, start) for _ in range(min(pairs, 1000)))

    def _xattr(self, cursor: _Cursor, start: int) -> tuple[str, bytes]:
        kind, size = cursor.take("<HH")
        name = cursor.bytes(size).decode("utf-8", "replace")
        (length,) = cursor.take("<I")
        value = cursor.bytes(min(length, 1 << 16))
        if kind & _OUT_OF_LINE and len(value) == 8:
            elsewhere = int.from_bytes(value, "little")
            there = _Cursor(self, start + (elsewhere >> 16), elsewhere & 0xFFFF)
            (length,) = there.take("<I")
            value = there.bytes(min(length, 1 << 16))
        number = kind & 0xFF
        prefix = _XATTR_PREFIXES[number] if number < len(_XATTR_PREFIXES) else f"{number}."
        return f"{prefix}{name}", value

    # ---- blocks

    def metadata(self, start: int) -> tuple[bytes, int]:
        """One block of metadata, unpacked, and where the next one starts."""
        return self._metadata(start)

    def _metadata_block(self, start: int) -> tuple[bytes, int]:
        header = int.from_bytes(self._at(start, 2), "little")
        size = header & ~_PLAIN_METADATA
        if size > _METADATA:
            raise Unreadable(f"byte {start}: a block of {size} bytes")
        packed = self._at(start + 2, size)
        plain = packed if header & _PLAIN_METADATA else self._unpacked(packed, _METADATA, start)
        return plain, start + 2 + size

    def _table(self, start: int, count: int, width: int) -> bytes:
        """A table that stands in blocks whose places are listed at `start`."""
        if count > MOST_NODES:
            raise Unreadable(f"byte {start}: a table of {count}")
        blocks = -(-count * width // _METADATA)
        places = struct.unpack(f"<{blocks}Q", self._at(start, 8 * blocks))
        return b"".join(self.metadata(place)[0] for place in places)[: count * width]

    def _unpacked(self, packed: bytes, limit: int, start: int) -> bytes:
        try:
            return self._unpack(packed, limit)
        except Unreadable as problem:
            raise Unreadable(f"byte {start}: {problem}") from None

    def _at(self, start: int, size: int) -> bytes:
        if start + size > self._length:
            raise Unreadable(f"byte {start}: the image ends at {self._length}; it is cut short or damaged")
        self._file.seek(start)
        return self._file.read(size)

    def _read_super(self) -> _Super:
        if self._length < 96:
            raise Unreadable("too short for a squashfs image")
        raw = self._at(0, 96)
        fields = struct.unpack("<4sIIIIHHHHHHQQQQQQQQ", raw)
        if fields[0] != MAGIC:
            raise Unreadable("not a squashfs image")
        if fields[9] != 4:
            raise Unreadable(f"squashfs version {fields[9]}; 4 is the one in use since 2009")
        block = fields[3]
        if block > _LARGEST_BLOCK or block < 4096 or block & (block - 1):
            raise Unreadable(f"blocks of {block} bytes")
        found = _Super(
            inodes=fields[1],
            made=fields[2],
            block=block,
            fragments=fields[4],
            compressor=fields[5],
            ids=fields[8],
            root=fields[11],
            used=fields[12],
            id_table=fields[13],
            xattr_table=fields[14],
            inode_table=fields[15],
            directory_table=fields[16],
            fragment_table=fields[17],
        )
        if found.used > self._length:
            raise Unreadable(
                f"{self._length} of {found.used} bytes are there: the image was not fetched or copied whole"
            )
        return found


class _Cursor:
    """Reads on through blocks of metadata."""

    def __init__(self, image: SquashImage, block: int, offset: int) -> None:
        self._image = image
        self.block = block
        self._plain, self._next = image.metadata(block)
        self._offset = offset
        if offset > len(self._plain):
            raise Unreadable(f"byte {block}: place {offset} in {len(self._plain)}")

    def bytes(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            if self._offset >= len(self._plain):
                if not self._plain:
                    raise Unreadable(f"byte {self.block}: an empty block")
                self.block = self._next
                self._plain, self._next = self._image.metadata(self.block)
                self._offset = 0
            part = self._plain[self._offset : self._offset + size - len(found)]
            found += part
            self._offset += len(part)
        return bytes(found)

    def take(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.bytes(struct.calcsize(form)))


# ---- inodes by kind

_FOLDERS, _FILES, _LINKS = (1, 8), (2, 9), (3, 10)


def _is(inode: _Inode, kinds: tuple[int, ...]) -> bool:
    return inode.kind in kinds


def _with(inode: _Inode, **fields: object) -> _Inode:
    return replace(inode, **fields)  # type: ignore[arg-type]


def _folder(inode: _Inode, cursor: _Cursor, _: int) -> _Inode:
    start, _links, size, offset, _parent = cursor.take("<IIHHI")
    return _with(inode, size=size, start=start, offset=offset)


def _large_folder(inode: _Inode, cursor: _Cursor, _: int) -> _Inode:
    _links, size, start, _parent, _index, offset, xattr = cursor.take("<IIIIHHI")
    return _with(inode, size=size, start=start, offset=offset, xattr=xattr)


def _file(inode: _Inode, cursor: _Cursor, block: int) -> _Inode:
    start, fragment, offset, size = cursor.take("<IIII")
    blocks = _block_sizes(cursor, size, fragment, block)
    return _with(inode, size=size, start=start, offset=offset, fragment=fragment, blocks=blocks)


def _large_file(inode: _Inode, cursor: _Cursor, block: int) -> _Inode:
    start, size, _sparse, _links, fragment, offset, xattr = cursor.take("<QQQIIII")
    blocks = _block_sizes(cursor, size, fragment, block)
    found = _with(inode, size=size, start=start, offset=offset, fragment=fragment)
    return _with(found, blocks=blocks, xattr=xattr)


def _block_sizes(cursor: _Cursor, size: int, fragment: int, block: int) -> tuple[int, ...]:
    count = size // block if fragment != _NO_INDEX else -(-size // block)
    if count > MOST_NODES:
        raise Unreadable(f"byte {cursor.block}: a file of {size} bytes")
    return cursor.take(f"<{count}I")


def _link(inode: _Inode, cursor: _Cursor, _: int) -> _Inode:
    _links, size = cursor.take("<II")
    target = cursor.bytes(min(size, 65536))
    xattr = cursor.take("<I")[0] if inode.kind == _LINKS[1] else _NO_INDEX
    return _with(inode, target=target, xattr=xattr)


def _special(inode: _Inode, cursor: _Cursor, _: int) -> _Inode:
    return inode


_READERS: Mapping[int, Callable[[_Inode, _Cursor, int], _Inode]] = {
    1: _folder,
    2: _file,
    3: _link,
    8: _large_folder,
    9: _large_file,
    10: _link,
    **dict.fromkeys((4, 5, 6, 7, 11, 12, 13, 14), _special),
}


# ---- compressors

_Unpack = Callable[[bytes, int], bytes]


def _unpacker(name: str) -> _Unpack:
    known: Mapping[str, _Unpack] = {"gzip": _gzip, "xz": _xz, "lzma": _lzma, "zstd": _zstd}
    if name not in known:
        raise Unreadable(f"its compressor is {name}; gzip, lzma, xz and zstd can be read here")
    return known[name]


def _gzip(packed: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, limit)
    except zlib.error as problem:
        raise Unreadable(str(problem)) from None


def _xz(packed: bytes, limit: int) -> bytes:
    return _lzma_any(packed, limit, lzma.FORMAT_XZ)


def _lzma(packed: bytes, limit: int) -> bytes:
    return _lzma_any(packed, limit, lzma.FORMAT_ALONE)


def _lzma_any(packed: bytes, limit: int, form: int) -> bytes:
    try:
        return lzma.LZMADecompressor(form, memlimit=64 << 20).decompress(packed, limit)
    except lzma.LZMAError as problem:
        raise Unreadable(str(problem)) from None


def _zstd(packed: bytes, limit: int) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    try:
        return zstd.ZstdDecompressor().decompress(packed, limit)
    except zstd.ZstdError as problem:
        raise Unreadable(str(problem)) from None
