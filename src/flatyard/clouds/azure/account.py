"""What every part of the Azure adapter is given: the settings, the clients, and the one way to call them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TypeVar

from flatyard.base.world import World
from flatyard.clouds.azure.answers import translate
from flatyard.clouds.azure.client import AzureClients
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.azure.settings import AzureSettings, tail
from flatyard.clouds.calls import Calls
from flatyard.clouds.cloud import ClusterRef
from flatyard.clouds.naming import group_of

T = TypeVar("T")
LONGEST = 48
"""Characters of a cluster's name in the names of its resources, which may have 80."""


class Account:
    """One subscription. What it keeps between calls only saves calls: keys, sizes, addresses of interfaces."""

    def __init__(self, place: AzureSettings, clients: AzureClients, world: World) -> None:
        behaviour = FACTS.behaviour
        self.place = place
        self.clients = clients
        self.world = world
        self.calls = Calls(translate, per_second=behaviour.calls_per_second, burst=behaviour.burst)
        self.kept: dict[tuple[str, str], object] = {}

    async def read(self, what: str, call: Callable[[], T]) -> T:
        return await self.calls.read(what, call)

    async def write(self, what: str, call: Callable[[], T]) -> T:
        return await self.calls.write(what, call)

    def forget(self, resource_id: str) -> None:
        """What was kept about a resource that is deleted."""
        for key in [key for key in self.kept if resource_id.lower().endswith(key[1].lower()) and key[1]]:
            del self.kept[key]

    def named(self, ref: ClusterRef, what: str) -> str:
        """Name of one of the cluster's own resources, as no other cluster has it."""
        return f"{group_of(ref)[:LONGEST]}-{tail(ref)}-{what}"

    @staticmethod
    def halves(cidr: str) -> tuple[str, str]:
        """A network in two: control planes' and workers'."""
        lower, upper = ipaddress.ip_network(cidr).subnets()
        return str(lower), str(upper)
