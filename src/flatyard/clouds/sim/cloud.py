"""The adapter for the simulated cloud: the Cloud protocol, spoken through the provider's one door.

It is written as an adapter for a real cloud is: it finds by tag, retries nothing by itself, turns refusals
into `CloudError`s, and uses whatever idempotency the imitated cloud has for creating an instance once.
"""

from __future__ import annotations

from dataclasses import replace

from flatyard.base.errors import Problem
from flatyard.clouds import tags
from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    TAG_ROLE,
    ClusterRef,
    CreateRequest,
    Endpoint,
    Evidence,
    Image,
    ImageQuery,
    Instance,
    InstanceState,
    Network,
    Owned,
    Rejected,
    Role,
    Stashed,
    StashForbidden,
    Transient,
)
from flatyard.clouds.facts import Idempotency, Trouble, limits, traits
from flatyard.clouds.naming import bucket_of, group_of, mac_of, token_of
from flatyard.clouds.sim import admission, endpoint, imagery, preflight, scenery
from flatyard.clouds.sim.answers import missing_is_fine, told
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.door import Refused
from flatyard.clouds.sim.orders import RunInstance
from flatyard.clouds.sim.rows import InstanceRow, Row, VolumeRow
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import AwsMachine, GcpMachine, LocalMachine, VsphereMachine
from flatyard.model.traits import Limits, NodeTraits, StashScheme
from flatyard.node.evidence import parse_console
from flatyard.node.inputs import NodeFile


class SimCloud:
    """One account of the simulated cloud as the engine sees it."""

    def __init__(self, provider: Provider, *, list_lag: float = 0) -> None:
        """`list_lag`: seconds by which lists may be late, where that is more than the cloud's facts say."""
        self.provider = provider
        self._facts = provider.persona.facts
        self._rule = self._facts.tags
        self._traits = traits(self._facts, simulated=True)
        bound = max(self._facts.behaviour.list_lag_bound, list_lag)
        self._limits = replace(limits(self._facts), list_lag_seconds=bound)
        self._seen: dict[str, tuple[InstanceRow, Instance]] = {}
        self._buckets: dict[str, None] = {}

    @property
    def name(self) -> str:
        return "sim"

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
        with told("checking the account"):
            return await preflight.problems(self.provider, cluster, deployments)

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        with told("listing images"):
            return await imagery.images(self.provider, query)

    # ---- network and endpoint

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        with told(f"making the network of {ref.name}"):
            return await scenery.ensure(self.provider, ref, cluster)

    async def delete_network(self, ref: ClusterRef) -> None:
        with told(f"deleting the network of {ref.name}"):
            await scenery.delete(self.provider, ref)
        self._buckets.pop(bucket_of(ref), None)

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        with told(f"making the endpoint of {ref.name}"):
            return await endpoint.ensure(self.provider, ref, cluster, network, backends)

    async def delete_endpoint(self, ref: ClusterRef) -> None:
        with told(f"deleting the endpoint of {ref.name}"):
            await endpoint.delete(self.provider, ref)

    # ---- machines

    def node_files(self, ref: ClusterRef, network: Network) -> tuple[NodeFile, ...]:
        return ()

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        wanted = tags.cluster_tags(ref, self._rule)
        found: list[Instance] = []
        after = ""
        with told(f"listing the machines of {ref.name}"):
            while True:
                page = await self.provider.list_instances(wanted, after)
                found.extend(self._instance(row) for row in page.rows)
                after = page.next
                if not after:
                    return tuple(found)

    async def create(self, request: CreateRequest) -> Instance:
        with told(f"creating {request.name}"):
            self._check(request)
            port = await self._port(request)
            try:
                row = await self.provider.run_instance(self._order(request, port))
            except Refused as no:
                if no.trouble is not Trouble.NAME_TAKEN:
                    raise
                row = await self._taken_by(request, no)
        self._adopt(request, row)
        return self._instance(row)

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        with told(f"deleting {instance.name}"):
            if self._facts.behaviour.idempotency is Idempotency.PORT:
                await self._drop_port(instance)
            with missing_is_fine():
                await self.provider.delete_instance(instance.id)

    async def restart(self, ref: ClusterRef, instance: Instance) -> None:
        with told(f"restarting {instance.name}"):
            await self.provider.reboot_instance(instance.id)

    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        source = "console" if self._facts.console else "guestinfo"
        lines: tuple[str, ...] = ()
        with told(f"reading the console of {instance.name}"), missing_is_fine():
            lines = await self.provider.console(instance.id)
        report = parse_console("\n".join(lines))
        return Evidence(report.unit, report.lines, source) if report else None

    # ---- first-boot secrets

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        rule = self._facts.stash
        if rule.scheme is StashScheme.NONE:
            raise StashForbidden(
                f"{self._facts.title} has no object store",
                next="send the secret as ciphertext in the user data, its key in a property",
            )
        bucket, ttl = bucket_of(ref), min(ttl_seconds, rule.longest_ttl)
        with told(f"stashing {key}"):
            await self._bucket(ref, bucket)
            await self.provider.put_object(bucket, key, blob, ttl)
        return Stashed(key, self.provider.objects.sign(bucket, key, ttl))

    async def unstash(self, ref: ClusterRef, key: str) -> None:
        if self._facts.stash.scheme is not StashScheme.NONE:
            with told(f"deleting {key}"):
                await self.provider.delete_object(bucket_of(ref), key)

    # ---- what is left

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        with told(f"looking for what {ref.name} owns"):
            rows = await self.provider.list_resources(tags.cluster_tags(ref, self._rule))
        return tuple(self._owned(row) for row in rows)

    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        with told(f"deleting {owned.kind} {owned.name}"), missing_is_fine():
            await scenery.delete_one(self.provider, owned.kind, owned.id)
        if owned.kind == "bucket":
            self._buckets.pop(owned.id, None)

    # ---- how a create becomes one instance

    def _order(self, request: CreateRequest, port: str) -> RunInstance:
        machine = request.machine
        own = (
            (machine.cpus, machine.memory_mb)
            if isinstance(machine, (VsphereMachine, LocalMachine))
            else (0, 0)
        )
        return RunInstance(
            name=request.name,
            token=self._key(request),
            zone=self._zone(request),
            size=machine.size,
            image=request.image,
            subnet=self._subnet(request),
            groups=tuple(request.network.security_groups.get(key, "") for key in (request.role.value,)),
            user_data=request.user_data,
            tags=tags.machine_tags(request, self._rule),
            port=port,
            group=group_of(request.cluster),
            public=_is_public(request),
            etcd_gib=scenery.ETCD_GIB
            if request.role is Role.CONTROL_PLANE and self._facts.etcd_device
            else 0,
            vcpus=own[0],
            memory_mib=own[1],
        )

    def _check(self, request: CreateRequest) -> None:
        """Refuse what the create would, before a port is made for it."""
        order = self._order(request, "")
        admission.check_texts(self._facts, order)

    def _key(self, request: CreateRequest) -> str:
        """What makes a repeated create the same create."""
        return token_of(request)

    def _zone(self, request: CreateRequest) -> str:
        zones = request.network.zones
        return request.zone or (zones[sum(request.machine_id.encode()) % len(zones)] if zones else "")

    def _subnet(self, request: CreateRequest) -> str:
        zones, subnets = request.network.zones, request.network.subnets
        zone = self._zone(request)
        if len(subnets) == len(zones) and zone in zones:
            return subnets[zones.index(zone)]
        return subnets[0]

    async def _port(self, request: CreateRequest) -> str:
        """A port that takes one server only, where that is the cloud's way of creating once."""
        if self._facts.behaviour.idempotency is not Idempotency.PORT:
            return ""
        mac = mac_of(self._key(request))
        own = tags.machine_tags(request, self._rule)
        try:
            return (await self.provider.create_port(request.name, self._subnet(request), mac, own)).id
        except Refused as no:
            if no.trouble is not Trouble.NAME_TAKEN:
                raise
        return (await self.provider.find_port(mac)).id

    async def _drop_port(self, instance: Instance) -> None:
        with missing_is_fine():
            port = await self.provider.find_port(mac_of(token_of(instance)))
            await self.provider.delete_port(port.id)

    async def _taken_by(self, request: CreateRequest, no: Refused) -> InstanceRow:
        """Who has the name or the port: an earlier try of the same create, or somebody else."""
        if self._facts.behaviour.idempotency is Idempotency.PORT:
            port = await self.provider.find_port(mac_of(self._key(request)))
            return await self.provider.get_instance(port.instance)
        row = await self.provider.find_instance(request.name, group_of(request.cluster))
        if row.state is InstanceState.DELETING:
            what = f"creating {request.name}: {row.id} of that name is still being deleted"
            raise Transient(what, code=no.refusal.code)
        return row

    def _adopt(self, request: CreateRequest, row: InstanceRow) -> None:
        """Make sure that the instance is this machine's and this attempt's, by its tags."""
        same_machine = tags.machine_id(row.tags, self._rule) == request.machine_id
        if not same_machine or row.tags.get(TAG_ATTEMPT) != str(request.attempt):
            raise Rejected(
                f"creating {request.name}: {row.id} has that name and is another machine",
                code=self._facts.refusal(Trouble.NAME_TAKEN).code,
                next=f"delete {row.id}, or rename the machine",
            )

    # ---- rows as the engine knows them

    def _instance(self, row: InstanceRow) -> Instance:
        known = self._seen.get(row.id)
        if known and known[0] is row:
            return known[1]
        view = self.provider.compute.view
        made = Instance(
            id=row.id,
            machine_id=tags.machine_id(row.tags, self._rule),
            attempt=int(row.tags.get(TAG_ATTEMPT, "0")),
            name=row.name,
            role=Role(row.tags.get(TAG_ROLE, Role.WORKER.value)),
            state=row.state,
            provider_id=view.provider_id(row),
            node_name=view.node_name(row),
            zone=row.zone,
            addresses=view.addresses(row),
            image=row.image,
            error=row.fault if row.state is InstanceState.ERROR else "",
            created=row.created,
            no_capacity=row.fault.startswith(self._facts.refusal(Trouble.CAPACITY).code),
        )
        self._seen[row.id] = (row, made)
        return made

    def _owned(self, row: Row) -> Owned:
        kept = isinstance(row, VolumeRow) and not row.ends_with_instance
        machine = tags.machine_id(row.tags, self._rule)
        return Owned(row.kind, row.id, row.name, machine, kept, row.created)

    async def _bucket(self, ref: ClusterRef, bucket: str) -> None:
        if bucket not in self._buckets:
            await self.provider.create_bucket(bucket, tags.cluster_tags(ref, self._rule))
            self._buckets[bucket] = None


def _is_public(request: CreateRequest) -> bool:
    machine = request.machine
    if isinstance(machine, AwsMachine):
        return machine.assign_public_ip is not False
    if isinstance(machine, GcpMachine):
        return machine.assign_public_ip_address.value is not False
    return False
