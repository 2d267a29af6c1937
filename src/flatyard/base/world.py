"""The outside world that cannot be computed: wall time, ids and randomness.

Everything else takes a `World`; a lint rule keeps clocks and randomness out of all other modules. Timers are
asyncio's own (`asyncio.sleep`, `loop.time()`); a World only stamps and measures stamps.

A simulation divides durations by a speed while its stamps stay on the wall clock, so that `kubectl get nodes`
shows true ages: `age` and `later` convert between the two. On a real cloud the speed is 1.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SIMULATED_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class World(Protocol):
    """Wall time, ids and randomness."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    def age(self, stamp: datetime) -> float:
        """Seconds (simulated ones in a simulation) since `stamp`."""
        ...

    def later(self, seconds: float) -> datetime:
        """The stamp that will be `seconds` (simulated ones in a simulation) from now."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Bytes fit for keys and tokens; from the seed in a simulation."""
        ...

    def random(self) -> random.Random:
        """A source for jitter and for choices that need no secrecy."""
        ...


class RealWorld:
    """The machine's clock and the kernel's randomness."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._random = random.Random(os.urandom(16))

    def now(self) -> datetime:
        return datetime.now(UTC)

    def age(self, stamp: datetime) -> float:
        return (self.now() - stamp).total_seconds() * self._speed

    def later(self, seconds: float) -> datetime:
        return self.now() + timedelta(seconds=seconds / self._speed)

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def random(self) -> random.Random:
        return self._random


class SeededWorld:
    """A world that is the same for the same seed: time from a loop's clock, the rest from the seed.

    `elapsed` returns the seconds since the simulation's start, normally the virtual loop's `time`.
    """

    def __init__(self, seed: int, elapsed: Callable[[], float], epoch: datetime = SIMULATED_EPOCH) -> None:
        self._random = random.Random(seed)
        self._elapsed = elapsed
        self._epoch = epoch

    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=self._elapsed())

    def age(self, stamp: datetime) -> float:
        return (self.now() - stamp).total_seconds()

    def later(self, seconds: float) -> datetime:
        return self.now() + timedelta(seconds=seconds)

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def random(self) -> random.Random:
        return self._random


def ulid(world: World) -> str:
    """A new ULID (26 characters): 48 bits of wall time in milliseconds, then 80 random bits.

    Follows the ULID specification, without its monotonic variant.
    """
    milliseconds = int(world.now().timestamp() * 1000)
    number = (milliseconds << 80) | int.from_bytes(world.random_bytes(10), "big")
    return "".join(CROCKFORD[(number >> shift) & 31] for shift in range(125, -5, -5))


def rfc3339(stamp: datetime) -> str:
    """A stamp as Kubernetes writes metav1.Time: UTC, whole seconds."""
    return stamp.strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(stamp: datetime) -> str:
    """A stamp as Kubernetes writes metav1.MicroTime; zero microseconds would be refused, so at least 1."""
    return stamp.replace(microsecond=stamp.microsecond or 1).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_stamp(text: str) -> datetime:
    """The stamp in a metav1.Time or MicroTime; raises ValueError for anything else."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
