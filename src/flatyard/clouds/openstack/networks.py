"""A cluster's network: one of our own with a router, or the user's; security groups of our own in either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from openstack.network.v2.network import Network as NeutronNetwork
from openstack.network.v2.subnet import Subnet
from openstack.resource import Resource

from flatyard.clouds.cloud import ClusterRef, Network, QuotaExceeded, Rejected, Role, Transient
from flatyard.clouds.naming import group_of
from flatyard.clouds.openstack import marks
from flatyard.clouds.openstack.answers import if_any
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.inventory import delete as delete_thing
from flatyard.clouds.openstack.inventory import group_name, id_of, owned_things
from flatyard.model.cluster import Cluster, OpenstackCloud
from flatyard.model.meant import is_placeholder

AUTO = "auto_allocated_network"
"""The network that Neutron itself makes for a project that asks (get-me-a-network)."""
_SOFT = "soft-anti-affinity"


async def ensure(client: Client, ref: ClusterRef, cluster: Cluster) -> Network:
    """Found by our marks, completed where something is missing."""
    chosen = cluster.spec.cloud.openstack or OpenstackCloud()
    async with client.lock(f"network {ref.id}"):
        named = chosen.network if not is_placeholder(chosen.network) else ""
        if named:
            network, subnets = await _adopt(client, named, chosen.subnet)
        else:
            network, subnets = await _own(client, ref, cluster, chosen)
        cidr = cluster.spec.network.nodes if not named else subnets[0].cidr
        filtered = network.is_port_security_enabled is not False  # else its ports may have no groups
        groups = await _groups(client, ref, cidr, cluster.spec.endpoint.port) if filtered else {}
        await _server_group(client, ref)
        return Network(
            id=network.id,
            subnets=tuple(subnet.id for subnet in subnets),
            security_groups=groups,
            zones=await zones(client, chosen),
            cidr=cidr,
            adopted=bool(named),
        )


async def zones(client: Client, chosen: OpenstackCloud) -> tuple[str, ...]:
    """Those that the file names, otherwise every one that takes servers."""
    if chosen.availability_zones:
        return chosen.availability_zones
    found = await client.read("listing zones", lambda: list(client.sdk.compute.availability_zones()))
    return tuple(sorted(zone.name for zone in found if (zone.state or {}).get("available", True)))


async def external_network(client: Client, chosen: OpenstackCloud) -> NeutronNetwork:
    """Where floating IPs come from: the named one, or the only one. Raises Rejected."""
    found = await client.read(
        "listing external networks", lambda: list(client.sdk.network.networks(is_router_external=True))
    )
    named = [net for net in found if chosen.external_network in (net.name, net.id)]
    fitting = named if chosen.external_network else found
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(sorted(net.name for net in found)) or "none"
    what = (
        f"there is no external network {chosen.external_network!r}"
        if chosen.external_network
        else (f"there are {len(found)} external networks")
    )
    raise Rejected(what, code="externalNetwork", next=f"spec.cloud.openstack.externalNetwork: one of {names}")


_ROUTERS = (
    "network:router_interface",
    "network:router_interface_distributed",
    "network:ha_router_replicated_interface",
)
"""Owners of a router's ports in a network (neutron_lib's constants)."""


async def outside(client: Client, chosen: OpenstackCloud, network: str) -> str:
    """The external network that gives floating IPs to the ports of a network: the named one, the one that the
    network's router leads to, or the only one; empty where the network itself is external. Raises Rejected.
    """

    def find() -> str:
        here = client.sdk.network.get_network(network)
        if here.is_router_external:
            return _NONE
        for port in client.sdk.network.ports(network_id=network, device_owner=_ROUTERS):
            router = client.sdk.network.get_router(port.device_id)
            gateway = router.external_gateway_info or {}
            if gateway.get("network_id"):
                return str(gateway["network_id"])
        return _ONLY

    if chosen.external_network:
        return str((await external_network(client, chosen)).id)
    found = await client.known("way out of network", network, find)
    if found == _ONLY:
        return str((await external_network(client, chosen)).id)
    return "" if found == _NONE else found


_NONE, _ONLY = "none", "only"


async def find_network(client: Client, name: str) -> NeutronNetwork | None:
    """By id or name; the project's auto-allocated one is made where Neutron offers that."""
    found = await find(client, name)
    if found is None and name == AUTO:
        made = await client.read(
            "asking for the project's own network",
            lambda: client.sdk.network.get_auto_allocated_topology(client.project),
        )
        found = await find(client, str(made.id))
    return found


async def find(client: Client, name: str) -> NeutronNetwork | None:
    """By id or name, of those that are there."""
    return await client.read(f"looking for network {name}", lambda: _named(client, name))


async def cannot_allocate(client: Client) -> str:
    """Why Neutron would not make the project's own network; empty when it would. Nothing is made."""
    try:
        await client.read(
            "asking whether Neutron makes the project's own network",
            lambda: client.sdk.network.validate_auto_allocated_topology(client.project),
        )
    except (Rejected, Transient) as no:
        return f"there is no network {AUTO!r}, and Neutron makes none here: {no.what.partition(': ')[2]}"
    return ""


def _named(client: Client, name: str) -> NeutronNetwork | None:
    return if_any(lambda: client.sdk.network.find_network(name, ignore_missing=False))


async def subnets_of(client: Client, network: NeutronNetwork, named: str) -> list[Subnet]:
    """The network's IPv4 subnets, or the one that is named by id or name."""
    found = await client.read(
        f"listing the subnets of {network.name}",
        lambda: list(client.sdk.network.subnets(network_id=network.id, ip_version=4)),
    )
    return [subnet for subnet in found if not named or named in (subnet.id, subnet.name)]


async def _adopt(client: Client, named: str, subnet: str) -> tuple[NeutronNetwork, list[Subnet]]:
    network = await find_network(client, named)
    if network is None:
        raise Rejected(
            f"there is no network {named!r}", code="networkNotFound", next="openstack network list"
        )
    subnets = await subnets_of(client, network, subnet if not is_placeholder(subnet) else "")
    if not subnets:
        what = f"network {named} has no IPv4 subnet {subnet}".rstrip()
        raise Rejected(what, code="subnetNotFound", next=f"openstack subnet list --network {named}")
    return network, sorted(subnets, key=lambda s: str(s.id))[:1]


async def _own(
    client: Client, ref: ClusterRef, cluster: Cluster, chosen: OpenstackCloud
) -> tuple[NeutronNetwork, list[Subnet]]:
    sdk, text, name = client.sdk, marks.described(ref), group_of(ref)
    network = await _made(
        client, ref, "network", lambda: sdk.network.create_network(name=name, description=text)
    )
    assert isinstance(network, NeutronNetwork)
    subnet = await _made(
        client,
        ref,
        "subnet",
        lambda: sdk.network.create_subnet(
            name=name,
            description=text,
            network_id=network.id,
            ip_version=4,
            cidr=cluster.spec.network.nodes,
            dns_nameservers=list(chosen.dns_nameservers),
        ),
    )
    assert isinstance(subnet, Subnet)
    outside = await external_network(client, chosen)
    router = await _made(
        client,
        ref,
        "router",
        lambda: sdk.network.create_router(
            name=name, description=text, external_gateway_info={"network_id": outside.id}
        ),
    )
    await _connect(client, ref, id_of(router), subnet.id)
    return network, [subnet]


async def _connect(client: Client, ref: ClusterRef, router: str, subnet: str) -> None:
    what = f"connecting the network of {ref.name} to its router"
    ports = await client.read(what, lambda: list(client.sdk.network.ports(device_id=router)))
    if not any(ip["subnet_id"] == subnet for port in ports for ip in port.fixed_ips or ()):
        await client.write(what, lambda: client.sdk.network.add_interface_to_router(router, subnet=subnet))


async def _made(client: Client, ref: ClusterRef, kind: str, create: Callable[[], object]) -> object:
    """The cluster's one resource of a kind; with tags too, which are for people and other tools."""
    found = await owned_things(client, ref, kind)
    thing = found[0] if found else await client.write(f"creating the {kind} of {ref.name}", create)
    await tagged(client, ref, kind, thing)
    return thing


async def tagged(client: Client, ref: ClusterRef, kind: str, thing: object) -> None:
    """Our marks as tags too, where the site has tags."""
    assert isinstance(thing, Resource)
    wanted = marks.labels(ref)
    if not set(wanted) <= set(getattr(thing, "tags", None) or ()):
        # they are for people, and some sites have none: the description says whose it is
        with suppress(Rejected):
            await client.read(
                f"tagging the {kind} of {ref.name}", lambda: client.sdk.network.set_tags(thing, wanted)
            )


# ---- security groups


def _rules(cidr: str, port: int) -> Mapping[str, tuple[Mapping[str, object], ...]]:
    """What comes in, per role. Between nodes everything; NodePorts from the nodes' network, where balancers are."""
    tcp = {"protocol": "tcp", "direction": "ingress", "ether_type": "IPv4"}
    node_ports = {**tcp, "port_range_min": 30000, "port_range_max": 32767, "remote_ip_prefix": cidr}
    api = {**tcp, "port_range_min": port, "port_range_max": port, "remote_ip_prefix": "0.0.0.0/0"}
    return {Role.CONTROL_PLANE.value: (api, node_ports), Role.WORKER.value: (node_ports,)}


async def _groups(client: Client, ref: ClusterRef, cidr: str, port: int) -> dict[str, str]:
    """A group per role, with every rule that it should have; rules that somebody added stay.

    What goes out is said too: which rules Neutron gives a new group is the site's to choose since 2023.2.
    """
    rules = _rules(cidr, port)
    found = {getattr(thing, "name", ""): thing for thing in await owned_things(client, ref, "security-group")}
    groups: dict[str, str] = {}
    there: dict[str, list[object]] = {}
    for role in sorted(rules):
        name = f"{group_of(ref)}-{role}"
        thing = found.get(name) or await client.write(
            f"creating security group {name}", _new_group(client, ref, name)
        )
        await tagged(client, ref, "security group", thing)
        groups[role] = id_of(thing)
        there[role] = list(getattr(thing, "security_group_rules", None) or ())
    between = [
        {"direction": "ingress", "ether_type": "IPv4", "remote_group_id": key} for key in groups.values()
    ]
    out = [{"direction": "egress", "ether_type": kind} for kind in ("IPv4", "IPv6")]
    for role, wanted in rules.items():
        lacking = [
            {"security_group_id": groups[role], **rule}
            for rule in (*wanted, *between, *out)
            if not any(_is_same(rule, known) for known in there[role])
        ]
        if lacking:
            await client.write(f"opening {group_of(ref)}-{role}", _new_rules(client, lacking))
    return groups


def _new_group(client: Client, ref: ClusterRef, name: str) -> Callable[[], object]:
    text = marks.described(ref)
    return lambda: client.sdk.network.create_security_group(name=name, description=text)


def _new_rules(client: Client, rules: list[dict[str, object]]) -> Callable[[], object]:
    return lambda: list(client.sdk.network.create_security_group_rules(rules))


def _is_same(wanted: Mapping[str, object], known: object) -> bool:
    """As the groups' own listing shows rules: dictionaries in the API's spelling, where what is not said is None."""
    shown = known if isinstance(known, dict) else {}
    spelled = {("ethertype" if key == "ether_type" else key): value for key, value in wanted.items()}
    return all(shown.get(key) == spelled.get(key) for key in _RULE)


_RULE = (
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
)


# ---- server groups


async def _server_group(client: Client, ref: ClusterRef) -> None:
    """Control planes on different hosts as far as possible; without it where the quota has no room."""
    if await owned_things(client, ref, "server-group"):
        return
    name = group_name(ref, Role.CONTROL_PLANE.value)
    try:
        await client.write(
            f"creating server group {name}",
            lambda: client.sdk.compute.create_server_group(name=name, policies=[_SOFT]),
        )
    except QuotaExceeded:
        return


async def delete(client: Client, ref: ClusterRef) -> None:
    """Addresses and ports, router, subnet, network, groups; what is missing is fine, what is in use is Transient."""
    if await owned_things(client, ref, "instance"):
        raise Transient(f"deleting the network of {ref.name}: it still has machines", code="networkInUse")
    kinds = ("address", "port", "router", "subnet", "network", "security-group", "server-group")
    listed = await asyncio.gather(*(owned_things(client, ref, kind) for kind in kinds))
    for kind, things in zip(kinds, listed, strict=True):
        for thing in things:
            await delete_thing(client, kind, id_of(thing), getattr(thing, "name", "") or "")
