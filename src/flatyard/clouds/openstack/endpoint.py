"""Where the cluster's API answers: Octavia's load balancer where the site has one, else an address that the control
planes share. A port without a machine keeps that address reserved, and a floating IP on it makes it known outside.
"""

from __future__ import annotations

from collections.abc import Sequence

from openstack.network.v2.port import Port

from flatyard.clouds.cloud import TAG_ROLE, ClusterRef, Endpoint, Network, Rejected, Role
from flatyard.clouds.naming import group_of
from flatyard.clouds.openstack import addresses, balancer, marks, networks
from flatyard.clouds.openstack.answers import if_any, is_missing
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.inventory import delete as delete_thing
from flatyard.clouds.openstack.inventory import id_of, owned_things
from flatyard.model.cluster import Cluster, OpenstackCloud

LB, VIP, DNS = "lb", "vip", "dns"


async def kind_of(client: Client, cluster: Cluster) -> str:
    """What the file says, or what the site does best."""
    await client.log_in()
    return cluster.spec.endpoint.kind or (LB if client.has("load-balancer") else VIP)


async def ensure(
    client: Client, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
) -> Endpoint:
    """With exactly these backends; what is right already is not touched."""
    spec = cluster.spec.endpoint
    async with client.lock(f"endpoint {ref.id}"):
        kind = await kind_of(client, cluster)
        if kind == DNS:
            return Endpoint(spec.host, spec.port, True, "", backends)
        if kind == LB:
            made = await balancer.ensure(client, ref, network, spec.port, backends)
            outside = await floating(client, ref, cluster, network, made.port_id)
            return Endpoint(
                spec.host or outside or made.address, spec.port, True, made.address, made.backends
            )
        port = await _vip(client, ref, network, spec.address)
        address = str((port.fixed_ips or [{}])[0].get("ip_address", ""))
        outside = await floating(client, ref, cluster, network, str(port.id))
        if network.security_groups:  # ports that are not filtered may use any address
            await _allow(client, ref, address, backends)
        return Endpoint(spec.host or outside or address, spec.port, True, address, backends, held=True)


async def floating(client: Client, ref: ClusterRef, cluster: Cluster, network: Network, port: str) -> str:
    """The endpoint's floating IP; none on a network of somebody's that has no way out, or that is outside itself."""
    what = f"giving the endpoint of {ref.name} a floating IP"
    found = await client.read(what, lambda: list(client.sdk.network.ips(port_id=port)))
    if found:
        return str(found[0].floating_ip_address)
    outside = await networks.outside(client, cluster.spec.cloud.openstack or OpenstackCloud(), network.id)
    if not outside:
        return ""
    try:
        made = await client.write(
            what,
            lambda: client.sdk.network.create_ip(
                floating_network_id=outside, port_id=port, description=marks.described(ref)
            ),
        )
    except Rejected as no:
        if network.adopted and is_missing(no):  # "External network … is not reachable from subnet …"
            return ""
        raise
    await networks.tagged(client, ref, "floating IP", made)
    return str(made.floating_ip_address)


async def _vip(client: Client, ref: ClusterRef, network: Network, wanted: str) -> Port:
    found = await addresses.vip_ports(client, ref)
    if found:
        assert isinstance(found[0], Port)
        return found[0]
    fixed = {"subnet_id": network.subnets[0]} | ({"ip_address": wanted} if wanted else {})
    group = network.security_groups.get(Role.CONTROL_PLANE.value)
    words: dict[str, object] = {
        "name": f"{group_of(ref)}-api",
        "description": f"{marks.described(ref)} {addresses.VIP}",
        "network_id": network.id,
        "fixed_ips": [fixed],
    }
    if group:
        words["security_groups"] = [group]
    made = await client.write(
        f"reserving the address of the endpoint of {ref.name}",
        lambda: client.sdk.network.create_port(**words),
    )
    await networks.tagged(client, ref, "port", made)
    return made


async def _allow(client: Client, ref: ClusterRef, address: str, backends: Sequence[str]) -> None:
    """Backends may use the shared address; who is neither one nor a control plane may not."""
    for port in await owned_things(client, ref, "port"):
        assert isinstance(port, Port)
        if not port.device_id:
            continue
        pairs = [dict(pair) for pair in port.allowed_address_pairs or ()]
        has = any(pair["ip_address"] == address for pair in pairs)
        if port.device_id in backends and not has:
            await _pair(client, port, [*pairs, {"ip_address": address}])
        elif (
            has
            and port.device_id not in backends
            and not await _is_control_plane(client, str(port.device_id))
        ):
            await _pair(client, port, [pair for pair in pairs if pair["ip_address"] != address])


async def _pair(client: Client, port: Port, pairs: list[dict[str, object]]) -> None:
    await client.read(
        f"changing what {port.name} may use as its address",
        lambda: client.sdk.network.update_port(port, allowed_address_pairs=pairs),
    )


async def _is_control_plane(client: Client, server: str) -> bool:
    found = await client.read(
        "looking for a backend",
        lambda: if_any(lambda: client.sdk.compute.find_server(server, ignore_missing=False)),
    )
    return found is not None and (found.metadata or {}).get(TAG_ROLE) == Role.CONTROL_PLANE.value


async def delete(client: Client, ref: ClusterRef) -> None:
    """The load balancer or the reserved address, and the floating IP on it."""
    for thing in await owned_things(client, ref, "load-balancer"):
        await addresses.release(client, ref, str(getattr(thing, "vip_port_id", "")))
        await delete_thing(client, "load-balancer", id_of(thing), "")
    for port in await addresses.vip_ports(client, ref):
        await addresses.release(client, ref, id_of(port))
        await delete_thing(client, "port", id_of(port), getattr(port, "name", "") or "")
