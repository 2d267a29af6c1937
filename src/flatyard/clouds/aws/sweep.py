"""Everything of a cluster that is left in the account: by our tags, and by the one that its controller manager sets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime

from flatyard.base.world import rfc3339
from flatyard.clouds.aws import endpoint, machines, networks, profiles, services, stash
from flatyard.clouds.aws.answers import missing_is_fine
from flatyard.clouds.aws.client import Account
from flatyard.clouds.aws.naming import TAG_CREATED, are_ours, ccm_tag, ours
from flatyard.clouds.cloud import TAG_CLUSTER, TAG_MACHINE, ClusterRef, InstanceState, Owned, Rejected

KINDS = {
    "instance": "instance",
    "spot-instances-request": "spot-request",
    "natgateway": "nat-gateway",
    "elastic-ip": "address",
    "network-interface": "port",
    "volume": "volume",
    "snapshot": "snapshot",
    "key-pair": "key-pair",
    "security-group": "security-group",
    "subnet": "subnet",
    "route-table": "route-table",
    "internet-gateway": "internet-gateway",
    "vpc": "network",
}
"""EC2's names for kinds of resources, in the order in which they can go, and ours."""
ORDER = (
    "spot-request",
    "instance",
    "load-balancer",
    "classic-load-balancer",
    "target-group",
    *list(KINDS.values())[2:],
)
AT_LAST = ("instance-profile", "role", "bucket")
_GONE = (InstanceState.TERMINATED,)
_DATA = ("volume", "snapshot")
_PVC = "kubernetes.io/created-for/pvc/name"
"""Tag of a volume that somebody's data is on; it stays unless the user says otherwise."""
Tags = dict[str, dict[str, str]]


async def sweep(account: Account, ref: ClusterRef) -> tuple[Owned, ...]:
    """Sorted by the order in which they can go."""
    parts = await asyncio.gather(_in_ec2(account, ref), _balancing(account, ref), _elsewhere(account, ref))
    return tuple(sorted((owned for part in parts for owned in part), key=_rank))


async def delete_owned(account: Account, ref: ClusterRef, owned: Owned) -> None:
    """Delete one; raises Transient while something else still uses it."""
    act = _ACTS.get(owned.kind)
    if act is None:
        raise Rejected(
            f"there is no way to delete a {owned.kind}", next=f"delete {owned.id} in the AWS console"
        )
    await act(account, ref, owned.id)


def _rank(owned: Owned) -> tuple[int, str]:
    order = (*ORDER, *AT_LAST)
    return (order.index(owned.kind), owned.id)


def _what(ref: ClusterRef) -> str:
    return f"looking for what {ref.name} owns"


async def _in_ec2(account: Account, ref: ClusterRef) -> list[Owned]:
    own, by_ccm, live = await asyncio.gather(
        _tagged(account, ref, TAG_CLUSTER, ref.id),
        _tagged(account, ref, ccm_tag(ref), "owned"),
        machines.listed(account, ref),
    )
    disks = await account.pages(_what(ref), "ec2", "describe_volumes", "Volumes", Filters=ours(ref))
    stamps = {one.id: one.created for one in live if one.state not in _GONE}
    running = tuple(stamps)
    stamps |= {row["VolumeId"]: _stamp(row.get("CreateTime")) for row in disks}
    kinds, tags = {**by_ccm[0], **own[0]}, {**by_ccm[1], **own[1]}
    ended = [
        *(await _ended_gateways(account, ref) if "natgateway" in kinds.values() else ()),
        *(await _ended_requests(account, ref) if "spot-instances-request" in kinds.values() else ()),
    ]
    return [
        _owned(KINDS[kind], key, tags[key], stamps)
        for key, kind in kinds.items()
        if kind in KINDS and key not in ended and (kind != "instance" or key in running)
        if key in by_ccm[0] or are_ours(tags[key], ref)
    ]


async def _ended_gateways(account: Account, ref: ClusterRef) -> tuple[str, ...]:
    """NAT gateways that are gone and keep their tags for an hour (VPC user guide, "Delete a NAT gateway")."""
    filters = [{"Name": "state", "Values": ["deleted", "failed"]}]
    rows = await account.pages(_what(ref), "ec2", "describe_nat_gateways", "NatGateways", Filter=filters)
    return tuple(row["NatGatewayId"] for row in rows)


async def _ended_requests(account: Account, ref: ClusterRef) -> tuple[str, ...]:
    """Spot requests that are gone and are shown for four hours (EC2 API reference, DescribeSpotInstanceRequests)."""
    filters = [*ours(ref), {"Name": "state", "Values": ["cancelled", "closed", "failed"]}]
    rows = await account.pages(
        _what(ref), "ec2", "describe_spot_instance_requests", "SpotInstanceRequests", Filters=filters
    )
    return tuple(row["SpotInstanceRequestId"] for row in rows)


async def _balancing(account: Account, ref: ClusterRef) -> list[Owned]:
    rows, old, groups = await asyncio.gather(
        endpoint.balancers(account, ref),
        services.classic(account, ref),
        endpoint.target_groups(account, ref),
    )
    return [
        *(
            Owned(
                "load-balancer",
                row["LoadBalancerArn"],
                row["LoadBalancerName"],
                created=_stamp(row["CreatedTime"]),
            )
            for row in rows
        ),
        *(
            Owned(
                "classic-load-balancer",
                row["LoadBalancerName"],
                row["LoadBalancerName"],
                created=_stamp(row["CreatedTime"]),
            )
            for row in old
        ),
        *(Owned("target-group", row["TargetGroupArn"], row["TargetGroupName"]) for row in groups),
    ]


async def _tagged(account: Account, ref: ClusterRef, key: str, value: str) -> tuple[dict[str, str], Tags]:
    """Kinds and tags of what carries a tag; EC2 tells only of the tags that are asked for."""
    filters = [{"Name": "key", "Values": [key]}, {"Name": "value", "Values": [value]}]
    rows = await account.pages(_what(ref), "ec2", "describe_tags", "Tags", Filters=filters)
    kinds = {row["ResourceId"]: row["ResourceType"] for row in rows}
    tags: Tags = {name: {} for name in kinds}
    if kinds:
        for part in _parts(sorted(kinds)):
            named = [{"Name": "resource-id", "Values": part}]
            for row in await account.pages(_what(ref), "ec2", "describe_tags", "Tags", Filters=named):
                tags[row["ResourceId"]][row["Key"]] = row["Value"]
    return kinds, tags


def _parts(ids: list[str]) -> Iterator[list[str]]:
    """A filter takes at most 200 values."""
    most = 200
    for start in range(0, len(ids), most):
        yield ids[start : start + most]


async def _elsewhere(account: Account, ref: ClusterRef) -> list[Owned]:
    """What is not EC2's or ELB's: roles, profiles, the bucket."""
    roles, made, bucket = await asyncio.gather(
        profiles.listed(account, ref, "roles"),
        profiles.listed(account, ref, "instance_profiles"),
        stash.found_bucket(account, ref),
    )
    found = [
        Owned("role", row["RoleName"], row["RoleName"], created=_stamp(row["CreateDate"])) for row in roles
    ]
    found += [
        Owned(
            "instance-profile",
            row["InstanceProfileName"],
            row["InstanceProfileName"],
            created=_stamp(row["CreateDate"]),
        )
        for row in made
    ]
    if bucket:
        found.append(Owned("bucket", bucket["Name"], bucket["Name"], created=_stamp(bucket["CreationDate"])))
    return found


def _owned(kind: str, key: str, tags: dict[str, str], stamps: dict[str, str]) -> Owned:
    return Owned(
        kind,
        key,
        tags.get("Name", ""),
        tags.get(TAG_MACHINE, ""),
        kept=kind in _DATA and (_PVC in tags or TAG_MACHINE not in tags),
        created=stamps.get(key) or tags.get(TAG_CREATED, ""),
    )


def _stamp(value: datetime | None) -> str:
    return rfc3339(value) if value else ""


Act = Callable[[Account, ClusterRef, str], Awaitable[None]]


def _call(operation: str, parameter: str) -> Act:
    async def act(account: Account, ref: ClusterRef, key: str) -> None:
        with missing_is_fine():
            await account.write(f"deleting {key}", "ec2", operation, **{parameter: key})

    return act


async def _instance(account: Account, ref: ClusterRef, key: str) -> None:
    await machines.terminate(account, key, f"deleting {key}")


async def _group(account: Account, ref: ClusterRef, key: str) -> None:
    await networks.delete_groups(account, ref, [key])


_ACTS: dict[str, Act] = {
    "instance": _instance,
    "spot-request": lambda account, ref, key: machines.cancel_spot(account, key),
    "load-balancer": lambda account, ref, key: endpoint.delete_balancer(account, key),
    "classic-load-balancer": lambda account, ref, key: services.delete_classic(account, key),
    "target-group": lambda account, ref, key: endpoint.delete_group(account, key),
    "address": _call("release_address", "AllocationId"),
    "nat-gateway": _call("delete_nat_gateway", "NatGatewayId"),
    "port": _call("delete_network_interface", "NetworkInterfaceId"),
    "volume": _call("delete_volume", "VolumeId"),
    "snapshot": _call("delete_snapshot", "SnapshotId"),
    "key-pair": _call("delete_key_pair", "KeyPairId"),
    "security-group": _group,
    "subnet": lambda account, ref, key: networks.delete_subnet(account, key),
    "route-table": lambda account, ref, key: networks.delete_table(account, key),
    "internet-gateway": lambda account, ref, key: networks.delete_gateway(account, key),
    "network": lambda account, ref, key: networks.delete_vpc(account, key),
    "instance-profile": lambda account, ref, key: profiles.delete_profile(account, key),
    "role": lambda account, ref, key: profiles.delete_role(account, key),
    "bucket": lambda account, ref, key: stash.delete_bucket(account, ref),
}
