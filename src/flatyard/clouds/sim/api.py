"""The simulated provider as its customers see it: typed operations, every one through the one door.

Nothing here is a provider's real API; the operations have the grain of one, so that an adapter written
against it is written as a real one is. Results are frozen rows; refusals are `door.Refused`, broken
connections `door.Lost`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from flatyard.base.world import World
from flatyard.clouds.facts import Quotas
from flatyard.clouds.sim.account import UNLIMITED, Account
from flatyard.clouds.sim.addresses import Addresses
from flatyard.clouds.sim.compute import Compute, Page
from flatyard.clouds.sim.consoles import Consoles
from flatyard.clouds.sim.door import Door, Faults, NoFaults, Op
from flatyard.clouds.sim.fetching import Fetching
from flatyard.clouds.sim.images import ImageFilter, Images
from flatyard.clouds.sim.networks import Networks, Tags
from flatyard.clouds.sim.objects import Objects
from flatyard.clouds.sim.orders import RunInstance
from flatyard.clouds.sim.persona import Persona
from flatyard.clouds.sim.power import BootFaults, Machines, NoMachines
from flatyard.clouds.sim.releases import RELEASES, Release
from flatyard.clouds.sim.rows import (
    AddressRow,
    BalancerRow,
    BucketRow,
    GroupRow,
    ImageRow,
    InstanceRow,
    NameRow,
    NetworkRow,
    ObjectRow,
    PortRow,
    Row,
    SubnetRow,
    VolumeRow,
)
from flatyard.sim.disk import Disk

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """Quotas of the account and what is used of them; a quota of 0 is none."""

    quotas: Quotas
    instances: int
    vcpus: int


class Provider:
    """One account of the simulated cloud, alive: its state, its clocks, and its API.

    Make it inside the running loop's reach and call `open` in the loop; `close` stops its timers. What it
    knows is on `disk`, so that another Provider on the same disk goes on where this one stopped.
    """

    def __init__(
        self,
        persona: Persona,
        world: World,
        disk: Disk,
        *,
        releases: Sequence[Release] = RELEASES,
        machines: Machines | None = None,
        faults: Faults | None = None,
        boots: BootFaults | None = None,
        quotas: Quotas = UNLIMITED,
    ) -> None:
        self.persona = persona
        self.world = world
        self._boots = boots or BootFaults()
        self.account = Account(persona, world, disk, quotas)
        self.door = Door(persona.facts, world, faults or NoFaults())
        self.images = Images(self.account, releases)
        self.addresses = Addresses(self.account)
        self.networks = Networks(self.account, self.addresses)
        self.objects = Objects(self.account)
        self.consoles = Consoles(disk)
        self.compute = Compute(
            self.account,
            self.images,
            self.addresses,
            machines or NoMachines(),
            self.consoles,
            self._boots,
            self.fetcher,
        )

    def open(self) -> None:
        """Take up, in the running loop, where an earlier process stopped."""
        self.compute.open()

    def close(self) -> None:
        """Stop every timer; nothing on the disk changes."""
        self.compute.close()

    def fetcher(self, number: int) -> Fetching:
        """The network as the account's how-manieth instance sees it."""
        return Fetching(self.objects, number, self._boots)

    def left_over(self) -> tuple[Row, ...]:
        """Everything in the account that costs money or space, whoever made it, images apart."""
        return tuple(row for row in self.account.owned() if row.created)

    # ---- instances

    async def run_instance(self, run: RunInstance) -> InstanceRow:
        return await self.door.call(Op.INSTANCE_RUN, run.name, partial(self.compute.run, run))

    async def list_instances(self, tags: Tags, after: str = "") -> Page:
        """One page; `after` is the earlier page's `next`."""
        return await self.door.call(Op.INSTANCE_LIST, "", partial(self.compute.list, tags, after))

    async def find_instance(self, name: str, group: str) -> InstanceRow:
        """The living instance of that name, without the delay of lists."""
        return await self.door.call(Op.INSTANCE_LIST, name, partial(self.compute.named, name, group))

    async def get_instance(self, instance_id: str) -> InstanceRow:
        return await self.door.call(Op.INSTANCE_LIST, instance_id, partial(self.compute.get, instance_id))

    async def delete_instance(self, instance_id: str) -> InstanceRow:
        act = partial(self.compute.delete, instance_id)
        return await self.door.call(Op.INSTANCE_DELETE, instance_id, act)

    async def reboot_instance(self, instance_id: str) -> InstanceRow:
        act = partial(self.compute.reboot, instance_id)
        return await self.door.call(Op.INSTANCE_REBOOT, instance_id, act)

    async def console(self, instance_id: str) -> tuple[str, ...]:
        act = partial(self._console, instance_id)
        return await self.door.call(Op.INSTANCE_CONSOLE, instance_id, act)

    def _console(self, instance_id: str) -> tuple[str, ...]:
        return self.consoles.read(self.compute.get(instance_id).id)

    async def list_images(self, wanted: ImageFilter) -> tuple[ImageRow, ...]:
        return await self.door.call(Op.IMAGE_LIST, wanted.channel, partial(self.images.list, wanted))

    async def named_image(self, name: str, like: ImageFilter) -> ImageRow | None:
        """The image that a user named. What the account cannot know is assumed to exist, with the newest
        release that fits `like` in it; None when there is no such release either."""
        return await self.door.call(Op.IMAGE_LIST, name, partial(self._named_image, name, like))

    def _named_image(self, name: str, like: ImageFilter) -> ImageRow | None:
        newest = next(iter(self.images.list(like)), None)
        return newest and self.images.assume(name, newest)

    async def baked_image(self, base: str, kubernetes: str) -> ImageRow | None:
        """The user's own image of a release with Kubernetes in it, assumed to exist."""
        return await self.door.call(Op.IMAGE_LIST, base, partial(self._baked, base, kubernetes))

    def _baked(self, base: str, kubernetes: str) -> ImageRow | None:
        row = self.images.get(base)
        return row and self.images.bake(row, kubernetes)

    async def find_port(self, mac: str) -> PortRow:
        """The port with that MAC address."""
        return await self.door.call(Op.RESOURCE_LIST, mac, partial(self.networks.port, mac))

    async def usage(self) -> Usage:
        return await self.door.call(Op.ACCOUNT_LIMITS, "", self._usage)

    def _usage(self) -> Usage:
        return Usage(self.account.quotas, self.compute.alive, self.compute.vcpus)

    # ---- networks

    async def create_network(self, name: str, cidr: str, tags: Tags) -> NetworkRow:
        act = partial(self.networks.create_network, name, cidr, tags)
        return await self.door.call(Op.NETWORK_CREATE, name, act)

    async def delete_network(self, network: str) -> None:
        await self.door.call(Op.NETWORK_DELETE, network, partial(self.networks.delete_network, network))

    async def create_subnet(self, network: str, name: str, zone: str, cidr: str, tags: Tags) -> SubnetRow:
        act = partial(self.networks.create_subnet, network, name, zone, cidr, tags)
        return await self.door.call(Op.SUBNET_CREATE, name, act)

    async def delete_subnet(self, subnet: str) -> None:
        await self.door.call(Op.SUBNET_DELETE, subnet, partial(self.networks.delete_subnet, subnet))

    async def create_group(self, network: str, name: str, rules: tuple[str, ...], tags: Tags) -> GroupRow:
        act = partial(self.networks.create_group, network, name, rules, tags)
        return await self.door.call(Op.GROUP_CREATE, name, act)

    async def delete_group(self, group: str) -> None:
        await self.door.call(Op.GROUP_DELETE, group, partial(self.networks.delete_group, group))

    async def create_port(self, name: str, subnet: str, mac: str, tags: Tags) -> PortRow:
        act = partial(self.networks.create_port, name, subnet, mac, tags)
        return await self.door.call(Op.PORT_CREATE, name, act)

    async def delete_port(self, port: str) -> None:
        await self.door.call(Op.PORT_DELETE, port, partial(self.networks.delete_port, port))

    # ---- the way in

    async def create_balancer(
        self, name: str, port: int, subnets: tuple[str, ...], address: str, tags: Tags
    ) -> BalancerRow:
        act = partial(self.networks.create_balancer, name, port, subnets, address, tags)
        return await self.door.call(Op.BALANCER_CREATE, name, act)

    async def delete_balancer(self, balancer: str) -> None:
        await self.door.call(Op.BALANCER_DELETE, balancer, partial(self.networks.delete_balancer, balancer))

    async def add_targets(self, balancer: str, targets: tuple[str, ...]) -> BalancerRow:
        act = partial(self.networks.add_targets, balancer, targets)
        return await self.door.call(Op.TARGETS_ADD, balancer, act)

    async def remove_targets(self, balancer: str, targets: tuple[str, ...]) -> BalancerRow:
        act = partial(self.networks.remove_targets, balancer, targets)
        return await self.door.call(Op.TARGETS_REMOVE, balancer, act)

    async def create_address(self, name: str, subnet: str, wanted: str, tags: Tags) -> AddressRow:
        act = partial(self.networks.create_address, name, subnet, wanted, tags)
        return await self.door.call(Op.ADDRESS_CREATE, name, act)

    async def delete_address(self, address: str) -> None:
        await self.door.call(Op.ADDRESS_DELETE, address, partial(self.networks.delete_address, address))

    async def put_name(self, name: str, targets: tuple[str, ...], tags: Tags) -> NameRow:
        act = partial(self.networks.put_name, name, targets, tags)
        return await self.door.call(Op.NAME_PUT, name, act)

    async def delete_name(self, name: str) -> None:
        await self.door.call(Op.NAME_DELETE, name, partial(self.networks.delete_name, name))

    # ---- storage

    async def create_volume(self, name: str, zone: str, gib: int, tags: Tags) -> VolumeRow:
        """A volume of its own, as a CSI driver makes them."""
        act = partial(self._create_volume, name, zone, gib, tags)
        return await self.door.call(Op.VOLUME_CREATE, name, act)

    def _create_volume(self, name: str, zone: str, gib: int, tags: Tags) -> VolumeRow:
        account = self.account
        return account.volumes.put(
            VolumeRow(
                id=account.new_id("vol-{hex17}" if self.persona.name == "aws" else "{uuid}"),
                seq=account.next_seq(),
                name=name,
                created=account.created(),
                tags=dict(tags),
                zone=zone,
                gib=gib,
            )
        )

    async def delete_volume(self, volume: str) -> None:
        await self.door.call(Op.VOLUME_DELETE, volume, partial(self.account.volumes.remove, volume))

    async def create_bucket(self, name: str, tags: Mapping[str, str]) -> BucketRow:
        act = partial(self.objects.create_bucket, name, dict(tags))
        return await self.door.call(Op.BUCKET_CREATE, name, act)

    async def delete_bucket(self, name: str) -> None:
        await self.door.call(Op.BUCKET_DELETE, name, partial(self.objects.delete_bucket, name))

    async def put_object(self, bucket: str, key: str, blob: bytes, ttl: float) -> ObjectRow:
        act = partial(self.objects.put, bucket, key, blob, ttl)
        return await self.door.call(Op.OBJECT_PUT, key, act)

    async def delete_object(self, bucket: str, key: str) -> None:
        await self.door.call(Op.OBJECT_DELETE, key, partial(self.objects.delete, bucket, key))

    async def list_objects(self, bucket: str) -> tuple[str, ...]:
        return await self.door.call(Op.RESOURCE_LIST, bucket, partial(self.objects.keys, bucket))

    async def list_resources(self, tags: Tags) -> tuple[Row, ...]:
        """Everything that carries these tags, in an order in which it can be deleted."""
        return await self.door.call(Op.RESOURCE_LIST, "", partial(self._tagged, tags))

    def _tagged(self, tags: Tags) -> tuple[Row, ...]:
        wanted = tags.items()
        return tuple(row for row in self.account.owned() if wanted <= row.tags.items())


__all__ = ["Provider", "Usage"]
