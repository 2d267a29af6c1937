"""What reaches what, worked out from the resources: no packet flows here (rules: outbound, inbound)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from .network import owner_of, part, prefixes
from .world import Body, Resource, World

WORDS = {"internet", "virtualnetwork", "azureloadbalancer"}


def interfaces(world: World, vm: Resource) -> Iterator[tuple[Resource, Body]]:
    """Interfaces of a machine with their IP configurations."""
    for item in vm.properties["networkProfile"]["networkInterfaces"]:
        nic = world.find(item["id"])
        if nic is not None:
            for configuration in nic.properties["ipConfigurations"]:
                yield nic, configuration["properties"]


def subnet_of(world: World, configuration: Body) -> Body:
    raw = configuration["subnet"]["id"]
    network = owner_of(world, raw)
    found = part(network, raw) if network else None
    properties: Body = (found or {}).get("properties", {})
    return properties


# ---- out
def outbound(world: World, vm: Resource) -> str:
    """How a machine reaches the internet: "address", "nat-gateway", "load-balancer", or "" where it does not."""
    for _, configuration in interfaces(world, vm):
        if subnet_of(world, configuration).get("natGateway"):
            return "nat-gateway"
        if configuration.get("publicIPAddress"):
            return "address"
        for pool in configuration.get("loadBalancerBackendAddressPools") or ():
            if translates(world, pool["id"]):
                return "load-balancer"
    return ""


def translates(world: World, pool: str) -> bool:
    """A public load balancer gives its pool a way out: by an outbound rule, or by a rule that does not forbid it."""
    balancer = owner_of(world, pool)
    if balancer is None:
        return False
    for item in balancer.properties.get("outboundRules") or ():
        if same(item["properties"].get("backendAddressPool"), pool):
            return True
    for item in balancer.properties.get("loadBalancingRules") or ():
        rule = item["properties"]
        pools = [rule.get("backendAddressPool"), *(rule.get("backendAddressPools") or ())]
        if any(same(one, pool) for one in pools) and not rule.get("disableOutboundSnat"):
            return public(balancer, rule)
    return False


def public(balancer: Resource, rule: Body) -> bool:
    front = part(balancer, rule["frontendIPConfiguration"]["id"]) or {}
    return bool(front.get("properties", {}).get("publicIPAddress"))


def same(reference: Body | None, raw: str) -> bool:
    return str((reference or {}).get("id", "")).lower() == raw.lower()


# ---- in
def inbound(world: World, vm: Resource, port: int, source: str, protocol: str = "Tcp") -> bool:
    """Whether a packet from `source` (Internet, VirtualNetwork, AzureLoadBalancer or an address) gets to a machine."""
    return any(
        passes(world, nic, configuration, port, source, protocol)
        for nic, configuration in interfaces(world, vm)
    )


def passes(world: World, nic: Resource, configuration: Body, port: int, source: str, protocol: str) -> bool:
    subnet = subnet_of(world, configuration)
    groups = [
        g for g in (subnet.get("networkSecurityGroup"), nic.properties.get("networkSecurityGroup")) if g
    ]
    if not groups:
        return source.lower() != "internet"  # what is Standard is closed until a security group opens it
    address = configuration.get("privateIPAddress", "")
    inner = [ipaddress.ip_network(text) for text in prefixes({"properties": subnet})]
    return all(
        decides(found, port, source, protocol, address, inner)
        for found in (world.find(group["id"]) for group in groups)
        if found is not None
    )


def decides(group: Resource, port: int, source: str, protocol: str, address: str, inner: list[Any]) -> bool:
    rules = [item["properties"] for item in group.properties.get("securityRules") or ()]
    for rule in sorted(rules, key=lambda item: int(item["priority"])):
        if rule["direction"].lower() != "inbound" or rule["protocol"].lower() not in ("*", protocol.lower()):
            continue
        ports = rule.get("destinationPortRanges") or [rule.get("destinationPortRange", "*")]
        sources = rule.get("sourceAddressPrefixes") or [rule.get("sourceAddressPrefix", "*")]
        targets = rule.get("destinationAddressPrefixes") or [rule.get("destinationAddressPrefix", "*")]
        if not any(within(port, text) for text in ports) or not any(
            comes(source, text, inner) for text in sources
        ):
            continue
        if any(comes(address, text, inner) for text in targets):
            return bool(rule["access"].lower() == "allow")
    return source.lower() in ("virtualnetwork", "azureloadbalancer") or comes(source, "VirtualNetwork", inner)


def within(port: int, text: str) -> bool:
    low, _, high = text.partition("-")
    return text == "*" or int(low) <= port <= int(high or low)


def comes(source: str, text: str, inner: list[Any]) -> bool:
    """Whether a rule's prefix means this source."""
    if text == "*" or text.lower() == source.lower():
        return True
    word = source.lower() in WORDS
    if text.lower() == "virtualnetwork":
        return not word and bool(source) and any(ipaddress.ip_address(source) in net for net in inner)
    if text.lower() == "internet":
        return not word and bool(source) and not any(ipaddress.ip_address(source) in net for net in inner)
    if text.lower() in WORDS:
        return False
    return (
        text == "0.0.0.0/0"
        if word
        else bool(source) and ipaddress.ip_address(source) in ipaddress.ip_network(text)
    )


# ---- through a load balancer
def behind(world: World, address: str, port: int) -> list[str]:
    """Machines that a packet from the internet to a public address and port may end at."""
    found = []
    for balancer in world.of_kind("Microsoft.Network/loadBalancers"):
        for item in balancer.properties.get("loadBalancingRules") or ():
            rule = item["properties"]
            if rule.get("frontendPort") == port and leads(world, balancer, rule, address):
                found += served(world, balancer, rule)
    return sorted(found)


def leads(world: World, balancer: Resource, rule: Body, address: str) -> bool:
    front = part(balancer, rule["frontendIPConfiguration"]["id"]) or {}
    public_address = front.get("properties", {}).get("publicIPAddress") or {}
    found = world.find(public_address.get("id", ""))
    return found is not None and found.hidden["address"] == address


def served(world: World, balancer: Resource, rule: Body) -> list[str]:
    """Machines in a rule's pool, by interface or by address, that let it in and answer the balancer's probe."""
    pool = rule.get("backendAddressPool", {}).get("id", "")
    named = (part(balancer, pool) or {}).get("properties", {}).get("loadBalancerBackendAddresses") or ()
    addresses = {item["properties"].get("ipAddress") for item in named}
    probe = (part(balancer, rule.get("probe", {}).get("id", "")) or {}).get("properties", {})
    ports = (rule["backendPort"], probe.get("port", rule["backendPort"]))
    return [
        vm.id
        for vm in world.of_kind("Microsoft.Compute/virtualMachines")
        if any(member(configuration, pool, addresses) for _, configuration in interfaces(world, vm))
        and inbound(world, vm, ports[0], "Internet")
        and inbound(world, vm, ports[1], "AzureLoadBalancer")
    ]


def member(configuration: Body, pool: str, addresses: set[str]) -> bool:
    pools = configuration.get("loadBalancerBackendAddressPools") or ()
    return any(same(one, pool) for one in pools) or configuration.get("privateIPAddress") in addresses
