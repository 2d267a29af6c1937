"""Availability zones: those that the file names, or those of the region that have every instance type of the cluster.

Only regular ones: a network load balancer takes no subnet in a local zone or in a constrained one (ELB user guide,
"Update the Availability Zones for your Network Load Balancer"). A regular zone is called like its region and a letter
(EC2 user guide, "Regions and Zones").
"""

from __future__ import annotations

from collections.abc import Iterable

from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.settings import machines
from flatyard.model.cluster import Cluster

ZONES = 3
"""How many zones a network spans unless the cluster file names them."""
_CLOSED = ("constrained", "impaired", "unavailable")
_OLD = ("use1-az3", "usw1-az2", "cac1-az3", "apne1-az3")
"""Ids of zones with the fewest instance types, where EKS makes no control plane either (EKS user guide, "View Amazon
EKS networking requirements"): the last to be taken. Their names are others' in each account."""


def is_regular(zone: str, region: str) -> bool:
    """Whether it is neither a local nor a Wavelength zone."""
    return zone.startswith(region) and len(zone) == len(region) + 1


def named_zones(cluster: Cluster) -> tuple[str, ...]:
    """The zones that the file names."""
    cloud = cluster.spec.cloud.aws
    named = (*(cloud.availability_zones if cloud else ()), *(machine.zone for machine in machines(cluster)))
    return tuple(dict.fromkeys(name for name in named if name))


async def region_zones(account: Account) -> list[Answer]:
    """The region's zones in the order in which they are taken; what is not enabled in the account is not told."""
    what = f"listing the zones of {account.region}"
    answer = await account.read(what, "ec2", "describe_availability_zones")
    return sorted(
        answer["AvailabilityZones"], key=lambda row: (row.get("ZoneId") in _OLD, str(row["ZoneName"]))
    )


def usable(rows: Iterable[Answer], region: str) -> list[str]:
    """Names of the zones where a network may be."""
    return [
        row["ZoneName"]
        for row in rows
        if row.get("State") not in _CLOSED and is_regular(row["ZoneName"], region)
    ]


async def offered_zones(account: Account, sizes: Iterable[str]) -> tuple[str, ...]:
    """The region's zones that have every one of the instance types, in order."""
    wanted = sorted(set(sizes))
    rows = await account.pages(
        "looking for the zones of the instance types",
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": wanted}],
    )
    there: dict[str, set[str]] = {}
    for row in rows:
        there.setdefault(row["Location"], set()).add(row["InstanceType"])
    return tuple(zone for zone in sorted(there) if len(there[zone]) == len(wanted))


async def zones_of(account: Account, cluster: Cluster, there: tuple[str, ...]) -> tuple[str, ...]:
    """The zones that the file names, filled up to three where there is no network yet."""
    named = named_zones(cluster)
    if there or len(named) >= ZONES:
        return tuple(dict.fromkeys((*there, *named)))
    offered = await offered_zones(account, (machine.size for machine in machines(cluster)))
    free = [zone for zone in usable(await region_zones(account), account.region) if zone not in named]
    return (*named, *sorted([zone for zone in free if zone in offered][: ZONES - len(named)]))
