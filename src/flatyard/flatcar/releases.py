"""Flatcar releases and what is in them, as far as a node's config depends on it.

Source: the release data of flatcar.org (date, Ignition, systemd, kernel, containerd and Docker per release), as it
stands in `releases.tsv`, and Ignition's release notes (specifications per release).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from flatyard.base.errors import Refused

CHANNELS = ("stable", "beta", "alpha", "lts")
_CHANNEL_BY_DIGIT = {"0": "alpha", "1": "beta", "2": "stable", "3": "lts"}
OLDEST_SUPPORTED = "3602.0.0"
"""The first line with Ignition specification 3.4.0 and system extensions by default in all channels."""

_SPECS = (
    ((0, 36, 0), "2.3.0"),
    ((2, 0, 0), "3.0.0"),
    ((2, 3, 0), "3.1.0"),
    ((2, 7, 0), "3.2.0"),
    ((2, 11, 0), "3.3.0"),
    ((2, 15, 0), "3.4.0"),
    ((2, 20, 0), "3.5.0"),
    ((2, 26, 0), "3.6.0"),
)
"""From which release of Ignition on a stable specification is read."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a release has. Empty where the sources do not say."""

    version: str
    released: str
    """The day of its publication, `2026-08-13`."""
    ignition: str
    systemd: int
    kernel: str = ""
    containerd: str = ""
    docker: str = ""

    @property
    def spec(self) -> str:
        """The newest stable Ignition specification that it reads."""
        return newest_spec(self.ignition)

    @property
    def channel(self) -> str:
        """The channel that it was published in."""
        return channel_of(self.version)


def newest_spec(ignition: str) -> str:
    """The newest stable specification that a release of Ignition (`2.24.0`) reads."""
    known = version_key(ignition)
    return next((spec for since, spec in reversed(_SPECS) if since <= known), _SPECS[0][1])


@cache
def known_releases() -> tuple[Contents, ...]:
    """Every release that the table has, the oldest first."""
    text = files(__package__).joinpath("releases.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return tuple(Contents(v, day, ign, int(systemd), *rest) for v, day, ign, systemd, *rest in rows)


def release(version: str) -> Contents | None:
    """What exactly this release has; None for one that the table does not know."""
    return next((known for known in known_releases() if known.version == version), None)


def newest_release(channel: str) -> Contents:
    """The newest release of a channel that the table knows. Raises Refused for an unknown channel."""
    found = [known for known in known_releases() if known.channel == channel]
    if not found:
        raise Refused(f"{channel!r} is not a Flatcar channel", next=f"choose one of {', '.join(CHANNELS)}")
    return found[-1]


def version_key(version: str) -> tuple[int, int, int]:
    """Sorts versions such as `4593.2.5`; raises Refused for anything else."""
    parts = version.split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise Refused(f"{version!r} is not a Flatcar version", next="write it like 4593.2.5")
    major, minor, patch = map(int, parts)
    return major, minor, patch


def newest_first(versions: Iterable[str]) -> tuple[str, ...]:
    """Versions without repetition, the newest first."""
    return tuple(sorted(set(versions), key=version_key, reverse=True))


def channel_of(version: str) -> str:
    """The channel by the version's second number: `4593.2.5` is stable. Raises Refused for an unknown one."""
    version_key(version)
    channel = _CHANNEL_BY_DIGIT.get(version.split(".")[1])
    if channel is None:
        raise Refused(f"{version!r} belongs to no Flatcar channel", why="the second number is 0, 1, 2 or 3")
    return channel


def is_supported(version: str) -> bool:
    """Whether nodes can be made of it."""
    return version_key(version) >= version_key(OLDEST_SUPPORTED)


@cache
def contents(version: str) -> Contents:
    """What a release has; one that the table does not know counts as the newest known one before it.

    Raises Refused for releases that came before Ignition 3.4.0.
    """
    if not is_supported(version):
        raise Refused(
            f"Flatcar {version} is too old",
            why=f"nodes need Ignition specification 3.4.0, which Flatcar has since {OLDEST_SUPPORTED}",
            next="choose a newer version, or a channel instead of a version",
        )
    key = version_key(version)
    return next(known for known in reversed(known_releases()) if version_key(known.version) <= key)
