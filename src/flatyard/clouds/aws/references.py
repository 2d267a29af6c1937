"""What a cluster names by its id in the account: VPC, subnets, security groups, instance profiles."""

from __future__ import annotations

from collections.abc import Iterator

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.networks import given_subnets, given_vpc, room_problems
from flatyard.clouds.cloud import Rejected
from flatyard.clouds.pools import Pool
from flatyard.model.cluster import Cluster
from flatyard.model.machines import AwsMachine
from flatyard.model.meant import is_placeholder


async def network(account: Account, cluster: Cluster, groups: tuple[Pool[AwsMachine], ...]) -> list[Problem]:
    """The VPC and its subnets, where the file or a deployment names them."""
    cloud = cluster.spec.cloud.aws
    vpc = given_vpc(cluster)
    path = "spec.cloud.aws.vpcId" if cloud and cloud.vpc_id else "spec.controlPlane.machine.vpcId"
    found: list[Problem] = []
    if vpc:
        rows = await account.pages("listing VPCs", "ec2", "describe_vpcs", "Vpcs")
        if vpc not in [row["VpcId"] for row in rows]:
            known = ", ".join(sorted(row["VpcId"] for row in rows)) or "none"
            return [_error(path, f"{account.region} has no VPC {vpc}", known)]
        found += await _dns(account, vpc, path)
    else:
        found += room_problems(cluster, sum(pool.replicas for pool in groups))
    return [*found, *await _subnets(account, cluster, groups, vpc)]


async def _dns(account: Account, vpc: str, path: str) -> list[Problem]:
    """Nodes are called by their private DNS names, so there must be some."""
    found = []
    for attribute in ("enableDnsSupport", "enableDnsHostnames"):
        what = f"reading {attribute} of {vpc}"
        answer = await account.read(what, "ec2", "describe_vpc_attribute", VpcId=vpc, Attribute=attribute)
        if not answer[attribute[0].upper() + attribute[1:]]["Value"]:
            on = f"aws ec2 modify-vpc-attribute --vpc-id {vpc} --{'enable-dns-' + attribute[9:].lower()}"
            found.append(_error(path, f"{vpc} has {attribute} off, and nodes are named by DNS; {on}"))
    return found


async def _subnets(
    account: Account, cluster: Cluster, groups: tuple[Pool[AwsMachine], ...], vpc: str
) -> list[Problem]:
    named = [
        (path, name, zone) for path, name, zone in _named_subnets(cluster, groups) if not is_placeholder(name)
    ]
    if not named:
        return []
    rows = await account.pages("listing subnets", "ec2", "describe_subnets", "Subnets")
    known = {row["SubnetId"]: row for row in rows}
    there = ", ".join(sorted(key for key, row in known.items() if vpc in ("", row["VpcId"]))) or "none"
    found = []
    for path, name, zone in named:
        row = known.get(name)
        if row is None:
            found.append(_error(path, f"{vpc or account.region} has no subnet {name}", there))
            continue
        if row["VpcId"] != vpc:
            where = (
                f"and not in {vpc}" if vpc else "and the cluster's network is to be made: name it as vpcId"
            )
            found.append(_error(path, f"subnet {name} is in {row['VpcId']} {where}", there if vpc else ""))
        if zone and row["AvailabilityZone"] != zone:
            found.append(
                _error(path, f"subnet {name} is in zone {row['AvailabilityZone']} and not in {zone}")
            )
    return found


def _named_subnets(cluster: Cluster, groups: tuple[Pool[AwsMachine], ...]) -> Iterator[tuple[str, str, str]]:
    """Where a subnet is named, its id, and the zone that it should be in."""
    cloud = cluster.spec.cloud.aws
    for number, name in enumerate(cloud.subnet_ids if cloud else ()):
        yield f"spec.cloud.aws.subnetIDs[{number}]", name, ""
    for pool in groups:
        if pool.machine.subnet_id.value:
            yield pool.at("subnetId"), pool.machine.subnet_id.value, pool.machine.zone


async def machines(account: Account, cluster: Cluster, groups: tuple[Pool[AwsMachine], ...]) -> list[Problem]:
    """Security groups and instance profiles that machine specs name, or should have."""
    found = [problem for pool in groups for problem in _made_for(cluster, pool)]
    for pool in groups:
        names = [group.value for group in pool.machine.security_group_ids if group.value]
        wanted = [name for name in names if not is_placeholder(name)]
        found += await _groups(account, pool, wanted)
        profile = pool.machine.instance_profile.value
        if profile and not is_placeholder(profile):
            found += await _profile(account, pool, profile)
    return found


def _made_for(cluster: Cluster, pool: Pool[AwsMachine]) -> Iterator[Problem]:
    """Said where the spec is machine-controller's: it names its network, and would be refused there."""
    machine = pool.machine
    if not (machine.vpc_id or machine.subnet_id or given_vpc(cluster) or given_subnets(cluster)):
        return
    role = "control-plane" if pool.control_plane else "worker"
    if not machine.security_group_ids:
        what = f"no security groups are given: one for the role {role} is made, open to the cluster"
        yield Problem(Severity.WARNING, None, pool.at("securityGroupIDs"), what)
    if not machine.instance_profile:
        what = f"no instance profile is given: one for the role {role} is made, as docs/aws.md lists"
        yield Problem(Severity.WARNING, None, pool.at("instanceProfile"), what)


async def _groups(account: Account, pool: Pool[AwsMachine], names: list[str]) -> list[Problem]:
    if not names:
        return []
    filters = [{"Name": "group-id", "Values": names}]
    rows = await account.pages(
        "looking for security groups", "ec2", "describe_security_groups", "SecurityGroups", Filters=filters
    )
    known = {row["GroupId"] for row in rows}
    path = pool.at("securityGroupIDs")
    return [
        _error(f"{path}[{number}]", f"{account.region} has no security group {name}")
        for number, name in enumerate(names)
        if name not in known
    ]


async def _profile(account: Account, pool: Pool[AwsMachine], named: str) -> list[Problem]:
    name = named.rpartition("/")[2]
    try:
        answer = await account.read(
            f"looking for the instance profile {name}",
            "iam",
            "get_instance_profile",
            InstanceProfileName=name,
        )
    except Rejected as no:
        if no.code != "NoSuchEntity":
            raise
        return [_error(pool.at("instanceProfile"), f"the account has no instance profile {name}")]
    row: Answer = answer["InstanceProfile"]
    if not row["Roles"]:
        return [_error(pool.at("instanceProfile"), f"the instance profile {name} has no role")]
    return []


def _error(path: str, what: str, allowed: str = "") -> Problem:
    return Problem(Severity.ERROR, None, path, what, allowed)
