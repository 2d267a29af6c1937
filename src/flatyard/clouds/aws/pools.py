"""The groups of machines that a cluster asks for, with the places where they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import AwsMachine

CONTROL_PLANE = "spec.controlPlane"


@dataclass(frozen=True, slots=True)
class Pool:
    """Machines that are alike; `path` is their machine spec's in the document."""

    path: str
    name: str
    replicas: int
    machine: AwsMachine
    control_plane: bool = False


def pools(cluster: Cluster, deployments: tuple[MachineDeployment, ...]) -> tuple[Pool, ...]:
    """The control plane first. A deployment made from the `workers` shorthand is told at the shorthand."""
    return (*_of_cluster(cluster), *_of_deployments(cluster, deployments))


def _of_cluster(cluster: Cluster) -> Iterator[Pool]:
    plane = cluster.spec.control_plane
    name = f"{cluster.name}-control-plane"
    yield Pool(f"{CONTROL_PLANE}.machine", name, plane.replicas, _aws(plane.machine), True)
    for number, pool in enumerate(cluster.spec.workers):
        yield Pool(f"spec.workers[{number}].machine", pool.name, pool.replicas, _aws(pool.machine))


def _of_deployments(cluster: Cluster, deployments: tuple[MachineDeployment, ...]) -> Iterator[Pool]:
    short = {pool.name for pool in cluster.spec.workers}
    for deployment in deployments:
        name = deployment.metadata.name
        if name not in short:
            spec = deployment.spec.template.spec.provider_spec.value
            path = f"MachineDeployment {name}: spec.template.spec.providerSpec.value.cloudProviderSpec"
            yield Pool(path, name, deployment.spec.replicas, _aws(spec.cloud_provider_spec))


def _aws(machine: object) -> AwsMachine:
    return machine if isinstance(machine, AwsMachine) else AwsMachine()
