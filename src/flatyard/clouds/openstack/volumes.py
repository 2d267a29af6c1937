"""A machine's volumes: the root where its size is given, and etcd's own disk on control planes.

They are made before the server, with our marks, as cluster-api-provider-openstack makes them: those that Nova makes by
itself have no mark, and one that is left over is nobody's; and Nova gives up an image that takes more than three
minutes to become a volume. They end with their server (delete_on_termination); one whose server was never made is
found by its marks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from openstack.block_storage.v3.volume import Volume
from openstack.exceptions import raise_from_response

from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_MACHINE,
    TAG_OWNED,
    CloudError,
    CreateRequest,
    Rejected,
    Role,
    Transient,
)
from flatyard.clouds.openstack import marks
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.facts import ETCD_GIB
from flatyard.clouds.openstack.inventory import delete as delete_thing
from flatyard.clouds.openstack.inventory import id_of, owned_things
from flatyard.model.machines import OpenstackMachine

SERVICE = "block-storage"
ROOT, ETCD = "root", "etcd"
USE = "flatyard-use"
"""A volume's metadata: what the machine has it for."""
PATIENCE = 90.0
"""Seconds for which a volume is waited for in one call; an image may take longer, and the engine comes again."""
LOOK_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume that a machine wants. `image`: what it boots."""

    use: str
    gib: int
    kind: str
    image: str = ""


async def ensure(
    client: Client, request: CreateRequest, machine: OpenstackMachine, zone: str, *, is_new: bool
) -> dict[str, object]:
    """What a server's create says of its disks, once its volumes can be had.

    `is_new`: nothing was made for the machine before. Raises Transient while they are made.
    """
    disks = _wanted(client, request, machine)
    if not disks:
        return {"image_id": request.image}
    known = {} if is_new else await _known(client, request)
    ids = {disk.use: known.get(disk.use) or await _create(client, request, disk, zone) for disk in disks}
    for disk in disks:
        await _available(client, request, disk, ids[disk.use])
    return _mapping(request, ids)


async def forget(client: Client, request: CreateRequest, machine: OpenstackMachine) -> bool:
    """Delete those that were made for a server that the cloud refused; False when some are still being made."""
    if not _wanted(client, request, machine):
        return True
    clock = asyncio.get_running_loop()
    until = clock.time() + PATIENCE / 3
    for key in (await _known(client, request)).values():
        while not await _is_deleted(client, request, key):
            if clock.time() >= until:
                return False
            await asyncio.sleep(LOOK_AGAIN)
    return True


async def forget_earlier(client: Client, request: CreateRequest, machine: OpenstackMachine) -> None:
    """Those of earlier attempts that did not end with their server; what still has one is its own."""
    if not _wanted(client, request, machine):
        return
    for thing in _oldest_first(await owned_things(client, request.cluster, "volume")):
        meta = thing.metadata or {}
        of_it = meta.get(TAG_MACHINE) == request.machine_id and meta.get(TAG_ATTEMPT) != str(request.attempt)
        if of_it and not thing.attachments:
            await _is_deleted(client, request, id_of(thing))


async def _is_deleted(client: Client, request: CreateRequest, key: str) -> bool:
    try:
        await delete_thing(client, "volume", key, f"of {request.name}")
    except Transient:  # Cinder deletes none that it is still making
        return False
    return True


def _wanted(client: Client, request: CreateRequest, machine: OpenstackMachine) -> list[Disk]:
    kind, gib = machine.root_disk_volume_type.value, machine.root_disk_size_gb
    disks = [Disk(ROOT, gib, kind, request.image)] if gib else []
    if request.role is Role.CONTROL_PLANE and client.has(SERVICE):
        disks.append(Disk(ETCD, ETCD_GIB, kind))
    return disks


def _mapping(request: CreateRequest, ids: dict[str, str]) -> dict[str, object]:
    """Of the root, then etcd's: the machine names them in this order."""
    ends = {"delete_on_termination": True}
    if ROOT in ids:
        words: dict[str, object] = {}
        mapping: list[dict[str, object]] = [{"boot_index": 0, **_attached(ids[ROOT])}]
    else:
        words = {"image_id": request.image}
        root = {"source_type": "image", "destination_type": "local", "uuid": request.image}
        mapping = [{"boot_index": 0, **root, **ends}]
    if ETCD in ids:
        mapping.append({"boot_index": -1, **_attached(ids[ETCD])})
    return words | {"block_device_mapping": mapping}


def _attached(key: str) -> dict[str, object]:
    return {
        "source_type": "volume",
        "destination_type": "volume",
        "uuid": key,
        "delete_on_termination": True,
    }


def _metadata(request: CreateRequest, use: str) -> dict[str, str]:
    own = marks.metadata(request)
    kept = (TAG_CLUSTER, TAG_OWNED, TAG_MACHINE, TAG_ATTEMPT)
    return {key: own[key] for key in kept} | {USE: use}


async def _known(client: Client, request: CreateRequest) -> dict[str, str]:
    """Ids of the attempt's volumes by use; the oldest where a lost reply made two."""
    found: dict[str, str] = {}
    for thing in _oldest_first(await owned_things(client, request.cluster, "volume")):
        meta = thing.metadata or {}
        if (meta.get(TAG_MACHINE), meta.get(TAG_ATTEMPT)) == (request.machine_id, str(request.attempt)):
            found.setdefault(str(meta.get(USE, "")), id_of(thing))
    return found


def _oldest_first(things: Iterable[object]) -> list[Volume]:
    found = [thing for thing in things if isinstance(thing, Volume)]
    return sorted(found, key=lambda volume: (str(volume.created_at), str(volume.id)))


async def _create(client: Client, request: CreateRequest, disk: Disk, zone: str) -> str:
    words: dict[str, object] = {
        "name": f"{request.name}-{disk.use}",
        "size": disk.gib,
        "metadata": _metadata(request, disk.use),
    }
    if disk.image:
        words["image_id"] = disk.image
    if disk.kind:
        words["volume_type"] = disk.kind
    if zone and zone in await zones(client):
        words["availability_zone"] = zone
    made = await client.write(
        f"creating the volume {words['name']}", lambda: client.sdk.block_storage.create_volume(**words)
    )
    return str(made.id)


async def zones(client: Client) -> tuple[str, ...]:
    """Cinder's zones, which may be others than Nova's: a site that wants both to be the same calls them the same."""

    def ask() -> str:
        answer = client.sdk.block_storage.get("/os-availability-zone")
        raise_from_response(answer)
        rows = answer.json()["availabilityZoneInfo"]
        return ",".join(row["zoneName"] for row in rows if row["zoneState"].get("available", True))

    try:
        return tuple((await client.known("zones of volumes", "all", ask)).split(","))
    except Rejected:
        return ()


def types(client: Client) -> list[str]:
    """Names and ids of the site's volume types."""
    answer = client.sdk.block_storage.get("/types")
    raise_from_response(answer)
    return [str(row[key]) for row in answer.json()["volume_types"] for key in ("name", "id")]


async def _available(client: Client, request: CreateRequest, disk: Disk, key: str) -> None:
    """Wait until a server may have it; one that failed is deleted, and made anew when the engine comes again."""
    what = f"creating the {disk.use} volume of {request.name}"
    clock = asyncio.get_running_loop()
    until = clock.time() + PATIENCE
    while True:
        status = await client.read(what, lambda: str(client.sdk.block_storage.get_volume(key).status))
        if status in ("available", "reserved", "attaching", "in-use"):
            return
        if status.startswith("error"):
            why = await _reason(client, key)
            with suppress(CloudError):
                await delete_thing(client, "volume", key, f"of {request.name}")
            raise Transient(
                f"{what}: Cinder could not make it", code="volumeError", why=why, next="openstack volume list"
            )
        if clock.time() >= until:
            raise Transient(f"{what}: it is still {status}", code="volumeBusy")
        await asyncio.sleep(LOOK_AGAIN)


async def _reason(client: Client, key: str) -> str:
    """What Cinder tells users of a failure (its messages, since 3.3); empty where it tells nothing."""

    def ask() -> str:
        found = client.sdk.block_storage.get(
            "/messages", params={"resource_uuid": key}, microversion="3.5", raise_exc=False
        )
        told = found.json().get("messages") if found.ok else []
        return str(told[0].get("user_message", "")) if told else ""

    try:
        return await client.read("reading Cinder's messages", ask)
    except CloudError:
        return ""
