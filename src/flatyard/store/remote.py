"""Buckets of S3 (and what speaks S3), Azure and Google Cloud Storage, through obstore.

Only the translation is ours, and it is held by the bucket contract against obstore's in-memory store; against
the real services it is untested so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatyard.store.bucket import Entry, Exclusive, Exists, NoExclusion

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "s3a", "az", "azure", "abfs", "abfss", "gs")


class ObstoreBucket:
    """Blobs in an obstore object store."""

    def __init__(self, store: ObjectStore, place: str) -> None:
        self._store = store
        self._place = place

    @property
    def place(self) -> str:
        return self._place

    async def create(self, path: str, blob: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            await obstore.put_async(self._store, path, blob, mode="create", use_multipart=False)
        except AlreadyExistsError:
            raise Exists(path) from None

    async def overwrite(self, path: str, blob: bytes) -> None:
        import obstore

        await obstore.put_async(self._store, path, blob, use_multipart=False)

    async def get(self, path: str) -> bytes | None:
        import obstore

        try:
            result = await obstore.get_async(self._store, path)
        except FileNotFoundError:
            return None
        return bytes(await result.bytes_async())

    async def remove(self, path: str) -> None:
        import obstore

        try:
            await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            return

    async def entries(self, folder: str) -> tuple[Entry, ...]:
        import obstore

        found: list[Entry] = []
        async for page in obstore.list(self._store, folder or None):
            found.extend(Entry(meta["path"], meta["size"]) for meta in page)
        return tuple(sorted(found))

    def exclusive(self, name: str) -> Exclusive | None:
        return NoExclusion()


def open_remote(url: str) -> ObstoreBucket:
    """The bucket behind a URL, with credentials from the environment as obstore documents them."""
    from obstore.store import from_url

    return ObstoreBucket(from_url(url), url)
