"""About how long things take, for people who wait: sums of the typical durations of the twin and its machines."""

from __future__ import annotations

from flatyard.clouds.sim.persona import persona
from flatyard.engine.wanted import Wanted
from flatyard.sim.timings import Spread, Timings


def seconds_to_make(wanted: Wanted) -> float:
    """Simulated seconds from nothing to the last node Ready; pools join side by side, control planes in turn."""
    choice = wanted.cluster.spec.cloud
    acts, machine = persona(choice.twin, choice.region).facts.durations, Timings()
    boot = acts.running.mean + _sum(machine.firmware, machine.ignition, machine.fetch, machine.boot)
    first = boot + _sum(machine.kubeadm_preflight, machine.kubeadm_init, machine.static_pods)
    join = _sum(machine.kubeadm_preflight, machine.kubeadm_join, machine.kubelet_start)
    others = max(0, wanted.cluster.spec.control_plane.replicas - 1)
    return acts.load_balancer.mean / 2 + first + join + others * (boot + join)


def _sum(*spreads: Spread) -> float:
    return sum((spread.low + spread.high) / 2 for spread in spreads)
