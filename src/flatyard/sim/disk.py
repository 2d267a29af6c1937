"""Where a simulation keeps what must outlive its process: keys and bytes.

`put` and `delete` have happened when they return: a process killed right after loses nothing, one killed in
the middle leaves the old value. (Losing the machine's power is another matter and may lose the last writes.)
"""

from __future__ import annotations

import os
import sqlite3
import sys
from bisect import bisect_left, insort
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

_SCHEMA = "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
_PUT = "INSERT INTO entries (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_ITEMS = "SELECT key, value FROM entries WHERE key >= ? AND key < ? ORDER BY key"
_LAST = chr(sys.maxunicode)


class Disk(Protocol):
    """Keys and bytes that outlive a process."""

    def put(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`, in place of what was there."""
        ...

    def delete(self, key: str) -> None:
        """Forget a key; a missing one is fine."""
        ...

    def items(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """The entries whose key starts with `prefix`, sorted by key, as they are now."""
        ...


class MemoryDisk:
    """A disk that lives as long as the object: for tests and rehearsals, and for restarts inside them."""

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}
        self._keys: list[str] = []

    def put(self, key: str, value: bytes) -> None:
        if key not in self._entries:
            insort(self._keys, key)
        self._entries[key] = value

    def delete(self, key: str) -> None:
        if self._entries.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def items(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        first, last = bisect_left(self._keys, prefix), bisect_left(self._keys, prefix + _LAST)
        return iter([(key, self._entries[key]) for key in self._keys[first:last]])


class SqliteDisk:
    """A disk in one SQLite file (and its -wal and -shm neighbours), readable by its owner alone.

    Each change is its own transaction in the write-ahead log, so it is in the kernel's hands before `put`
    returns. `synchronous=NORMAL` leaves out the fsync that only a power cut would need. Raises
    sqlite3.OperationalError when another process holds the file longer than five seconds.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)  # SQLite gives its -wal and -shm files the mode of this one
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(_SCHEMA)

    def put(self, key: str, value: bytes) -> None:
        self._connection.execute(_PUT, (key, value))

    def delete(self, key: str) -> None:
        self._connection.execute("DELETE FROM entries WHERE key = ?", (key,))

    def items(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        return iter(self._connection.execute(_ITEMS, (prefix, prefix + _LAST)).fetchall())

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        self._connection.close()
