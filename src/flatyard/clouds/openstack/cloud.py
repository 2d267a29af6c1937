"""The adapter for OpenStack: the Cloud protocol on the official SDK, one project and region.

Nothing is remembered between calls but ids that save asking again: tags, descriptions and the ports' MAC addresses
say how things stand, so any process may ask.
"""

from __future__ import annotations

from dataclasses import replace

from flatyard.base.errors import Problem
from flatyard.base.world import World
from flatyard.clouds.cloud import (
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
from flatyard.clouds.openstack import client as clients
from flatyard.clouds.openstack import endpoint, evidence, images, machines, networks, preflight, stash, sweep
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.facts import FACTS
from flatyard.clouds.openstack.settings import settings
from flatyard.model.cluster import Cluster, OpenstackCloud
from flatyard.model.machine import MachineDeployment
from flatyard.model.traits import Limits, NodeTraits, StashScheme
from flatyard.node.exosphere import SERVER_METADATA
from flatyard.node.inputs import NodeFile


def connect(cluster: Cluster, world: World) -> OpenstackAdapter:
    """The project that the Cluster names; raises Refused when there are no credentials for it."""
    chosen = cluster.spec.cloud.openstack or OpenstackCloud()
    client = clients.connect(settings(cluster), world, chosen)
    if cluster.spec.access.exosphere:
        client.metadata = SERVER_METADATA
    return OpenstackAdapter(client)


class OpenstackAdapter:
    """One project as the engine sees it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._traits = traits(FACTS)
        self._limits = limits(FACTS)

    @property
    def name(self) -> str:
        return FACTS.name

    @property
    def traits(self) -> NodeTraits:
        """What the site lacks is known after the first call: an object store, volumes for etcd."""
        found = self._traits
        if self.client.has(stash.SERVICE) is False:
            found = replace(found, stash=StashScheme.NONE)
        if self.client.has("block-storage") is False:
            found = replace(found, etcd_device="")
        return found

    @property
    def limits(self) -> Limits:
        return self._limits

    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        return await preflight.problems(self.client, cluster, deployments)

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        return await images.images(self.client, query)

    # ---- network and endpoint

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        return await networks.ensure(self.client, ref, cluster)

    async def delete_network(self, ref: ClusterRef) -> None:
        await networks.delete(self.client, ref)
        await stash.delete(self.client, ref)

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        return await endpoint.ensure(self.client, ref, cluster, network, backends)

    async def delete_endpoint(self, ref: ClusterRef) -> None:
        await endpoint.delete(self.client, ref)

    # ---- machines

    def node_files(self, ref: ClusterRef, network: Network) -> tuple[NodeFile, ...]:
        return ()

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return await machines.listed(self.client, ref)

    async def create(self, request: CreateRequest) -> Instance:
        return await machines.create(self.client, request)

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        await machines.delete(self.client, ref, instance)

    async def restart(self, ref: ClusterRef, instance: Instance) -> None:
        await machines.restart(self.client, instance)

    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        return await evidence.evidence(self.client, instance)

    # ---- first-boot secrets

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        return await stash.put(self.client, ref, key, blob, ttl_seconds)

    async def unstash(self, ref: ClusterRef, key: str) -> None:
        await stash.take_away(self.client, ref, key)

    # ---- what is left

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return await sweep.sweep(self.client, ref)

    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        await sweep.delete_owned(self.client, ref, owned)

    async def owner(self) -> str:
        await self.client.log_in()
        return f"OpenStack project {self.client.project}"

    async def close(self) -> None:
        await self.client.close()
