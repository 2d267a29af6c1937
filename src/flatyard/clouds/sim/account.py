"""The state of one simulated account: everything in it, its quotas, its ids and its clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

from flatyard.base.world import World, rfc3339
from flatyard.clouds.cloud import InstanceState
from flatyard.clouds.facts import Quotas, Trouble
from flatyard.clouds.sim.door import Refused, refused
from flatyard.clouds.sim.persona import Persona
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
    Shelf,
    SubnetRow,
    VolumeRow,
)
from flatyard.sim.disk import Disk

UNLIMITED = Quotas()
_COUNTER = "cloud/counter"


class Account:
    """One account in one region of the simulated cloud. Everything in it is on `disk`."""

    def __init__(self, persona: Persona, world: World, disk: Disk, quotas: Quotas = UNLIMITED) -> None:
        self.persona = persona
        self.facts = persona.facts
        self.world = world
        self.disk = disk
        self.quotas = quotas
        self.closed_zones: tuple[str, ...] = ()
        """Zones that take no new instance."""
        self.list_lag = persona.facts.behaviour.list_lag
        self.networks = Shelf(disk, NetworkRow)
        self.subnets = Shelf(disk, SubnetRow)
        self.groups = Shelf(disk, GroupRow)
        self.balancers = Shelf(disk, BalancerRow)
        self.addresses = Shelf(disk, AddressRow)
        self.names = Shelf(disk, NameRow)
        self.ports = Shelf(disk, PortRow)
        self.volumes = Shelf(disk, VolumeRow)
        self.buckets = Shelf(disk, BucketRow)
        self.objects = Shelf(disk, ObjectRow)
        self.images = Shelf(disk, ImageRow)
        self.instances = Shelf(disk, InstanceRow)
        self._seq = max((row.seq for row in self._everything()), default=0)
        self._number = next((int(value) for _, value in disk.items(_COUNTER)), 0)

    def _everything(self) -> Iterator[Row]:
        return chain(
            self.images, self.objects, self.instances, self.balancers, self.addresses, self.names,
            self.ports, self.volumes, self.groups, self.subnets, self.networks, self.buckets,
        )  # fmt: skip

    def owned(self) -> Iterator[Row]:
        """What an account pays for, in an order in which it can be deleted; terminated instances do not
        count.
        """
        living = (row for row in self.instances if row.state is not InstanceState.TERMINATED)
        return chain(
            living, self.balancers, self.names, self.addresses, self.ports, self.volumes,
            self.groups, self.subnets, self.networks, self.buckets,
        )  # fmt: skip

    def next_seq(self) -> int:
        """A number above every row's, to order rows by."""
        self._seq += 1
        return self._seq

    def next_number(self) -> int:
        """The number of the next instance, counted from 1."""
        self._number += 1
        self.disk.put(_COUNTER, str(self._number).encode())
        return self._number

    def new_id(self, form: str, name: str = "", group: str = "") -> str:
        """An id in the cloud's own form; see `CloudFacts.instance_id`."""
        bits = self.world.random().getrandbits(128)
        text = f"{bits:032x}"
        uuid = f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
        return form.format(
            hex17=f"0{text[:16]}", uuid=uuid, name=name, group=group, account=self.persona.account
        )

    def digest(self, text: str) -> str:
        """Stable hex digits for a text, where a cloud puts something opaque."""
        return hashlib.sha256(f"{self.persona.name}/{self.persona.region.name}/{text}".encode()).hexdigest()

    def created(self) -> str:
        return rfc3339(self.world.now())

    def now(self) -> float:
        """The world's clock, in seconds since the Unix epoch."""
        return self.world.now().timestamp()

    def later(self, seconds: float) -> float:
        """The stamp that will be `seconds` (simulated ones) from now."""
        return self.world.later(seconds).timestamp()

    def left(self, stamp: float) -> float:
        """Simulated seconds until the stamp, 0 when it is past."""
        return max(0.0, -self.world.age(datetime.fromtimestamp(stamp, UTC)))

    def refuse(self, trouble: Trouble, **fields: str | int) -> Refused:
        """The cloud's own answer to a trouble, to be raised."""
        return refused(self.facts, trouble, retry_after=0, **fields)

    def set_quota(self, name: str, limit: int) -> None:
        """Change one quota, by the name of its field in `Quotas`."""
        self.quotas = replace(self.quotas, **{name: limit})
