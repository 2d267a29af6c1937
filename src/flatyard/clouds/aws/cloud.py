"""The adapter for AWS: the Cloud protocol on EC2, Elastic Load Balancing, IAM and S3.

Machines are found by their tags and created once by EC2's client tokens; nothing that matters is remembered here.
"""

from __future__ import annotations

from dataclasses import replace

from flatyard.base.errors import Problem, Refused, Severity
from flatyard.base.world import World
from flatyard.clouds.aws import (
    credentials,
    endpoint,
    evidence,
    images,
    machines,
    networks,
    preflight,
    stash,
    sweep,
)
from flatyard.clouds.aws.client import Account
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.permissions import path_of
from flatyard.clouds.aws.settings import AwsSettings, settings_of
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
from flatyard.model.traits import Limits, NodeTraits, StashScheme
from flatyard.node.inputs import NodeFile


class AwsCloud:
    """One account in one region as the engine sees it."""

    def __init__(self, settings: AwsSettings, world: World | None = None, *, per_second: float = 0) -> None:
        """`per_second`: calls that may be made, where that is not the account's own limit.

        Raises Refused when there are no credentials.
        """
        session = credentials.session(settings)
        self.settings = settings
        self.account = Account(session, settings.region, world=world, per_second=per_second)
        scheme = StashScheme.S3 if credentials.temporary(session) else StashScheme.HTTPS
        self._traits = replace(traits(FACTS), stash=scheme)
        self._limits = limits(FACTS)
        self._known = machines.Known()

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
        """A cluster whose file names another account or region than this one is checked there."""
        wanted = settings_of(cluster)
        if wanted == self.settings:
            return await preflight.problems(self.account, wanted, cluster, deployments)
        try:
            session = credentials.session(wanted)
        except Refused as no:
            words = "; ".join(filter(None, (no.what, no.why, no.next)))
            return (Problem(Severity.ERROR, None, path_of(wanted), words),)
        other = Account(session, wanted.region, world=self.account.world)
        try:
            return await preflight.problems(other, wanted, cluster, deployments)
        finally:
            await other.close()

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        return await images.images(self.account, query)

    # ---- network and endpoint

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        return await networks.ensure(self.account, ref, cluster)

    async def delete_network(self, ref: ClusterRef) -> None:
        await networks.delete(self.account, ref)

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        return await endpoint.ensure(self.account, ref, cluster, network, backends)

    async def delete_endpoint(self, ref: ClusterRef) -> None:
        await endpoint.delete(self.account, ref)

    # ---- machines

    def node_files(self, ref: ClusterRef, network: Network) -> tuple[NodeFile, ...]:
        return ()

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return await machines.listed(self.account, ref, self._known)

    async def create(self, request: CreateRequest) -> Instance:
        return await machines.create(self.account, request, self._known)

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        await machines.delete(self.account, instance, self._known)

    async def restart(self, ref: ClusterRef, instance: Instance) -> None:
        await machines.restart(self.account, instance)

    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        return await evidence.evidence(self.account, instance)

    # ---- first-boot secrets

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        return await stash.stash(self.account, ref, key, blob, ttl_seconds, self._traits.stash)

    async def unstash(self, ref: ClusterRef, key: str) -> None:
        await stash.unstash(self.account, ref, key)

    # ---- what is left

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return await sweep.sweep(self.account, ref)

    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        await sweep.delete_owned(self.account, ref, owned)

    async def owner(self) -> str:
        who = await self.account.read("asking who the credentials are", "sts", "get_caller_identity")
        return f"AWS account {who['Account']}"

    async def close(self) -> None:
        await self.account.close()


def connect(cluster: Cluster, world: World) -> Adapter:
    """The account that the cluster file and the environment name. Raises Refused without credentials."""
    return AwsCloud(settings_of(cluster), world)
