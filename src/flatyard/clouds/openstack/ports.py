"""A machine's port, made before its server: who finds the port finds the server.

On the project's own networks its MAC address comes from machine id and attempt, and a network has each address once,
so that two creates cannot both make one. Nobody but a network's owner may choose addresses on it (Neutron's policy
create_port:mac_address), so on shared and provider networks the port is looked for by its description before it is
made; one at a time, as the cluster's lease has it.
"""

from __future__ import annotations

import asyncio

from openstack.network.v2.port import Port

from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    CloudError,
    ClusterRef,
    CreateRequest,
    Instance,
    Rejected,
    Role,
    Transient,
)
from flatyard.clouds.naming import mac_of
from flatyard.clouds.openstack import addresses, marks
from flatyard.clouds.openstack.answers import FORBIDDEN, missing_is_fine
from flatyard.clouds.openstack.client import Client, id_by_name
from flatyard.clouds.openstack.inventory import id_of, machine_of, owned_things
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meant import is_placeholder

LETS_GO = 90.0
"""Seconds in which a server that is deleted lets its port go."""
LOOK_AGAIN = 0.5


def text(ref: ClusterRef, machine_id: str, attempt: int) -> str:
    """The description of the port of one attempt."""
    return f"{marks.described(ref, machine_id)} {TAG_ATTEMPT}={attempt}"


async def ensure(client: Client, request: CreateRequest, machine: OpenstackMachine) -> tuple[Port, bool]:
    """The machine's port, and whether this call made it."""
    what = f"creating the port of {request.name}"
    network, subnet = await _place(client, request, machine)
    words = await _words(client, request, machine)
    words |= {"network_id": network}
    if await is_foreign(client, network):
        found = await _described(client, request.cluster, request.machine_id, request.attempt, what)
        if found:
            return min(found, key=lambda port: (str(port.created_at), str(port.id))), False
        if subnet and _is_asked_for(client, machine):
            words["fixed_ips"] = [{"subnet_id": subnet}]
        return await client.write(what, lambda: client.sdk.network.create_port(**words)), True
    if subnet:
        words["fixed_ips"] = [{"subnet_id": subnet}]
    mac = mac_of(request.token)
    try:
        return await client.write(
            what, lambda: client.sdk.network.create_port(mac_address=mac, **words)
        ), True
    except CloudError as no:
        if no.code != "MacAddressInUse":
            raise
    there = await client.read(
        what, lambda: list(client.sdk.network.ports(network_id=network, mac_address=mac))
    )
    if not there:
        raise Transient(f"{what}: another one has its address, and is being deleted", code="MacAddressInUse")
    return there[0], False


async def is_foreign(client: Client, network: str) -> bool:
    """Whether a network is another project's."""
    owner = await client.known(
        "owner of network", network, lambda: str(client.sdk.network.get_network(network).project_id or "-")
    )
    return owner != client.project  # which is known once something was asked


async def free(client: Client, ref: ClusterRef, gone: Instance) -> None:
    """Delete the port, once Nova has let it go: a project's member may not delete one that a server has, nor one that
    Nova takes or deletes at that moment, which Neutron refuses by the same policy.

    Raises Transient when that takes long, then this is called again; Rejected where it was refused to the end.
    """
    what = f"deleting the port of {gone.name}"
    clock = asyncio.get_running_loop()
    until = clock.time() + LETS_GO
    while True:
        mine = await _described(client, ref, gone.machine_id, gone.attempt, what)
        loose = [port for port in mine if not port.device_id]
        refused = await _drop_all(client, ref, [str(port.id) for port in loose], what)
        if len(loose) == len(mine) and refused is None:
            return
        if clock.time() >= until:
            raise refused or Transient(f"{what}: its server still has it", code="portInUse")
        await asyncio.sleep(LOOK_AGAIN)


async def _drop_all(client: Client, ref: ClusterRef, ports: list[str], what: str) -> Rejected | None:
    """Delete ports that no server had; what was said of one that must not be deleted now."""
    refused: Rejected | None = None
    for port in ports:
        await addresses.release(client, ref, port)
        try:
            await drop(client, port, what)
        except Rejected as no:
            if no.code != FORBIDDEN:
                raise
            refused = no
    return refused


async def forget_earlier(client: Client, request: CreateRequest) -> None:
    """The ports of earlier attempts, whose servers the cloud itself took away; Nova leaves them."""
    own = text(request.cluster, request.machine_id, request.attempt)
    for port in await owned_things(client, request.cluster, "port"):
        assert isinstance(port, Port)
        of_it = machine_of("port", port) == request.machine_id and port.description != own
        if of_it and not port.device_id:
            await addresses.release(client, request.cluster, id_of(port))
            await drop(client, id_of(port), f"deleting an earlier port of {request.name}")


async def drop(client: Client, port: str, what: str) -> None:
    with missing_is_fine():
        await client.read(what, lambda: client.sdk.network.delete_port(port, ignore_missing=False))


async def _described(client: Client, ref: ClusterRef, machine_id: str, attempt: int, what: str) -> list[Port]:
    wanted = text(ref, machine_id, attempt)
    return await client.read(what, lambda: list(client.sdk.network.ports(description=wanted)))


async def _words(client: Client, request: CreateRequest, machine: OpenstackMachine) -> dict[str, object]:
    words: dict[str, object] = {
        "name": request.name,
        "description": text(request.cluster, request.machine_id, request.attempt),
    }
    if machine.disable_port_security.value:
        return words | {"port_security_enabled": False, "security_groups": []}
    words["security_groups"] = await _groups(client, request, machine)
    if request.role is Role.CONTROL_PLANE and request.network.security_groups:
        pairs = await addresses.virtual(client, request.cluster)
        if pairs:
            words["allowed_address_pairs"] = [{"ip_address": address} for address in pairs]
    return words


def _is_asked_for(client: Client, machine: OpenstackMachine) -> bool:
    """Whether somebody named a subnet; otherwise the network's owner may have many, and Neutron takes one with room."""
    return any(name and not is_placeholder(name) for name in (machine.subnet.value, client.chosen.subnet))


async def _place(client: Client, request: CreateRequest, machine: OpenstackMachine) -> tuple[str, str]:
    """Network and subnet: the machine spec's own first network, or the cluster's."""
    given = named(machine)
    subnet = machine.subnet.value if not is_placeholder(machine.subnet.value) else ""
    network = await network_id(client, given[0]) if given else request.network.id
    if subnet:
        return network, await client.known(
            "subnet", subnet, lambda: id_by_name(client.sdk.network.find_subnet, subnet)
        )
    if network == request.network.id:
        return network, request.network.subnets[0]
    return network, ""


def named(machine: OpenstackMachine) -> list[str]:
    """The networks that the machine spec names; the first is the primary one."""
    given = [network.value for network in machine.networks] or [machine.network.value]
    return [name for name in given if name and not is_placeholder(name)]


async def network_id(client: Client, name: str) -> str:
    return await client.known("network", name, lambda: id_by_name(client.sdk.network.find_network, name))


async def _groups(client: Client, request: CreateRequest, machine: OpenstackMachine) -> list[str]:
    own = request.network.security_groups.get(request.role.value, "")
    groups = [own] if own else []
    for name in (group.value for group in machine.security_groups):
        if name and not is_placeholder(name):
            groups.append(await _group_id(client, name))
    return groups


async def _group_id(client: Client, name: str) -> str:
    return await client.known(
        "security group",
        name,
        lambda: id_by_name(client.sdk.network.find_security_group, name, project_id=client.project),
    )
