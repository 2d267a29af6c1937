"""Faults at work: which call fails, what changes in the account and when, which machine is hit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flatyard.base.world import World
from flatyard.clouds.facts import CloudFacts, Trouble
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.door import Call, Faults, Lost, Op, refused
from flatyard.clouds.sim.faults import Fault
from flatyard.clouds.sim.power import BootFaults

_CALLS: dict[str, tuple[Op, ...]] = {
    "create": (Op.INSTANCE_RUN,),
    "delete": (Op.INSTANCE_DELETE,),
    "restart": (Op.INSTANCE_REBOOT,),
    "list": (Op.INSTANCE_LIST,),
    "image": (Op.IMAGE_LIST,),
    "stash": (Op.BUCKET_CREATE, Op.OBJECT_PUT, Op.OBJECT_DELETE),
    "network": (
        Op.NETWORK_CREATE, Op.NETWORK_DELETE, Op.SUBNET_CREATE, Op.SUBNET_DELETE, Op.GROUP_CREATE,
        Op.GROUP_DELETE, Op.PORT_CREATE, Op.PORT_DELETE,
    ),
    "endpoint": (
        Op.BALANCER_CREATE, Op.BALANCER_DELETE, Op.TARGETS_ADD, Op.TARGETS_REMOVE, Op.ADDRESS_CREATE,
        Op.ADDRESS_DELETE, Op.NAME_PUT, Op.NAME_DELETE,
    ),
    "any": tuple(Op),
}  # fmt: skip
_TROUBLES = {
    "transient": Trouble.INTERNAL,
    "rate": Trouble.RATE,
    "capacity": Trouble.CAPACITY,
    "forbidden": Trouble.NOT_ALLOWED,
}


class Troubles(Faults, BootFaults):
    """Carries out the faults of a rehearsal. `begin` starts their clock, in the running loop."""

    def __init__(self, faults: Sequence[Fault], facts: CloudFacts, world: World) -> None:
        self._faults = tuple(faults)
        self._facts = facts
        self._world = world
        self._met: Counter[int] = Counter()
        self._start = 0.0
        self.struck: Counter[str] = Counter()
        """How often each fault happened, by its text."""

    def begin(self, provider: Provider) -> None:
        """Change the account as the faults say, now and at their times."""
        loop = asyncio.get_running_loop()
        self._start = loop.time()
        for fault in self._faults:
            change = _CHANGES.get((fault.what, fault.name)) or _CHANGES.get((fault.what, ""))
            if change is None:
                continue
            undo = change(provider, fault)
            if fault.at:
                loop.call_later(fault.at, self._strike, fault, undo.act)
            else:
                self._strike(fault, undo.act)
            if fault.lasts:
                loop.call_later(fault.at + fault.lasts, undo.back)

    async def before(self, call: Call) -> None:
        for number, fault in enumerate(self._faults):
            if fault.name in _TROUBLES and self._hits(number, fault, call):
                self.struck[fault.text] += 1
                raise refused(self._facts, _TROUBLES[fault.name], name=call.subject, retry_after=1.0)

    async def after(self, call: Call) -> None:
        for number, fault in enumerate(self._faults):
            if fault.name == "lost-reply" and self._hits(number, fault, call):
                self.struck[fault.text] += 1
                raise Lost("the connection broke")

    def delay(self, number: int) -> float | None:
        late = 0.0
        for fault in self._faults:
            if fault.what == "boot" and self._on_machine(fault, number):
                self.struck[fault.text] += 1
                if fault.name == "hang":
                    return None
                late += fault.number
        return late

    def sysext(self, number: int) -> str:
        """What befalls the instance's Kubernetes extension: `corrupt`, `missing` or nothing."""
        for fault in self._faults:
            if fault.what == "sysext" and self._on_machine(fault, number):
                self.struck[fault.text] += 1
                return fault.name
        return ""

    def _hits(self, number: int, fault: Fault, call: Call) -> bool:
        if call.op not in _CALLS.get(fault.what, ()) or not self._in_time(fault):
            return False
        self._met[number] += 1
        if fault.nth and self._met[number] != fault.nth:
            return False
        return fault.probability >= 1 or self._world.random().random() < fault.probability

    def _in_time(self, fault: Fault) -> bool:
        since = asyncio.get_running_loop().time() - self._start - fault.at
        return since >= 0 and (not fault.lasts or since < fault.lasts)

    def _on_machine(self, fault: Fault, number: int) -> bool:
        if fault.machine and fault.machine != number:
            return False
        return fault.probability >= 1 or self._world.random().random() < fault.probability

    def _strike(self, fault: Fault, act: Callable[[], None]) -> None:
        self.struck[fault.text] += 1
        act()


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of the account and the way back."""

    act: Callable[[], None]
    back: Callable[[], None]


def _lag(provider: Provider, fault: Fault) -> _Change:
    account, usual = provider.account, provider.account.list_lag

    def put(lag: float) -> None:
        account.list_lag = lag

    return _Change(lambda: put(fault.number), lambda: put(usual))


def _image_lag(provider: Provider, fault: Fault) -> _Change:
    images, usual = provider.images, provider.images.lag_days

    def put(days: float) -> None:
        images.lag_days = days

    return _Change(lambda: put(fault.number), lambda: put(usual))


def _quota(provider: Provider, fault: Fault) -> _Change:
    name = fault.name.replace("-", "_")
    usual: int = getattr(provider.account.quotas, name)
    return _Change(
        lambda: provider.account.set_quota(name, int(fault.number)),
        lambda: provider.account.set_quota(name, usual),
    )


def _zone(provider: Provider, fault: Fault) -> _Change:
    account, compute = provider.account, provider.compute

    def close() -> None:
        account.closed_zones = (*account.closed_zones, fault.name)
        if fault.value == "down":
            compute.cut_power(fault.name)

    def reopen() -> None:
        account.closed_zones = tuple(zone for zone in account.closed_zones if zone != fault.name)
        if fault.value == "down":
            compute.restore_power(fault.name)

    return _Change(close, reopen)


def _latency(provider: Provider, fault: Fault) -> _Change:
    def put(factor: float) -> None:
        provider.door.slower = factor

    return _Change(lambda: put(fault.number), lambda: put(1.0))


def _rate(provider: Provider, fault: Fault) -> _Change:
    bucket, behaviour = provider.door.bucket, provider.persona.facts.behaviour
    return _Change(lambda: bucket.throttle(fault.number), lambda: bucket.throttle(behaviour.calls_per_second))


def _vanish(provider: Provider, fault: Fault) -> _Change:
    def vanish() -> None:
        for row in provider.account.instances:
            if row.number == fault.machine:
                provider.compute.vanish(row.id)

    return _Change(vanish, lambda: None)


_CHANGES: dict[tuple[str, str], Callable[[Provider, Fault], _Change]] = {
    ("list", "lag"): _lag,
    ("image", "lag"): _image_lag,
    ("quota", ""): _quota,
    ("zone", ""): _zone,
    ("latency", "times"): _latency,
    ("rate", "rps"): _rate,
    ("instance", "vanish"): _vanish,
}
