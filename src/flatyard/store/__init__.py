"""Objects in a directory or a bucket: the lock, cluster intent, CAs, stashed secrets, backups.

`open_store` gives a `Store`: records by name, each write conditional on the version read before it, sealed
with AES-GCM under a named key source. `bucket` is the seam to back ends; `records` and `lock` are the
one scheme on top, `versioned` joins them.
"""

from __future__ import annotations

from flatyard.store.api import (
    Damaged,
    KeyMissing,
    Lock,
    Locked,
    LockLost,
    Record,
    Stale,
    Store,
    StoreError,
    check_key,
)
from flatyard.store.bucket import MemoryBucket
from flatyard.store.location import Invoker, invoker, open_memory, open_store, state_directory

__all__ = [
    "Damaged",
    "Invoker",
    "KeyMissing",
    "Lock",
    "LockLost",
    "Locked",
    "MemoryBucket",
    "Record",
    "Stale",
    "Store",
    "StoreError",
    "check_key",
    "invoker",
    "open_memory",
    "open_store",
    "state_directory",
]
