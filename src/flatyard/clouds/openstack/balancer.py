"""The endpoint as Octavia has it: a TCP load balancer in the cluster's subnet, with a health monitor.

Octavia takes one change at a time: while one is under way it answers 409, which is Transient here, and the engine
comes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from openstack.load_balancer.v2.load_balancer import LoadBalancer

from flatyard.clouds.cloud import CloudError, ClusterRef, Network, Rejected, Transient
from flatyard.clouds.naming import group_of
from flatyard.clouds.openstack import marks
from flatyard.clouds.openstack.answers import is_never, missing_is_fine
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.inventory import delete as delete_thing
from flatyard.clouds.openstack.inventory import owned_things

_BUSY = ("PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE")


@dataclass(frozen=True, slots=True)
class Balancer:
    """`backends` are server ids."""

    port_id: str
    address: str
    backends: tuple[str, ...]


async def ensure(
    client: Client, ref: ClusterRef, network: Network, port: int, backends: tuple[str, ...]
) -> Balancer:
    """Step by step: the balancer with listener, pool and monitor, then its members. Raises Transient while busy."""
    if not client.has("load-balancer"):
        raise Rejected(
            "this site has no load balancers", code="serviceDisabled", next="spec.endpoint.kind: vip"
        )
    found = [thing for thing in await owned_things(client, ref, "load-balancer") if _is_ours(thing, ref)]
    if not found:
        found = [await _create(client, ref, network, port)]
    made = found[0]
    assert isinstance(made, LoadBalancer)
    if made.provisioning_status == "ERROR":
        await delete_thing(client, "load-balancer", str(made.id), made.name or "")
        raise Transient(f"the load balancer of {ref.name} failed and is made anew", code="ERROR")
    if made.provisioning_status in _BUSY:
        raise Transient(f"the load balancer of {ref.name} is {made.provisioning_status}", code="busy")
    await _members(client, ref, str(made.id), network, port, backends)
    return Balancer(str(made.vip_port_id), str(made.vip_address), backends)


def _is_ours(thing: object, ref: ClusterRef) -> bool:
    return marks.is_of(marks.read(thing), ref)


async def _create(client: Client, ref: ClusterRef, network: Network, port: int) -> LoadBalancer:
    """With what Octavia's own driver does best, or else with what others do (OVN's has one algorithm, and health
    monitors since late only): what a driver cannot do is refused whole.
    """
    for algorithm, watched in _FORMS:
        try:
            return await _make(client, ref, network, port, algorithm, watched=watched)
        except Rejected as no:
            if (algorithm, watched) == _FORMS[-1] or not is_never(no):
                raise
    raise AssertionError("the last form ends it")


_FORMS = (("ROUND_ROBIN", True), ("SOURCE_IP_PORT", True), ("SOURCE_IP_PORT", False))


async def _make(
    client: Client, ref: ClusterRef, network: Network, port: int, algorithm: str, *, watched: bool
) -> LoadBalancer:
    """In one call, so that no crash leaves half of it."""
    name = f"{group_of(ref)}-api"
    pool: dict[str, object] = {
        "name": name,
        "protocol": "TCP",
        "lb_algorithm": algorithm,
        "members": [],
    }
    if watched:
        pool["healthmonitor"] = {"type": "TCP", "delay": 5, "timeout": 3, "max_retries": 2}
    listener = {"name": name, "protocol": "TCP", "protocol_port": port, "default_pool": pool}
    return await client.write(
        f"creating the load balancer of {ref.name}",
        lambda: client.sdk.load_balancer.create_load_balancer(
            name=name,
            description=marks.described(ref),
            tags=marks.labels(ref),
            vip_subnet_id=network.subnets[0],
            listeners=[listener],
        ),
    )


async def refusal(client: Client) -> str:
    """Why Octavia is not for this login; empty when it is. It wants a role of its own on many sites."""
    try:
        await client.read(
            "listing load balancers",
            lambda: list(client.sdk.load_balancer.load_balancers(project_id=client.project)),
        )
    except Rejected as no:
        return no.what
    return ""


async def _members(
    client: Client, ref: ClusterRef, balancer: str, network: Network, port: int, backends: tuple[str, ...]
) -> None:
    """Members are named by their servers' ids."""
    what, proxy = f"changing the members of the load balancer of {ref.name}", client.sdk.load_balancer
    pools = await client.read(what, lambda: list(proxy.pools(load_balancer_id=balancer)))
    if not pools:
        raise Transient(f"the load balancer of {ref.name} has no pool yet", code="busy")
    pool = str(pools[0].id)
    known = {
        str(member.name): member for member in await client.read(what, lambda: list(proxy.members(pool)))
    }
    for server in sorted(set(backends) - set(known)):
        address = await _address(client, server, network.cidr, what)
        try:
            await client.write(
                what,
                lambda server=server, address=address: proxy.create_member(  # type: ignore[misc]
                    pool, name=server, address=address, protocol_port=port, subnet_id=network.subnets[0]
                ),
            )
        except CloudError as no:
            if no.code != "Conflict":
                raise
    for server in sorted(set(known) - set(backends)):
        with missing_is_fine():
            key = str(known[server].id)
            await client.read(what, lambda key=key: proxy.delete_member(key, pool, ignore_missing=False))  # type: ignore[misc]


async def _address(client: Client, server: str, cidr: str, what: str) -> str:
    """The server's address in the balancer's network; a server may be in others too."""
    found = await client.read(what, lambda: client.sdk.compute.get_server(server))
    entries = [entry for network in (found.addresses or {}).values() for entry in network]
    fixed = [str(e["addr"]) for e in entries if e.get("OS-EXT-IPS:type") != "floating" and e["version"] == 4]
    if not fixed:
        raise Transient(f"{what}: {server} has no address yet", code="noAddress")
    inside = ip_network(cidr, strict=False)
    return next((address for address in fixed if ip_address(address) in inside), fixed[0])
