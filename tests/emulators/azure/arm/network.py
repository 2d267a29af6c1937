"""Microsoft.Network: networks, security groups, addresses, interfaces."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterator
from typing import Any

from .errors import ArmError, invalid
from .kinds import Kind, register
from .world import Body, Resource, World, is_part, references

PUBLIC = ipaddress.ip_network("127.64.0.0/10")
"""Public addresses: all of it is loopback, so what listens there is reached through them."""
RESERVED = 5
"""The first four addresses of a subnet and the last are Azure's own (rules: subnet-reserved)."""


# ---- references
def exist(world: World, new: Resource) -> None:
    """Everything that a body refers to is there, and in the same region (rules: references)."""
    for source, target in references(new.id, new.body):
        if is_part(target, new.id):
            own_part(new, target)
            continue
        found = owner_of(world, target)
        if found is None:
            raise ArmError(
                400,
                "InvalidResourceReference",
                f"Resource {target} referenced by resource {source} was not found. Please make sure that the "
                "referenced resource exists, and that both resources are in the same region.",
            )
        if found.location and new.location and found.location != new.location:
            raise ArmError(
                400,
                "InvalidResourceReference",
                f"Resource {target} referenced by resource {source} is in {found.location}, not in {new.location}.",
            )
        if (found.state == "Creating" and found.busy) or found.state == "Failed":
            raise not_provisioned(world, source, target, "Failed" if found.state == "Failed" else "Updating")


def not_provisioned(world: World, source: str, target: str, state: str) -> ArmError:
    return ArmError(
        429,
        "RetryableError",
        "A retryable error occurred.",
        details=[
            {
                "code": "ReferencedResourceNotProvisioned",
                "message": f"Cannot proceed with operation because resource {target} used by resource {source} is not "
                f"in Succeeded state. Resource is in {state} state and the last operation that updated/is updating "
                "the resource is PutResource.",
            }
        ],
        headers={"Retry-After": str(world.retry_after)},
    )


def owner_of(world: World, raw: str) -> Resource | None:
    """The resource that an id names, or whose inline part it names."""
    found = world.find(raw)
    if found is not None:
        return found
    outer, _, _ = raw.rpartition("/")[0].rpartition("/")
    above = world.find(outer)
    if above is not None and part(above, raw) is not None:
        return above
    return None


def part(resource: Resource, raw: str) -> Body | None:
    """An inline part of a resource, by its own id."""
    word, _, name = raw[len(resource.id) + 1 :].partition("/")
    for key, items in resource.properties.items():
        if key.lower() == word.lower() and isinstance(items, list):
            for item in items:
                if isinstance(item, dict) and str(item.get("name", "")).lower() == name.lower():
                    found: Body = item
                    return found
    return None


def own_part(new: Resource, target: str) -> None:
    if part(new, target) is None:
        raise invalid(
            "InvalidResourceReference",
            f"Resource {target} referenced by resource {new.id} was not found.",
            target,
        )


# ---- networks
def prefixes(subnet: Body) -> list[str]:
    properties = subnet.get("properties", {})
    return properties.get("addressPrefixes") or [p for p in (properties.get("addressPrefix"),) if p]


def network_of(text: str, at: str) -> Any:
    try:
        return ipaddress.ip_network(text)
    except ValueError as problem:
        raise invalid(
            "InvalidAddressPrefixFormat",
            f"Address prefix {text} of {at} is not formatted correctly: {problem}.",
        ) from None


def check_network(world: World, new: Resource, old: Resource | None) -> None:
    spaces = new.properties.get("addressSpace", {}).get("addressPrefixes") or []
    if not spaces:
        raise invalid("InvalidRequestFormat", "properties.addressSpace.addressPrefixes is wanted")
    nets = [network_of(space, new.id) for space in spaces]
    if "subnets" not in new.properties and old is not None:
        new.properties["subnets"] = old.properties.get("subnets", [])
    check_subnets(world, new, nets)
    kept = {str(item["name"]).lower() for item in new.properties.get("subnets", [])}
    for item in old.properties.get("subnets", []) if old else []:
        if str(item["name"]).lower() not in kept:
            subnet_free(world, f"{new.id}/subnets/{item['name']}")
    exist(world, new)


def check_subnets(world: World, new: Resource, nets: list[Any]) -> None:
    seen: list[tuple[Any, str]] = []
    for item in new.properties.setdefault("subnets", []):
        for text in prefixes(item) or [""]:
            wanted = network_of(text, item.get("name", ""))
            if not any(wanted.version == net.version and wanted.subnet_of(net) for net in nets):
                raise invalid(
                    "NetcfgInvalidSubnet",
                    f"Subnet '{item.get('name')}' is not valid in virtual network '{new.name}'.",
                )
            for other, name in seen:
                if wanted.version == other.version and wanted.overlaps(other):
                    raise invalid(
                        "NetcfgSubnetRangesOverlap",
                        f"Subnet '{item.get('name')}' is not valid because its IP address range overlaps with "
                        f"that of an existing subnet in virtual network '{new.name}': {name}.",
                    )
            seen.append((wanted, str(item.get("name"))))


def subnet_free(world: World, raw: str) -> None:
    users = world.users(raw)
    if users:
        raise invalid(
            "InUseSubnetCannotBeDeleted",
            f"Subnet {raw.rsplit('/', 1)[-1]} is in use by {users[0]} and cannot be deleted. In order to delete the "
            "subnet, delete all the resources within the subnet.",
        )


def network_may_go(world: World, resource: Resource) -> None:
    for item in resource.properties.get("subnets", []):
        subnet_free(world, f"{resource.id}/subnets/{item['name']}")


def view_network(world: World, resource: Resource, body: Body) -> None:
    for item in body["properties"].get("subnets", []):
        users = world.users(item["id"])
        if users:
            item["properties"]["ipConfigurations"] = [{"id": user} for user in users]


# ---- security groups, route tables
def check_group(world: World, new: Resource, old: Resource | None) -> None:
    seen: dict[tuple[str, int], str] = {}
    for item in new.properties.setdefault("securityRules", []):
        rule = item.get("properties", {})
        priority = rule.get("priority")
        if not isinstance(priority, int) or not 100 <= priority <= 4096:
            raise invalid(
                "SecurityRuleInvalidPriority",
                f"Security rule {item.get('name')} has invalid priority {priority}: 100 to 4096 are allowed.",
            )
        place = (str(rule.get("direction")).lower(), priority)
        if place in seen:
            raise invalid(
                "SecurityRuleConflict",
                f"Security rule {item.get('name')} conflicts with rule {seen[place]}. Rules cannot have the same "
                "Priority and Direction.",
            )
        seen[place] = str(item.get("name"))
    exist(world, new)


def in_use(code: str, words: str) -> Any:
    def check(world: World, resource: Resource) -> None:
        users = [user for user in world.users(resource.id) if not is_part(user, resource.id)]
        if users:
            raise invalid(
                code, f"{words} {resource.id} cannot be deleted because it is in use by {users[0]}."
            )

    return check


def check_references(world: World, new: Resource, old: Resource | None) -> None:
    exist(world, new)


# ---- public addresses
def check_address(world: World, new: Resource, old: Resource | None) -> None:
    sku = new.body.setdefault("sku", {"name": "Basic"}).setdefault("name", "Basic")
    method = new.properties.setdefault(
        "publicIPAllocationMethod", "Static" if sku.lower() == "standard" else "Dynamic"
    )
    if sku.lower() == "standard" and method.lower() != "static":
        raise invalid(
            "StandardAndStandardV2SkuPublicIPAddressesMustBeStatic",
            f"Standard sku publicIp {new.id} must have AllocationMethod set to Static.",
        )
    if old is not None and old.body["sku"]["name"] != sku:
        raise sku_kept(new)
    name_record(world, new)
    new.properties.setdefault("publicIPAddressVersion", "IPv4")
    new.properties.setdefault("idleTimeoutInMinutes", 4)
    new.hidden["address"] = old.hidden["address"] if old else public_address(world)


def sku_kept(new: Resource) -> ArmError:
    return invalid(
        "SkuCannotBeChangedOnUpdate",
        f"Sku property is set at creation time and cannot be changed on resource update for resource {new.id}.",
    )


TRADEMARKS = ("microsoft", "windows", "azure", "xbox", "login", "bing", "apple")


def name_record(world: World, new: Resource) -> None:
    label = new.properties.get("dnsSettings", {}).get("domainNameLabel")
    if not label:
        return
    if any(word in label.lower() for word in TRADEMARKS):
        raise invalid(
            "DomainNameLabelReserved",
            f"The domain name label {label} is invalid. The name itself or part of the name is a reserved word such as "
            "a trademark. Please use a different name.",
        )
    fqdn = f"{label}.{new.location}.cloudapp.azure.com"
    for other in world.of_kind(new.kind):
        if other.key != new.key and other.properties.get("dnsSettings", {}).get("fqdn") == fqdn:
            raise invalid("DnsRecordInUse", f"DNS record {fqdn} is already used by another public IP.")
    new.properties["dnsSettings"]["fqdn"] = fqdn


def public_address(world: World) -> str:
    taken = {r.hidden.get("address") for r in world.of_kind("Microsoft.Network/publicIPAddresses")}
    return next(str(address) for address in _hosts(PUBLIC) if str(address) not in taken)


def _hosts(network: Any) -> Iterator[Any]:
    for offset in range(4, network.num_addresses - 1):
        yield network[offset]


def view_address(world: World, resource: Resource, body: Body) -> None:
    properties = body["properties"]
    users = world.users(resource.id)
    if resource.state == "Succeeded" and (
        properties["publicIPAllocationMethod"].lower() == "static" or users
    ):
        properties["ipAddress"] = resource.hidden["address"]
    if users:
        properties["ipConfiguration"] = {"id": users[0]}


# ---- interfaces
def check_interface(world: World, new: Resource, old: Resource | None) -> None:
    configurations = new.properties.get("ipConfigurations") or []
    if not configurations:
        raise invalid(
            "NetworkInterfaceMustHaveIpConfigurationOrAttachedElasticNetworkInterface",
            f"Network interface {new.id} must have IP configurations.",
        )
    exist(world, new)
    for item in configurations:
        _configuration(world, new, old, item)
    new.hidden.setdefault("mac", old.hidden["mac"] if old else _mac(new.id))


def _configuration(world: World, new: Resource, old: Resource | None, item: Body) -> None:
    properties = item.setdefault("properties", {})
    subnet = properties.get("subnet", {}).get("id")
    if not subnet:
        raise invalid(
            "SubnetIsRequired",
            f"Subnet reference is required for ipconfiguration {new.id}/ipConfigurations/{item.get('name')}.",
        )
    source = f"{new.id}/ipConfigurations/{item['name']}"
    address = properties.get("publicIPAddress", {}).get("id")
    if address:
        one_user(world, address, source)
    before = part(old, source) if old else None
    method = properties.setdefault("privateIPAllocationMethod", "Dynamic").lower()
    wanted = properties.get("privateIPAddress") if method == "static" else None
    if wanted is None and before and before["properties"]["subnet"]["id"].lower() == subnet.lower():
        wanted = before["properties"]["privateIPAddress"]
    properties["privateIPAddress"] = private_address(world, subnet, wanted, source)
    properties.setdefault("privateIPAddressVersion", "IPv4")
    properties.setdefault("primary", True)


def one_user(world: World, address: str, source: str) -> None:
    others = [user for user in world.users(address) if user.lower() != source.lower()]
    if others:
        raise invalid(
            "PublicIPAddressInUse",
            f"Resource {source} is referencing public IP address {address} that is already allocated to resource "
            f"{others[0]}.",
        )


def private_address(world: World, subnet: str, wanted: str | None, source: str) -> str:
    network = owner_of(world, subnet)
    item = part(network, subnet) if network else None
    if item is None:
        raise invalid("InvalidResourceReference", f"Resource {subnet} was not found.")
    net = ipaddress.ip_network(prefixes(item)[0])
    taken = world_addresses(world, subnet, source)
    if wanted is None:
        return _free(net, taken, subnet)
    if ipaddress.ip_address(wanted) not in net:
        raise invalid(
            "PrivateIPAddressNotInSubnet",
            f"Private static IP address {wanted} does not belong to the range of subnet prefix {net}.",
        )
    if taken.get(wanted, source).lower() != source.lower():
        raise invalid(
            "PrivateIPAddressIsAllocated",
            f"IP configuration {source} is using the private IP address {wanted} which is already allocated to "
            f"resource {taken[wanted]}.",
        )
    return wanted


def _free(net: Any, taken: dict[str, str], subnet: str) -> str:
    for offset in range(RESERVED - 1, net.num_addresses - 1):
        text = str(net[offset])
        if text not in taken:
            return text
    raise invalid("SubnetIsFull", f"Subnet {subnet} with address prefix {net} is already full.")


def world_addresses(world: World, subnet: str, source: str) -> dict[str, str]:
    """Address -> who has it, in one subnet."""
    taken: dict[str, str] = {}
    for user in world.users(subnet):
        owner = owner_of(world, user)
        item = part(owner, user) if owner else None
        if item is not None and user.lower() != source.lower():
            taken[str(item["properties"].get("privateIPAddress"))] = user
    return taken


def _mac(raw: str) -> str:
    digest = f"{zlib.crc32(raw.lower().encode()) & 0xFFFFFF:06X}"
    return f"00-0D-3A-{digest[:2]}-{digest[2:4]}-{digest[4:]}"


def interface_may_go(world: World, resource: Resource) -> None:
    for user in world.users(resource.id):
        raise invalid(
            "NicInUse",
            f"Network Interface {resource.id} is used by existing resource {user}. In order to delete the network "
            "interface, it must be dissociated from the resource.",
        )


def view_interface(world: World, resource: Resource, body: Body) -> None:
    properties = body["properties"]
    properties["macAddress"] = resource.hidden["mac"]
    for user in world.users(resource.id):
        properties["virtualMachine"] = {"id": user}


register(
    Kind(
        "Microsoft.Network/virtualNetworks",
        "network.models.VirtualNetwork",
        "network.models.TagsObject",
        parts={"subnets": "network.models.Subnet", "virtualNetworkPeerings": ""},
        check=check_network,
        view=view_network,
        may_go=network_may_go,
    ),
    Kind(
        "Microsoft.Network/networkSecurityGroups",
        "network.models.NetworkSecurityGroup",
        "network.models.TagsObject",
        parts={"securityRules": "network.models.SecurityRule"},
        check=check_group,
        may_go=in_use("InUseNetworkSecurityGroupCannotBeDeleted", "Network security group"),
    ),
    Kind(
        "Microsoft.Network/routeTables",
        "network.models.RouteTable",
        "network.models.TagsObject",
        parts={"routes": "network.models.Route"},
        check=check_references,
        may_go=in_use("InUseRouteTableCannotBeDeleted", "Route table"),
    ),
    Kind(
        "Microsoft.Network/natGateways",
        "network.models.NatGateway",
        "network.models.TagsObject",
        check=check_references,
        may_go=in_use("InUseNatGatewayCannotBeDeleted", "NAT gateway"),
    ),
    Kind(
        "Microsoft.Network/applicationSecurityGroups",
        "network.models.ApplicationSecurityGroup",
        "network.models.TagsObject",
        may_go=in_use("InUseApplicationSecurityGroupCannotBeDeleted", "Application security group"),
    ),
    Kind(
        "Microsoft.Network/publicIPAddresses",
        "network.models.PublicIPAddress",
        "network.models.TagsObject",
        check=check_address,
        view=view_address,
        may_go=in_use("PublicIPAddressCannotBeDeleted", "Public IP address"),
    ),
    Kind(
        "Microsoft.Network/networkInterfaces",
        "network.models.NetworkInterface",
        "network.models.TagsObject",
        parts={"ipConfigurations": ""},
        check=check_interface,
        view=view_interface,
        may_go=interface_may_go,
    ),
)
