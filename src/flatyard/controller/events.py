"""What a background process tells those who follow it: one JSON object per line."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

KEPT = 20_000
"""Events kept for followers that come late."""


class EventKind(StrEnum):
    STEP = "step"
    """One object's state changed."""
    OUTCOME = "outcome"
    """A round ended: everything is done, or only hopeless waits are left."""
    GONE = "gone"
    """The cluster was deleted; the process ends now."""
    TROUBLE = "trouble"
    """The reconcilers stopped and start again."""


@dataclass(frozen=True, slots=True)
class WaitLine:
    """Something that is not done: which object, why, and what helps. `final`: it will not end by itself."""

    object: str
    reason: str
    final: bool = False
    next: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `round` counts the commands that the process was given."""

    kind: EventKind
    round: int
    at: str = ""
    object: str = ""
    state: str = ""
    sentence: str = ""
    next: str = ""
    waits: tuple[WaitLine, ...] = ()
    left: int = 0
    """Resources left in the simulated account (GONE only); kept volumes are in `waits`."""
    number: int = 0

    @property
    def done(self) -> bool:
        """An outcome with nothing left to wait for."""
        return self.kind is EventKind.GONE or (self.kind is EventKind.OUTCOME and not self.waits)

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, line: str | bytes) -> Event:
        found = json.loads(line)
        waits = tuple(WaitLine(**wait) for wait in found.pop("waits"))
        return cls(**{**found, "kind": EventKind(found["kind"])}, waits=waits)


class Journal:
    """The newest events, for any number of followers."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._count = 0
        self._more = asyncio.Event()

    def add(self, event: Event) -> None:
        self._events.append(replace(event, number=self._count))
        self._count += 1
        self._more.set()
        self._more = asyncio.Event()

    async def follow(self, round: int) -> AsyncIterator[Event]:
        """Events from the start of `round` on, for ever."""
        seen = 0
        while True:
            more = self._more  # taken before the look, so that what is added meanwhile is not waited for
            for event in tuple(self._events):
                if event.number < seen:
                    continue
                seen = event.number + 1
                if event.round >= round:
                    yield event
            await more.wait()
