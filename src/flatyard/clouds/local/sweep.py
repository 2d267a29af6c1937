"""Everything on this machine that is a cluster's, found in its folder and, where that is gone, in the kernel."""

from __future__ import annotations

from flatyard.clouds.cloud import ClusterRef, Owned
from flatyard.clouds.local import cgroups, endpoint, machines, networks
from flatyard.clouds.local.folders import MachineFolder
from flatyard.clouds.local.settings import LocalSettings

INSTANCE, BALANCER, NETWORK = "instance", "load-balancer", "network"


async def sweep(settings: LocalSettings, ref: ClusterRef) -> tuple[Owned, ...]:
    """Machines (those of which only control groups are left too), the endpoint, the bridge or its folder."""
    found = [_instance(folder) for folder in _machines(settings, ref)]
    if endpoint.is_there(settings, ref):
        found.append(Owned(BALANCER, f"api.{ref.id.lower()}", f"api.{ref.name}"))
    folder = networks.folder_of(settings, ref)
    bridges = await networks.bridges(ref.id)
    network = folder.network()
    if bridges or folder.path.exists():
        name = bridges[0] if bridges else network.bridge if network else networks.bridge_of(ref)
        found.append(Owned(NETWORK, name, name))
    return tuple(found)


def _machines(settings: LocalSettings, ref: ClusterRef) -> list[MachineFolder]:
    folder = networks.folder_of(settings, ref)
    folders = {found.id: found for found in folder.folders()}
    for name in cgroups.instances(cgroups.hierarchies(), ref.id.lower()):
        folders.setdefault(name, folder.folder(name))
    return [folders[name] for name in sorted(folders)]


def _instance(folder: MachineFolder) -> Owned:
    machine = folder.machine()
    if machine is None:
        return Owned(INSTANCE, folder.id, folder.id, folder.id.rpartition("-")[0].upper())
    return Owned(INSTANCE, machine.id, machine.name, machine.machine_id, created=machine.created)


async def finish(settings: LocalSettings, ref: ClusterRef) -> None:
    """Delete what is left of machines that no list shows any more: nobody would ask for it, and the network waits.

    They were deleted by somebody who was killed, or lost their files. Raises Transient as `machines.delete` does.
    """
    for folder in _machines(settings, ref):
        if folder.machine() is None:
            await machines.delete(folder, ref.id.lower())


async def delete_owned(settings: LocalSettings, ref: ClusterRef, owned: Owned) -> None:
    """Delete one of them; a missing one is fine. Raises Transient for a network that still has machines."""
    if owned.kind == INSTANCE:
        folder = networks.folder_of(settings, ref).folder(owned.id)
        await machines.delete(folder, ref.id.lower())
    elif owned.kind == BALANCER:
        await endpoint.delete(settings, ref)
    elif owned.kind == NETWORK:
        await networks.delete(settings, ref)
