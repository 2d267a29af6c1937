"""The adapter for this Linux machine: the Cloud protocol with systemd-nspawn containers for machines.

Nothing is remembered between calls: folders, locks and the kernel say how things stand, so any process may ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flatyard.base.errors import Problem
from flatyard.base.world import RealWorld, World
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
    QuotaExceeded,
    Rejected,
    Stashed,
    StashForbidden,
    Transient,
)
from flatyard.clouds.facts import limits, traits
from flatyard.clouds.local import (
    boots,
    endpoint,
    evidence,
    ignition_build,
    machines,
    networks,
    preflight,
    sweep,
)
from flatyard.clouds.local.commands import CommandFailed
from flatyard.clouds.local.facts import FACTS
from flatyard.clouds.local.folders import clusters
from flatyard.clouds.local.images import images, reference_of, tree_of
from flatyard.clouds.local.machines import Provisions
from flatyard.clouds.local.settings import LocalSettings, settings
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.traits import Limits, NodeTraits
from flatyard.node.inputs import NodeFile
from flatyard.node.milestones import Milestone

_NO_SPACE = 28


class LocalCloud:
    """This machine as the engine sees it. Its verbs need root."""

    def __init__(self, place: LocalSettings | None = None, world: World | None = None) -> None:
        self.settings = place or settings()
        self._world = world or RealWorld()
        self._program: Path | None = None
        self._traits = traits(FACTS)
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

    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        return await preflight.all_problems(self.settings, cluster, deployments)

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        """The first look into a disk image takes minutes."""
        if self.settings.image:
            await tree_of(self.settings, reference_of(self.settings))
        return images(self.settings, query)

    # ---- network and endpoint

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        with self._told(f"making the network of {ref.name}"):
            return await networks.ensure(self.settings, ref, cluster)

    async def delete_network(self, ref: ClusterRef) -> None:
        with self._told(f"deleting the network of {ref.name}"):
            await sweep.finish(self.settings, ref)
            await networks.delete(self.settings, ref)

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        with self._told(f"making the endpoint of {ref.name}"):
            return await endpoint.ensure(self.settings, ref, cluster, network, backends)

    async def delete_endpoint(self, ref: ClusterRef) -> None:
        with self._told(f"deleting the endpoint of {ref.name}"):
            await endpoint.delete(self.settings, ref)

    # ---- machines

    def node_files(self, ref: ClusterRef, network: Network) -> tuple[NodeFile, ...]:
        return ()

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return machines.listed(self.settings, ref)

    async def create(self, request: CreateRequest) -> Instance:
        """The first create of this machine waits for the stand-in and Ignition to be built."""
        with self._told(f"creating {request.name}"):
            return await machines.create(
                self.settings, self._world, request, await self.provisions(request.image)
            )

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        with self._told(f"deleting {instance.name}"):
            folder = networks.folder_of(self.settings, ref).folder(instance.id)
            await machines.delete(folder, ref.id.lower())

    async def restart(self, ref: ClusterRef, instance: Instance) -> None:
        with self._told(f"restarting {instance.name}"):
            folder = networks.folder_of(self.settings, ref).folder(instance.id)
            await machines.restart(folder, self._ignition)

    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        with self._told(f"reading the console of {instance.name}"):
            return await evidence.evidence(networks.folder_of(self.settings, ref).folder(instance.id))

    async def milestones(self, instance: Instance) -> Mapping[Milestone, str]:
        """When an instance's first boot reached what; beyond the protocol, for the timing report."""
        folders = (cluster.folder(instance.id) for cluster in clusters(self.settings.home))
        folder = next((folder for folder in folders if folder.machine() is not None), None)
        return await boots.milestones(folder) if folder else {}

    async def provisions(self, image: str) -> Provisions:
        """What machines of an image are made with, built where it is not there yet. Raises Failed, Rejected."""
        tree, ignition = await asyncio.gather(tree_of(self.settings, image), self._ignition())
        return Provisions(tree, ignition, self.settings.images)

    async def _ignition(self) -> Path:
        """Go is asked once, not for each machine."""
        if self._program is None or not self._program.exists():
            self._program = await ignition_build.ensure(self.settings.cache, self.settings.tell)
        return self._program

    # ---- first-boot secrets

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        raise StashForbidden(
            f"{FACTS.title} has no object store",
            next="put it into the user data, which only root can read and which goes once Ignition has run",
        )

    async def unstash(self, ref: ClusterRef, key: str) -> None:
        return

    # ---- what is left

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        with self._told(f"looking for what {ref.name} owns"):
            return await sweep.sweep(self.settings, ref)

    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        with self._told(f"deleting {owned.kind} {owned.name}"):
            await sweep.delete_owned(self.settings, ref, owned)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Say in the engine's words what this machine answered."""
        try:
            yield
        except PermissionError as no:
            raise Rejected(f"{what}: {no}", code="EPERM", next="run the same command with sudo") from None
        except FileNotFoundError as no:
            raise Rejected(
                f"{what}: {no}", code="ENOENT", next="flatyard plan says what this machine lacks"
            ) from None
        except CommandFailed as no:
            raise Transient(f"{what}: {no}") from None
        except OSError as no:
            if no.errno == _NO_SPACE:
                full = f"no space left on device: the disk of {self.settings.home} is full"
                raise QuotaExceeded(
                    f"{what}: {full}", code="ENOSPC", next="make room, then run it again"
                ) from None
            raise Transient(f"{what}: {no}") from None
