"""How many machines each MachineSet of a MachineDeployment shall have next: arithmetic only, no I/O.

Follows the rolling update of Kubernetes' Deployment controller, which machine-controller follows too: never more
than `replicas + surge` machines, never fewer than `replicas - unavailable` available ones; machines that are not
available go first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flatyard.decode.types import IntOrString


@dataclass(frozen=True, slots=True)
class SetState:
    """One MachineSet: what it shall have (`wanted`), and how many of its machines are available."""

    name: str
    wanted: int
    available: int


@dataclass(frozen=True, slots=True)
class Strategy:
    """The bounds of a rolling update, as counts of machines."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        return self.replicas + self.surge

    @property
    def fewest_available(self) -> int:
        return self.replicas - self.unavailable


def strategy(replicas: int, max_surge: IntOrString, max_unavailable: IntOrString) -> Strategy:
    """Resolve percentages: surge rounds up, unavailable down, and one of them is always at least 1."""
    surge = _count(max_surge, replicas, round_up=True)
    unavailable = _count(max_unavailable, replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Strategy(replicas, surge, min(unavailable, replicas))


def _count(value: IntOrString, total: int, *, round_up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * total / 100
    return math.ceil(share) if round_up else math.floor(share)


def next_sizes(strategy: Strategy, new: SetState, old: Sequence[SetState]) -> dict[str, int]:
    """The next size of every set, the new one and the old ones (oldest first)."""
    grown = replace(new, wanted=_grow_new(strategy, new, old))
    sizes = {grown.name: grown.wanted}
    sizes.update(_shrink_old(strategy, grown, old))
    return sizes


def _grow_new(strategy: Strategy, new: SetState, old: Sequence[SetState]) -> int:
    others = sum(s.wanted for s in old)
    if new.wanted >= strategy.replicas or not others:
        return strategy.replicas
    room = strategy.most - others - new.wanted
    return new.wanted + max(0, min(room, strategy.replicas - new.wanted))


def _shrink_old(strategy: Strategy, new: SetState, old: Sequence[SetState]) -> dict[str, int]:
    sizes = {s.name: s.wanted for s in old}
    total = new.wanted + sum(sizes.values())
    spare = total - strategy.fewest_available - max(0, new.wanted - new.available)
    for state in old:
        gone = max(0, min(spare, state.wanted - state.available))
        sizes[state.name] -= gone
        spare -= gone
    ready = new.available + sum(min(s.available, sizes[s.name]) for s in old)
    spare = min(spare, ready - strategy.fewest_available)
    for state in old:
        gone = max(0, min(spare, sizes[state.name]))
        sizes[state.name] -= gone
        spare -= gone
    return sizes


def surplus_share(total: int, sets: Sequence[SetState]) -> dict[str, int]:
    """Sizes that add up to `total` in proportion to what the sets have: for a scale in the middle of a rollout."""
    have = sum(s.wanted for s in sets)
    if not have:
        return {s.name: s.wanted for s in sets}
    sizes = {s.name: s.wanted * total // have for s in sets}
    rest = total - sum(sizes.values())
    for state in sorted(sets, key=lambda s: (-(s.wanted * total % have), s.name)):
        if rest <= 0:
            break
        sizes[state.name] += 1
        rest -= 1
    return sizes
