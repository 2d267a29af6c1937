"""What the cloud has, as one list for all machines: a list call per round and not one per machine.

The cloud's list may lag: what `create` returned is believed for `lag` seconds although the list does not show
it yet, and what `delete` took is shown as deleting until the list agrees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flatyard.clouds.cloud import Cloud, ClusterRef, Instance, InstanceState


@dataclass(slots=True)
class Instances:
    """Every instance of one cluster, by machine id; refreshed by `refresh`, extended by our own calls."""

    cloud: Cloud
    lag: float
    _listed: dict[str, Instance] = field(default_factory=dict)
    _fresh: dict[str, tuple[float, Instance]] = field(default_factory=dict)
    _duplicates: dict[str, tuple[Instance, ...]] = field(default_factory=dict)
    _by_provider: dict[str, str] = field(default_factory=dict)
    _by_node: dict[str, str] = field(default_factory=dict)
    _refreshed: float | None = None

    async def refresh(self, ref: ClusterRef) -> tuple[str, ...]:
        """List again; returns the machine ids whose instance changed."""
        asked = asyncio.get_running_loop().time()
        found: dict[str, Instance] = {}
        doubles: dict[str, tuple[Instance, ...]] = {}
        for instance in await self.cloud.machines(ref):
            other = found.get(instance.machine_id)
            if other is not None and alive(other) and alive(instance):
                doubles[instance.machine_id] = (*doubles.get(instance.machine_id, (other,)), instance)
            found[instance.machine_id] = instance if other is None else preferred(other, instance)
        before, self._listed = self._known(), found
        for instance in found.values():
            self._learn(instance)
        self._duplicates = doubles
        self._refreshed = asked
        self._settle_fresh()
        after = self._known()
        return tuple(key for key in {**before, **after} if before.get(key) != after.get(key))

    @property
    def refreshed(self) -> bool:
        """Whether the cloud was ever listed by this process."""
        return self._refreshed is not None

    def age(self) -> float:
        """Seconds since the list that is known now was asked for."""
        return asyncio.get_running_loop().time() - (self._refreshed or 0.0)

    def get(self, machine_id: str) -> Instance | None:
        """The machine's instance as far as known; None when it has none."""
        fresh = self._fresh.get(machine_id)
        return fresh[1] if fresh else self._listed.get(machine_id)

    def duplicates(self, machine_id: str) -> tuple[Instance, ...]:
        """Living instances that share one machine id: never made by us, to be reported."""
        return self._duplicates.get(machine_id, ())

    def of_node(self, provider_id: str, node_name: str) -> Instance | None:
        """The instance that a node runs on, by providerID or, before it has one, by its expected name."""
        machine_id = (
            self._by_provider.get(provider_id.lower()) if provider_id else self._by_node.get(node_name)
        )
        return self.get(machine_id) if machine_id else None

    def all(self) -> tuple[Instance, ...]:
        return tuple(self._known().values())

    def created(self, instance: Instance) -> None:
        """Our own create returned this: believe it until the list shows it."""
        self._fresh[instance.machine_id] = (asyncio.get_running_loop().time(), instance)
        self._learn(instance)

    def deleted(self, instance: Instance) -> None:
        """Our own delete was accepted."""
        self.created(replace(instance, state=InstanceState.DELETING))

    def _learn(self, instance: Instance) -> None:
        if alive(instance):
            self._by_provider[instance.provider_id.lower()] = instance.machine_id
            self._by_node[instance.node_name] = instance.machine_id

    def _known(self) -> Mapping[str, Instance]:
        return {**self._listed, **{key: instance for key, (_, instance) in self._fresh.items()}}

    def _settle_fresh(self) -> None:
        now = asyncio.get_running_loop().time()
        for key, (since, instance) in tuple(self._fresh.items()):
            listed = self._listed.get(key)
            expired = now - since > self.lag
            if expired or _caught_up(listed, instance):
                del self._fresh[key]


def _caught_up(listed: Instance | None, own: Instance) -> bool:
    if own.state is InstanceState.DELETING:
        return listed is None or not alive(listed)
    return listed is not None and listed.id == own.id


def alive(instance: Instance) -> bool:
    """Whether the instance exists and is not on its way out."""
    return instance.state not in (InstanceState.DELETING, InstanceState.TERMINATED)


def preferred(one: Instance, other: Instance) -> Instance:
    """Of two instances of one machine the living one, of two living ones the newer attempt."""
    return max(
        one, other, key=lambda i: (alive(i), i.state is not InstanceState.TERMINATED, i.attempt, i.created)
    )
