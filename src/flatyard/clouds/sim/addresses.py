"""Addresses of subnets: which are taken and which comes next."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from functools import lru_cache

from flatyard.clouds.facts import Trouble
from flatyard.clouds.sim.account import Account

_RESERVED = 5
"""The first four addresses of a subnet and its last are the cloud's own, as on AWS and Azure."""


class Addresses:
    """Hands out the addresses of the account's subnets, one after the other, and takes them back."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._taken: dict[str, dict[str, None]] = {}
        for row in account.instances:
            self.mark(row.subnet, row.address)
        for address in account.addresses:
            self.mark(address.subnet, address.address)
        for port in account.ports:
            self.mark(port.subnet, port.address)

    def mark(self, subnet: str, address: str) -> None:
        """The address is in use."""
        self._taken.setdefault(subnet, {})[address] = None

    def free(self, subnet: str, address: str) -> None:
        """Give an address back."""
        self._taken.get(subnet, {}).pop(address, None)

    def take(self, subnet_id: str) -> str:
        """A free address of the subnet; raises Refused when all are in use."""
        subnet = self._account.subnets.get(subnet_id)
        if subnet is None:
            raise self._account.refuse(Trouble.NOT_FOUND, name=subnet_id)
        first, room = _range(subnet.cidr)
        taken = self._taken.setdefault(subnet_id, {})
        for step in range(room):
            host = (subnet.hosts + step) % room
            address = str(first + host)
            if address not in taken:
                taken[address] = None
                self._account.subnets.put(replace(subnet, hosts=host + 1))
                return address
        raise self._account.refuse(Trouble.CAPACITY, name=subnet.cidr, zone=subnet.zone)

    def public(self) -> str:
        """An address of the benchmarking range 198.18.0.0/15, which nobody routes."""
        bits = self._account.world.random().getrandbits(17)
        return f"198.{18 + (bits >> 16)}.{bits >> 8 & 255}.{bits & 255}"


def room_in(cidr: str) -> int:
    """How many machines a subnet holds."""
    return _range(cidr)[1]


@lru_cache(maxsize=64)
def _range(cidr: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    network = ipaddress.ip_network(cidr)
    return network.network_address + _RESERVED - 1, max(0, network.num_addresses - _RESERVED)
