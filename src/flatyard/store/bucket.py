"""The seam under the store: a flat bucket of immutable blobs with create-only puts.

Every back end needs just these calls, so the scheme above them (`records`, `lock`) is one for all.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Protocol


class Exists(Exception):
    """A create-only put found the name taken."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One blob in a listing."""

    path: str
    size: int


class Bucket(Protocol):
    """Blobs by path. A put is all or nothing, also when the process is killed in the midst of it."""

    @property
    def place(self) -> str:
        """Where the bucket is, for people: a directory or a URL."""
        ...

    async def create(self, path: str, blob: bytes) -> None:
        """Write a new blob; raises Exists when the path is taken."""
        ...

    async def overwrite(self, path: str, blob: bytes) -> None:
        """Write a blob, whether there is one or not."""
        ...

    async def get(self, path: str) -> bytes | None:
        """The blob, None where there is none."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a blob; a missing one is fine."""
        ...

    async def entries(self, folder: str) -> tuple[Entry, ...]:
        """Everything below a folder (without trailing slash, empty for all), sorted by path."""
        ...

    def exclusive(self, name: str) -> Exclusive | None:
        """Take what keeps other processes on this machine out for as long as this one lives.

        Returns None when another process has it. Back ends without such a thing grant it always.
        """
        ...


class Exclusive(Protocol):
    """Held by the living process only; the operating system takes it back when the process ends."""

    @property
    def proves_death(self) -> bool:
        """True when holding it shows that an earlier holder on this machine is gone."""
        ...

    def release(self) -> None:
        """Give it back, once."""
        ...


@dataclass(frozen=True, slots=True)
class NoExclusion:
    """For back ends that know no processes: expiry alone decides."""

    proves_death: bool = False

    def release(self) -> None:
        return None


class MemoryBucket:
    """A bucket in a dict: for rehearsals and tests. Never waits, so it runs on any event loop."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._paths: list[str] = []

    @property
    def place(self) -> str:
        return "memory:"

    async def create(self, path: str, blob: bytes) -> None:
        if path in self._blobs:
            raise Exists(path)
        self._set(path, blob)

    async def overwrite(self, path: str, blob: bytes) -> None:
        self._set(path, blob)

    async def get(self, path: str) -> bytes | None:
        return self._blobs.get(path)

    async def remove(self, path: str) -> None:
        if self._blobs.pop(path, None) is not None:
            del self._paths[bisect_left(self._paths, path)]

    async def entries(self, folder: str) -> tuple[Entry, ...]:
        prefix = f"{folder}/" if folder else ""
        first = bisect_left(self._paths, prefix)
        last = bisect_left(self._paths, prefix[:-1] + "0") if prefix else len(self._paths)
        return tuple(Entry(path, len(self._blobs[path])) for path in self._paths[first:last])

    def exclusive(self, name: str) -> Exclusive | None:
        return NoExclusion()

    def _set(self, path: str, blob: bytes) -> None:
        if path not in self._blobs:
            insort(self._paths, path)
        self._blobs[path] = blob
