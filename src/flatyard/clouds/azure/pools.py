"""Machines that are alike, as a Cluster and its MachineDeployments write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import AzureMachine, MachineSpec

CONTROL_PLANE = "spec.controlPlane"


@dataclass(frozen=True, slots=True)
class Pool:
    """Where they are written, how they are called, how many there are."""

    path: str
    name: str
    replicas: int
    machine: AzureMachine
    key: str = "machine"
    """Key of the machine spec below `path`."""

    def at(self, field: str) -> str:
        return f"{self.path}.{self.key}.{field}"


def pools(cluster: Cluster, deployments: tuple[MachineDeployment, ...]) -> tuple[Pool, ...]:
    """The control plane first. A deployment that was made from the `workers` shorthand is told at the shorthand."""
    spec = cluster.spec
    plane = spec.control_plane
    name = f"{cluster.name}-control-plane"
    found = [Pool(CONTROL_PLANE, name, plane.replicas, _machine(plane.machine))]
    for number, pool in enumerate(spec.workers):
        found.append(Pool(f"spec.workers[{number}]", pool.name, pool.replicas, _machine(pool.machine)))
    return (*found, *_deployed(cluster, deployments))


def _deployed(cluster: Cluster, deployments: tuple[MachineDeployment, ...]) -> Iterator[Pool]:
    short = {pool.name for pool in cluster.spec.workers}
    for deployment in deployments:
        name = deployment.metadata.name
        machine = deployment.spec.template.spec.provider_spec.value.cloud_provider_spec
        if name not in short and isinstance(machine, AzureMachine):
            path = f"MachineDeployment {name}: spec.template.spec.providerSpec.value"
            yield Pool(path, name, deployment.spec.replicas, machine, "cloudProviderSpec")


def _machine(machine: MachineSpec | None) -> AzureMachine:
    return machine if isinstance(machine, AzureMachine) else AzureMachine()
