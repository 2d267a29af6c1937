"""A cluster's group and network: two security groups, a way out, and a network with a subnet for each role.

Names hold the random end of the cluster's id, so that reading by name is reading what is tagged with it; whatever has
such a name without our tag is nobody's that we touch. Subnets have no way out by themselves (Azure's default since
September 2025), so a network of ours has a NAT gateway. A given network is used as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from azure.mgmt.network import models as net
from azure.mgmt.resource.resources import models as res

from flatyard.clouds.azure import identities, locations, sizes
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import or_none
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.azure.reading import Shown, items, last, part, tags, text
from flatyard.clouds.cloud import ClusterRef, Network, Rejected, Role
from flatyard.clouds.tags import cluster_tags
from flatyard.model.cluster import Cluster

ANY = "*"
_API, _CLUSTER, _NODE_PORTS = "6443", "VirtualNetwork", "30000-32767"


async def ensure(account: Account, ref: ClusterRef, cluster: Cluster) -> Network:
    """Find what there is, make what is missing; a second call changes nothing."""
    await ensure_group(account, ref)
    await identities.ensure(account, ref)
    zones = await zones_of(account)
    if account.place.vnet:
        groups = await _security_groups(account, ref)
        return await _adopted(account, cluster, groups, zones)
    groups, gateway = await asyncio.gather(_security_groups(account, ref), _gateway(account, ref))
    vnet = await _vnet(account, ref, cluster, gateway, groups)
    own = [text(subnet, "id") for subnet in items(vnet, "properties", "subnets")]
    by_name = {last(subnet): subnet for subnet in own}
    return Network(
        id=text(vnet, "id"),
        subnets=tuple(by_name[role.value] for role in (Role.CONTROL_PLANE, Role.WORKER)),
        security_groups=groups,
        zones=zones,
        cidr=cluster.spec.network.nodes,
    )


async def zones_of(account: Account) -> tuple[str, ...]:
    """The zones that the file names, or those of the location that offer every size of the file; one empty name where
    there are none.
    """
    location = (await locations.locations(account)).get(account.place.location)
    there = location.zones if location is not None and location.zones else ("",)
    if account.place.zones:
        named = [*account.place.zones, *(zone for m in account.place.machines for zone in m.zones)]
        return tuple(dict.fromkeys(zone for zone in named if zone in there)) or there
    if there == ("",):
        return there
    here = await sizes.sizes(account)
    wanted = [here[m.size.lower()] for m in account.place.machines if m.size.lower() in here]
    if wanted and not any(size.zones for size in wanted):
        return ("",)  # sizes that are in no zone at all, as some with GPUs
    return tuple(zone for zone in there if all(zone in size.zones for size in wanted)) or there


# ---- the resource group


async def ensure_group(account: Account, ref: ClusterRef) -> str:
    """The group's name; a group that is not there is made and is ours. Raises Rejected for another cluster's."""
    name = account.place.group_for(ref)
    found = await account.read(
        f"looking for resource group {name}",
        lambda: or_none(lambda: account.clients.resource.resource_groups.get(name)),
    )
    if found is None:
        own = cluster_tags(ref, FACTS.tags)
        body = res.ResourceGroup(location=account.place.location, tags=own)
        await account.write(
            f"creating resource group {name}",
            lambda: account.clients.resource.resource_groups.create_or_update(name, body),
        )
    return name


# ---- security groups


def rules_of(role: Role) -> list[net.SecurityRule]:
    """What may come in beside what Azure's own rules allow (the network itself, its load balancers). A node port that
    the world shall reach is the user's own rule.
    """
    if role is Role.CONTROL_PLANE:
        return [
            _rule("kubernetes-api", 1000, ANY, _API),
            _rule("etcd", 1010, _CLUSTER, "2379-2380"),
            _rule("kubelet", 1020, _CLUSTER, "10250"),
        ]
    return [_rule("kubelet", 1000, _CLUSTER, "10250"), _rule("node-ports", 1010, _CLUSTER, _NODE_PORTS)]


def _rule(name: str, priority: int, source: str, ports: str) -> net.SecurityRule:
    return net.SecurityRule(
        name=name,
        properties=net.SecurityRulePropertiesFormat(
            protocol="Tcp",
            source_address_prefix=source,
            source_port_range=ANY,
            destination_address_prefix=ANY,
            destination_port_range=ports,
            access="Allow",
            priority=priority,
            direction="Inbound",
        ),
    )


async def _security_groups(account: Account, ref: ClusterRef) -> dict[str, str]:
    roles = sorted(Role, key=lambda role: role.value)
    made = await asyncio.gather(*(_security_group(account, ref, role) for role in roles))
    return {role.value: made_id for role, made_id in zip(roles, made, strict=True)}


async def _security_group(account: Account, ref: ClusterRef, role: Role) -> str:
    group, name = account.place.group_for(ref), account.named(ref, role.value)
    api = account.clients.network.network_security_groups
    found = await account.read(f"looking for {name}", lambda: or_none(lambda: api.get(group, name)))
    if found is None or broken(ref, found):
        body = net.NetworkSecurityGroup(
            location=account.place.location,
            tags=cluster_tags(ref, FACTS.tags),
            properties=net.NetworkSecurityGroupPropertiesFormat(security_rules=rules_of(role)),
        )
        found = await account.write(
            f"creating {name}", lambda: api.begin_create_or_update(group, name, body).result()
        )
    return text(_ours(ref, found), "id")


# ---- the way out


async def _gateway(account: Account, ref: ClusterRef) -> str:
    group, name = account.place.group_for(ref), account.named(ref, "nat")
    api = account.clients.network.nat_gateways
    found = await account.read(f"looking for {name}", lambda: or_none(lambda: api.get(group, name)))
    if found is None or broken(ref, found):
        address = await public_address(account, ref, f"{name}-ip")
        body = net.NatGateway(
            location=account.place.location,
            tags=cluster_tags(ref, FACTS.tags),
            sku=net.NatGatewaySku(name="Standard"),
            properties=net.NatGatewayPropertiesFormat(
                public_ip_addresses=[net.SubResource(id=text(address, "id"))], idle_timeout_in_minutes=10
            ),
        )
        found = await account.write(
            f"creating {name}", lambda: api.begin_create_or_update(group, name, body).result()
        )
    return text(_ours(ref, found), "id")


async def public_address(account: Account, ref: ClusterRef, name: str, label: str = "") -> Shown:
    """A static Standard address, made if it is not there; `label`: its name below LOCATION.cloudapp.azure.com."""
    group, api = account.place.group_for(ref), account.clients.network.public_ip_addresses
    found = await account.read(f"looking for {name}", lambda: or_none(lambda: api.get(group, name)))
    if found is not None and not broken(ref, found):
        return found
    body = net.PublicIPAddress(
        location=account.place.location,
        tags=cluster_tags(ref, FACTS.tags),
        sku=net.PublicIPAddressSku(name="Standard"),
        properties=net.PublicIPAddressPropertiesFormat(
            public_ip_allocation_method="Static",
            public_ip_address_version="IPv4",
            dns_settings=net.PublicIPAddressDnsSettings(domain_name_label=label) if label else None,
        ),
    )
    make: Callable[[], Shown] = lambda: api.begin_create_or_update(group, name, body).result()  # noqa: E731
    return await account.write(f"creating {name}", make)


# ---- the network


async def _vnet(
    account: Account, ref: ClusterRef, cluster: Cluster, gateway: str, groups: Mapping[str, str]
) -> Shown:
    group, name = account.place.group_for(ref), account.named(ref, "vnet")
    api = account.clients.network.virtual_networks
    found = await account.read(f"looking for {name}", lambda: or_none(lambda: api.get(group, name)))
    if found is not None and not broken(ref, found):
        return found
    # written again as it is: a subnet that is left out of a network's list is deleted
    whole = found is not None and len(items(found, "properties", "subnets")) >= len(Role)
    cidr = cluster.spec.network.nodes
    body = found if found is not None and whole else _vnet_body(account, ref, cidr, gateway, groups)
    make: Callable[[], Shown] = lambda: api.begin_create_or_update(group, name, body).result()  # noqa: E731
    return await account.write(f"creating {name}", make)


def _vnet_body(
    account: Account, ref: ClusterRef, cidr: str, gateway: str, groups: Mapping[str, str]
) -> net.VirtualNetwork:
    halves = zip((Role.CONTROL_PLANE, Role.WORKER), account.halves(cidr), strict=True)
    return net.VirtualNetwork(
        location=account.place.location,
        tags=cluster_tags(ref, FACTS.tags),
        properties=net.VirtualNetworkPropertiesFormat(
            address_space=net.AddressSpace(address_prefixes=[cidr]),
            subnets=[_subnet(account, role, half, gateway, groups) for role, half in halves],
        ),
    )


def _subnet(account: Account, role: Role, cidr: str, gateway: str, groups: Mapping[str, str]) -> net.Subnet:
    """Private, and with the security group that its machines have: many organisations let nobody make others (the
    policies Enforce-Subnet-Private and Deny-Subnet-Without-Nsg of Azure's landing zones).

    Where machines have a group of the user's own, that one alone decides.
    """
    machines = account.place.machines[:1] if role is Role.CONTROL_PLANE else account.place.machines[1:]
    own = any(machine.security_group_name.value for machine in machines)
    return net.Subnet(
        name=role.value,
        properties=net.SubnetPropertiesFormat(
            address_prefix=cidr,
            nat_gateway=net.SubResource(id=gateway),
            network_security_group=None if own else net.NetworkSecurityGroup(id=groups[role.value]),
            default_outbound_access=False,
        ),
    )


async def _adopted(
    account: Account, cluster: Cluster, groups: dict[str, str], zones: tuple[str, ...]
) -> Network:
    """The user's own network and subnet, which must be there."""
    place = account.place
    group = place.vnet_group or place.group
    api = account.clients.network.virtual_networks
    vnet = await account.read(
        f"looking for network {place.vnet}", lambda: or_none(lambda: api.get(group, place.vnet))
    )
    if vnet is None:
        raise Rejected(
            f"there is no network {place.vnet} in resource group {group}",
            next=f"az network vnet list -g {group} -o table, then correct spec.cloud.azure.vnetName",
        )
    subnets = {text(subnet, "name"): text(subnet, "id") for subnet in items(vnet, "properties", "subnets")}
    chosen = place.subnet or next(iter(subnets), "")
    if chosen not in subnets:
        raise Rejected(
            f"network {place.vnet} has no subnet {chosen!r}",
            next=f"choose one of {', '.join(subnets) or 'none'} with spec.cloud.azure.subnetName",
        )
    prefixes = part(vnet, "properties", "addressSpace", "addressPrefixes")
    cidr = str(prefixes[0]) if isinstance(prefixes, list) and prefixes else cluster.spec.network.nodes
    return Network(text(vnet, "id"), (subnets[chosen],), groups, zones, cidr, adopted=True)


def broken(ref: ClusterRef, found: Shown) -> bool:
    """Whether it is there and Azure failed to make or to change it: nothing can be put in it until it is written again
    (ReferencedResourceNotProvisioned). Raises Rejected for somebody else's.
    """
    return text(_ours(ref, found), "properties", "provisioningState").lower() == "failed"


def _ours(ref: ClusterRef, shown: Shown) -> Shown:
    """The resource, if it has this cluster's tags. Raises Rejected for somebody else's."""
    if not cluster_tags(ref, FACTS.tags).items() <= tags(shown).items():
        raise Rejected(
            f"{text(shown, 'id')} is not tagged as this cluster's",
            code="Conflict",
            next="delete or rename it, or set spec.cloud.azure.resourceGroup to a group without it",
        )
    return shown
