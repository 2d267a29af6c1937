"""Whether the project's quotas have room for a cluster: what is used, what it needs, what there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from openstack.compute.v2.flavor import Flavor
from openstack.compute.v2.server import Server

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.cloud import TAG_CLUSTER, ClusterRef, Rejected, Role
from flatyard.clouds.naming import group_of
from flatyard.clouds.openstack import marks
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.facts import ETCD_GIB, FACTS
from flatyard.clouds.openstack.inventory import machine_of, owned_things
from flatyard.clouds.pools import Pool
from flatyard.model.cluster import Cluster, OpenstackCloud
from flatyard.model.machines import OpenstackMachine

UNLIMITED = -1
Row = tuple[str, int, int, int]
"""A quota's name in words, what the cluster needs, what is used, the limit."""


async def problems(
    client: Client,
    cluster: Cluster,
    chosen: OpenstackCloud,
    pools: Sequence[Pool[OpenstackMachine]],
    flavors: Iterable[Flavor],
) -> list[Problem]:
    """One per quota that is too small. What the cluster has already is used, and wanted no second time."""
    had = await _had(client, cluster)
    by_name = {key: flavor for flavor in flavors for key in (str(flavor.id), str(flavor.name))}
    rows = [
        *await _compute(client, pools, by_name),
        *await _network(client, cluster, chosen, pools),
        *await _volumes(client, pools),
    ]
    rows = [(what, max(0, wanted - had.get(what, 0)), used, limit) for what, wanted, used, limit in rows]
    return [_problem(row) for row in rows if row[3] != UNLIMITED and row[1] and row[2] + row[1] > row[3]]


async def _had(client: Client, cluster: Cluster) -> dict[str, int]:
    """What the cluster has of each quota; its id is read off its security groups, which are made first."""
    group = f"{group_of(ClusterRef('', cluster.metadata.name))}-{Role.CONTROL_PLANE.value}"
    groups = await client.read(
        "looking for what the cluster has",
        lambda: list(client.sdk.network.security_groups(name=group, project_id=client.project)),
    )
    ids = {marks.read(found).get(TAG_CLUSTER, "") for found in groups} - {""}
    if len(ids) != 1:
        return {}
    ref = ClusterRef(ids.pop(), cluster.metadata.name)
    kinds = tuple(_KINDS)
    listed = await asyncio.gather(*(owned_things(client, ref, kind) for kind in kinds))
    had = {_KINDS[kind]: len(things) for kind, things in zip(kinds, listed, strict=True)}
    servers = dict(zip(kinds, listed, strict=True))["instance"]
    flavors = [server.flavor for server in servers if isinstance(server, Server) and server.flavor]
    volumes = [v for v in dict(zip(kinds, listed, strict=True))["volume"] if machine_of("volume", v)]
    return had | {
        "ports": had["ports"] + had["routers"],  # whose own ports have no marks
        "cores": sum(int(flavor.vcpus or 0) for flavor in flavors),
        "MiB of memory": sum(int(flavor.ram or 0) for flavor in flavors),
        "security group rules": _RULES * (had["security groups"] > 1),
        "volumes": len(volumes),
        "GiB of volumes": sum(int(getattr(volume, "size", 0) or 0) for volume in volumes),
    }


_KINDS = {
    "instance": "instances",
    "port": "ports",
    "address": "floating IPs",
    "router": "routers",
    "network": "networks",
    "subnet": "subnets",
    "security-group": "security groups",
    "volume": "volumes",
}
_RULES = 11
"""Of our security groups, with what goes out."""


def _limit(told: object) -> int:
    """A limit of 0 is one; where none is told there is none."""
    return int(told) if isinstance(told, int | str) else UNLIMITED


def _problem(row: Row) -> Problem:
    what, wanted, used, limit = row
    text = f"the cluster needs {wanted} {what}; the project may use {limit} and uses {used}"
    hint = FACTS.notes["router"] if what == "routers" else FACTS.notes["quota"]
    path = "spec.cloud.openstack.network" if what == "routers" else "spec"
    return Problem(Severity.ERROR, None, path, f"{text}; {hint}")


async def _compute(
    client: Client, pools: Sequence[Pool[OpenstackMachine]], flavors: dict[str, Flavor]
) -> Iterator[Row]:
    limits = (await client.read("reading the quotas", client.sdk.compute.get_limits)).absolute
    sizes = [(pool.replicas, flavors.get(pool.machine.flavor.value)) for pool in pools]
    return iter(
        [
            (
                "instances",
                sum(pool.replicas for pool in pools),
                int(limits.instances_used or 0),
                _limit(limits.instances),
            ),
            (
                "cores",
                sum(count * int(flavor.vcpus or 0) for count, flavor in sizes if flavor),
                int(limits.total_cores_used or 0),
                _limit(limits.total_cores),
            ),
            (
                "MiB of memory",
                sum(count * int(flavor.ram or 0) for count, flavor in sizes if flavor),
                int(limits.total_ram_used or 0),
                _limit(limits.total_ram),
            ),
        ]
    )


async def _network(
    client: Client, cluster: Cluster, chosen: OpenstackCloud, pools: Sequence[Pool[OpenstackMachine]]
) -> list[Row]:
    machines = sum(pool.replicas for pool in pools)
    workers = sum(pool.replicas for pool in pools if not pool.control_plane)
    own = 0 if chosen.network else 1
    floating = sum(pool.replicas for pool in pools if pool.machine.floating_ip_pool.value)
    needs = {
        "ports": ("ports", machines + 1 + own),
        "floating_ips": ("floating IPs", 1 + (workers if chosen.floating_ips else floating)),
        "routers": ("routers", own),
        "networks": ("networks", own),
        "subnets": ("subnets", own),
        "security_groups": ("security groups", 2),
        "security_group_rules": ("security group rules", _RULES),
    }
    try:
        found = await client.read(
            "reading the network's quotas", lambda: client.sdk.network.get_quota(client.project, details=True)
        )
    except Rejected:
        return []  # some sites keep them to their operators; the create itself tells then
    rows = []
    for key, (words, wanted) in needs.items():
        shown = getattr(found, key, None)
        if isinstance(shown, dict):
            used = int(shown.get("used", 0)) + int(shown.get("reserved", 0))
            rows.append((words, wanted, used, int(shown.get("limit", UNLIMITED))))
    return rows


async def _volumes(client: Client, pools: Sequence[Pool[OpenstackMachine]]) -> list[Row]:
    """etcd's own disks, and the machines that boot from volumes."""
    if not client.has("block-storage"):
        return []
    planes = sum(pool.replicas for pool in pools if pool.control_plane)
    roots = [(pool.replicas, pool.machine.root_disk_size_gb or 0) for pool in pools]
    volumes = planes + sum(count for count, gib in roots if gib)
    size = planes * ETCD_GIB + sum(count * gib for count, gib in roots)
    try:
        found = await client.read(
            "reading the quotas of volumes", lambda: client.sdk.block_storage.get_limits().absolute
        )
    except Rejected:
        return []
    return [
        (
            "volumes",
            volumes,
            int(found.total_volumes_used or 0),
            _limit(found.max_total_volumes),
        ),
        (
            "GiB of volumes",
            size,
            int(found.total_gigabytes_used or 0),
            _limit(found.max_total_volume_gigabytes),
        ),
    ]
