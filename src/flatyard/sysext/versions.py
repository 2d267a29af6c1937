"""The Kubernetes versions that flatyard supports: the newest four minors, and what each brings along.

Images are kubeadm's own defaults (cmd/kubeadm/app/constants of each minor); `patches` are releases known when
this table was written. A feed may have newer ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from flatyard.base.errors import Refused
from flatyard.sysext.layout import minor_of


@dataclass(frozen=True, slots=True)
class Minor:
    """One supported minor version."""

    name: str
    patches: tuple[str, ...]
    pause: str
    """Tag of the sandbox image."""
    containerd: str
    """The oldest containerd minor that its kubelet works with."""
    cni: str
    """The release of the CNI plugins in its image."""

    @property
    def newest(self) -> str:
        """The newest patch in the table."""
        return self.patches[-1]


# Kubernetes' own build/dependencies.yaml tests with 1.6.2, 1.7.1, 1.8.0 and 1.9.1, in this order. 1.6.0 to 1.8.0 have
# CVE-2025-67499 (portmap's nftables rules match any destination address), and the plugins' interface is containerd's
# matter, not the kubelet's: so all four bring the newest of these.
_CNI = "v1.9.1"

MINORS = (
    Minor("v1.33", ("v1.33.6", "v1.33.13"), "3.10", "1.6", _CNI),
    Minor("v1.34", ("v1.34.0", "v1.34.2", "v1.34.3", "v1.34.4"), "3.10.1", "1.6", _CNI),
    Minor("v1.35", ("v1.35.4",), "3.10.1", "1.7", _CNI),
    Minor("v1.36", ("v1.36.1", "v1.36.3"), "3.10.2", "2.0", _CNI),
)


def minor(version: str) -> Minor:
    """The table's row for a version such as `v1.34.3`; raises Refused for an unsupported minor."""
    for row in MINORS:
        if row.name == minor_of(version):
            return row
    raise Refused(
        f"Kubernetes {version} is not supported",
        why=f"flatyard supports the newest four minors: {', '.join(row.name for row in MINORS)}",
        next=f"set spec.kubernetes.version, for example {MINORS[1].newest}",
    )


def cni_version(version: str) -> str:
    """The CNI plugins' release (`v1.9.1`) in the image of a Kubernetes version; raises Refused for others."""
    return minor(version).cni


def known() -> tuple[str, ...]:
    """Every version in the table, oldest first."""
    return tuple(patch for row in MINORS for patch in row.patches)


def sandbox_image(version: str) -> str:
    """The pause image that kubeadm of this version expects."""
    return f"registry.k8s.io/pause:{minor(version).pause}"
