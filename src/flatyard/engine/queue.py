"""One de-duplicating work queue with back-off, and the ledger of what is still waited for.

A key is at most once in the queue and at most once in work; a key added while in work runs again afterwards.
What a reconciler returns decides whether the system is done: `Done` means observed equals wanted for that key,
`Waiting` names what is missing and when to look again. `up` ends when nothing is queued, nothing is in work and
no key waits (DESIGN §3 "Reconcile").
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from flatyard.base.errors import FlatyardError

FIRST_BACKOFF = 2.0
LONGEST_BACKOFF = 120.0
RESYNC = 600.0


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a reconciler is called for: its kind of work and the object's name in that kind."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Done:
    """Observed equals wanted; look again after `resync` seconds as a safety net."""

    resync: float = RESYNC


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something is missing: `reason` says what in a sentence, `again` in how many seconds to look.

    `final` marks a wait that will not end by itself (a machine that failed for good): `up` does not go on
    waiting for it alone.
    """

    reason: str
    again: float = 10.0
    final: bool = False
    next: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """The object behind the key is no more: forget the key."""


Result = Done | Waiting | Gone
Reconcile = Callable[[Key], Awaitable[Result]]


@dataclass(slots=True)
class _Entry:
    result: Result | None = None
    failures: int = 0
    due: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A key that is not done, and why."""

    key: Key
    reason: str
    final: bool
    next: str = ""


@dataclass(slots=True)
class Queue:
    """Runs `reconcile` for keys, `parallel` at a time, in the order in which they became due."""

    reconcile: Reconcile
    parallel: int = 16
    on_failure: Callable[[Key, FlatyardError, float], None] | None = None
    """Told of each failed reconcile with the seconds until the next try."""
    _entries: dict[Key, _Entry] = field(default_factory=dict)
    _hopeful: dict[Key, None] = field(default_factory=dict)
    """Keys that are not done and may still become so."""
    _ready: deque[Key] = field(default_factory=deque)
    _queued: dict[Key, None] = field(default_factory=dict)
    _working: dict[Key, None] = field(default_factory=dict)
    _again: dict[Key, None] = field(default_factory=dict)
    _timers: list[tuple[float, int, Key]] = field(default_factory=list)
    _sequence: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: float = 0.0
    """When a key last became something else than it was, on the loop's clock."""

    def add(self, key: Key) -> None:
        """Let `key` be reconciled now."""
        self._entry(key).due = None
        if key in self._working:
            self._again[key] = None
        elif key not in self._queued:
            self._queued[key] = None
            self._ready.append(key)
            self._idle.clear()
            self._changed.set()

    def add_later(self, key: Key, seconds: float) -> None:
        """Let `key` be reconciled after `seconds`, or sooner if something else asks for it."""
        entry = self._entry(key)
        due = asyncio.get_running_loop().time() + seconds
        if key in self._queued or (entry.due is not None and entry.due <= due):
            return
        entry.due = due
        self._sequence += 1
        heapq.heappush(self._timers, (due, self._sequence, key))
        self._changed.set()

    def _entry(self, key: Key) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
            self._hopeful[key] = None
        return entry

    def keys(self, kind: str) -> tuple[Key, ...]:
        """Known keys of one kind, in order of their names."""
        return tuple(sorted(key for key in self._entries if key.kind == kind))

    def waits(self) -> tuple[Wait, ...]:
        """Every key that is not done, in order."""
        found = []
        for key in sorted(self._entries):
            result = self._entries[key].result
            if result is None:
                found.append(Wait(key, "not looked at yet", final=False))
            elif isinstance(result, Waiting):
                found.append(Wait(key, result.reason, result.final, result.next))
        return tuple(found)

    def still(self) -> float:
        """Seconds for which all that is done and waited for has been what it is now."""
        return asyncio.get_running_loop().time() - self._moved

    @property
    def hopeful(self) -> bool:
        """Whether something is not done that may still become so by itself."""
        return bool(self._hopeful)

    @property
    def idle(self) -> bool:
        """Nothing is queued and nothing is in work (timers may be running)."""
        return not self._ready and not self._working

    async def run(self) -> None:
        """Reconcile until cancelled. An error that is no FlatyardError ends the run."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._take_due()
                while self._ready and len(self._working) < self.parallel:
                    key = self._ready.popleft()
                    del self._queued[key]
                    self._working[key] = None
                    group.create_task(self._work(key), name=f"reconcile {key}")
                self._tell()
                await self._wait_for_change()

    def _tell(self) -> None:
        now, before = (self._idle, self._busy) if self.idle else (self._busy, self._idle)
        now.set()
        before.clear()

    async def settled(self) -> None:
        """Return as soon as nothing is queued and nothing is in work."""
        await self._idle.wait()

    async def stirred(self) -> None:
        """Return as soon as something is queued or in work."""
        await self._busy.wait()

    def _take_due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            entry = self._entries.get(key)
            if entry is not None and entry.due == due:
                self.add(key)

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        now = asyncio.get_running_loop().time()
        delay = self._timers[0][0] - now if self._timers else None
        try:
            async with asyncio.timeout(max(delay, 0.0) if delay is not None else None):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _work(self, key: Key) -> None:
        entry = self._entries[key]
        try:
            result = await self.reconcile(key)
        except FlatyardError as error:
            entry.failures += 1
            pause = backoff(entry.failures)
            self._note(key, entry, Waiting(error.what, pause))
            if self.on_failure is not None:
                self.on_failure(key, error, pause)
            self._finish(key, pause)
        else:
            entry.failures = 0
            self._note(key, entry, result)
            self._finish(key, _pause(result))

    def _note(self, key: Key, entry: _Entry, result: Result) -> None:
        if _said(entry.result) != _said(result):
            self._moved = asyncio.get_running_loop().time()
        entry.result = result
        if isinstance(result, Waiting) and not result.final:
            self._hopeful[key] = None
        else:
            self._hopeful.pop(key, None)

    def _finish(self, key: Key, pause: float | None) -> None:
        del self._working[key]
        if key in self._again:
            del self._again[key]
            self.add(key)
        elif pause is None:
            del self._entries[key]
        else:
            self.add_later(key, pause)
        self._changed.set()


def _said(result: Result | None) -> object:
    """What tells one result from another; when to look again does not."""
    return (result.reason, result.final) if isinstance(result, Waiting) else type(result)


def _pause(result: Result) -> float | None:
    """Seconds until a key is looked at again; None for one that is forgotten."""
    if isinstance(result, Gone):
        return None
    return result.resync if isinstance(result, Done) else result.again


def backoff(failures: int) -> float:
    """Seconds to pause after the n-th failure in a row: doubling from 2 s up to 2 min."""
    return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (min(failures, 12) - 1)))
