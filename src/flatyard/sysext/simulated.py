"""Simulated extension images: small, deterministic, and marked as simulated in their own bytes.

The simulator's object server hands them out and its machines read them back; the hashes are real hashes of
these bytes, so that a flipped byte or a wrong pin fails as it would on a machine. No real kubelet is in them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from flatyard.sysext.feed import Feed, Pin, ordered
from flatyard.sysext.layout import BAKERY, EXTENSION, extension_arch
from flatyard.sysext.versions import known

_MARK = b"flatyard simulated system extension, no real binaries inside\n"


@dataclass(frozen=True, slots=True)
class SimulatedContents:
    """What a simulated machine finds in an image: the extension-release fields and the commands."""

    name: str
    version: str
    arch: str
    """As systemd names it: `x86-64`, `arm64`."""
    commands: tuple[str, ...] = ("kubeadm", "kubectl", "kubelet")
    units: tuple[str, ...] = ("kubelet.service",)


@cache
def simulated_image(version: str, arch: str = "amd64") -> bytes:
    """The image's bytes for a version (`v1.34.3`) and an architecture (`amd64`)."""
    fields = {"name": EXTENSION, "version": version, "arch": extension_arch(arch)}
    return _MARK + json.dumps(fields).encode() + b"\n"


def read_simulated(image: bytes) -> SimulatedContents | None:
    """What is in an image, or None when the bytes are not a simulated image (cut, changed, real)."""
    if not image.startswith(_MARK):
        return None
    try:
        fields = json.loads(image[len(_MARK) :])
        return SimulatedContents(fields["name"], fields["version"], fields["arch"])
    except (ValueError, KeyError, TypeError):
        return None


def simulated_feed(versions: Iterable[str] | None = None, base: str = BAKERY) -> Feed:
    """A feed of simulated images for both architectures; of all known versions by default."""
    pins = [
        Pin(version, arch, hashlib.sha256(simulated_image(version, arch)).hexdigest())
        for version in (known() if versions is None else versions)
        for arch in ("amd64", "arm64")
    ]
    return Feed(base, ordered(pins), simulated=True)
