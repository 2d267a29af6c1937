"""The one gate that everything asks which takes a node away (DESIGN §3 "One disruption gate").

`OneAtATime` is the engine's own; `upgrade/` brings one that knows zones, budgets, etcd quorum and windows. The
ledger is the machines' own annotation, so it survives whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from flatyard.engine.labels import DISRUPTION
from flatyard.kube.api import Object


class Why(StrEnum):
    """What a node is taken away for."""

    DELETED = "deleted"
    SCALE_DOWN = "scale-down"
    REPLACED = "replaced"
    REPAIR = "repair"
    REBOOT = "reboot"
    UPGRADE = "upgrade"


@dataclass(frozen=True, slots=True)
class Granted:
    """Go on; the answer stays the same until the machine is gone or back."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now, and why."""

    reason: str


class Gate(Protocol):
    """Whoever decides which node may be taken away next."""

    def ask(self, machine: Object, why: Why) -> Granted | Wait: ...

    def release(self, name: str) -> None: ...


class OneAtATime:
    """Grants as long as fewer than `budget` machines are being taken away.

    A grant counts at once, before the machine's annotation tells of it, so that two machines that ask in the
    same moment do not both get it.
    """

    def __init__(self, machines: Callable[[], Iterable[Object]], budget: int = 1) -> None:
        self._machines = machines
        self._budget = budget
        self._granted: dict[str, None] = {}

    def ask(self, machine: Object, why: Why) -> Granted | Wait:
        if DISRUPTION in machine.annotations or machine.name in self._granted:
            return Granted()
        known = {other.name: other for other in self._machines()}
        self._granted = {name: None for name in self._granted if name in known}
        busy = [
            name for name, other in known.items() if DISRUPTION in other.annotations or name in self._granted
        ]
        if len(busy) < self._budget:
            self._granted[machine.name] = None
            return Granted()
        return Wait(f"waiting until {', '.join(busy[:3])} is gone or back: one node is taken away at a time")

    def release(self, name: str) -> None:
        """The machine is gone or back: its grant is given up."""
        self._granted.pop(name, None)
