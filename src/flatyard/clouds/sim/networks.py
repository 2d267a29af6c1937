"""Networks, subnets, security groups, load balancers, addresses, ports and names of the simulated provider."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from flatyard.clouds.cloud import TAG_CLUSTER, TAG_ROLE, InstanceState, Role
from flatyard.clouds.facts import Trouble
from flatyard.clouds.sim.account import Account
from flatyard.clouds.sim.addresses import Addresses
from flatyard.clouds.sim.rows import (
    AddressRow,
    BalancerRow,
    GroupRow,
    InstanceRow,
    NameRow,
    NetworkRow,
    PortRow,
    Row,
    Shelf,
    SubnetRow,
)

R = TypeVar("R", bound=Row)
Tags = Mapping[str, str]


class Networks:
    """What connects instances. Creating twice makes two, as on real clouds; finding by tag is the caller's
    part.
    """

    def __init__(self, account: Account, addresses: Addresses) -> None:
        self._account = account
        self._addresses = addresses
        self._held: dict[str, tuple[int, tuple[str, ...]]] = {}

    # ---- networks

    def create_network(self, name: str, cidr: str, tags: Tags) -> NetworkRow:
        self._room(len(self._account.networks), self._account.quotas.networks, Trouble.QUOTA_NETWORKS)
        row = NetworkRow(
            id=self._id("vpc", "{uuid}", name),
            seq=self._account.next_seq(),
            name=name,
            created=self._account.created(),
            tags=dict(tags),
            cidr=cidr,
        )
        return self._account.networks.put(row)

    def assume_network(self, network: str, subnets: Mapping[str, str], cidr: str) -> None:
        """Take a network that the user named to exist, with a subnet id per zone; it is not ours."""
        account = self._account
        if account.networks.get(network) is None:
            seq = account.next_seq()
            account.networks.put(NetworkRow(id=network, seq=seq, name=network, cidr=cidr))
        for number, (subnet, zone) in enumerate(subnets.items()):
            if account.subnets.get(subnet) is None:
                seq, part = account.next_seq(), split(cidr, len(subnets))[number]
                row = SubnetRow(id=subnet, seq=seq, name=subnet, network=network, zone=zone, cidr=part)
                account.subnets.put(row)

    def create_subnet(self, network: str, name: str, zone: str, cidr: str, tags: Tags) -> SubnetRow:
        self._existing(self._account.networks, network)
        row = SubnetRow(
            id=self._id("subnet", "{uuid}", name),
            seq=self._account.next_seq(),
            name=name,
            created=self._account.created(),
            tags=dict(tags),
            network=network,
            zone=zone,
            cidr=cidr,
        )
        return self._account.subnets.put(row)

    def create_group(self, network: str, name: str, rules: tuple[str, ...], tags: Tags) -> GroupRow:
        self._existing(self._account.networks, network)
        row = GroupRow(
            id=self._id("sg", "{uuid}", name),
            seq=self._account.next_seq(),
            name=name,
            created=self._account.created(),
            tags=dict(tags),
            network=network,
            rules=rules,
        )
        return self._account.groups.put(row)

    def delete_network(self, network: str) -> None:
        account = self._account
        self._existing(account.networks, network)
        inside = [row.network for row in (*account.subnets, *account.groups)]
        if network in inside:
            raise account.refuse(Trouble.IN_USE, name=network)
        account.networks.remove(network)

    def delete_subnet(self, subnet: str) -> None:
        account = self._account
        self._existing(account.subnets, subnet)
        users = [row.subnet for row in self._living()] + [row.subnet for row in account.ports]
        users += [part for row in account.balancers for part in row.subnets]
        users += [row.subnet for row in account.addresses]
        if subnet in users:
            raise account.refuse(Trouble.IN_USE, name=subnet)
        account.subnets.remove(subnet)

    def delete_group(self, group: str) -> None:
        account = self._account
        self._existing(account.groups, group)
        if any(group in row.groups for row in self._living()):
            raise account.refuse(Trouble.IN_USE, name=group)
        account.groups.remove(group)

    # ---- the way in

    def create_balancer(
        self, name: str, port: int, subnets: tuple[str, ...], address: str, tags: Tags
    ) -> BalancerRow:
        account = self._account
        self._room(len(account.balancers), account.quotas.load_balancers, Trouble.QUOTA_LOAD_BALANCERS)
        spell, random = account.facts.durations.load_balancer, account.world.random()
        row_id = self._id("nlb", "{uuid}", name)
        form = account.facts.load_balancer_host
        words = {"name": name, "digest": account.digest(row_id)[:16], "region": account.persona.region.name}
        row = BalancerRow(
            id=row_id,
            seq=account.next_seq(),
            name=name,
            created=account.created(),
            tags=dict(tags),
            host=form.format(**words) if form else address,
            address=address,
            port=port,
            subnets=subnets,
            ready=account.later(max(0.0, spell.mean + spell.spread * random.uniform(-1, 1))),
        )
        return account.balancers.put(row)

    def delete_balancer(self, balancer: str) -> None:
        self._existing(self._account.balancers, balancer)
        self._account.balancers.remove(balancer)

    def add_targets(self, balancer: str, targets: tuple[str, ...]) -> BalancerRow:
        row = self._existing(self._account.balancers, balancer)
        for target in targets:
            self._existing(self._account.instances, target)
        new = tuple(target for target in targets if target not in row.targets)
        return self._account.balancers.put(replace(row, targets=row.targets + new))

    def remove_targets(self, balancer: str, targets: tuple[str, ...]) -> BalancerRow:
        row = self._existing(self._account.balancers, balancer)
        left = tuple(target for target in row.targets if target not in targets)
        return self._account.balancers.put(replace(row, targets=left))

    def create_address(self, name: str, subnet: str, wanted: str, tags: Tags) -> AddressRow:
        """A public address, or one of a subnet; `wanted` asks for a particular one."""
        account = self._account
        self._room(len(account.addresses), account.quotas.addresses, Trouble.QUOTA_ADDRESSES)
        address = wanted or (self._addresses.take(subnet) if subnet else self._addresses.public())
        row = AddressRow(
            id=self._id("eipalloc", "{uuid}", name),
            seq=account.next_seq(),
            name=name,
            created=account.created(),
            tags=dict(tags),
            address=address,
            subnet=subnet,
        )
        return account.addresses.put(row)

    def delete_address(self, address: str) -> None:
        row = self._existing(self._account.addresses, address)
        self._addresses.free(row.subnet, row.address)
        self._account.addresses.remove(address)

    def put_name(self, name: str, targets: tuple[str, ...], tags: Tags) -> NameRow:
        """Create or change a DNS record."""
        account = self._account
        known = account.names.get(name)
        if known:
            return account.names.put(replace(known, targets=targets))
        seq, created = account.next_seq(), account.created()
        row = NameRow(id=name, seq=seq, name=name, created=created, tags=dict(tags), targets=targets)
        return account.names.put(row)

    def delete_name(self, name: str) -> None:
        self._existing(self._account.names, name)
        self._account.names.remove(name)

    # ---- ports

    def create_port(self, name: str, subnet: str, mac: str, tags: Tags) -> PortRow:
        """A port with a MAC address of the caller's choice; raises Refused when that one is taken."""
        account = self._account
        row_id = port_id(mac)
        if account.ports.get(row_id):
            raise account.refuse(Trouble.NAME_TAKEN, name=mac)
        row = PortRow(
            id=row_id,
            seq=account.next_seq(),
            name=name,
            created=account.created(),
            tags=dict(tags),
            subnet=subnet,
            mac=mac,
            address=self._addresses.take(subnet),
        )
        return account.ports.put(row)

    def port(self, mac: str) -> PortRow:
        return self._existing(self._account.ports, port_id(mac))

    def delete_port(self, port: str) -> None:
        """Delete a port; the address of a living server's port stays taken until the server is gone."""
        row = self._existing(self._account.ports, port)
        if not row.instance:
            self._addresses.free(row.subnet, row.address)
        self._account.ports.remove(port)

    # ---- the data plane, for simulated machines and clients

    def backends(self, host: str) -> tuple[str, ...]:
        """The running instances behind an endpoint's name or address, now; empty while it does not forward."""
        account = self._account
        targets: tuple[str, ...] = ()
        for balancer in account.balancers:
            if host in (balancer.host, balancer.address) and account.left(balancer.ready) == 0:
                targets = balancer.targets
        for name in account.names:
            targets = name.targets if name.name == host else targets
        for address in account.addresses:
            if address.address == host and address.subnet:
                targets = self._holders(address)
        rows = [account.instances.get(target) for target in targets]
        return tuple(row.id for row in rows if row and row.state is InstanceState.RUNNING)

    def _holders(self, address: AddressRow) -> tuple[str, ...]:
        """Who may hold a virtual address: the control planes of its cluster."""
        instances = self._account.instances
        version, holders = self._held.get(address.id, (-1, ()))
        if version == instances.version:
            return holders
        wanted = {TAG_ROLE: Role.CONTROL_PLANE.value, TAG_CLUSTER: address.tags.get(TAG_CLUSTER, "")}
        holders = tuple(row.id for row in instances.tagged(wanted))
        self._held[address.id] = (instances.version, holders)
        return holders

    def _living(self) -> tuple[InstanceRow, ...]:
        return tuple(row for row in self._account.instances if row.state is not InstanceState.TERMINATED)

    def _existing(self, shelf: Shelf[R], row_id: str) -> R:
        row = shelf.get(row_id)
        if row is None:
            raise self._account.refuse(Trouble.NOT_FOUND, name=row_id)
        return row

    def _room(self, used: int, limit: int, trouble: Trouble) -> None:
        if limit and used >= limit:
            raise self._account.refuse(trouble, limit=limit, used=used, wanted=1)

    def _id(self, prefix: str, form: str, name: str) -> str:
        text = self._account.new_id("{hex17}" if self._account.persona.name == "aws" else form, name)
        return f"{prefix}-{text}" if self._account.persona.name == "aws" else text


def port_id(mac: str) -> str:
    """The id of the port with a MAC address, as there is at most one."""
    return f"port-{mac.replace(':', '')}"


def split(cidr: str, parts: int) -> tuple[str, ...]:
    """A network in `parts` equal pieces, as large as they can be."""
    network = ipaddress.ip_network(cidr)
    pieces = network.subnets(prefixlen_diff=max(0, (parts - 1).bit_length()))
    return tuple(str(piece) for piece, _ in zip(pieces, range(parts), strict=False))
