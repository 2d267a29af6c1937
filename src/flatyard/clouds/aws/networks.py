"""A cluster's network on AWS: a VPC with a public subnet per zone, or the user's own; and a security group per role.

Rules follow the Kubernetes documentation (ports and protocols) and the CNI plug-ins' own; no port is open to the world
but the API's.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.aws import profiles, services, stash
from flatyard.clouds.aws.answers import HELD, missing_is_fine
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.naming import ours, tagged, tags_of
from flatyard.clouds.aws.settings import machines
from flatyard.clouds.aws.zones import ZONES, is_regular, named_zones, zones_of
from flatyard.clouds.cloud import ClusterRef, Network, Rejected, Role, Transient
from flatyard.clouds.facts import BIND_PORT
from flatyard.clouds.pools import crowded
from flatyard.model.cluster import Cluster
from flatyard.model.machines import AwsMachine
from flatyard.model.meant import is_placeholder

BLOCKS = 8
"""Parts of the nodes' network, of which each zone takes one: zones may be added later."""
SMALLEST_SUBNET, LARGEST_VPC = 28, 16
RESERVED = 6
"""Addresses of a subnet that no machine gets."""
ANYWHERE, NODES = "0.0.0.0/0", "nodes"
ALL = (Role.CONTROL_PLANE, Role.WORKER)
Rule = tuple[str, int, int, tuple[Role | str, ...]]
_CNI: tuple[Rule, ...] = (
    ("icmp", -1, -1, ALL),
    ("udp", 4789, 4789, ALL),
    ("udp", 8472, 8472, ALL),
    ("udp", 51820, 51821, ALL),
    ("tcp", 179, 179, ALL),
    ("tcp", 4240, 4244, ALL),
    ("tcp", 5473, 5473, ALL),
    ("4", -1, -1, ALL),
)
"""VXLAN of Calico, flannel and Cilium, WireGuard, BGP, Cilium's health and Hubble, Typha, IP in IP."""
RULES: dict[Role, tuple[Rule, ...]] = {
    Role.CONTROL_PLANE: (
        ("tcp", 2379, 2380, (Role.CONTROL_PLANE,)),
        ("tcp", 10250, 10250, ALL),
        ("tcp", 10257, 10257, ALL),
        ("tcp", 10259, 10259, ALL),
        ("tcp", 22, 22, (NODES,)),
        *_CNI,
    ),
    Role.WORKER: (
        ("tcp", 10250, 10250, ALL),
        ("tcp", 30000, 32767, (NODES,)),
        ("udp", 30000, 32767, (NODES,)),
        ("tcp", 22, 22, (NODES,)),
        *_CNI,
    ),
}
"""By role: protocol, first and last port, and from whom; the port of the API comes with the endpoint's."""


async def ensure(account: Account, ref: ClusterRef, cluster: Cluster) -> Network:
    """Make what is missing; raises Rejected when a network that the file names is not there."""
    given = given_vpc(cluster)
    vpc = await _named(account, given) if given else await _own_vpc(account, ref, cluster)
    subnets = await (
        given_rows(account, given, cluster) if given else _own_subnets(account, ref, cluster, vpc)
    )
    if not given:
        await _routes(account, ref, vpc, subnets)
    groups = await _groups(account, ref, cluster, vpc)
    await profiles.ensure_for(account, ref, cluster)
    return Network(
        id=vpc["VpcId"],
        subnets=tuple(row["SubnetId"] for row in subnets),
        security_groups={role.value: groups[role] for role in sorted(groups)},
        zones=tuple(row["AvailabilityZone"] for row in subnets),
        cidr=vpc["CidrBlock"],
        adopted=bool(given),
    )


async def delete(account: Account, ref: ClusterRef) -> None:
    """Everything of the network, roles and the bucket too; raises Transient while machines still use it.

    What Services left in it goes first: it holds the rest.
    """
    await services.delete(account, ref)
    rows = [*await _ours(account, ref, "security_groups"), *await services.groups(account, ref)]
    groups = sorted({row["GroupId"] for row in rows})
    if groups:
        await services.delete_interfaces(account, ref, groups)
    await delete_groups(account, ref, groups)
    for row in await _ours(account, ref, "subnets"):
        await delete_subnet(account, row["SubnetId"])
    for row in await _ours(account, ref, "route_tables"):
        await delete_table(account, row["RouteTableId"])
    for row in await _ours(account, ref, "internet_gateways"):
        await delete_gateway(account, row["InternetGatewayId"])
    for row in await _ours(account, ref, "vpcs"):
        await delete_vpc(account, row["VpcId"])
    await profiles.delete(account, ref)
    await stash.delete_bucket(account, ref)


def given_vpc(cluster: Cluster) -> str:
    """The VPC that the file names: for the cluster, or in a machine spec as machine-controller has it."""
    cloud = cluster.spec.cloud.aws
    named = (cloud.vpc_id if cloud else "", *(machine.vpc_id.value for machine in machines(cluster)))
    return next((name for name in named if name and not is_placeholder(name)), "")


def given_subnets(cluster: Cluster) -> tuple[str, ...]:
    """The subnets that the file names."""
    cloud = cluster.spec.cloud.aws
    named = (
        *(cloud.subnet_ids if cloud else ()),
        *(machine.subnet_id.value for machine in machines(cluster)),
    )
    return tuple(dict.fromkeys(name for name in named if name and not is_placeholder(name)))


async def wanted_zones(account: Account, cluster: Cluster) -> tuple[str, ...]:
    """The zones that the cluster's network will span; none where the subnets that the file names are not there."""
    given = given_vpc(cluster)
    if not given:
        return await zones_of(account, cluster, ())
    try:
        rows = await given_rows(account, given, cluster)
    except Rejected:
        return ()
    return tuple(dict.fromkeys(row["AvailabilityZone"] for row in rows))


# ---- the VPC


async def _ours(account: Account, ref: ClusterRef, kind: str) -> list[Answer]:
    key = "".join(word.capitalize() for word in kind.split("_"))
    what = f"looking for the {kind.replace('_', ' ')} of {ref.name}"
    rows = await account.pages(what, "ec2", f"describe_{kind}", key, Filters=ours(ref))
    return sorted(rows, key=lambda row: str(next(v for k, v in row.items() if k == _ID[kind])))


_ID = {
    "vpcs": "VpcId",
    "subnets": "SubnetId",
    "security_groups": "GroupId",
    "route_tables": "RouteTableId",
    "internet_gateways": "InternetGatewayId",
}


async def _named(account: Account, vpc: str) -> Answer:
    answer = await account.read(f"looking for VPC {vpc}", "ec2", "describe_vpcs", VpcIds=[vpc])
    found: Answer = answer["Vpcs"][0]
    return found


async def _own_vpc(account: Account, ref: ClusterRef, cluster: Cluster) -> Answer:
    rows = await _ours(account, ref, "vpcs")
    what = f"making the VPC of {ref.name}"
    found: Answer
    if rows:
        found = rows[0]
    else:
        tags = tagged("vpc", ref, account.world, f"flatyard-{ref.name}")
        cidr = cluster.spec.network.nodes
        made = await account.write(what, "ec2", "create_vpc", CidrBlock=cidr, TagSpecifications=tags)
        found = made["Vpc"]
    vpc = found["VpcId"]
    names = await account.follow(
        what, "ec2", "describe_vpc_attribute", VpcId=vpc, Attribute="enableDnsHostnames"
    )
    if not names["EnableDnsHostnames"]["Value"]:
        on = {"Value": True}
        await account.follow(what, "ec2", "modify_vpc_attribute", VpcId=vpc, EnableDnsHostnames=on)
    return found


async def _own_subnets(account: Account, ref: ClusterRef, cluster: Cluster, vpc: Answer) -> list[Answer]:
    rows = {row["AvailabilityZone"]: row for row in reversed(await _ours(account, ref, "subnets"))}
    zones = await zones_of(account, cluster, tuple(rows))
    free = _free_blocks(vpc["CidrBlock"], [row["CidrBlock"] for row in rows.values()])
    for zone in zones:
        if zone not in rows:
            if not free:
                what = f"{vpc['CidrBlock']} has no room for a subnet in {zone}"
                raise Rejected(what, next="fewer zones, or a cluster with a larger spec.network.nodes")
            made = await account.follow(
                f"making the subnet of {ref.name} in {zone}",
                "ec2",
                "create_subnet",
                VpcId=vpc["VpcId"],
                AvailabilityZone=zone,
                CidrBlock=free.pop(0),
                TagSpecifications=tagged("subnet", ref, account.world, f"flatyard-{ref.name}-{zone}"),
            )
            rows[zone] = made["Subnet"]
    return [rows[zone] for zone in sorted(rows)]


def room_problems(cluster: Cluster, machines: int) -> Iterator[Problem]:
    """What is wrong with the network that is to be made: AWS' sizes, and room for the machines in each zone.

    A VPC has /16 to /28, and of each subnet five addresses are reserved (VPC user guide, "VPC CIDR blocks", "Subnet
    sizing"); the load balancer takes one more.
    """
    nodes = cluster.spec.network.nodes
    prefix, zones = ipaddress.IPv4Network(nodes).prefixlen, max(len(named_zones(cluster)), ZONES)
    blocks = _free_blocks(nodes, []) if prefix <= SMALLEST_SUBNET else []
    if prefix < LARGEST_VPC or len(blocks) < zones:
        smallest = SMALLEST_SUBNET - (zones - 1).bit_length()
        what = f"{nodes} cannot be a VPC with subnets in {zones} zones"
        allowed = f"/{LARGEST_VPC} to /{smallest}"
        yield Problem(Severity.ERROR, None, "spec.network.nodes", what, allowed)
    else:
        yield from crowded(nodes, machines, blocks[:zones], RESERVED)


def _free_blocks(cidr: str, taken: list[str]) -> list[str]:
    whole = ipaddress.IPv4Network(cidr)
    prefix = min(whole.prefixlen + BLOCKS.bit_length() - 1, max(SMALLEST_SUBNET, whole.prefixlen))
    used = [ipaddress.IPv4Network(part) for part in taken]
    parts = whole.subnets(new_prefix=prefix)
    return [str(part) for part in parts if not any(part.overlaps(other) for other in used)]


async def given_rows(account: Account, vpc: str, cluster: Cluster) -> list[Answer]:
    """The named subnets in their order; without names one per zone of the VPC.

    Raises Rejected for one that is not there.
    """
    named = given_subnets(cluster)
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    what = f"looking for the subnets of {vpc}"
    rows = await account.pages(what, "ec2", "describe_subnets", "Subnets", Filters=filters)
    known = {row["SubnetId"]: row for row in rows}
    missing = [name for name in named if name not in known]
    if missing or not known:
        raise Rejected(
            f"{vpc} has no subnet {missing[0] if missing else 'at all'}",
            code="InvalidSubnetID.NotFound",
            next=f"it has {', '.join(sorted(known)) or 'none'}",
        )
    if named:
        return [known[name] for name in named]
    rows = sorted(
        rows, key=lambda row: (row["AvailabilityZone"], not row["MapPublicIpOnLaunch"], row["SubnetId"])
    )
    first = {row["AvailabilityZone"]: row for row in reversed(rows)}
    zones = named_zones(cluster) or [zone for zone in sorted(first) if is_regular(zone, account.region)]
    return [first[zone] for zone in zones if zone in first]


async def _routes(account: Account, ref: ClusterRef, vpc: Answer, subnets: list[Answer]) -> None:
    """A gateway, and a table of ours that sends what is not local there."""
    what, key = f"making the routes of {ref.name}", vpc["VpcId"]
    gateways, tables = await asyncio.gather(
        _ours(account, ref, "internet_gateways"), _ours(account, ref, "route_tables")
    )
    name = f"flatyard-{ref.name}"
    if not gateways:
        tags = tagged("internet-gateway", ref, account.world, name)
        made = await account.write(what, "ec2", "create_internet_gateway", TagSpecifications=tags)
        gateways = [made["InternetGateway"]]
    gateway = gateways[0]["InternetGatewayId"]
    if not gateways[0].get("Attachments"):
        await account.follow(what, "ec2", "attach_internet_gateway", InternetGatewayId=gateway, VpcId=key)
    if not tables:
        tags = tagged("route-table", ref, account.world, name)
        made = await account.follow(what, "ec2", "create_route_table", VpcId=key, TagSpecifications=tags)
        tables = [made["RouteTable"]]
    table = tables[0]["RouteTableId"]
    if not any(route.get("GatewayId") == gateway for route in tables[0].get("Routes", ())):
        route = {"RouteTableId": table, "DestinationCidrBlock": ANYWHERE, "GatewayId": gateway}
        await account.follow(what, "ec2", "create_route", **route)
    known = {row.get("SubnetId") for row in tables[0].get("Associations", ())}
    for row in subnets:
        if row["SubnetId"] not in known:
            pair = {"RouteTableId": table, "SubnetId": row["SubnetId"]}
            await account.follow(what, "ec2", "associate_route_table", **pair)


# ---- security groups


async def _groups(account: Account, ref: ClusterRef, cluster: Cluster, vpc: Answer) -> dict[Role, str]:
    rows = await _ours(account, ref, "security_groups")
    by_name = {tags_of(row).get("Name", ""): row for row in reversed(rows) if row["VpcId"] == vpc["VpcId"]}
    made: dict[Role, Answer] = {}
    for role in ALL:
        name = f"flatyard-{ref.name}-{role.value}"
        made[role] = by_name.get(name) or await _group(account, ref, vpc["VpcId"], role)
    ids = {role: str(row["GroupId"]) for role, row in made.items()}
    for role in ALL:
        await _permit(account, made[role], _wanted(role, cluster, _cidrs(vpc), ids))
    return ids


async def _group(account: Account, ref: ClusterRef, vpc: str, role: Role) -> Answer:
    name = f"flatyard-{ref.name}-{role.value}"
    made = await account.follow(
        f"making the security group {name}",
        "ec2",
        "create_security_group",
        GroupName=f"{name}-{ref.id[-6:].lower()}",
        Description=f"{role.value} machines of {ref.name}",
        VpcId=vpc,
        TagSpecifications=tagged("security-group", ref, account.world, name),
    )
    return {"GroupId": made["GroupId"], "IpPermissions": []}


def _wanted(role: Role, cluster: Cluster, cidrs: list[str], ids: dict[Role, str]) -> list[Answer]:
    own: dict[str, list[str]] = {NODES: cidrs}
    own |= {one.value: [ids[one], *_given_groups(cluster, one)] for one in ALL}
    ports = sorted({BIND_PORT, cluster.spec.endpoint.port}) if role is Role.CONTROL_PLANE else []
    api: tuple[Rule, ...] = tuple(("tcp", port, port, (ANYWHERE,)) for port in ports)
    entries = [
        (protocol, first, last, source)
        for protocol, first, last, sources in (*api, *RULES[role])
        for named in sources
        for source in own.get(str(named), [str(named)])
    ]
    return [_permission(*entry) for entry in dict.fromkeys(entries)]


def _given_groups(cluster: Cluster, role: Role) -> list[str]:
    """Of each of the role's machine specs the first group of the user's: machines that have it are not in ours."""
    workers = [pool.machine for pool in cluster.spec.workers]
    specs = [cluster.spec.control_plane.machine] if role is Role.CONTROL_PLANE else workers
    named = [
        next((group.value for group in spec.security_group_ids if group.value), "")
        for spec in specs
        if isinstance(spec, AwsMachine)
    ]
    return [name for name in dict.fromkeys(named) if name and not is_placeholder(name)]


def _cidrs(vpc: Answer) -> list[str]:
    """Every range of a VPC: subnets may lie in one that was added."""
    added = [
        row["CidrBlock"]
        for row in vpc.get("CidrBlockAssociationSet", ())
        if row.get("CidrBlockState", {}).get("State") == "associated"
    ]
    return list(dict.fromkeys((vpc["CidrBlock"], *added)))


def _permission(protocol: str, first: int, last: int, source: str) -> Answer:
    who: Answer = (
        {"UserIdGroupPairs": [{"GroupId": source}]}
        if source.startswith("sg-")
        else {"IpRanges": [{"CidrIp": source}]}
    )
    return {"IpProtocol": protocol, "FromPort": first, "ToPort": last, **who}


def _flat(permission: Answer) -> set[tuple[str, int, int, str]]:
    """One entry for each source of a permission."""
    protocol, first = str(permission["IpProtocol"]), int(permission.get("FromPort", -1))
    sources = [pair["GroupId"] for pair in permission.get("UserIdGroupPairs", ())]
    sources += [part["CidrIp"] for part in permission.get("IpRanges", ())]
    return {(protocol, first, int(permission.get("ToPort", -1)), source) for source in sources}


async def _permit(account: Account, group: Answer, wanted: list[Answer]) -> None:
    there = {entry for permission in group.get("IpPermissions", ()) for entry in _flat(permission)}
    missing = [permission for permission in wanted if not _flat(permission) <= there]
    if missing:
        what = f"opening ports in {group['GroupId']}"
        rules = {"GroupId": group["GroupId"], "IpPermissions": missing}
        await account.follow(what, "ec2", "authorize_security_group_ingress", **rules)


# ---- deleting


async def delete_groups(account: Account, ref: ClusterRef, groups: list[str]) -> None:
    """Rules first: groups that name each other keep each other. Raises Transient for one that somebody else's names."""
    if not groups:
        return
    filters = [{"Name": "group-id", "Values": groups}]
    what = f"deleting the security groups of {ref.name}"
    rows = await account.pages(what, "ec2", "describe_security_groups", "SecurityGroups", Filters=filters)
    for row in rows:
        if row.get("IpPermissions"):
            with missing_is_fine():
                rules = {"GroupId": row["GroupId"], "IpPermissions": row["IpPermissions"]}
                await account.write(what, "ec2", "revoke_security_group_ingress", **rules)
    for row in rows:
        try:
            with missing_is_fine():
                await account.write(what, "ec2", "delete_security_group", GroupId=row["GroupId"])
        except Transient as no:
            by = await _named_by(account, what, row["GroupId"], groups) if no.code == HELD else ""
            if by:
                raise Transient(
                    f"{no.what}; rules of {by} name it, and are to be revoked", code=HELD
                ) from None
            raise


async def _named_by(account: Account, what: str, group: str, own: list[str]) -> str:
    """The groups of others that admit a group: while they do, EC2 does not delete it."""
    filters = [{"Name": "ip-permission.group-id", "Values": [group]}]
    rows = await account.pages(what, "ec2", "describe_security_groups", "SecurityGroups", Filters=filters)
    return ", ".join(sorted(row["GroupId"] for row in rows if row["GroupId"] not in own))


async def delete_subnet(account: Account, subnet: str) -> None:
    with missing_is_fine():
        await account.write(f"deleting {subnet}", "ec2", "delete_subnet", SubnetId=subnet)


async def delete_table(account: Account, table: str) -> None:
    what = f"deleting {table}"
    with missing_is_fine():
        answer = await account.read(what, "ec2", "describe_route_tables", RouteTableIds=[table])
        for row in answer["RouteTables"][0].get("Associations", ()):
            with missing_is_fine():
                await account.write(
                    what, "ec2", "disassociate_route_table", AssociationId=row["RouteTableAssociationId"]
                )
        await account.write(what, "ec2", "delete_route_table", RouteTableId=table)


async def delete_gateway(account: Account, gateway: str) -> None:
    what = f"deleting {gateway}"
    with missing_is_fine():
        answer = await account.read(what, "ec2", "describe_internet_gateways", InternetGatewayIds=[gateway])
        for row in answer["InternetGateways"][0].get("Attachments", ()):
            pair = {"InternetGatewayId": gateway, "VpcId": row["VpcId"]}
            with missing_is_fine():
                await account.write(what, "ec2", "detach_internet_gateway", **pair)
        await account.write(what, "ec2", "delete_internet_gateway", InternetGatewayId=gateway)


async def delete_vpc(account: Account, vpc: str) -> None:
    with missing_is_fine():
        await account.write(f"deleting {vpc}", "ec2", "delete_vpc", VpcId=vpc)
