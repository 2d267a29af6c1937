"""Servers, each on a port made beforehand (ports.py), by which a create that is repeated finds the first one's server,
and with the volumes that it wants (volumes.py).
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
from flatyard.clouds.openstack import addresses, marks, ports, volumes
from flatyard.clouds.openstack.answers import is_missing, missing_is_fine
from flatyard.clouds.openstack.client import Client, id_by_name
from flatyard.clouds.openstack.facts import FACTS
from flatyard.clouds.openstack.faults import has_no_room, told
from flatyard.clouds.openstack.inventory import group_name
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meant import is_placeholder

_V6 = 6
LOOK_AGAIN = 1.0
"""Seconds between two looks for a server whose port is there already."""
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
    """Two calls where all goes well: the port, and the server on it; volumes take some more."""
    machine = request.machine
    if not isinstance(machine, OpenstackMachine):
        raise Rejected(
            f"creating {request.name}: its machine spec is not one of OpenStack", code="machineSpec"
        )
    _check_size(request)
    async with client.lock(request.token):
        if request.attempt > 1:
            await ports.forget_earlier(client, request)
            await volumes.forget_earlier(client, request, machine)
        port, is_new = await ports.ensure(client, request, machine)
        there = None if is_new else await _earlier(client, request, port)
        made = instance(there or await _made(client, request, machine, port, is_new=is_new))
        return replace(made, zone=made.zone or zone_of(request, machine))


async def _made(
    client: Client, request: CreateRequest, machine: OpenstackMachine, port: Port, *, is_new: bool
) -> Server:
    """The server, with all that it needs besides; nothing of it is left when the cloud refuses. While a volume is left,
    its port is too: the next create takes both.
    """
    try:
        if addresses.wanted(client, request, machine):
            await addresses.ensure(client, request, machine, port.id)
        disks = await volumes.ensure(client, request, machine, zone_of(request, machine), is_new=is_new)
        return await _server(client, request, machine, port, disks)
    except (Rejected, QuotaExceeded, RateLimited):
        client.forget()
        if await volumes.forget(client, request, machine):
            await addresses.release(client, request.cluster, port.id)
            await ports.drop(client, port.id, f"deleting the port of {request.name}")
        raise


async def delete(client: Client, ref: ClusterRef, gone: Instance) -> None:
    """The server, its port (Nova leaves those that it did not make) and its floating IP; volumes end with it."""
    with missing_is_fine():
        await client.read(
            f"deleting {gone.name}", lambda: client.sdk.compute.delete_server(gone.id, ignore_missing=False)
        )
    await ports.free(client, ref, gone)


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


# ---- the server


async def _server(
    client: Client, request: CreateRequest, machine: OpenstackMachine, port: Port, disks: dict[str, object]
) -> Server:
    words = await _server_words(client, request, machine, port.id) | disks
    try:
        return await client.write(
            f"creating {request.name}", lambda: client.sdk.compute.create_server(**words)
        )
    except Transient as no:
        if no.code in ("conflict", "conflictingRequest"):
            there = await _earlier(client, request, port)
            if there is not None:
                return there
        raise


async def _server_words(
    client: Client, request: CreateRequest, machine: OpenstackMachine, port: str
) -> dict[str, object]:
    others = [{"uuid": await ports.network_id(client, name)} for name in ports.named(machine)[1:]]
    words: dict[str, object] = {
        "name": request.name,
        "flavor_id": await flavor_id(client, machine.flavor.value),
        "networks": [{"port": port}, *others],
        "user_data": base64.b64encode(request.user_data).decode(),
        "metadata": {**client.metadata, **marks.metadata(request)},
        "tags": marks.server_tags(request),
    }
    if len(request.network.zones) > 1 or machine.zone:
        words["availability_zone"] = zone_of(request, machine)
    if machine.config_drive.value:
        words["config_drive"] = True
    group = await _group(client, request, machine)
    if group:
        words["scheduler_hints"] = {"group": group}
    return words


def zone_of(request: CreateRequest, machine: OpenstackMachine) -> str:
    """The one asked for; otherwise the same one for the same machine, since Nova's reply does not tell its choice."""
    zones = request.network.zones
    spread = zones[sum(request.machine_id.encode()) % len(zones)] if zones else ""
    return request.zone or machine.zone or spread


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
        image=str((server.image or {}).get("id") or meta.get(marks.IMAGE, "")),
        error=told(server.fault) if state is InstanceState.ERROR else "",
        created=str(server.created_at or ""),
        no_capacity=state is InstanceState.ERROR and has_no_room(server.fault),
    )


def _state(server: Server) -> InstanceState:
    if server.task_state in ("deleting", "soft-deleting"):
        return InstanceState.DELETING
    return _STATES.get(str(server.status or "BUILD"), InstanceState.STOPPED)


def _addresses(server: Server, name: str) -> tuple[tuple[str, str], ...]:
    """As the cloud controller manager tells them: fixed ones are inside, floating ones outside; IPv4 before IPv6,
    which a network may give besides, since the cluster speaks IPv4.
    """
    shown: Iterable[Mapping[str, object]] = (
        entry for network in (server.addresses or {}).values() for entry in network
    )
    pairs = [
        (
            "ExternalIP" if entry.get("OS-EXT-IPS:type") == "floating" else "InternalIP",
            str(entry["addr"]),
            entry.get("version") == _V6,
        )
        for entry in shown
    ]
    ordered = sorted(pairs, key=lambda pair: (pair[0] == "ExternalIP", pair[2], pair[1]))
    return (*((kind, address) for kind, address, _ in ordered), ("Hostname", name.lower())) if pairs else ()
