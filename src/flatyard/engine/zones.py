"""In which zone a machine is made: where its spec says, otherwise where there are fewest of its like.

Several zones may be named, as Azure's machine specs do. Control planes go by their number. A worker whose pool does not
name one zone goes to that of the named ones, or of the network's, that has the fewest machines of its pool; of several
such to the one with the fewest workers, of several to the first one. What was chosen is kept in the create request and
in the Machine's annotation, so a retry or another attempt stays there.

Unless the zone turns out to have no room for the size: then it is left out for a while, for all workers of that size,
and the worker's next attempt is made in another one. A control plane waits for its own zone: two of three in one zone
would take etcd's majority with it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from flatyard.clouds.cloud import Network, Role
from flatyard.engine.caches import Caches
from flatyard.engine.identity import machine_id_of, pool_of, role_of
from flatyard.engine.instances import Instances, alive
from flatyard.engine.labels import ZONE
from flatyard.kube.api import Object
from flatyard.model.machines import MachineSpec, named_zones

FULL_FOR = 180.0
"""Seconds for which a zone without room for a size is left out, as Karpenter does."""
COUNTED_FOR = 1.0
"""Seconds for which nobody counts anew: many machines are made at once, and each would count them all."""
Counts = dict[str, Counter[str]]


@dataclass(slots=True)
class Zones:
    """How many workers each zone has, by pool; what was chosen in this process counts before anything shows it."""

    caches: Caches
    instances: Instances
    chosen: dict[str, str] = field(default_factory=dict)
    """By machine id. Newer than what the Machine tells while its next attempt is being made."""
    _full: dict[tuple[str, str], float] = field(default_factory=dict)
    """By zone and size: until when there is thought to be no room."""
    _counts: Counts = field(default_factory=dict)
    _counted: float | None = None

    def of(self, machine: Object, spec: MachineSpec, network: Network) -> str:
        """The zone for the machine's next attempt; empty where the network has none."""
        zones = named_zones(spec) or network.zones
        if not zones:
            return ""
        if role_of(machine) is Role.CONTROL_PLANE:
            return zones[_number(machine) % len(zones)]
        before = self._where(machine)
        zones = self._with_room(zones, spec) or zones
        zone = before if before in zones else self._fewest(machine, zones)
        self._note(machine, zone)
        return zone

    def note_full(self, zone: str, spec: MachineSpec) -> None:
        """The cloud said that this zone has no room for machines of this size."""
        self._full[zone, spec.size] = asyncio.get_running_loop().time() + FULL_FOR

    def another(self, machine: Object, spec: MachineSpec, network: Network) -> bool:
        """Whether the machine may be made in another zone than those that were full of late."""
        zones = named_zones(spec) or network.zones
        return role_of(machine) is Role.WORKER and bool(self._with_room(zones, spec))

    def _with_room(self, zones: tuple[str, ...], spec: MachineSpec) -> tuple[str, ...]:
        now = asyncio.get_running_loop().time()
        return tuple(zone for zone in zones if self._full.get((zone, spec.size), 0) <= now)

    def _fewest(self, machine: Object, zones: tuple[str, ...]) -> str:
        counts = self._count()
        mine = counts.get(pool_of(machine), Counter())
        workers = {zone: sum(of_pool[zone] for of_pool in counts.values()) for zone in zones}
        return min(zones, key=lambda name: (mine[name], workers[name], zones.index(name)))

    def _note(self, machine: Object, zone: str) -> None:
        """Count it before the Machine or its instance shows it."""
        if self._where(machine) != zone:
            self._count().setdefault(pool_of(machine), Counter())[zone] += 1
            self.chosen[machine_id_of(machine)] = zone

    def _count(self) -> Counts:
        now = asyncio.get_running_loop().time()
        if self._counted is None or now - self._counted >= COUNTED_FOR:
            self._counted, self._counts = now, {}
            for machine in self.caches.machines():
                if role_of(machine) is Role.WORKER and not machine.deleting:
                    self._counts.setdefault(pool_of(machine), Counter())[self._where(machine)] += 1
        return self._counts

    def _where(self, machine: Object) -> str:
        """Where its instance is, or the zone that was chosen for it last."""
        instance = self.instances.get(machine_id_of(machine))
        if instance is not None and alive(instance) and instance.zone:
            return instance.zone
        return self.chosen.get(machine_id_of(machine)) or machine.annotations.get(ZONE, "")


def _number(machine: Object) -> int:
    number = machine.name.rpartition("-")[2]
    return int(number) - 1 if number.isdigit() else 0
