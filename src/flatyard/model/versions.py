"""Kubernetes versions: parse, compare, and how far apart kubelet and control plane may be."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_KUBERNETES = "v1.34.3"
PATTERN = r"v?1\.\d{1,3}\.\d{1,3}"
MAX_KUBELET_SKEW = 3
"""Minors that a kubelet may be older than its API server (kubernetes.io/releases/version-skew-policy)."""

_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A Kubernetes release; orders by number."""

    major: int
    minor: int
    patch: int

    @staticmethod
    def parse(text: str) -> Version:
        """Read ``v1.34.3`` or ``1.34.3``; raises ValueError."""
        match = _VERSION.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is not a Kubernetes version like {DEFAULT_KUBERNETES}")
        return Version(*map(int, match.groups()))

    @property
    def series(self) -> str:
        """The minor series, ``v1.34``."""
        return f"v{self.major}.{self.minor}"

    def __str__(self) -> str:
        """With the leading ``v``, as release tags have it."""
        return f"v{self.major}.{self.minor}.{self.patch}"


def skew_problem(kubelet: Version, control_plane: Version) -> str | None:
    """Why this kubelet may not join this control plane, or None."""
    if kubelet.major != control_plane.major:
        return f"kubelet {kubelet} and control plane {control_plane} differ in their major version"
    if kubelet.minor > control_plane.minor:
        return f"kubelet {kubelet} is newer than the control plane {control_plane}"
    if control_plane.minor - kubelet.minor > MAX_KUBELET_SKEW:
        return f"kubelet {kubelet} is more than {MAX_KUBELET_SKEW} minors older than the control plane {control_plane}"
    return None
