"""The one door to the simulated provider: delay, rate limit and injected faults stand here and nowhere else.

A call goes in (`Faults.before`), waits, acts at once and whole, waits, and comes out (`Faults.after`). A
fault raised before means that nothing happened; a fault raised after means that the act happened and the
reply was lost. Both are what a crash test needs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from flatyard.base.world import World
from flatyard.clouds.facts import CloudFacts, Refusal, Spell, Trouble

T = TypeVar("T")


class Op(StrEnum):
    """The operations of the simulated provider, at the grain of a real cloud's API."""

    NETWORK_CREATE = "network.create"
    NETWORK_DELETE = "network.delete"
    SUBNET_CREATE = "subnet.create"
    SUBNET_DELETE = "subnet.delete"
    GROUP_CREATE = "group.create"
    GROUP_DELETE = "group.delete"
    BALANCER_CREATE = "balancer.create"
    BALANCER_DELETE = "balancer.delete"
    TARGETS_ADD = "targets.add"
    TARGETS_REMOVE = "targets.remove"
    ADDRESS_CREATE = "address.create"
    ADDRESS_DELETE = "address.delete"
    NAME_PUT = "name.put"
    NAME_DELETE = "name.delete"
    PORT_CREATE = "port.create"
    PORT_DELETE = "port.delete"
    INSTANCE_RUN = "instance.run"
    INSTANCE_LIST = "instance.list"
    INSTANCE_DELETE = "instance.delete"
    INSTANCE_REBOOT = "instance.reboot"
    INSTANCE_CONSOLE = "instance.console"
    IMAGE_LIST = "image.list"
    VOLUME_CREATE = "volume.create"
    VOLUME_DELETE = "volume.delete"
    BUCKET_CREATE = "bucket.create"
    BUCKET_DELETE = "bucket.delete"
    OBJECT_PUT = "object.put"
    OBJECT_DELETE = "object.delete"
    RESOURCE_LIST = "resource.list"
    ACCOUNT_LIMITS = "account.limits"

    @property
    def reads(self) -> bool:
        """Whether the operation only looks."""
        return self.value.endswith((".list", ".console", ".limits"))


@dataclass(frozen=True, slots=True)
class Call:
    """One call through the door: its number since the start, what it does and to what."""

    number: int
    op: Op
    subject: str


class Refused(Exception):
    """The provider's answer instead of doing it; only the adapter sees it."""

    def __init__(
        self, refusal: Refusal, message: str, *, request_id: str = "", retry_after: float = 0
    ) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.trouble = refusal.trouble
        self.message = message
        self.request_id = request_id
        self.retry_after = retry_after


class Lost(Exception):
    """The connection broke: whether the act happened is unknown."""


class Faults(Protocol):
    """What goes wrong at the door: raise `Refused`, `Lost`, or whatever ends the run, or return."""

    async def before(self, call: Call) -> None:
        """Nothing has happened yet."""
        ...

    async def after(self, call: Call) -> None:
        """The act has happened; raising loses its reply."""
        ...


class NoFaults:
    """Nothing goes wrong."""

    async def before(self, call: Call) -> None:
        return

    async def after(self, call: Call) -> None:
        return


def refused(facts: CloudFacts, trouble: Trouble, *, retry_after: float = 0, **fields: str | int) -> Refused:
    """The cloud's own answer to `trouble`; `fields` fill its message (name, zone, limit, used, wanted)."""
    refusal = facts.refusal(trouble)
    words: dict[str, str | int] = {"name": "", "zone": "", "limit": "", "used": "", "wanted": "", **fields}
    return Refused(refusal, refusal.message.format(**words), retry_after=retry_after)


FEW = 20.0
"""Calls at once that a throttled account may still make."""


class Bucket:
    """A token bucket in the loop's time: `rate` calls a second, `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = float(burst)
        self._tokens = float(burst)
        self._at = 0.0

    def take(self, now: float) -> float:
        """Seconds until a call would be let in; 0 when this one is."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0

    def throttle(self, rate: float) -> None:
        """From now on, `rate` calls a second in the long run, and a few at once as every cloud lets pass."""
        self.rate, self.burst = rate, max(FEW, rate)
        self._tokens = min(self._tokens, self.burst)


class Door:
    """Every call to the provider goes through `call`, and only through it."""

    def __init__(self, facts: CloudFacts, world: World, faults: Faults) -> None:
        self.facts = facts
        self.faults = faults
        self.bucket = Bucket(facts.behaviour.calls_per_second, facts.behaviour.burst)
        self.slower = 1.0
        """By how much every call takes longer than usual."""
        self.counts: Counter[Op] = Counter()
        self._world = world
        self._number = 0

    async def call(self, op: Op, subject: str, act: Callable[[], T]) -> T:
        """Carry out `act` as one call; raises what the provider or an injected fault says."""
        self._number += 1
        self.counts[op] += 1
        call = Call(self._number, op, subject)
        await self.faults.before(call)
        self._admit()
        spell = self.facts.durations.read if op.reads else self.facts.durations.write
        delay = self.draw(spell) * self.slower
        await asyncio.sleep(delay / 2)
        result = act()
        await asyncio.sleep(delay / 2)
        await self.faults.after(call)
        return result

    def draw(self, spell: Spell) -> float:
        """One duration out of a spell, in seconds."""
        return max(0.0, spell.mean + spell.spread * self._world.random().uniform(-1, 1))

    @property
    def total(self) -> int:
        """How many calls there were."""
        return self._number

    def _admit(self) -> None:
        wait = self.bucket.take(asyncio.get_running_loop().time())
        if wait:
            raise refused(self.facts, Trouble.RATE, retry_after=wait)
