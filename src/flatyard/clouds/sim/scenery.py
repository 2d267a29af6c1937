"""A cluster's network on the simulated cloud: found by tag, completed where something is missing, deleted
whole.
"""

from __future__ import annotations

from flatyard.clouds.cloud import ClusterRef, Network, Role
from flatyard.clouds.sim.answers import missing_is_fine
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.networks import split
from flatyard.clouds.sim.rows import BucketRow, GroupRow, NetworkRow, PortRow, Row, SubnetRow
from flatyard.clouds.tags import cluster_tags
from flatyard.model.cluster import Cluster
from flatyard.model.machines import named_zones
from flatyard.model.meant import is_placeholder

ZONES = 3
"""How many zones a network spans unless the cluster file names them."""
ETCD_GIB = 20
_DEFAULT_NETWORKS = {"vsphere": "VM Network", "local": "flatyard0"}
_RULES = {
    Role.CONTROL_PLANE: (
        "6443/tcp from anywhere",
        "2379-2380/tcp from control-plane",
        "10250/tcp from cluster",
    ),
    Role.WORKER: ("10250/tcp from cluster", "30000-32767/tcp from cluster"),
}


async def ensure(provider: Provider, ref: ClusterRef, cluster: Cluster) -> Network:
    """The network of the cluster: the user's own, or one of ours with a subnet per zone and a group per
    role.
    """
    zones = zones_of(provider, cluster)
    given = _given(cluster)
    if given or not provider.persona.facts.networks:
        return _adopt(provider, cluster, given or _DEFAULT_NETWORKS[provider.persona.name], zones)
    found = await provider.list_resources(cluster_tags(ref, provider.persona.facts.tags))
    return await _make(provider, ref, cluster, found, zones)


async def _make(
    provider: Provider, ref: ClusterRef, cluster: Cluster, found: tuple[Row, ...], zones: tuple[str, ...]
) -> Network:
    own = cluster_tags(ref, provider.persona.facts.tags)
    cidr = cluster.spec.network.nodes
    networks = [row for row in found if isinstance(row, NetworkRow)]
    network = networks[0] if networks else await provider.create_network(f"flatyard-{ref.name}", cidr, own)
    subnets = {row.zone: row for row in found if isinstance(row, SubnetRow)}
    for zone, part in zip(zones, split(cidr, len(zones)), strict=True):
        if zone not in subnets:
            name = f"flatyard-{ref.name}-{zone or 'nodes'}"
            subnets[zone] = await provider.create_subnet(network.id, name, zone, part, own)
    groups = {
        row.name.removeprefix(f"flatyard-{ref.name}-"): row for row in found if isinstance(row, GroupRow)
    }
    for role, rules in _RULES.items():
        if role.value not in groups:
            name = f"flatyard-{ref.name}-{role.value}"
            groups[role.value] = await provider.create_group(network.id, name, rules, own)
    return Network(
        id=network.id,
        subnets=tuple(subnets[zone].id for zone in zones),
        security_groups={role: row.id for role, row in sorted(groups.items())},
        zones=zones,
        cidr=network.cidr,
    )


def _adopt(provider: Provider, cluster: Cluster, name: str, zones: tuple[str, ...]) -> Network:
    """The user's network, taken to exist in the simulated account."""
    cidr, subnets = cluster.spec.network.nodes, _given_subnets(cluster)
    names = subnets if len(subnets) == len(zones) else tuple(f"{name}/{zone or 'nodes'}" for zone in zones)
    provider.networks.assume_network(name, dict(zip(names, zones, strict=True)), cidr)
    return Network(name, names, {}, zones, cidr, adopted=True)


async def delete(provider: Provider, ref: ClusterRef) -> None:
    """Delete groups, subnets, the network and the bucket, in that order; what is missing is fine.

    Ports of machines that the cloud itself ended go first: nobody deletes those machines any more.
    """
    rows = await provider.list_resources(cluster_tags(ref, provider.persona.facts.tags))
    for row in rows:
        if isinstance(row, PortRow) and not row.instance:
            with missing_is_fine():
                await delete_one(provider, row.kind, row.id)
    for kind in (GroupRow, SubnetRow, NetworkRow, BucketRow):
        for row in rows:
            if isinstance(row, kind):
                with missing_is_fine():
                    await delete_one(provider, row.kind, row.id)


async def delete_one(provider: Provider, kind: str, row_id: str) -> None:
    """Delete one resource by its kind; raises Refused when it is missing or in use."""
    if kind == "bucket":
        for key in await provider.list_objects(row_id):
            await provider.delete_object(row_id, key)
    acts = {
        "instance": provider.delete_instance,
        "load-balancer": provider.delete_balancer,
        "dns-record": provider.delete_name,
        "address": provider.delete_address,
        "port": provider.delete_port,
        "volume": provider.delete_volume,
        "security-group": provider.delete_group,
        "subnet": provider.delete_subnet,
        "network": provider.delete_network,
        "bucket": provider.delete_bucket,
    }
    await acts[kind](row_id)


def zones_of(provider: Provider, cluster: Cluster) -> tuple[str, ...]:
    """The zones of the cluster's network: those that the file names, and otherwise the region's first
    three.
    """
    region = provider.persona.region
    named = [zone for zone in _named_zones(cluster) if zone in region.zones]
    fill = [zone for zone in region.zones[:ZONES] if zone not in named]
    chosen = named + fill[: max(0, ZONES - len(named))]
    return tuple(zone for zone in region.zones if zone in chosen)


def _named_zones(cluster: Cluster) -> list[str]:
    spec = cluster.spec
    machines = [spec.control_plane.machine, *(pool.machine for pool in spec.workers)]
    named = [zone for machine in machines if machine for zone in named_zones(machine)]
    if spec.cloud.aws:
        named += spec.cloud.aws.availability_zones
    if spec.cloud.azure:
        named += spec.cloud.azure.zones
    if spec.cloud.gcp:
        named += spec.cloud.gcp.zones
    if spec.cloud.openstack:
        named += spec.cloud.openstack.availability_zones
    return list(dict.fromkeys(named))


def _given(cluster: Cluster) -> str:
    """The id or name of the network that the file says to use; empty when one is to be made."""
    cloud = cluster.spec.cloud
    names = (
        cloud.aws.vpc_id if cloud.aws else "",
        cloud.azure.vnet_name if cloud.azure else "",
        cloud.gcp.network if cloud.gcp else "",
        cloud.openstack.network if cloud.openstack else "",
        cloud.vsphere.network if cloud.vsphere else "",
    )
    return next((name for name in names if name and not is_placeholder(name)), "")


def _given_subnets(cluster: Cluster) -> tuple[str, ...]:
    cloud = cluster.spec.cloud
    given = cloud.aws.subnet_ids if cloud.aws else ()
    return tuple(subnet for subnet in given if not is_placeholder(subnet))
