"""Records with versions on any bucket: each version is a blob of its own that is created once.

A record `clusters/prod` lies in `records/clusters/prod/@/0000000007`. Writing version 8 creates
`…/@/0000000008`, which the back end grants to one writer only; then older blobs are pruned. A crash between
the two leaves old blobs, which the next write prunes. An empty blob is a tombstone, so that versions go on
over a deletion.

The last few numbers stay taken: a writer that was asleep between looking and creating would otherwise be
granted a number that had been used and pruned meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from flatyard.base.world import World
from flatyard.store.api import Record, Stale, StoreError, check_key
from flatyard.store.bucket import Bucket, Entry, Exists
from flatyard.store.seal import KeySource, seal, unseal

KEPT = 4
_ROOT = "records"
_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class _Version:
    number: int
    gone: bool


class Records:
    """The records of a Store over one bucket, sealed by one key source."""

    def __init__(self, bucket: Bucket, keys: KeySource, world: World) -> None:
        self.bucket = bucket
        self.world = world
        self._keys = keys

    @property
    def place(self) -> str:
        """Where the records lie, for people."""
        return self.bucket.place

    async def read(self, key: str) -> Record | None:
        check_key(key)
        for _ in range(_ATTEMPTS):
            versions = await self._versions(key)
            if not versions or versions[-1].gone:
                return None
            number = versions[-1].number
            blob = await self.bucket.get(_path(key, number))
            if blob:
                return Record(unseal(blob, _path(key, number), self._keys), number)
        raise _busy(key)

    async def write(self, key: str, value: bytes, *, expect: int | None) -> int:
        check_key(key)
        versions = await self._versions(key)
        newest = versions[-1] if versions else _Version(0, True)
        found = None if newest.gone else newest.number
        if found != expect:
            raise Stale(key, expect, found)
        path = _path(key, newest.number + 1)
        await self._create(
            key, newest.number + 1, seal(value, path, self._keys, self.world.random_bytes), expect
        )
        return newest.number + 1

    async def delete(self, key: str) -> None:
        check_key(key)
        for _ in range(_ATTEMPTS):
            versions = await self._versions(key)
            if not versions:
                return
            try:
                if not versions[-1].gone:
                    await self._create(key, versions[-1].number + 1, b"", versions[-1].number)
                return await self._forget(key)
            except Stale:
                continue
        raise _busy(key)

    async def retire(self, key: str, version: int) -> None:
        """Delete the record if it still has this version; raises Stale otherwise."""
        await self._create(key, version + 1, b"", version)
        await self._forget(key)

    async def list(self, prefix: str = "") -> tuple[str, ...]:
        folder = prefix.rstrip("/")
        if folder:
            check_key(folder)
        newest: dict[str, Entry] = {}
        for entry in await self.bucket.entries(f"{_ROOT}/{folder}".rstrip("/")):
            newest[entry.path.removeprefix(f"{_ROOT}/").rpartition("/@/")[0]] = entry
        return tuple(sorted(key for key, entry in newest.items() if key != folder and entry.size))

    async def _versions(self, key: str) -> tuple[_Version, ...]:
        # a folder of their own, so that records below this one (`prod/secrets`) are not listed with it
        entries = await self.bucket.entries(f"{_ROOT}/{key}/@")
        return tuple(_Version(int(e.path.rpartition("/")[2]), e.size == 0) for e in entries)

    async def _create(self, key: str, number: int, blob: bytes, expect: int | None) -> None:
        try:
            await self.bucket.create(_path(key, number), blob)
        except Exists:
            raise Stale(key, expect, number) from None
        versions = await self._versions(key)
        newest = versions[-1].number
        if newest >= number + KEPT:
            await self.bucket.remove(_path(key, number))
            raise Stale(key, expect, newest)
        for version in versions:
            if version.number <= newest - KEPT:
                await self.bucket.remove(_path(key, version.number))

    async def _forget(self, key: str) -> None:
        """Empty the blobs before a tombstone: their numbers stay taken, their values go."""
        for version in await self._versions(key):
            if not version.gone:
                await self.bucket.overwrite(_path(key, version.number), b"")


def _path(key: str, number: int) -> str:
    return f"{_ROOT}/{key}/@/{number:010d}"


def _busy(key: str) -> StoreError:
    return StoreError(
        f"record {key!r} changed {_ATTEMPTS} times while it was looked at", next="run the same command again"
    )
