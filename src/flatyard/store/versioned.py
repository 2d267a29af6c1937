"""The Store as it is on every back end: records with versions, and locks made of such records."""

from __future__ import annotations

from flatyard.store import lock as locks
from flatyard.store.api import Lock, check_key
from flatyard.store.records import Records


class VersionedStore(Records):
    """The Store over one bucket, sealed by one key source."""

    async def lock(self, name: str, holder: str, ttl: float) -> Lock:
        """See Store."""
        check_key(name)
        return await locks.acquire(self, name, holder, ttl)
