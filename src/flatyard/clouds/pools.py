"""The groups of machines that a cluster asks for, and where they are written: what every preflight walks through."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.facts import BIND_PORT, CloudFacts, NameRule
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import MachineSpec
from flatyard.model.references import references

LONGEST_NODE = 63
"""Characters of a node's name: it is the value of its label kubernetes.io/hostname."""

M = TypeVar("M")
K = TypeVar("K", bound=MachineSpec)


@dataclass(frozen=True, slots=True)
class Pool(Generic[M]):
    """Machines that are alike; `path` is where the document describes them, `name_path` where it names them."""

    path: str
    name_path: str
    name: str
    replicas: int
    machine: M
    key: str = "machine"
    """Key of the machine spec below `path`."""
    control_plane: bool = False

    def at(self, field: str) -> str:
        """Path of a field of the machine spec, for a Problem."""
        return f"{self.path}.{self.key}.{field}"

    def holding(self, machine: K) -> Pool[K]:
        """The same with this machine spec."""
        return Pool(
            self.path, self.name_path, self.name, self.replicas, machine, self.key, self.control_plane
        )


def pools(
    cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> tuple[Pool[MachineSpec | None], ...]:
    """The control plane first. A deployment that was made from the `workers` shorthand is told at the shorthand.

    A pool that reads something from the cluster is left out: what is not read yet cannot be checked.
    """
    everything = (*_of_cluster(cluster), *_of_deployments(cluster, deployments))
    return tuple(pool for pool in everything if pool.machine is None or not references(pool.machine))


def pools_of(
    kind: type[K], cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> tuple[Pool[K], ...]:
    """The pools of one cloud's machines; a pool without a machine spec has the kind's defaults.

    Machines of other clouds are left out: the engine says of them that they are not this cluster's.
    """
    found = []
    for pool in pools(cluster, deployments):
        machine = kind() if pool.machine is None else pool.machine
        if isinstance(machine, kind):
            found.append(pool.holding(machine))
    return tuple(found)


def badly_named(pools: Iterable[Pool[M]], rule: NameRule) -> Iterator[Problem]:
    """The names after which this cloud, or Kubernetes, lets no machine be called."""
    longest = min(LONGEST_NODE, rule.longest)
    for pool in pools:
        machine = f"{pool.name}-{'99' if pool.control_plane else 'xxxxx-xxxxx'}"
        if not rule.fits(machine) or len(machine) > longest:
            name = pool.name.removesuffix("-control-plane") if pool.control_plane else pool.name
            what = f"machines named after {name!r} cannot be called so here"
            room = longest - len(machine) + len(name)
            allowed = f"{rule.allowed}; {room} characters, and with what is added {longest}"
            yield Problem(Severity.ERROR, None, pool.name_path, what, allowed)


def crowded(nodes: str, machines: int, subnets: Sequence[str], reserved: int) -> Iterator[Problem]:
    """Too many machines for the subnets that are made of `nodes`, of each of which some addresses are taken."""
    room = sum(max(0, ipaddress.ip_network(subnet).num_addresses - reserved) for subnet in subnets)
    if machines > room:
        where = f"{len(subnets)} subnet{'s' if len(subnets) > 1 else ''}"
        what = f"{nodes} has room for {room} machines in {where}; the cluster has {machines}"
        yield Problem(Severity.ERROR, None, "spec.network.nodes", what, "a larger network")


def unreachable(port: int, facts: CloudFacts) -> Iterator[Problem]:
    """A port of the endpoint's at which no control plane reaches the API by the endpoint's name."""
    if not facts.hairpin and port != BIND_PORT:
        what = "no control plane reaches itself through the load balancer, and each is its own endpoint at its own port"
        yield Problem(Severity.ERROR, None, "spec.endpoint.port", what, str(BIND_PORT))


def _of_cluster(cluster: Cluster) -> Iterator[Pool[MachineSpec | None]]:
    plane = cluster.spec.control_plane
    name = f"{cluster.name}-control-plane"
    yield Pool("spec.controlPlane", "metadata.name", name, plane.replicas, plane.machine, control_plane=True)
    for number, pool in enumerate(cluster.spec.workers):
        path = f"spec.workers[{number}]"
        yield Pool(path, f"{path}.name", pool.name, pool.replicas, pool.machine)


def _of_deployments(
    cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> Iterator[Pool[MachineSpec | None]]:
    short = {pool.name for pool in cluster.spec.workers}
    for deployment in deployments:
        name = deployment.metadata.name
        if name not in short:
            document = f"MachineDeployment {name}"
            path = f"{document}: spec.template.spec.providerSpec.value"
            machine = deployment.spec.template.spec.provider_spec.value.cloud_provider_spec
            named = f"{document}: metadata.name"
            yield Pool(path, named, name, deployment.spec.replicas, machine, "cloudProviderSpec")
