"""Flatcar releases and what is in them, as far as a node's config depends on it.

Source: the release data of flatcar.org (Ignition, systemd and kernel per release) and Ignition's release notes
(specifications per release).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flatyard.base.errors import Refused

CHANNELS = ("stable", "beta", "alpha", "lts")
_CHANNEL_BY_DIGIT = {"0": "alpha", "1": "beta", "2": "stable", "3": "lts"}
OLDEST_SUPPORTED = "3602.0.0"
"""The first line with Ignition specification 3.4.0 and system extensions by default in all channels."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a line of releases has, from `since` on. Empty where the sources do not say."""

    since: str
    ignition: str
    spec: str
    """The newest stable Ignition specification that it reads."""
    systemd: int
    containerd: str = ""
    kernel: str = ""


_LINES = (
    Contents("3033.0.0", "0.36.1", "2.3.0", 249),
    Contents("3185.0.0", "2.13.0", "3.3.0", 250),
    Contents("3510.0.0", "2.14.0", "3.3.0", 252),
    Contents("3535.0.0", "2.15.0", "3.4.0", 252),
    Contents("3975.0.0", "2.18.0", "3.4.0", 255),
    Contents("4081.0.0", "2.19.0", "3.4.0", 255),
    Contents("4152.0.0", "2.20.0", "3.5.0", 255),
    Contents("4230.0.0", "2.20.0", "3.5.0", 256),
    Contents("4459.0.0", "2.22.0", "3.5.0", 256),
    Contents("4593.0.0", "2.24.0", "3.5.0", 257, containerd="2.1.5", kernel="6.12.102"),
    Contents("4757.0.0", "2.24.0", "3.5.0", 260),
)


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


def contents(version: str) -> Contents:
    """What a release has; a version newer than the table counts as the newest line.

    Raises Refused for releases that came before Ignition 3.4.0.
    """
    key = version_key(version)
    if key < version_key(OLDEST_SUPPORTED):
        raise Refused(
            f"Flatcar {version} is too old",
            why=f"nodes need Ignition specification 3.4.0, which Flatcar has since {OLDEST_SUPPORTED}",
            next="choose a newer version, or a channel instead of a version",
        )
    return next(line for line in reversed(_LINES) if version_key(line.since) <= key)
