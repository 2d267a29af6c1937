"""Which libraries a program needs, read from its bytes: for any architecture, without running it, without root.

Source: the ELF specification (System V gABI), chapters "Object Files" and "Dynamic Linking"; 64-bit little-endian only,
which both architectures of ours are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from flatyard.base.errors import Refused

_MAGIC = b"\x7fELF\x02\x01"
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS = 1, 5
_HEADER = struct.Struct("<16x H H I Q Q Q I H H H H H H")
_SEGMENT = struct.Struct("<I I Q Q Q Q Q Q")
_ENTRY = struct.Struct("<q Q")


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be there for a program to start: the loader's path (empty for a library), libraries by name."""

    loader: str
    libraries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def needs(path: Path) -> Needs | None:
    """What a program or library needs; None for a file that is neither. Raises Refused for a damaged one."""
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        return None
    try:
        segments = _segments(data)
        return Needs(_loader(data, segments), _libraries(data, segments))
    except (struct.error, ValueError, IndexError, UnicodeDecodeError):
        raise Refused(
            f"{path} is damaged", why="its ELF headers point outside of it", next="install it again"
        ) from None


def _segments(data: bytes) -> list[_Segment]:
    header = _HEADER.unpack_from(data)
    start, size, count = header[4], header[8], header[9]
    found = []
    for number in range(count):
        kind, _, offset, address, _, length, _, _ = _SEGMENT.unpack_from(data, start + number * size)
        found.append(_Segment(kind, offset, address, length))
    return found


def _loader(data: bytes, segments: list[_Segment]) -> str:
    for segment in segments:
        if segment.kind == _INTERPRETER:
            return data[segment.offset : segment.offset + segment.size].rstrip(b"\0").decode()
    return ""


def _libraries(data: bytes, segments: list[_Segment]) -> tuple[str, ...]:
    entries = [entry for segment in segments if segment.kind == _DYNAMIC for entry in _entries(data, segment)]
    strings = next((value for tag, value in entries if tag == _STRINGS), None)
    if strings is None:
        return ()
    table = _offset(strings, segments)
    return tuple(_string(data, table + value) for tag, value in entries if tag == _NEEDED)


def _entries(data: bytes, segment: _Segment) -> list[tuple[int, int]]:
    end = segment.offset + segment.size
    found = []
    for offset in range(segment.offset, end, _ENTRY.size):
        tag, value = _ENTRY.unpack_from(data, offset)
        if tag == 0:
            break
        found.append((tag, value))
    return found


def _offset(address: int, segments: list[_Segment]) -> int:
    for segment in segments:
        if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    raise ValueError(address)


def _string(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()
