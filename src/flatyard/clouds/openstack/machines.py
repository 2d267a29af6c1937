"""Servers, each on a port made beforehand: the port's MAC address comes from machine id and attempt, and a network has
each address once, so that a create that is repeated finds the first one's port and with it its server.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping
from dataclasses import replace

from openstack.compute.v2.server import Server
from openstack.network.v2.port import Port

from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    TAG_MACHINE,
    TAG_ROLE,
    CloudError,
    ClusterRef,
    CreateRequest,
    Instance,
    InstanceState,
    QuotaExceeded,
    RateLimited,
    Rejected,
    Role,
    Transient,
)
from flatyard.clouds.facts import Trouble
from flatyard.clouds.naming import mac_of, token_of
from flatyard.clouds.openstack import addresses, marks
from flatyard.clouds.openstack.answers import is_missing, missing_is_fine
from flatyard.clouds.openstack.client import Client, id_by_name
from flatyard.clouds.openstack.facts import ETCD_GIB, FACTS
from flatyard.clouds.openstack.faults import has_no_room, told
from flatyard.clouds.openstack.inventory import group_name
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meant import is_placeholder

LOOK_AGAIN = 1.0
"""Seconds between two looks for a server whose port is there already."""
LETS_GO = 90.0
"""Seconds in which a server that is deleted lets its port go."""
_STATES: Mapping[str, InstanceState] = {
    "BUILD": InstanceState.PENDING,
    "REBUILD": InstanceState.PENDING,
    "ACTIVE": InstanceState.RUNNING,
    "REBOOT": InstanceState.RUNNING,
    "HARD_REBOOT": InstanceState.RUNNING,
    "PASSWORD": InstanceState.RUNNING,
    "VERIFY_RESIZE": InstanceState.RUNNING,
    "RESIZE": InstanceState.RUNNING,
    "MIGRATING": InstanceState.RUNNING,
    "RESCUE": InstanceState.STOPPED,
    "DELETED": InstanceState.TERMINATED,
    "SOFT_DELETED": InstanceState.TERMINATED,
    "ERROR": InstanceState.ERROR,
}
"""Everything else (SHUTOFF, SUSPENDED, PAUSED, SHELVED …) does not run."""


async def listed(client: Client, ref: ClusterRef) -> tuple[Instance, ...]:
    """One paged call, by tag."""
    found = await client.read(
        f"listing the machines of {ref.name}",
        lambda: list(client.sdk.compute.servers(tags=marks.server_tag(ref))),
    )
    return tuple(instance(server) for server in found if marks.is_of(server.metadata or {}, ref))


async def create(client: Client, request: CreateRequest) -> Instance:
    """Two calls where all goes well: the port, and the server on it."""
    machine = request.machine
    if not isinstance(machine, OpenstackMachine):
        raise Rejected(
            f"creating {request.name}: its machine spec is not one of OpenStack", code="machineSpec"
        )
    async with client.lock(request.token):
        port, is_new = await _port(client, request, machine)
        if not is_new:
            there = await _earlier(client, request, port)
            if there is not None:
                found = instance(there)
                return replace(found, zone=found.zone or _zone(request, machine))
        if addresses.wanted(client, request, machine):
            await addresses.ensure(client, request, machine, port.id)
        made = instance(await _server(client, request, machine, port))
        return replace(made, zone=made.zone or _zone(request, machine))


async def delete(client: Client, ref: ClusterRef, gone: Instance) -> None:
    """The server, its port (Nova leaves those that it did not make) and its floating IP."""
    with missing_is_fine():
        await client.read(
            f"deleting {gone.name}", lambda: client.sdk.compute.delete_server(gone.id, ignore_missing=False)
        )
    await _free(client, ref, gone)


async def _free(client: Client, ref: ClusterRef, gone: Instance) -> None:
    """Delete the port, once Nova has let it go: a project's member may not delete one that a server has.

    Raises Transient when that takes long; then this is called again.
    """
    what, mac = f"deleting the port of {gone.name}", mac_of(token_of(gone))
    clock = asyncio.get_running_loop()
    until = clock.time() + LETS_GO
    while True:
        found = await client.read(what, lambda: list(client.sdk.network.ports(mac_address=mac)))
        mine = [port for port in found if marks.is_of(marks.read(port), ref)]
        free = [port for port in mine if not port.device_id]
        for port in free:
            await addresses.release(client, ref, str(port.id))
            await _drop(client, str(port.id), what)
        if len(free) == len(mine):
            return
        if clock.time() >= until:
            raise Transient(f"{what}: its server still has it", code="portInUse")
        await asyncio.sleep(LOOK_AGAIN / 2)


async def restart(client: Client, known: Instance) -> None:
    """SOFT asks the guest, and Nova itself turns to HARD when it does not go down; HARD for what does not run."""
    what = f"restarting {known.name}"
    server = await client.read(what, lambda: client.sdk.compute.get_server(known.id))
    kind = "SOFT" if server.status == "ACTIVE" else "HARD"
    await client.write(what, lambda: client.sdk.compute.reboot_server(known.id, kind))


def _check_size(request: CreateRequest) -> None:
    size, rule = FACTS.user_data.size(request.user_data), FACTS.user_data
    if size > rule.limit:
        refusal = FACTS.refusal(Trouble.USER_DATA_TOO_LARGE)
        words = refusal.message.format(used=size, limit=rule.limit)
        raise Rejected(f"creating {request.name}: {words}", code=refusal.code)


async def _forget_earlier(client: Client, request: CreateRequest) -> None:
    """The ports of earlier attempts, whose servers the cloud itself took away."""
    if request.attempt == 1:
        return
    what, text = f"creating {request.name}", marks.described(request.cluster, request.machine_id)
    for port in await client.read(what, lambda: list(client.sdk.network.ports(description=text))):
        if port.mac_address != mac_of(request.token) and not port.device_id:
            await addresses.release(client, request.cluster, str(port.id))
            await _drop(client, str(port.id), what)


# ---- the port


async def _port(client: Client, request: CreateRequest, machine: OpenstackMachine) -> tuple[Port, bool]:
    """The machine's port, and whether this call made it."""
    what = f"creating the port of {request.name}"
    words = await _port_words(client, request, machine)
    try:
        return await client.write(what, lambda: client.sdk.network.create_port(**words)), True
    except CloudError as no:
        if no.code != "MacAddressInUse":
            raise
    found = await client.read(
        what,
        lambda: list(
            client.sdk.network.ports(network_id=words["network_id"], mac_address=words["mac_address"])
        ),
    )
    if not found:
        raise Transient(f"{what}: another one has its address, and is being deleted", code="MacAddressInUse")
    return found[0], False


async def _port_words(client: Client, request: CreateRequest, machine: OpenstackMachine) -> dict[str, object]:
    network, subnet = await _place(client, request, machine)
    words: dict[str, object] = {
        "name": request.name,
        "description": marks.described(request.cluster, request.machine_id),
        "network_id": network,
        "mac_address": mac_of(request.token),
    }
    if subnet:
        words["fixed_ips"] = [{"subnet_id": subnet}]
    if machine.disable_port_security.value:
        words |= {"port_security_enabled": False, "security_groups": []}
        return words
    words["security_groups"] = await _groups(client, request, machine)
    if request.role is Role.CONTROL_PLANE:
        pairs = await addresses.virtual(client, request.cluster)
        if pairs:
            words["allowed_address_pairs"] = [{"ip_address": address} for address in pairs]
    return words


async def _place(client: Client, request: CreateRequest, machine: OpenstackMachine) -> tuple[str, str]:
    """Network and subnet: the machine spec's own first network, or the cluster's."""
    named = _named(machine)
    subnet = machine.subnet.value if not is_placeholder(machine.subnet.value) else ""
    network = await _network_id(client, named[0]) if named else request.network.id
    if subnet:
        return network, await client.known(
            "subnet", subnet, lambda: id_by_name(client.sdk.network.find_subnet, subnet)
        )
    if network == request.network.id:
        return network, request.network.subnets[0]
    return network, ""


def _named(machine: OpenstackMachine) -> list[str]:
    given = [network.value for network in machine.networks] or [machine.network.value]
    return [name for name in given if name and not is_placeholder(name)]


async def _network_id(client: Client, name: str) -> str:
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


async def _drop(client: Client, port: str, what: str) -> None:
    with missing_is_fine():
        await client.read(what, lambda: client.sdk.network.delete_port(port, ignore_missing=False))


# ---- the server


async def _server(client: Client, request: CreateRequest, machine: OpenstackMachine, port: Port) -> Server:
    words = await _server_words(client, request, machine, port.id)
    try:
        return await client.write(
            f"creating {request.name}", lambda: client.sdk.compute.create_server(**words)
        )
    except CloudError as no:
        if isinstance(no, Transient) and no.code in ("conflict", "conflictingRequest"):
            there = await _earlier(client, request, port)
            if there is not None:
                return there
        if isinstance(
            no, Rejected | QuotaExceeded | RateLimited
        ):  # nothing was made, and nothing may be left
            client.forget()
            await addresses.release(client, request.cluster, port.id)
            await _drop(client, port.id, f"deleting the port of {request.name}")
        raise


async def _server_words(
    client: Client, request: CreateRequest, machine: OpenstackMachine, port: str
) -> dict[str, object]:
    others = [{"uuid": await _network_id(client, name)} for name in _named(machine)[1:]]
    words: dict[str, object] = {
        "name": request.name,
        "flavor_id": await flavor_id(client, machine.flavor.value),
        "networks": [{"port": port}, *others],
        "user_data": base64.b64encode(request.user_data).decode(),
        "metadata": {**client.metadata, **marks.metadata(request)},
        "tags": marks.server_tags(request),
    }
    if len(request.network.zones) > 1 or machine.zone:
        words["availability_zone"] = _zone(request, machine)
    if machine.config_drive.value:
        words["config_drive"] = True
    group = await _group(client, request, machine)
    if group:
        words["scheduler_hints"] = {"group": group}
    return words | _disks(client, request, machine)


def _zone(request: CreateRequest, machine: OpenstackMachine) -> str:
    """The one asked for; otherwise the same one for the same machine, since Nova's reply does not tell its choice."""
    zones = request.network.zones
    spread = zones[sum(request.machine_id.encode()) % len(zones)] if zones else ""
    return request.zone or machine.zone or spread


def _disks(client: Client, request: CreateRequest, machine: OpenstackMachine) -> dict[str, object]:
    """The root disk, from a volume where its size is given, and etcd's own on control planes."""
    root: dict[str, object] = {"boot_index": 0, "uuid": request.image, "source_type": "image"}
    if machine.root_disk_size_gb:
        root |= _volume(machine.root_disk_size_gb, machine.root_disk_volume_type.value)
    else:
        root |= {"destination_type": "local", "delete_on_termination": True}
    disks = [root]
    if request.role is Role.CONTROL_PLANE and client.has("block-storage"):
        blank = {"boot_index": -1, "source_type": "blank"}
        disks.append(blank | _volume(ETCD_GIB, machine.root_disk_volume_type.value))
    if len(disks) == 1 and not machine.root_disk_size_gb:
        return {"image_id": request.image}
    image = {} if machine.root_disk_size_gb else {"image_id": request.image}
    return image | {"block_device_mapping": disks}


def _volume(gib: int, kind: str) -> dict[str, object]:
    words: dict[str, object] = {
        "destination_type": "volume",
        "volume_size": gib,
        "delete_on_termination": True,
    }
    return words | ({"volume_type": kind} if kind else {})


async def flavor_id(client: Client, name: str) -> str:
    return await client.known("flavor", name, lambda: id_by_name(client.sdk.compute.find_flavor, name))


async def _group(client: Client, request: CreateRequest, machine: OpenstackMachine) -> str:
    """The server group that is asked for, or that of our control planes."""
    asked = machine.server_group.value
    if asked and not is_placeholder(asked):
        return await client.known(
            "server group", asked, lambda: id_by_name(client.sdk.compute.find_server_group, asked)
        )
    if request.role is not Role.CONTROL_PLANE:
        return ""
    name = group_name(request.cluster, Role.CONTROL_PLANE.value)
    try:
        return await client.known(
            "server group", name, lambda: id_by_name(client.sdk.compute.find_server_group, name)
        )
    except Rejected:
        return ""  # the quota had no room for one


async def _earlier(client: Client, request: CreateRequest, port: Port) -> Server | None:
    """The server of an earlier call with this token; None once it is sure that there is none.

    Lists may lag and the port says whose it is only when its server is built, so both are asked for as long as that
    may take. Raises Rejected when the port is another machine's.
    """
    what = f"looking for the server of {request.name}"
    clock = asyncio.get_running_loop()
    until = clock.time() + client.settles
    while True:
        found = await client.read(
            what, lambda: list(client.sdk.compute.servers(tags=marks.server_tags(request)[1]))
        )
        if found:
            return min(found, key=lambda server: str(server.created_at))
        now = await client.read(what, lambda: client.sdk.network.get_port(port.id))
        if now.device_id:
            return await _holder(client, request, str(now.device_id), what)
        if clock.time() >= until:
            return None
        await asyncio.sleep(LOOK_AGAIN)


async def _holder(client: Client, request: CreateRequest, server_id: str, what: str) -> Server:
    try:
        server = await client.read(what, lambda: client.sdk.compute.get_server(server_id))
    except CloudError as no:
        if is_missing(no):
            raise Transient(f"{what}: {server_id} that has its port is being deleted", code=no.code) from None
        raise
    meta = server.metadata or {}
    if (meta.get(TAG_MACHINE), meta.get(TAG_ATTEMPT)) != (request.machine_id, str(request.attempt)):
        raise Rejected(
            f"creating {request.name}: {server_id} has its port and is another machine", code="PortInUse"
        )
    return server


# ---- servers as the engine knows them


def instance(server: Server) -> Instance:
    """As Nova shows it. The node's name is the server's in small letters, as the cloud controller manager has it."""
    meta = server.metadata or {}
    state = _state(server)
    name = str(server.name or meta.get("name", ""))
    return Instance(
        id=str(server.id),
        machine_id=meta.get(TAG_MACHINE, ""),
        attempt=int(meta.get(TAG_ATTEMPT, "0")),
        name=name,
        role=Role(meta.get(TAG_ROLE, Role.WORKER.value)),
        state=state,
        provider_id=FACTS.provider_id.format(id=server.id),
        node_name=name.lower(),
        zone=str(server.availability_zone or ""),
        addresses=_addresses(server, name),
        image=str((server.image or {}).get("id") or ""),
        error=told(server.fault) if state is InstanceState.ERROR else "",
        created=str(server.created_at or ""),
        no_capacity=state is InstanceState.ERROR and has_no_room(server.fault),
    )


def _state(server: Server) -> InstanceState:
    if server.task_state in ("deleting", "soft-deleting"):
        return InstanceState.DELETING
    return _STATES.get(str(server.status or "BUILD"), InstanceState.STOPPED)


def _addresses(server: Server, name: str) -> tuple[tuple[str, str], ...]:
    """As the cloud controller manager tells them: fixed ones are inside, floating ones outside."""
    shown: Iterable[Mapping[str, object]] = (
        entry for network in (server.addresses or {}).values() for entry in network
    )
    pairs = [
        ("ExternalIP" if entry.get("OS-EXT-IPS:type") == "floating" else "InternalIP", str(entry["addr"]))
        for entry in shown
    ]
    return (*sorted(pairs, reverse=True), ("Hostname", name.lower())) if pairs else ()
