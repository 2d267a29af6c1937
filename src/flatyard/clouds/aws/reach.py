"""Whether machines reach the internet, and callers the endpoint: what AWS takes without a word and nobody answers on.

A subnet is public when its route table's default route goes to an internet gateway; through that one pass public
addresses alone (VPC user guide, "Internet gateways"). A load balancer for the world wants public subnets (ELB user
guide, "Network Load Balancers").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.endpoint import is_internal
from flatyard.clouds.aws.networks import ANYWHERE, given_rows, given_vpc
from flatyard.clouds.aws.zones import is_regular
from flatyard.clouds.cloud import Rejected
from flatyard.clouds.pools import Pool
from flatyard.model.cluster import Cluster
from flatyard.model.machines import AwsMachine

_TARGETS = (
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "NetworkInterfaceId",
    "VpcPeeringConnectionId",
    "LocalGatewayId",
    "CoreNetworkArn",
)
_PUBLIC = "igw-"
Ways = Mapping[str, str]
"""By subnet, where its default route goes; empty for nowhere. One whose table is not shown is not in it."""


async def problems(account: Account, cluster: Cluster, groups: tuple[Pool[AwsMachine], ...]) -> list[Problem]:
    """A network that is to be made has public subnets only; in one that is given the routes are looked at."""
    vpc = given_vpc(cluster)
    if not vpc:
        why = "a network that flatyard makes has no NAT"
        shut = [_shut_in(pool, why) for pool in groups if _hidden(pool)]
        return [*shut, *await _blocked(account, Severity.ERROR)]
    try:
        rows = await given_rows(account, vpc, cluster)
    except Rejected:
        return []  # that it has no such subnet is told already
    ways = await _ways(account, vpc, [row["SubnetId"] for row in rows])
    found = [problem for pool in groups for problem in _of_pool(pool, rows, ways)]
    if any(way.startswith(_PUBLIC) for way in ways.values()):
        found += await _blocked(account, Severity.WARNING)
    return found if is_internal(cluster) else [*found, *_of_endpoint(account, cluster, rows, ways)]


async def _blocked(account: Account, severity: Severity) -> list[Problem]:
    """Whether the account lets nothing pass its internet gateways; a VPC that is there may be excluded from that."""
    what = "asking whether the account blocks public access to VPCs"
    try:
        answer = await account.read(what, "ec2", "describe_vpc_block_public_access_options")
    except Rejected:
        return []  # an older region, or a permission that nothing else needs
    mode = answer.get("VpcBlockPublicAccessOptions", {}).get("InternetGatewayBlockMode", "off")
    if mode == "off":
        return []
    said = f"the account blocks public access to its VPCs ({mode}): nobody reaches the endpoint"
    said += ", and machines nothing" if mode == "block-bidirectional" else ""
    allowed = "vpcId of a VPC that is excluded from it, or modify-vpc-block-public-access-options"
    return [Problem(severity, None, "spec.cloud.aws", said, allowed)]


async def _ways(account: Account, vpc: str, subnets: list[str]) -> Ways:
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    what = f"looking for the routes of {vpc}"
    tables = await account.pages(what, "ec2", "describe_route_tables", "RouteTables", Filters=filters)
    main: str | None = None
    own: dict[str, str] = {}
    for table in tables:
        for association in table.get("Associations", ()):
            if association.get("Main"):
                main = _default(table)
            elif association.get("SubnetId"):
                own[association["SubnetId"]] = _default(table)
    found = {subnet: own.get(subnet, main) for subnet in subnets}
    return {subnet: way for subnet, way in found.items() if way is not None}


def _default(table: Answer) -> str:
    """Where the default route goes, or any that leads to an internet gateway: the world may be two halves."""
    rows = [row for row in table.get("Routes", ()) if row.get("State") != "blackhole"]
    default = [_target(row) for row in rows if row.get("DestinationCidrBlock") == ANYWHERE]
    halves = [_target(row) for row in rows if _target(row).startswith(_PUBLIC)]
    return next(iter((*default, *halves)), "")


def _target(route: Answer) -> str:
    return next((str(route[key]) for key in _TARGETS if route.get(key)), "")


def _hidden(pool: Pool[AwsMachine]) -> bool:
    return pool.machine.assign_public_ip is False


def _of_pool(pool: Pool[AwsMachine], rows: list[Answer], ways: Ways) -> Iterator[Problem]:
    machine = pool.machine
    named, zone = machine.subnet_id.value, machine.zone
    fits = [
        row for row in rows if (row["SubnetId"] == named if named else zone in ("", row["AvailabilityZone"]))
    ]
    for subnet in [row["SubnetId"] for row in fits if row["SubnetId"] in ways]:
        way = ways[subnet]
        if _hidden(pool) and way.startswith(_PUBLIC):
            yield _shut_in(pool, f"the way out of {subnet} is an internet gateway")
        elif not way:
            what = (
                f"{subnet} has no default route: registries and release servers must be reached by other ways"
            )
            yield Problem(Severity.WARNING, None, pool.at("subnetId"), what)


def _shut_in(pool: Pool[AwsMachine], why: str) -> Problem:
    what = f"without public addresses the machines do not reach the internet: {why}"
    allowed = "true, or vpcId and subnetIDs of a network with NAT"
    return Problem(Severity.ERROR, None, pool.at("assignPublicIP"), what, allowed)


def _of_endpoint(account: Account, cluster: Cluster, rows: list[Answer], ways: Ways) -> Iterator[Problem]:
    cloud = cluster.spec.cloud.aws
    named = cloud.subnet_ids if cloud else ()
    for row in rows:
        subnet = row["SubnetId"]
        if ways.get(subnet, _PUBLIC).startswith(_PUBLIC) or not is_regular(
            row["AvailabilityZone"], account.region
        ):
            continue
        at = f"subnetIDs[{named.index(subnet)}]" if subnet in named else "vpcId"
        what = f"{subnet} has no route to an internet gateway: an endpoint for the world is not reached there"
        allowed = (
            "public subnets, or spec.controlPlane.machine.assignPublicIP: false for an internal endpoint"
        )
        yield Problem(Severity.ERROR, None, f"spec.cloud.aws.{at}", what, allowed)
