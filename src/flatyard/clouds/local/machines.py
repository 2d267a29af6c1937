"""Machines of this Linux machine: created once by machine id and attempt, listed from their folders, deleted whole.

A machine's folder appears whole, with all that was asked for, and its supervisor takes over from there; so a create
that was killed at any point is the same create when it is called again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import flatyard
from flatyard.base.world import World, rfc3339
from flatyard.clouds.cloud import (
    ClusterRef,
    CreateRequest,
    Instance,
    InstanceState,
    Rejected,
    Role,
    Transient,
)
from flatyard.clouds.local import cgroups, loops, networks, nspawn, processes, rootfs
from flatyard.clouds.local.commands import ENVIRONMENT, run
from flatyard.clouds.local.facts import FACTS
from flatyard.clouds.local.folders import (
    ClusterFolder,
    MachineFile,
    MachineFolder,
    NetworkFile,
    Phase,
    StateFile,
    held,
    is_held,
    make_private,
    open_lock,
    try_lock,
    write_whole,
)
from flatyard.clouds.local.overlay import KUBELET_PATCH, Surroundings, overlay
from flatyard.clouds.local.settings import LocalSettings
from flatyard.ignition.dataurl import DataUrlError, GzipError, decode, decompress
from flatyard.ignition.encode import encode_pretty
from flatyard.ignition.parse import read
from flatyard.ignition.types import Config
from flatyard.model.machines import LocalMachine
from flatyard.node import layout

CAP_SYS_RESOURCE = 24
PATIENCE = 20.0
"""Seconds that the kernel has to end a killed machine's processes."""
_STATES = {
    Phase.NEW: InstanceState.PENDING,
    Phase.PREPARING: InstanceState.PENDING,
    Phase.PROVISIONING: InstanceState.RUNNING,
    Phase.RUNNING: InstanceState.RUNNING,
    Phase.EMERGENCY: InstanceState.RUNNING,
    Phase.STOPPED: InstanceState.STOPPED,
    Phase.FAILED: InstanceState.ERROR,
}
"""What a cloud would show: power is on while Ignition runs, and in the emergency shell after it failed."""
_ENDED = (Phase.STOPPED, Phase.EMERGENCY, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Provisions:
    """What a machine is made with: an image's tree, Ignition's binary, and image archives for containerd."""

    tree: Path
    ignition: Path
    images: Path | None = None


def instance_id(machine_id: str, attempt: int) -> str:
    """Also the folder's name, the cgroup's and nspawn's; fits where a host name does."""
    return f"{machine_id.lower()}-{attempt}"


# ---- create


async def create(
    settings: LocalSettings, world: World, request: CreateRequest, provisions: Provisions
) -> Instance:
    """Make the machine's folder unless it is there, and see that its supervisor runs or has run.

    Raises Rejected for a request that this machine cannot carry out, or that differs from an earlier one of the same
    token; Transient while the earlier machine of that token is being deleted.
    """
    cluster = networks.folder_of(settings, request.cluster)
    folder = cluster.folder(instance_id(request.machine_id, request.attempt))
    network = cluster.network()
    if network is None or network.bridge not in await networks.bridges(request.cluster.id):
        raise Transient(f"creating {request.name}: the network of {request.cluster.name} is not there")
    async with held(cluster.lock):
        await _finish_earlier(cluster, folder, request)
        if folder.deleting.exists():
            raise Transient(f"creating {request.name}: {folder.id} is still being deleted")
        found = folder.machine()
        if found is None:
            found = await _make(cluster, folder, network, world, request, provisions)
        elif found.digest != _digest(request):
            raise Rejected(
                f"creating {request.name}: {folder.id} exists with other user data",
                code="parameters",
                next="a machine id and an attempt name one request for ever; mint the next attempt",
            )
        if folder.state().phase not in _ENDED and folder.state().boots == 0:
            start(folder, provisions.ignition)
    return shown(folder, found)


async def _finish_earlier(cluster: ClusterFolder, folder: MachineFolder, request: CreateRequest) -> None:
    """Delete to the end what somebody began to and was killed, and what lost its files: two machines of one name.

    This attempt itself, where it is being deleted, is for whoever does that.
    """
    prefix = instance_id(request.machine_id, 0).removesuffix("0")
    for other in cluster.folders():
        is_half = other.machine() is None or (other != folder and other.deleting.exists())
        if other.id.startswith(prefix) and is_half:
            await delete(other, request.cluster.id.lower())


def _digest(request: CreateRequest) -> str:
    return hashlib.sha256(request.user_data).hexdigest()


async def _make(
    cluster: ClusterFolder,
    folder: MachineFolder,
    network: NetworkFile,
    world: World,
    request: CreateRequest,
    provisions: Provisions,
) -> MachineFile:
    if not FACTS.instance_name.fits(request.name):
        raise Rejected(f"{request.name} is not a machine's name", next=FACTS.instance_name.allowed)
    config = _checked(request)
    used = [m.address for m in (f.machine() for f in cluster.folders()) if m is not None]
    machine = _machine(request, network, networks.free_address(network, used), provisions, world)
    beside = MachineFolder(folder.path.with_name(f".{folder.id}.new"))
    await run("rm", "-rf", "--", str(beside.path))
    make_private(beside.ignition / "base.d")
    write_whole(beside.user_data, request.user_data)
    ours = encode_pretty(overlay(_surroundings(cluster, network, machine, config)))
    write_whole(beside.ignition / "base.d/10-flatyard-local.ign", ours)
    beside.console.touch(mode=0o600)
    beside.write_machine(machine)
    beside.path.rename(folder.path)
    return machine


def _machine(
    request: CreateRequest,
    network: NetworkFile,
    address: str,
    provisions: Provisions,
    world: World,
) -> MachineFile:
    spec = request.machine if isinstance(request.machine, LocalMachine) else LocalMachine()
    return MachineFile(
        id=instance_id(request.machine_id, request.attempt),
        machine_id=request.machine_id,
        attempt=request.attempt,
        cluster_id=request.cluster.id.lower(),
        cluster_name=request.cluster.name,
        name=request.name,
        role=request.role.value,
        pool=request.pool,
        address=address,
        bridge=network.bridge,
        image=request.image,
        tree=str(provisions.tree),
        cpus=spec.cpus,
        memory_mb=spec.memory_mb,
        created=rfc3339(world.now()),
        digest=_digest(request),
        tags=dict(request.tags),
        images=str(provisions.images or ""),
    )


def _checked(request: CreateRequest) -> Config | None:
    """The user data as far as it can be read; what Ignition thinks of the rest is its own to say.

    Raises Rejected for more of it than the facts allow, and for configs that prepare disks: on this machine those
    would be its own.
    """
    size, limit = len(request.user_data), FACTS.user_data.limit
    if size > limit:
        raise Rejected(
            f"creating {request.name}: its user data has {size} bytes, at most {limit} are taken",
            code="user-data",
        )
    config = read(request.user_data).config
    if config is None:
        return None
    storage = config.storage
    for name in ("disks", "raid", "luks", "filesystems"):
        if getattr(storage, name):
            raise Rejected(
                f"creating {request.name}: its config has storage.{name}",
                why="a local machine has no disks of its own, and this machine's are not touched",
                next=f"leave storage.{name} out of the config on the cloud local",
            )
    return config


def _surroundings(
    cluster: ClusterFolder, network: NetworkFile, machine: MachineFile, config: Config | None
) -> Surroundings:
    endpoint = cluster.endpoint()
    return Surroundings(
        name=machine.name,
        address=machine.address,
        cidr=network.cidr,
        gateway=network.gateway,
        endpoint=(endpoint.address, endpoint.host) if endpoint else None,
        unified=cgroups.hierarchies().unified,
        may_raise=_may_raise(Path("/proc/self/status").read_text()),
        swap=len(Path("/proc/swaps").read_text().splitlines()) > 1,
        kubelet_keys=_kubelet_keys(config),
        pods=network.pods,
        has_images=bool(machine.images),
    )


def _may_raise(status: str) -> bool:
    """Whether root here may raise limits and lower OOM scores; from the text of /proc/self/status."""
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding, 16) >> CAP_SYS_RESOURCE & 1)


def _kubelet_keys(config: Config | None) -> frozenset[str]:
    """The kubelet settings that the user data itself has for this machine's pool."""
    assert KUBELET_PATCH != layout.KUBELET_PATCH
    for entry in config.storage.files if config else ():
        if entry.path == layout.KUBELET_PATCH and entry.contents.source:
            with suppress(
                DataUrlError, GzipError, ValueError
            ):  # fetched, or wrong: then ours is laid over it
                text = decode(entry.contents.source)
                is_packed = entry.contents.compression == "gzip"
                return frozenset(json.loads(decompress(text) if is_packed else text))
    return frozenset()


def start(folder: MachineFolder, ignition: Path) -> None:
    """Start the machine's supervisor unless it lives. It inherits the lock, so there is no moment without."""
    descriptor = open_lock(folder.lock)
    try:
        if try_lock(descriptor):
            _spawn(folder, descriptor, ignition)
    finally:
        os.close(descriptor)


def _spawn(folder: MachineFolder, descriptor: int, ignition: Path) -> None:
    arguments = (str(folder.path), str(descriptor), str(ignition))
    spawn_module(
        processes.SUPERVISOR, arguments, folder.log, descriptor, "unshare", "--mount", "--propagation=private"
    )


def spawn_module(module: str, arguments: tuple[str, ...], log: Path, descriptor: int, *around: str) -> None:
    """Run one of our modules as nobody's child in a session of its own, so that it outlives this process.

    `descriptor` is handed over; `around` is what starts it.
    """
    package = Path(flatyard.__file__).parents[1]
    command = ("setsid", "--fork", *around, sys.executable, "-P", "-m", module, *arguments)
    env = {**ENVIRONMENT, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
    with log.open("ab") as said:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=env,
            pass_fds=(descriptor,),
            check=True,
        )


# ---- list


def listed(settings: LocalSettings, ref: ClusterRef) -> tuple[Instance, ...]:
    """The cluster's machines."""
    found = ((folder, folder.machine()) for folder in networks.folder_of(settings, ref).folders())
    return tuple(shown(folder, machine) for folder, machine in found if machine is not None)


def shown(folder: MachineFolder, machine: MachineFile) -> Instance:
    """A machine as the engine knows it."""
    state = folder.state()
    now = state_of(folder, state)
    return Instance(
        id=machine.id,
        machine_id=machine.machine_id,
        attempt=machine.attempt,
        name=machine.name,
        role=Role(machine.role),
        state=now,
        provider_id=FACTS.provider_id.format(name=machine.name),
        node_name=machine.name,
        zone="",
        addresses=(("InternalIP", machine.address), ("Hostname", machine.name)),
        image=machine.image,
        error=(state.error or _last_words(folder)) if now is InstanceState.ERROR else "",
        created=machine.created,
    )


def state_of(folder: MachineFolder, state: StateFile) -> InstanceState:
    """A machine whose supervisor is gone has no power, whatever was last written; before its first boot it is lost."""
    if folder.deleting.exists():
        return InstanceState.DELETING
    if is_held(folder.lock):
        return _STATES[state.phase]
    state = folder.state()  # it may have been written, and its supervisor have ended, since it was read
    if state.phase in _ENDED:
        return _STATES[state.phase]
    return InstanceState.ERROR if state.boots == 0 else InstanceState.STOPPED


def _last_words(folder: MachineFolder) -> str:
    """Why a supervisor ended that could not even write so."""
    try:
        said = folder.log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        said = []
    ended = f"its supervisor ended before the first boot{': ' + said[-1] if said else ''}"
    return rootfs.why_full(folder.path) or ended


# ---- restart


async def restart(folder: MachineFolder, ignition: Callable[[], Awaitable[Path]]) -> None:
    """Reboot a machine from inside, or switch it on when it has no power; one that is booting goes on with that."""
    if folder.machine() is None or folder.deleting.exists():
        return
    phase = folder.state().phase
    if phase in _ENDED:
        # the supervisor writes how it ended just before it ends
        await _wait(lambda: not is_held(folder.lock), folder, "its supervisor")
    if not is_held(folder.lock):
        start(folder, await ignition())
    elif phase is Phase.RUNNING:
        for pid in processes.serving(processes.SUPERVISOR, folder.path):
            processes.end(pid, signal.SIGHUP)


# ---- delete


async def delete(folder: MachineFolder, cluster_id: str) -> None:
    """Take a machine's power and remove everything of it; a half-deleted one is deleted to the end.

    What it was asked to be goes last, so that it is listed until it is gone. Raises Transient when the kernel does not
    let go of it in time; the folder is kept then.
    """
    if folder.path.exists():
        folder.deleting.touch(mode=0o600)
    where = cgroups.hierarchies()
    around = nspawn.leftovers(folder.id, folder.root, cgroups.processes(where, cluster_id, folder.id))
    await _kill(folder, where, cluster_id)
    await _wait(lambda: cgroups.remove(where, cluster_id, folder.id), folder, "one of its control groups")
    await nspawn.unplug(folder.id)
    loops.detach(folder.path)
    _refuse_mounts(folder)
    for path in (*around, folder.root, folder.path):
        await run("rm", "-rf", "--one-file-system", "--", str(path))


async def _kill(folder: MachineFolder, where: cgroups.Hierarchies, cluster_id: str) -> None:
    """Kill the supervisor first, so that it starts nothing again; the rest dies with it or is killed after it."""

    def left() -> tuple[int, ...]:
        return (
            *processes.serving(processes.SUPERVISOR, folder.path),
            *cgroups.processes(where, cluster_id, folder.id),
        )

    def is_gone() -> bool:
        found = left()
        for pid in found:
            processes.end(pid)
        return not found

    await _wait(is_gone, folder, "one of its processes")


async def _wait(done: Callable[[], bool], folder: MachineFolder, what: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not done():
        if loop.time() > deadline:
            raise Transient(
                f"{folder.id}: {what} does not go", next=f"fuser -vm {folder.root} tells who is there"
            )
        await asyncio.sleep(0.02)


def _refuse_mounts(folder: MachineFolder) -> None:
    """Nothing of ours is mounted where this process sees it; what is, is somebody's, and is not to be emptied."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    inside = [line.split()[4] for line in lines if line.split()[4].startswith(f"{folder.path}/")]
    if inside:
        raise Transient(
            f"deleting {folder.id}: somebody mounted {', '.join(inside)}", next=f"umount {' '.join(inside)}"
        )
