"""The Flatcar releases of the simulated world, with their age when the simulation starts.

The versions are real ones; ages are relative, because a simulated clock stands where the seed puts it.
"""

from __future__ import annotations

from dataclasses import dataclass

from flatyard.flatcar.releases import channel_of


@dataclass(frozen=True, slots=True)
class Release:
    """One Flatcar release and how many days ago it was published."""

    version: str
    age_days: float

    @property
    def channel(self) -> str:
        return channel_of(self.version)


RELEASES = (
    Release("4593.2.5", 30),
    Release("4593.2.2", 75),
    Release("4593.2.0", 110),
    Release("4459.2.3", 200),
    Release("4230.2.1", 400),
    Release("4230.2.0", 440),
    Release("4152.2.0", 540),
    Release("4081.2.0", 640),
    Release("3975.2.0", 730),
    Release("3815.2.2", 900),
    Release("4757.1.0", 20),
    Release("4515.1.0", 160),
    Release("4790.0.0", 15),
    Release("4081.3.10", 60),
    Release("3510.3.8", 500),
)
"""Oldest releases included: pinned versions of old cluster files are found, or refused for their own
reason.
"""
