"""Whose twin the simulated provider is: the facts of that cloud, in one region of it."""

from __future__ import annotations

from dataclasses import dataclass

from flatyard.clouds.facts import CloudFacts, Region
from flatyard.clouds.table import TWINS, facts

ACCOUNTS = {
    "aws": "000000000000",
    "azure": "00000000-0000-0000-0000-000000000000",
    "gcp": "simulated-project",
    "openstack": "00000000000000000000000000000000",
}
"""Account, subscription, project or tenant of the simulation; none of them can exist."""


@dataclass(frozen=True, slots=True)
class Persona:
    """A cloud's facts and a region of it; `known` is False when the cloud has no region of that name."""

    facts: CloudFacts
    region: Region
    account: str
    known: bool = True

    @property
    def name(self) -> str:
        return self.facts.name

    def zones(self, count: int) -> tuple[str, ...]:
        """The first `count` zones of the region."""
        return self.region.zones[:count]


def persona(name: str, region: str = "") -> Persona:
    """The twin of a cloud; an empty region means its first one. Raises InvalidInput for an unknown cloud."""
    known = facts(name, path="spec.cloud.sim.as")
    found = known.region(region) if region else known.regions[0]
    place = found or Region(region, known.regions[0].zones)
    return Persona(known, place, ACCOUNTS.get(name, ""), found is not None)


__all__ = ["ACCOUNTS", "TWINS", "Persona", "persona"]
