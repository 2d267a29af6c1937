"""The adapter for Microsoft Azure: the Cloud protocol on Azure's own SDK.

Everything is found by tag or by a name that holds the cluster's id; what is kept in memory only saves calls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from flatyard.base.errors import Problem
from flatyard.base.world import World
from flatyard.clouds.azure import (
    controller,
    endpoint,
    evidence,
    images,
    machines,
    networks,
    preflight,
    stash,
    sweep,
)
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.client import AzureClients
from flatyard.clouds.azure.credentials import credential
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.azure.settings import AzureSettings, settings
from flatyard.clouds.cloud import (
    Adapter,
    ClusterRef,
    CreateRequest,
    Endpoint,
    Evidence,
    Image,
    ImageQuery,
    Instance,
    Network,
    Owned,
    Stashed,
)
from flatyard.clouds.facts import limits, traits
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.traits import Limits, NodeTraits
from flatyard.node.inputs import NodeFile


def connect(cluster: Cluster, world: World, environment: Mapping[str, str] = os.environ) -> Adapter:
    """The subscription that a Cluster names. Raises Refused when none is named."""
    place = settings(cluster, environment)
    return AzureCloud(place, world, environment)


class AzureCloud:
    """One subscription and location as the engine sees it."""

    def __init__(self, place: AzureSettings, world: World, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.account = Account(place, AzureClients(place, credential(place, environment)), world)
        self._traits = traits(FACTS, external=place.external)
        self._limits = limits(FACTS)

    @property
    def name(self) -> str:
        return FACTS.name

    @property
    def traits(self) -> NodeTraits:
        return self._traits

    @property
    def limits(self) -> Limits:
        return self._limits

    # ---- before anything is created

    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        """Of the Cluster that is given, which may name another account or place than the one that we act in."""
        place = settings(cluster, self._environment)
        if place == self.account.place:
            return await preflight.problems(self.account, cluster, deployments)
        other = AzureCloud(place, self.account.world, self._environment)
        try:
            return await preflight.problems(other.account, cluster, deployments)
        finally:
            await other.close()

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        return await images.images(self.account, query)

    # ---- network and endpoint

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        return await networks.ensure(self.account, ref, cluster)

    async def delete_network(self, ref: ClusterRef) -> None:
        await sweep.delete_network(self.account, ref)

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        return await endpoint.ensure(self.account, ref, cluster, network, backends)

    async def delete_endpoint(self, ref: ClusterRef) -> None:
        await endpoint.delete(self.account, ref)

    # ---- machines

    def node_files(self, ref: ClusterRef, network: Network) -> tuple[NodeFile, ...]:
        return (controller.node_file(self.account, ref, network),)

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return await machines.listed(self.account, ref)

    async def create(self, request: CreateRequest) -> Instance:
        return await machines.create(self.account, request)

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        await machines.delete(self.account, ref, instance)

    async def restart(self, ref: ClusterRef, instance: Instance) -> None:
        await machines.restart(self.account, ref, instance)

    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        return await evidence.evidence(self.account, ref, instance)

    # ---- first-boot secrets

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        return await stash.stash(self.account, ref, key, blob, ttl_seconds)

    async def unstash(self, ref: ClusterRef, key: str) -> None:
        await stash.unstash(self.account, ref, key)

    # ---- what is left

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return await sweep.sweep(self.account, ref)

    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        await sweep.delete_owned(self.account, ref, owned)

    async def owner(self) -> str:
        return f"Azure subscription {self.account.place.subscription.lower()}"

    async def close(self) -> None:
        await self.account.calls.close()
        self.account.clients.close()
