"""A cluster's endpoint on AWS: a network load balancer, whose DNS name never changes.

It passes TCP through and keeps the callers' addresses, so that a backend cannot reach itself through it (ELB user
guide, "client IP preservation"). Health is the API server's own /readyz.
"""

from __future__ import annotations

import asyncio

from flatyard.clouds.aws.answers import MISSING, missing_is_fine
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.naming import are_ours, balancer_name, ccm_tag, pairs, tags_of
from flatyard.clouds.aws.zones import is_regular
from flatyard.clouds.cloud import ClusterRef, Endpoint, Network, Rejected, Transient
from flatyard.clouds.facts import BIND_PORT
from flatyard.clouds.tags import cluster_tags
from flatyard.model.cluster import Cluster
from flatyard.model.machines import AwsMachine

PAGE = 20
"""Load balancers whose tags one call tells."""
_LEAVING = "draining"
_STARTING = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0)
"""Pauses, in seconds, in which an instance as a rule has begun to run."""


async def ensure(
    account: Account, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
) -> Endpoint:
    """Make it exist with exactly these backends; calls that would change nothing are not made."""
    port = cluster.spec.endpoint.port
    rows = await balancers(account, ref)
    own = [row for row in rows if row["LoadBalancerName"] == balancer_name(ref)]
    row = own[0] if own else await _make(account, ref, cluster, network)
    await _spread(account, ref, row, network)
    group = await _group(account, ref, row, network)
    await _listen(account, ref, row, group, port)
    await _register(account, ref, group, backends)
    host = cluster.spec.endpoint.host or row["DNSName"]
    return Endpoint(host, port, FACTS.hairpin, "", backends)


async def delete(account: Account, ref: ClusterRef) -> None:
    """Delete it and its target groups; what is missing is fine."""
    for row in await balancers(account, ref):
        if row["LoadBalancerName"] == balancer_name(ref):
            await delete_balancer(account, row["LoadBalancerArn"])
    for row in await target_groups(account, ref):
        if row["TargetGroupName"] == balancer_name(ref):
            await delete_group(account, row["TargetGroupArn"])


async def delete_balancer(account: Account, arn: str) -> None:
    with missing_is_fine():
        await account.write(f"deleting {arn}", "elbv2", "delete_load_balancer", LoadBalancerArn=arn)


async def delete_group(account: Account, arn: str) -> None:
    with missing_is_fine():
        await account.write(f"deleting {arn}", "elbv2", "delete_target_group", TargetGroupArn=arn)


async def balancers(account: Account, ref: ClusterRef) -> list[Answer]:
    """The cluster's load balancers by their tags: ours, and those that its controller manager made."""
    what = f"looking for the load balancers of {ref.name}"
    rows = await account.pages(what, "elbv2", "describe_load_balancers", "LoadBalancers")
    return await _tagged(account, ref, rows, "LoadBalancerArn")


async def target_groups(account: Account, ref: ClusterRef) -> list[Answer]:
    """The cluster's target groups by their tags."""
    what = f"looking for the target groups of {ref.name}"
    rows = await account.pages(what, "elbv2", "describe_target_groups", "TargetGroups")
    return await _tagged(account, ref, rows, "TargetGroupArn")


def is_internal(cluster: Cluster) -> bool:
    """Whether the API answers inside the VPC only: so when the control plane has no public addresses."""
    plane = cluster.spec.control_plane.machine
    return isinstance(plane, AwsMachine) and plane.assign_public_ip is False


async def _tagged(account: Account, ref: ClusterRef, rows: list[Answer], key: str) -> list[Answer]:
    """Those of the rows that carry the cluster's tag, or its controller manager's; ELB has no filter for tags."""
    found: list[Answer] = []
    by_arn = {row[key]: row for row in rows}
    arns = sorted(by_arn)
    for start in range(0, len(arns), PAGE):
        what = f"reading the tags of {len(arns)} load balancers"
        part = arns[start : start + PAGE]
        for told in await _tags(account, what, part):
            tags = tags_of(told)
            if are_ours(tags, ref) or tags.get(ccm_tag(ref)) == "owned":
                found.append(by_arn[told["ResourceArn"]])
    return found


async def _tags(account: Account, what: str, arns: list[str]) -> list[Answer]:
    """The tags of each. One that somebody deletes meanwhile spoils the whole answer: then each is asked for."""
    told: list[Answer] = []
    try:
        told = (await account.read(what, "elbv2", "describe_tags", ResourceArns=arns))["TagDescriptions"]
    except Rejected as no:
        if no.code not in MISSING:
            raise
        for arn in arns if len(arns) > 1 else ():
            told += await _tags(account, what, [arn])
    return told


async def _make(account: Account, ref: ClusterRef, cluster: Cluster, network: Network) -> Answer:
    what = f"making the load balancer of {ref.name}"
    create = account.write if network.adopted else account.follow
    answer = await create(
        what,
        "elbv2",
        "create_load_balancer",
        Name=balancer_name(ref),
        Type="network",
        Scheme="internal" if is_internal(cluster) else "internet-facing",
        IpAddressType="ipv4",
        Subnets=list(_one_in_each_zone(account, network).values()),
        Tags=pairs(cluster_tags(ref, FACTS.tags)),
    )
    row: Answer = answer["LoadBalancers"][0]
    return row


def _one_in_each_zone(account: Account, network: Network) -> dict[str, str]:
    """By zone, the subnet that the load balancer takes: it takes no second one, and none in a local zone."""
    rows = [*zip(network.zones, network.subnets, strict=True)]
    return {zone: subnet for zone, subnet in reversed(rows) if is_regular(zone, account.region)}


async def _spread(account: Account, ref: ClusterRef, row: Answer, network: Network) -> None:
    """Into the zones that the network has got since: what is registered in others is not used."""
    there = {zone["ZoneName"]: zone["SubnetId"] for zone in row.get("AvailabilityZones", ())}
    wanted = _one_in_each_zone(account, network)
    if not wanted.keys() <= there.keys():
        what = (
            f"bringing the load balancer of {ref.name} into {', '.join(sorted(wanted.keys() - there.keys()))}"
        )
        subnets = sorted({**wanted, **there}.values())
        arn = row["LoadBalancerArn"]
        await account.follow(what, "elbv2", "set_subnets", LoadBalancerArn=arn, Subnets=subnets)


async def _cross_zones(account: Account, ref: ClusterRef, row: Answer) -> None:
    """A control plane is reached in every zone. Said before there is a target group, so that no crash leaves it out."""
    await account.follow(
        f"making the load balancer of {ref.name}",
        "elbv2",
        "modify_load_balancer_attributes",
        LoadBalancerArn=row["LoadBalancerArn"],
        Attributes=pairs({"load_balancing.cross_zone.enabled": "true"}),
    )


async def _group(account: Account, ref: ClusterRef, row: Answer, network: Network) -> str:
    """The target group; made anew under the same name and settings it is the same one."""
    for known in await target_groups(account, ref):
        if known["TargetGroupName"] == balancer_name(ref):
            return str(known["TargetGroupArn"])
    await _cross_zones(account, ref, row)
    answer = await account.follow(
        f"making the target group of {ref.name}",
        "elbv2",
        "create_target_group",
        Name=balancer_name(ref),
        Protocol="TCP",
        Port=BIND_PORT,
        VpcId=row.get("VpcId") or network.id,
        TargetType="instance",
        HealthCheckProtocol="HTTPS",
        HealthCheckPath="/readyz",
        HealthCheckIntervalSeconds=10,
        HealthCheckTimeoutSeconds=5,  # its default is as long as the interval, and is to be shorter
        HealthyThresholdCount=2,
        UnhealthyThresholdCount=2,
        Tags=pairs(cluster_tags(ref, FACTS.tags)),
    )
    return str(answer["TargetGroups"][0]["TargetGroupArn"])


async def _listen(account: Account, ref: ClusterRef, row: Answer, group: str, port: int) -> None:
    """One listener on the cluster's port; those on other ports are of earlier settings and go."""
    what, arn = f"making the listener of {ref.name}", row["LoadBalancerArn"]
    there = await account.follow(what, "elbv2", "describe_listeners", LoadBalancerArn=arn)
    rows = there["Listeners"]
    for listener in rows:
        if listener["Port"] != port:
            with missing_is_fine():
                await account.write(what, "elbv2", "delete_listener", ListenerArn=listener["ListenerArn"])
    if not any(listener["Port"] == port for listener in rows):
        await account.follow(
            what,
            "elbv2",
            "create_listener",
            LoadBalancerArn=arn,
            Protocol="TCP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
            Tags=pairs(cluster_tags(ref, FACTS.tags)),
        )


async def _register(account: Account, ref: ClusterRef, group: str, backends: tuple[str, ...]) -> None:
    what = f"setting the backends of {ref.name}"
    answer = await account.follow(what, "elbv2", "describe_target_health", TargetGroupArn=group)
    there = [
        row["Target"]["Id"]
        for row in answer["TargetHealthDescriptions"]
        if row.get("TargetHealth", {}).get("State") != _LEAVING
    ]
    out = [{"Id": key} for key in there if key not in backends]
    if out:
        await account.write(what, "elbv2", "deregister_targets", TargetGroupArn=group, Targets=out)
    new = [{"Id": key} for key in backends if key not in there]
    if new:
        await _add(account, what, group, new)


async def _add(account: Account, what: str, group: str, targets: list[dict[str, str]]) -> None:
    """Register instances. Those that are not running yet are refused, and waited for a while."""
    for pause in _STARTING:
        try:
            await account.follow(what, "elbv2", "register_targets", TargetGroupArn=group, Targets=targets)
        except Transient as no:
            if no.code != "InvalidTarget":
                raise
            await asyncio.sleep(pause)
        else:
            return
    await account.write(what, "elbv2", "register_targets", TargetGroupArn=group, Targets=targets)
