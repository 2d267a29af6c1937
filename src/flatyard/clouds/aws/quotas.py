"""Whether the account's quotas are large enough, as far as Service Quotas tells them.

Codes: Service Quotas console, Amazon EC2: "Running On-Demand Standard instances" and "All Standard Spot Instance
Requests", both in vCPUs; Amazon VPC: "VPCs per Region".
"""

from __future__ import annotations

from collections.abc import Mapping

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.aws.answers import DENIED
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.naming import tags_of
from flatyard.clouds.cloud import TAG_CLUSTER, CloudError, Role
from flatyard.clouds.pools import Pool
from flatyard.model.machines import AwsMachine

ON_DEMAND, SPOT, VPCS = "L-1216C47A", "L-34B43A08", "L-F678F1CE"
STANDARD = "acdhimrtz"
"""First letters of the instance families that share those two quotas."""
_APART = ("dl", "hpc", "inf", "mac", "trn")
"""Families with such a letter that have quotas of their own."""
_UNTOLD = ("NoSuchResourceException", "AccessDeniedException", "EndpointConnectionError", *DENIED)
Vcpus = Mapping[str, int]
"""vCPUs by instance type."""


async def problems(
    account: Account, name: str, pools: tuple[Pool[AwsMachine], ...], vcpus: Vcpus, *, network: bool
) -> list[Problem]:
    """What the cluster `name` needs beyond the quotas; what it has already is not counted."""
    own = await _own(account, name)
    found = await _cpus(account, pools, vcpus, own)
    if network and not own:
        vpcs = await account.pages("counting VPCs", "ec2", "describe_vpcs", "Vpcs")
        limit = await _limit(account, "vpc", VPCS)
        if limit is not None and len(vpcs) >= limit:
            found.append(_problem("VPCs per region", 1, int(limit), len(vpcs), "VPC"))
    return found


async def _own(account: Account, name: str) -> set[str]:
    """Ids of clusters of that name in the region: each has a security group, also in a network that is not its own."""
    filters = [{"Name": "tag:Name", "Values": [f"flatyard-{name}-{Role.CONTROL_PLANE.value}"]}]
    what = f"looking for the cluster {name}"
    rows = await account.pages(what, "ec2", "describe_security_groups", "SecurityGroups", Filters=filters)
    return {tags_of(row)[TAG_CLUSTER] for row in rows if TAG_CLUSTER in tags_of(row)}


async def _cpus(
    account: Account, pools: tuple[Pool[AwsMachine], ...], vcpus: Vcpus, own: set[str]
) -> list[Problem]:
    found: list[Problem] = []
    wanted = {code: _wanted(pools, vcpus, spot=code == SPOT) for code in (ON_DEMAND, SPOT)}
    limits = {code: await _limit(account, "ec2", code) for code, count in wanted.items() if count}
    if not any(limit is not None for limit in limits.values()):
        return found
    used = await _used(account, own)
    names = {ON_DEMAND: "Running On-Demand Standard instances", SPOT: "All Standard Spot Instance Requests"}
    for code, limit in limits.items():
        if limit is not None and used[code] + wanted[code] > limit:
            found.append(_problem(names[code], wanted[code], int(limit), used[code], "vCPUs"))
    return found


def _problem(name: str, wanted: int, limit: int, used: int, what: str) -> Problem:
    text = f"the cluster needs {wanted} {what}; the account may use {limit} in this region and uses {used}"
    return Problem(Severity.ERROR, None, "spec", f"{text}; ask for more of '{name}' under Service Quotas")


def _wanted(pools: tuple[Pool[AwsMachine], ...], vcpus: Vcpus, *, spot: bool) -> int:
    alike = [pool for pool in pools if bool(pool.machine.is_spot_instance) is spot]
    return sum(
        pool.replicas * vcpus.get(pool.machine.size, 0) for pool in alike if _standard(pool.machine.size)
    )


def _standard(size: str) -> bool:
    return size[:1] in STANDARD and not size.startswith(_APART)


async def _limit(account: Account, service: str, code: str) -> float | None:
    """The quota's value, None where it is not told."""
    asked = {"ServiceCode": service, "QuotaCode": code}
    try:
        answer = await account.read("reading a quota", "service-quotas", "get_service_quota", **asked)
    except CloudError as no:
        if no.code in _UNTOLD:
            return None
        raise
    value = answer["Quota"].get("Value")
    return float(value) if value is not None else None


async def _used(account: Account, own: set[str]) -> dict[str, int]:
    """vCPUs that others' instances use, by quota."""
    states = {"Name": "instance-state-name", "Values": ["pending", "running"]}
    what = "counting the instances in the region"
    rows = await account.pages(what, "ec2", "describe_instances", "Reservations", Filters=[states])
    used = {ON_DEMAND: 0, SPOT: 0}
    for row in (instance for reservation in rows for instance in reservation["Instances"]):
        if _standard(row["InstanceType"]) and tags_of(row).get(TAG_CLUSTER) not in own:
            used[SPOT if row.get("InstanceLifecycle") == "spot" else ON_DEMAND] += _cores(row)
    return used


def _cores(row: Answer) -> int:
    options = row.get("CpuOptions", {})
    return int(options.get("CoreCount", 1)) * int(options.get("ThreadsPerCore", 1))
