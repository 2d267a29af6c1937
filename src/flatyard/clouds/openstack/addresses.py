"""Floating IPs of machines, and the address that the control planes share."""

from __future__ import annotations

from flatyard.clouds.cloud import ClusterRef, CreateRequest, Role
from flatyard.clouds.openstack import marks, networks
from flatyard.clouds.openstack.answers import missing_is_fine
from flatyard.clouds.openstack.client import Client, id_by_name
from flatyard.clouds.openstack.inventory import owned_things
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meant import is_placeholder

VIP = "flatyard-vip"
"""In the description of the port that only keeps the shared address reserved."""


def wanted(client: Client, request: CreateRequest, machine: OpenstackMachine) -> bool:
    """Whether the machine gets a floating IP of its own: by its spec, or as every worker does."""
    return bool(_pool(machine)) or (client.chosen.floating_ips and request.role is Role.WORKER)


def _pool(machine: OpenstackMachine) -> str:
    pool = machine.floating_ip_pool.value
    return pool if not is_placeholder(pool) else ""


async def ensure(client: Client, request: CreateRequest, machine: OpenstackMachine, port: str) -> None:
    """One floating IP on the machine's port."""
    pool, what = _pool(machine), f"giving {request.name} a floating IP"
    found = await client.read(what, lambda: list(client.sdk.network.ips(port_id=port)))
    if found:
        return
    if pool:
        network = await client.known(
            "network", pool, lambda: id_by_name(client.sdk.network.find_network, pool)
        )
    else:
        network = await networks.outside(client, client.chosen, request.network.id)
        if not network:
            return  # what is on an external network has an address of that one
    text = marks.described(request.cluster, request.machine_id)
    await client.write(
        what,
        lambda: client.sdk.network.create_ip(floating_network_id=network, port_id=port, description=text),
    )


async def release(client: Client, ref: ClusterRef, port: str) -> None:
    """Delete the floating IPs on a port that are ours; somebody else's only loses its port."""
    what = "releasing a floating IP"
    for ip in await client.read(what, lambda: list(client.sdk.network.ips(port_id=port))):
        if marks.is_of(marks.read(ip), ref):
            await _delete(client, str(ip.id), what)


async def _delete(client: Client, key: str, what: str) -> None:
    with missing_is_fine():
        await client.read(what, lambda: client.sdk.network.delete_ip(key, ignore_missing=False))


async def virtual(client: Client, ref: ClusterRef) -> tuple[str, ...]:
    """The address that the control planes share, where there is one."""
    return tuple(
        str(ip["ip_address"])
        for port in await vip_ports(client, ref)
        for ip in getattr(port, "fixed_ips", None) or ()
    )


async def vip_ports(client: Client, ref: ClusterRef) -> list[object]:
    """The port that keeps the shared address."""
    found = await owned_things(client, ref, "port")
    return [port for port in found if VIP in (getattr(port, "description", None) or "").split()]
