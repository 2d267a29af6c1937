"""What a store is: small named records with versions, and locks.

StoreError
├── Stale        the record changed since it was read: read again and decide again
├── Locked       somebody else holds the lock; names the holder, how long, and what to do
├── LockLost     our lock expired and was taken, or was broken: stop acting
├── Damaged      a record is there but cannot be read (cut short, changed, or sealed for another name)
└── KeyMissing   the key that sealed a record is not at hand
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from flatyard.base.errors import Failed, Refused

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class StoreError(Failed):
    """A store could not do what was asked."""


class Stale(StoreError):
    """The record's version is not the expected one."""

    def __init__(self, key: str, expect: int | None, found: int | None) -> None:
        wanted = "not to exist" if expect is None else f"to have version {expect}"
        has = "is gone" if found is None else f"has version {found}"
        super().__init__(
            f"record {key!r} was expected {wanted} but {has}",
            why="another command changed it in the meantime",
            next="run the same command again",
        )
        self.key, self.expect, self.found = key, expect, found


class Locked(StoreError):
    """Another holder has the lock. `seconds_left` is when it expires by itself, 0 when that is unknown."""

    def __init__(self, name: str, holder: str, age_seconds: float, seconds_left: float) -> None:
        super().__init__(
            f"{name!r} is locked by {holder or 'another process'} since {age_seconds:.0f} s",
            why="only one command may change a cluster at a time",
            next=_advice(seconds_left),
        )
        self.name, self.holder, self.age_seconds, self.seconds_left = name, holder, age_seconds, seconds_left


class LockLost(StoreError):
    """The lock is no longer ours."""


class Damaged(StoreError):
    """A record's bytes are not what was written under its name."""


class KeyMissing(StoreError):
    """The key named in a record's header cannot be had."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record's value and version. Versions grow by one with each write, also over a deletion."""

    value: bytes = field(repr=False)
    version: int


class Lock(Protocol):
    """A held lock."""

    @property
    def name(self) -> str: ...

    @property
    def holder(self) -> str: ...

    @property
    def expires(self) -> datetime:
        """When others may take it, unless it is renewed before."""
        ...

    async def renew(self) -> None:
        """Extend by the full time to live; raises LockLost when somebody else has it now."""
        ...

    async def release(self) -> None:
        """Give it back; a lost lock is left to its new holder."""
        ...


class Store(Protocol):
    """Records by name (`clusters/prod/secrets`), each write conditional on the version read before it.

    A write or delete that ends (also by its reply being lost, or the process killed) leaves every record
    either as it was or as it was to be.
    """

    async def read(self, key: str) -> Record | None:
        """The newest value, or None. Raises Damaged or KeyMissing."""
        ...

    async def write(self, key: str, value: bytes, *, expect: int | None) -> int:
        """Write and return the new version. `expect` is the version read before, None for a new record.

        Raises Stale when the record has another version; nothing is written then.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the record and its old values; a missing one is fine."""
        ...

    async def list(self, prefix: str = "") -> tuple[str, ...]:
        """Names of records under a folder (`clusters/prod` or `clusters/prod/`), sorted; all by default."""
        ...

    async def lock(self, name: str, holder: str, ttl: float) -> Lock:
        """Take a lock for `ttl` seconds or raise Locked. `holder` tells people who has it; it must be
        different for each process (user, host, process id): the same holder takes over its own lock."""
        ...


def check_key(key: str) -> None:
    """Refuse names that would not be the same in a directory and in every bucket."""
    if not _KEY.fullmatch(key) or len(key) > 512:
        raise Refused(
            f"{key!r} cannot name a record",
            why="names are at most 512 characters of letters, digits, '.', '_', '-', in parts joined by '/', "
            "and no part starts with a dot",
        )


def _advice(seconds_left: float) -> str:
    if seconds_left > 0:
        return f"wait for it to end; if it is gone, the lock expires by itself in {seconds_left:.0f} s"
    return "wait for it to end, or end that process, and run the same command again"
