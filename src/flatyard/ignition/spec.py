"""Versions of the Ignition specification, and which of them a release of Ignition reads."""

from __future__ import annotations

from flatyard.base.patterns import pattern
from flatyard.base.values import dataclass

_SEMVER = pattern(
    r"(?a)(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?"
)

STABLE = ("3.0.0", "3.1.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0", "3.6.0")

SPECIAL_BITS_SINCE = 6
"""Minor version from which setuid, setgid and sticky bits of a mode are honoured."""


@dataclass(frozen=True, slots=True)
class Release:
    """What one release of Ignition understands."""

    name: str
    versions: frozenset[str]


NEWEST = Release("2.26.0", frozenset((*STABLE, "3.7.0-experimental")))
FLATCAR = Release("2.24.0", frozenset((*STABLE[:6], "3.6.0-experimental")))
"""The release in Flatcar stable 4593 and later."""


def is_version(text: str) -> bool:
    """Whether a text is a semantic version at all."""
    return _SEMVER.fullmatch(text) is not None


def minor(version: str) -> int:
    """The minor number of a 3.x version."""
    return int(version.split(".")[1])


def hint_for(version: str) -> str:
    """What to do about a version that is not understood."""
    if version.startswith(("1.", "2.")):
        return (
            "spec 2.x predates Flatcar's current Ignition: convert it once with ignition-converter, "
            "or write it as Butane (variant: flatcar, version: 1.1.0)"
        )
    return f"use one of {', '.join(STABLE)}"
