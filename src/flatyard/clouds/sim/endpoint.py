"""A cluster's endpoint on the simulated cloud: a load balancer, a virtual address, or a name with
addresses.
"""

from __future__ import annotations

from collections.abc import Sequence

from flatyard.clouds.cloud import ClusterRef, Endpoint, Network
from flatyard.clouds.sim.answers import missing_is_fine
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.rows import AddressRow, BalancerRow, NameRow, Row
from flatyard.clouds.sim.scenery import delete_one
from flatyard.clouds.tags import cluster_tags
from flatyard.model.cluster import Cluster


def kind_of(provider: Provider, cluster: Cluster) -> str:
    """`lb`, `vip` or `dns`: what the file says, or what the cloud does best."""
    return cluster.spec.endpoint.kind or ("lb" if provider.persona.facts.load_balancer else "vip")


async def ensure(
    provider: Provider, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
) -> Endpoint:
    """Make the endpoint exist with exactly these backends; calls that would change nothing are not made."""
    found = await provider.list_resources(cluster_tags(ref, provider.persona.facts.tags))
    kind = kind_of(provider, cluster)
    if kind == "dns":
        return await _name(provider, ref, cluster, found, backends)
    if kind == "vip":
        return await _virtual(provider, ref, cluster, network, found, backends)
    return await _balancer(provider, ref, cluster, network, found, backends)


async def _balancer(
    provider: Provider,
    ref: ClusterRef,
    cluster: Cluster,
    network: Network,
    found: Sequence[Row],
    backends: tuple[str, ...],
) -> Endpoint:
    own, port = cluster_tags(ref, provider.persona.facts.tags), cluster.spec.endpoint.port
    name = f"flatyard-{ref.name}-api"
    row = next((row for row in found if isinstance(row, BalancerRow)), None)
    if row is None:
        address = await _address(provider, name, "", "", own, found)
        row = await provider.create_balancer(name, port, network.subnets, address, own)
    new = tuple(target for target in backends if target not in row.targets)
    old = tuple(target for target in row.targets if target not in backends)
    if new:
        row = await provider.add_targets(row.id, new)
    if old:
        row = await provider.remove_targets(row.id, old)
    host = cluster.spec.endpoint.host or row.host
    return Endpoint(host, row.port, provider.persona.facts.hairpin, row.address, row.targets)


async def _virtual(
    provider: Provider,
    ref: ClusterRef,
    cluster: Cluster,
    network: Network,
    found: Sequence[Row],
    backends: tuple[str, ...],
) -> Endpoint:
    """An address that the control planes hold themselves; nothing of the cloud stands in between."""
    own, spec = cluster_tags(ref, provider.persona.facts.tags), cluster.spec.endpoint
    name = f"flatyard-{ref.name}-api"
    address = await _address(provider, name, network.subnets[0], spec.address, own, found)
    return Endpoint(spec.host or address, spec.port, True, address, backends)


async def _name(
    provider: Provider, ref: ClusterRef, cluster: Cluster, found: Sequence[Row], backends: tuple[str, ...]
) -> Endpoint:
    own, spec = cluster_tags(ref, provider.persona.facts.tags), cluster.spec.endpoint
    host = spec.host or f"{ref.name}.example.invalid"
    row = next((row for row in found if isinstance(row, NameRow)), None)
    if row is None or row.targets != backends:
        row = await provider.put_name(host, backends, own)
    return Endpoint(row.name, spec.port, True, "", row.targets)


async def _address(
    provider: Provider, name: str, subnet: str, wanted: str, own: dict[str, str], found: Sequence[Row]
) -> str:
    known = next((row for row in found if isinstance(row, AddressRow)), None)
    return (known or await provider.create_address(name, subnet, wanted, own)).address


async def delete(provider: Provider, ref: ClusterRef) -> None:
    """Delete the load balancer or name, then the address; what is missing is fine."""
    rows = await provider.list_resources(cluster_tags(ref, provider.persona.facts.tags))
    for kind in (BalancerRow, NameRow, AddressRow):
        for row in rows:
            if isinstance(row, kind):
                with missing_is_fine():
                    await delete_one(provider, row.kind, row.id)
