"""Locks as records with a holder and an expiry, and an flock in addition where the bucket is a directory.

The record works everywhere and names the holder; the flock dies with its process, so that on one machine a
killed command never makes the next one wait.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime

from flatyard.base.world import World, parse_stamp, rfc3339_micro
from flatyard.store.api import Locked, LockLost, Record, Stale
from flatyard.store.bucket import Exclusive
from flatyard.store.records import Records

FOLDER = "locks"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a lock's record says."""

    holder: str
    host: str
    taken: datetime
    expires: datetime

    def encode(self) -> bytes:
        return json.dumps(
            {
                "holder": self.holder,
                "host": self.host,
                "taken": rfc3339_micro(self.taken),
                "expires": rfc3339_micro(self.expires),
            }
        ).encode()

    @classmethod
    def decode(cls, text: bytes) -> Claim:
        fields = json.loads(text)
        return cls(
            fields["holder"], fields["host"], parse_stamp(fields["taken"]), parse_stamp(fields["expires"])
        )


class HeldLock:
    """A lock that we hold."""

    def __init__(
        self, records: Records, name: str, claim: Claim, version: int, ttl: float, flock: Exclusive
    ) -> None:
        self._records = records
        self._name = name
        self._claim = claim
        self._version = version
        self._ttl = ttl
        self._flock = flock

    @property
    def name(self) -> str:
        return self._name

    @property
    def holder(self) -> str:
        return self._claim.holder

    @property
    def expires(self) -> datetime:
        return self._claim.expires

    async def renew(self) -> None:
        old = self._claim
        claim = Claim(old.holder, old.host, old.taken, self._records.world.later(self._ttl))
        try:
            key = _key(self._name)
            self._version = await self._records.write(key, claim.encode(), expect=self._version)
        except Stale:
            raise await self._lost() from None
        self._claim = claim

    async def release(self) -> None:
        try:
            await self._records.retire(_key(self._name), self._version)
        except Stale:
            return  # it expired and somebody else has it
        finally:
            self._flock.release()

    async def _lost(self) -> LockLost:
        record = await self._records.read(_key(self._name))
        taker = Claim.decode(record.value).holder if record else "nobody"
        return LockLost(
            f"the lock {self._name!r} is no longer held by {self.holder}: it expired, and {taker} has it now",
            next="nothing more was changed; run the same command again",
        )


async def acquire(records: Records, name: str, holder: str, ttl: float) -> HeldLock:
    """Take the lock or raise Locked."""
    flock = records.bucket.exclusive(name)
    record = await records.read(_key(name))
    if flock is None:
        raise _locked(name, record, records.world, known_alive=True)
    try:
        return await _claim(records, name, holder, ttl, record, flock)
    except BaseException:
        flock.release()
        raise


async def _claim(
    records: Records, name: str, holder: str, ttl: float, record: Record | None, flock: Exclusive
) -> HeldLock:
    host = os.uname().nodename
    dead_host = host if flock.proves_death else ""
    if record and _alive(Claim.decode(record.value), records.world, holder, dead_host):
        raise _locked(name, record, records.world)
    claim = Claim(holder, host, records.world.now(), records.world.later(ttl))
    try:
        expect = record.version if record else None
        version = await records.write(_key(name), claim.encode(), expect=expect)
    except Stale:
        raise _locked(name, await records.read(_key(name)), records.world) from None
    return HeldLock(records, name, claim, version, ttl, flock)


def _alive(claim: Claim, world: World, holder: str, dead_host: str) -> bool:
    """Whether the claim still counts. `dead_host` is the machine on which its process is known to be gone."""
    return claim.holder != holder and claim.host != dead_host and world.now() < claim.expires


def _locked(name: str, record: Record | None, world: World, known_alive: bool = False) -> Locked:
    if record is None:
        return Locked(name, "", 0, 0)
    claim = Claim.decode(record.value)
    left = 0.0 if known_alive else max(-world.age(claim.expires), 0.0)
    return Locked(name, claim.holder, max(world.age(claim.taken), 0.0), left)


def _key(name: str) -> str:
    return f"{FOLDER}/{name}"
