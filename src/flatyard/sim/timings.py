"""How long the steps of a simulated machine take, in seconds, as ranges from which a seeded spread is drawn.

Sources: Flatcar boots in 20–40 s on clouds; kubeadm took 10.9 s to init and 27.9 s to join in the Kubespray run of
a user, 8–26 s on nspawn machines; pulling the control plane's images is most of the rest of an init on a cloud.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """A duration between two bounds, in seconds."""

    low: float
    high: float

    def draw(self, source: random.Random) -> float:
        """One duration; equal bounds leave the source untouched."""
        return self.low if self.low == self.high else source.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Timings:
    """The durations of one kind of machine and of the cluster on it."""

    firmware: Spread = Spread(5, 10)
    """From power to Ignition."""
    ignition: Spread = Spread(2, 5)
    """Ignition's own work, without fetching."""
    fetch: Spread = Spread(4, 9)
    """Fetching one remote file (the Kubernetes sysext is about 60–150 MB)."""
    boot: Spread = Spread(10, 18)
    """From the switch to the real root until network and containerd are up."""
    device_timeout: float = 90.0
    """systemd's DefaultTimeoutStartSec, after which a missing device fails its mount."""
    emergency: Spread = Spread(1, 3)
    kubeadm_preflight: Spread = Spread(18, 35)
    """Pulling images, mostly."""
    kubeadm_init: Spread = Spread(40, 55)
    kubeadm_join: Spread = Spread(15, 30)
    kubelet_check: float = 240.0
    """kubeadm's timeouts.kubeletHealthCheck."""
    discovery: float = 300.0
    """kubeadm's timeouts.discovery."""
    tls_bootstrap: float = 300.0
    """kubeadm's timeouts.tlsBootstrap."""
    control_plane_check: float = 240.0
    """kubeadm's timeouts.controlPlaneComponentHealthCheck."""
    retry: float = 5.0
    """How often kubeadm looks again while it waits."""
    kubelet_start: Spread = Spread(2, 4)
    static_pods: Spread = Spread(8, 15)
    """From the kubelet's start until its control plane answers, after a reboot."""
    pod_start: Spread = Spread(2, 7)
    """Pulling a pod's images and starting it."""
    pod_stop: Spread = Spread(1, 3)
    shutdown: Spread = Spread(4, 8)
    node_grace: float = 50.0
    """kube-controller-manager's node-monitor-grace-period."""
    eviction: float = 300.0
    """The default tolerationSeconds for not-ready and unreachable."""
    pod_collection: float = 20.0
    """How often pods of vanished nodes are collected."""
    status_delay: float = 1.0
    """Changes of counted statuses are gathered for this long."""


def at_once() -> Timings:
    """Every spread zero, the deadlines as they are: for tests that look at what happens, not when."""
    zero = Spread(0, 0)
    spreads: dict[str, Any] = {f.name: zero for f in fields(Timings) if f.type == "Spread"}
    return replace(Timings(), **spreads)
