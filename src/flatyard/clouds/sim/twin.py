"""A whole simulated cloud for a cluster file: the provider, the adapter, and what shall go wrong."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from flatyard.base.errors import InvalidInput, Problem, Severity
from flatyard.base.world import World
from flatyard.clouds.facts import Quotas
from flatyard.clouds.sim.account import UNLIMITED
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.cloud import SimCloud
from flatyard.clouds.sim.door import Call, Faults
from flatyard.clouds.sim.faults import Fault
from flatyard.clouds.sim.persona import Persona, persona
from flatyard.clouds.sim.power import Machines
from flatyard.clouds.sim.trouble import Troubles
from flatyard.model.cluster import Cluster
from flatyard.sim.disk import Disk


@dataclass(frozen=True, slots=True)
class Twin:
    """One simulated cloud. Call `open` in the running loop before the first call, `close` at the end."""

    provider: Provider
    cloud: SimCloud
    troubles: Troubles

    def open(self) -> None:
        """Start the clocks of the provider and of the faults."""
        self.troubles.begin(self.provider)
        self.provider.open()

    def close(self) -> None:
        """Stop the provider's timers."""
        self.provider.close()


class Both(Faults):
    """Two sources of faults: `outer` first on the way in, last on the way out."""

    def __init__(self, outer: Faults, inner: Faults) -> None:
        self._outer, self._inner = outer, inner

    async def before(self, call: Call) -> None:
        await self._outer.before(call)
        await self._inner.before(call)

    async def after(self, call: Call) -> None:
        await self._inner.after(call)
        await self._outer.after(call)


def twin(
    cluster: Cluster,
    world: World,
    disk: Disk,
    *,
    machines: Machines | None = None,
    faults: Sequence[Fault] = (),
    hook: Faults | None = None,
    quotas: Quotas = UNLIMITED,
) -> Twin:
    """The simulated twin of the cluster's cloud, whether the file names a real one or `sim`.

    `faults` are a rehearsal's; `hook` sees every call besides (counts it, ends the run in it). Raises
    InvalidInput for a fault that this cloud cannot have.
    """
    chosen = cluster.spec.cloud
    who = persona(chosen.twin, chosen.region)
    check_faults(faults, who)
    troubles = Troubles(faults, who.facts, world)
    both = Both(hook, troubles) if hook else troubles
    provider = Provider(who, world, disk, machines=machines, faults=both, boots=troubles, quotas=quotas)
    lag = max((fault.number for fault in faults if (fault.what, fault.name) == ("list", "lag")), default=0)
    return Twin(provider, SimCloud(provider, list_lag=lag), troubles)


def check_faults(faults: Sequence[Fault], who: Persona) -> None:
    """Whether the region has the zones that shall fail; raises InvalidInput."""
    zones = who.region.zones
    problems = [
        Problem(
            Severity.ERROR,
            fault.position,
            "",
            f"{who.region.name} has no zone {fault.name!r}",
            allowed=", ".join(zone for zone in zones if zone) or "none",
            suggestion=next(iter(difflib.get_close_matches(fault.name, zones, 1)), ""),
        )
        for fault in faults
        if fault.what == "zone" and fault.name not in zones
    ]
    if problems:
        raise InvalidInput(problems)
