"""The way to a cluster's API: a Standard load balancer with a public address and a name that never changes.

Its backends are addresses of the cluster's network (an IP-based pool), so that one call says which machines there are,
and no machine's interface is touched. Machines do not go out through it (their subnet has a NAT gateway), and a
backend does not reach itself through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from azure.mgmt.network import models as net

from flatyard.clouds.azure import machines, networks, sweep
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import or_none
from flatyard.clouds.azure.facts import FACTS, RESERVED_IN_LABELS
from flatyard.clouds.azure.reading import Shown, items, last, text
from flatyard.clouds.azure.settings import tail
from flatyard.clouds.cloud import ClusterRef, Endpoint, Network
from flatyard.clouds.facts import BIND_PORT
from flatyard.clouds.tags import cluster_tags
from flatyard.model.cluster import Cluster

POOL, FRONT, PROBE, RULE = "api", "api", "readyz", "api"


async def ensure(
    account: Account, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
) -> Endpoint:
    """Make it exist with exactly these backends; calls that would change nothing are not made."""
    address = await networks.public_address(account, ref, account.named(ref, "api-ip"), _label(account, ref))
    balancer = await _balancer(account, ref, cluster, text(address, "id"))
    wanted = await _addresses(account, ref, backends)
    if _shown(balancer) != wanted:
        await _set(account, ref, network, wanted)
    port, host = cluster.spec.endpoint.port, text(address, "properties", "dnsSettings", "fqdn")
    public = text(address, "properties", "ipAddress")
    behind = tuple(backend for backend in backends if last(backend) in wanted)
    return Endpoint(cluster.spec.endpoint.host or host or public, port, FACTS.hairpin, public, behind)


def _label(account: Account, ref: ClusterRef) -> str:
    """Begins with a letter, at most 63 characters; unique in the location. Without the cluster's name where Azure would
    refuse that (DomainNameLabelReserved).
    """
    name = account.named(ref, "api").replace(".", "-").lower()[:63]
    return f"flatyard-{tail(ref)}-api" if any(word in name for word in RESERVED_IN_LABELS) else name


async def _balancer(account: Account, ref: ClusterRef, cluster: Cluster, address: str) -> Shown:
    group, name = account.place.group_for(ref), account.named(ref, "api")
    api = account.clients.network.load_balancers
    look: Callable[[], Shown | None] = lambda: or_none(lambda: api.get(group, name))  # noqa: E731
    found = await account.read(f"looking for {name}", look)
    if found is not None and not networks.broken(ref, found):
        return found
    body = body_of(account, ref, cluster.spec.endpoint.port, address)
    make: Callable[[], Shown] = lambda: api.begin_create_or_update(group, name, body).result()  # noqa: E731
    return await account.write(f"creating {name}", make)


async def delete(account: Account, ref: ClusterRef) -> None:
    """Delete the load balancer, then its address, asking for each and not for a list, which may be late; what is
    missing is fine, and so is what has not our tags.
    """
    group, network = account.place.group_for(ref), account.clients.network
    balancer, address = account.named(ref, "api"), account.named(ref, "api-ip")
    rows: Callable[[], tuple[Shown | None, Shown | None]] = lambda: (  # noqa: E731
        or_none(lambda: network.load_balancers.get(group, balancer)),
        or_none(lambda: network.public_ip_addresses.get(group, address)),
    )
    for row in await account.read(f"looking for {balancer}", rows):
        if row is not None and sweep.is_ours(ref, row):
            await sweep.delete_owned(account, ref, sweep.owned_of(row))


def body_of(account: Account, ref: ClusterRef, port: int, address: str) -> net.LoadBalancer:
    """One frontend, one rule, one probe that asks the API server itself."""
    group, name = account.place.group_for(ref), account.named(ref, "api")
    own = account.place.id(group, "Microsoft.Network/loadBalancers", name)
    return net.LoadBalancer(
        location=account.place.location,
        tags=cluster_tags(ref, FACTS.tags),
        sku=net.LoadBalancerSku(name="Standard"),
        properties=net.LoadBalancerPropertiesFormat(
            frontend_ip_configurations=[
                net.FrontendIPConfiguration(
                    name=FRONT,
                    properties=net.FrontendIPConfigurationPropertiesFormat(
                        public_ip_address=net.PublicIPAddress(id=address)
                    ),
                )
            ],
            backend_address_pools=[net.BackendAddressPool(name=POOL)],
            probes=[
                net.Probe(
                    name=PROBE,
                    properties=net.ProbePropertiesFormat(
                        protocol="Https",
                        port=BIND_PORT,
                        request_path="/readyz",
                        interval_in_seconds=5,
                        number_of_probes=2,
                    ),
                )
            ],
            load_balancing_rules=[
                net.LoadBalancingRule(
                    name=RULE,
                    properties=net.LoadBalancingRulePropertiesFormat(
                        protocol="Tcp",
                        frontend_port=port,
                        backend_port=BIND_PORT,
                        idle_timeout_in_minutes=30,
                        disable_outbound_snat=True,
                        frontend_ip_configuration=net.SubResource(
                            id=f"{own}/frontendIPConfigurations/{FRONT}"
                        ),
                        backend_address_pool=net.SubResource(id=f"{own}/backendAddressPools/{POOL}"),
                        probe=net.SubResource(id=f"{own}/probes/{PROBE}"),
                    ),
                )
            ],
        ),
    )


async def _addresses(account: Account, ref: ClusterRef, backends: tuple[str, ...]) -> dict[str, str]:
    """Private address by machine name, of those backends that are there."""
    if not backends:
        return {}
    known = {i.id: dict(i.addresses).get("InternalIP", "") for i in await machines.listed(account, ref)}
    return {last(backend): known[backend] for backend in backends if known.get(backend)}


def _shown(balancer: Shown) -> dict[str, str]:
    pools = items(balancer, "properties", "backendAddressPools")
    pool = next((pool for pool in pools if text(pool, "name") == POOL), {})
    return {
        text(backend, "name"): text(backend, "properties", "ipAddress")
        for backend in items(pool, "properties", "loadBalancerBackendAddresses")
    }


async def _set(account: Account, ref: ClusterRef, network: Network, wanted: Mapping[str, str]) -> None:
    group, name = account.place.group_for(ref), account.named(ref, "api")
    api = account.clients.network.load_balancer_backend_address_pools
    body = net.BackendAddressPool(
        properties=net.BackendAddressPoolPropertiesFormat(
            load_balancer_backend_addresses=[
                net.LoadBalancerBackendAddress(
                    name=machine,
                    properties=net.LoadBalancerBackendAddressPropertiesFormat(
                        ip_address=address, virtual_network=net.SubResource(id=network.id)
                    ),
                )
                for machine, address in sorted(wanted.items())
            ]
        )
    )
    await account.write(
        f"setting the backends of {name}",
        lambda: api.begin_create_or_update(group, name, POOL, body).result(),
    )
