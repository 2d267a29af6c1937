"""Feeds: which images there are and what they must hash to, read from a SHA256SUMS file.

An image is used only with a hash from a feed: there is no unpinned image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from flatyard.base.errors import InvalidInput, Position, Problem, Refused, Severity
from flatyard.sysext.layout import BAKERY, extension_arch, image_name, minor_of

_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](\S+)")
_IMAGE = re.compile(r"kubernetes-(v\d+\.\d+\.\d+)-(x86-64|arm64)\.raw")
_KUBERNETES_ARCH = {"x86-64": "amd64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class SysextImage:
    """One pinned image: where it is and the sha256 (64 hexadecimal digits) of its bytes."""

    version: str
    arch: str
    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of a feed."""

    version: str
    arch: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Feed:
    """Images below one address, `BASE/kubernetes/`, as the bakery lays them out; oldest first."""

    base: str
    pins: tuple[Pin, ...]
    simulated: bool = False

    def versions(self, arch: str = "amd64") -> tuple[str, ...]:
        """The versions that an architecture has, oldest first."""
        return tuple(pin.version for pin in self.pins if pin.arch == arch)

    def image(self, version: str, arch: str = "amd64") -> SysextImage:
        """The pinned image of a version; raises Refused, naming what there is, when the feed has none."""
        for pin in self.pins:
            if (pin.version, pin.arch) == (version, arch):
                url = f"{self.base}/kubernetes/{image_name(version, arch)}"
                return SysextImage(version, arch, url, pin.sha256)
        raise Refused(
            f"there is no Kubernetes {version} image for {extension_arch(arch)} in {self.base}",
            why=f"it has {', '.join(self.versions(arch)[-8:]) or 'none for this architecture'}",
            next="choose one of these versions, or add the image to the feed",
        )

    def newest_patch(self, version: str, arch: str = "amd64") -> str:
        """The newest version of the same minor, which may be the given one itself."""
        minor = minor_of(version)
        same = [v for v in self.versions(arch) if minor_of(v) == minor]
        return max([version, *same], key=version_key)


def parse_feed(text: str, file: str = "SHA256SUMS", base: str = BAKERY) -> Feed:
    """Read a SHA256SUMS; other extensions' files are passed over.

    Raises InvalidInput with every line that is not in sha256sum's form or that contradicts an earlier one.
    """
    found: dict[tuple[str, str], Pin] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        pin, complaint = _read_line(line)
        if pin and found.setdefault((pin.version, pin.arch), pin) != pin:
            complaint = f"another hash for {pin.version} {pin.arch} than before"
        if complaint:
            problems.append(Problem(Severity.ERROR, Position(file, number, 1), "", complaint))
    if problems:
        raise InvalidInput(problems, next="fetch the feed again; do not use images from it")
    return Feed(base, ordered(found.values()))


def version_key(version: str) -> tuple[int, ...]:
    """Sorts `v1.9.0` before `v1.10.0`."""
    return tuple(int(part) for part in version.removeprefix("v").split("."))


def ordered(pins: Iterable[Pin]) -> tuple[Pin, ...]:
    """By version, then architecture."""
    return tuple(sorted(pins, key=lambda pin: (version_key(pin.version), pin.arch)))


def _read_line(line: str) -> tuple[Pin | None, str]:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        return None, "not a line of sha256sum: 64 hexadecimal digits, two blanks, a file name"
    image = _IMAGE.fullmatch(match[2].rpartition("/")[2])
    if image is None:
        return None, ""
    return Pin(image[1], _KUBERNETES_ARCH[image[2]], match[1].lower()), ""
