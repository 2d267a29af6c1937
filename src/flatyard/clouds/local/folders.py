"""What the local cloud keeps on disk: a folder for each cluster, in it one for each machine.

    HOME/CLUSTER/lock                   held while a machine's address is chosen
    HOME/CLUSTER/network.json           the bridge and its range
    HOME/CLUSTER/endpoint.json          the endpoint's address and backends; endpoint.lock, while its balancer lives
    HOME/CLUSTER/INSTANCE/machine.json  what was asked for; tags and address
    HOME/CLUSTER/INSTANCE/user-data     byte for byte what a cloud would have got; gone once Ignition has run
    HOME/CLUSTER/INSTANCE/ignition/     base.d/*.ign: what only a container needs, merged below the user data
    HOME/CLUSTER/INSTANCE/state.json    written by the supervisor only
    HOME/CLUSTER/INSTANCE/lock          held while the supervisor lives
    HOME/CLUSTER/INSTANCE/deleting      there once the machine is to go
    HOME/CLUSTER/INSTANCE/root/         the machine's disk; its /usr is the image's, mounted where only it sees it
    HOME/CLUSTER/INSTANCE/console       all that it wrote on its console

Everything is root's alone. Files appear whole: they are written beside their place and renamed into it. This module
is imported by supervisors, so it imports nothing heavy.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

V = TypeVar("V", "MachineFile", "StateFile", "NetworkFile", "EndpointFile", "BeforeFile")


class Phase(StrEnum):
    """What a machine's supervisor is at, or how it ended."""

    NEW = "new"
    """The supervisor has not said anything yet."""
    PREPARING = "preparing"
    """The root directory is made."""
    PROVISIONING = "provisioning"
    """Ignition runs."""
    RUNNING = "running"
    STOPPED = "stopped"
    """It was powered off from inside, or killed."""
    EMERGENCY = "emergency"
    """Ignition failed: a real machine stands in its emergency shell now, and its cloud shows it as running."""
    FAILED = "failed"
    """The container could not be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFile:
    """What was asked for, and the machine's place in the network. No secrets."""

    id: str
    """The instance's id: machine id and attempt, in small letters; also its nspawn machine name."""
    machine_id: str
    attempt: int
    cluster_id: str
    cluster_name: str
    name: str
    role: str
    pool: str
    address: str
    bridge: str
    image: str
    """What `images` showed; the tree itself is `tree`."""
    tree: str
    cpus: int
    memory_mb: int
    created: str
    digest: str
    """sha256 of the user data."""
    tags: Mapping[str, str]
    images: str = ""
    """A folder of image archives that containerd imports at each boot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFile:
    """How a machine stands, as its supervisor last wrote it."""

    phase: Phase = Phase.NEW
    pid: int = 0
    """The supervisor's."""
    nspawn: int = 0
    provisioned: bool = False
    boots: int = 0
    error: str = ""
    stamps: Mapping[str, str] = field(default_factory=dict)
    """When each phase was first reached, RFC 3339 with microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFile:
    """A cluster's bridge, and its range of addresses."""

    cluster_id: str
    cluster_name: str
    bridge: str
    cidr: str
    gateway: str
    endpoint: str
    """The address that is kept for the endpoint."""
    nat: bool = False
    pods: str = ""
    """The range of pods, where machines route them by themselves (`network.cni: none`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFile:
    """Where the Kubernetes API answers: `backends` maps instance ids to addresses."""

    host: str
    address: str
    port: int
    backends: Mapping[str, str] = field(default_factory=dict)
    backend_port: int = 6443


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeFile:
    """This machine's kernel before its first cluster. It is no cluster's: `kernel` keeps it."""

    boot: str
    """The boot of this machine that it belongs to."""
    loops: tuple[int, ...]
    """Numbers of the loop devices that there were."""
    changed: Mapping[str, tuple[str, str]]
    """Kernel settings that clusters have changed: what each was, and what they made of it."""


@dataclass(frozen=True, slots=True)
class MachineFolder:
    """One machine's folder, which may not exist."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def user_data(self) -> Path:
        return self.path / "user-data"

    @property
    def ignition(self) -> Path:
        return self.path / "ignition"

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def console(self) -> Path:
        return self.path / "console"

    @property
    def log(self) -> Path:
        """What the supervisor and nspawn themselves said."""
        return self.path / "supervisor.log"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def deleting(self) -> Path:
        return self.path / "deleting"

    def machine(self) -> MachineFile | None:
        """What was asked for; None when there is no such machine."""
        return read(self.path / "machine.json", MachineFile)

    def state(self) -> StateFile:
        """How it stands; a machine whose supervisor has not spoken is new."""
        found = read(self.path / "state.json", StateFile)
        return replace(found, phase=Phase(found.phase)) if found else StateFile()

    def write_state(self, state: StateFile) -> None:
        write(self.path / "state.json", state)

    def write_machine(self, machine: MachineFile) -> None:
        write(self.path / "machine.json", machine)


@dataclass(frozen=True, slots=True)
class ClusterFolder:
    """One cluster's folder, which may not exist."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def endpoint_lock(self) -> Path:
        return self.path / "endpoint.lock"

    @property
    def endpoint_log(self) -> Path:
        return self.path / "endpoint.log"

    def network(self) -> NetworkFile | None:
        return read(self.path / "network.json", NetworkFile)

    def endpoint(self) -> EndpointFile | None:
        return read(self.path / "endpoint.json", EndpointFile)

    def write_network(self, network: NetworkFile) -> None:
        write(self.path / "network.json", network)

    def write_endpoint(self, endpoint: EndpointFile) -> None:
        write(self.path / "endpoint.json", endpoint)

    def folder(self, instance: str) -> MachineFolder:
        return MachineFolder(self.path / instance)

    def folders(self) -> tuple[MachineFolder, ...]:
        """All machines, half-deleted ones too, in order of their ids."""
        if not self.path.is_dir():
            return ()
        return tuple(MachineFolder(p) for p in sorted(self.path.iterdir()) if p.is_dir() and p.name[0] != ".")


def clusters(home: Path) -> tuple[ClusterFolder, ...]:
    """Every cluster on this machine."""
    if not home.is_dir():
        return ()
    return tuple(ClusterFolder(path) for path in sorted(home.iterdir()) if path.is_dir())


def read(path: Path, kind: type[V]) -> V | None:
    """The value in a JSON file; None when there is no file. Keys of a newer release are passed over."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    known = {key: found[key] for key in kind.__dataclass_fields__ if key in found}
    return kind(**known)


def write(path: Path, value: MachineFile | StateFile | NetworkFile | EndpointFile | BeforeFile) -> None:
    """Write a value so that a reader sees the old file or the new one, whole."""
    write_whole(path, (json.dumps(asdict(value), indent=1) + "\n").encode())


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put a file in its place whole."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    beside.replace(path)


def make_private(path: Path) -> None:
    """Make a folder that only root may enter, and those above it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def open_lock(path: Path) -> int:
    """A descriptor of a lock file, which is made if need be; a child that inherits it shares the lock."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int) -> bool:
    """Take the lock unless somebody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def held(path: Path, *, new_folder: bool = False) -> AsyncIterator[None]:
    """Hold a lock, waiting for it; other processes and other tasks of this one are kept out.

    Whoever holds it may remove the file as the last thing; those who waited then begin again with a new one, and with
    `new_folder` the folder that it lies in is made anew, too.
    """
    descriptor = await _locked(path, new_folder)
    try:
        yield
    finally:
        os.close(descriptor)


async def _locked(path: Path, new_folder: bool) -> int:
    while True:
        descriptor = _open_lock_anew(path) if new_folder else open_lock(path)
        try:
            while not try_lock(descriptor):
                await asyncio.sleep(0.02)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open_lock_anew(path: Path) -> int:
    while True:
        make_private(path.parent)
        with suppress(FileNotFoundError):  # the last holder removed the folder at this moment
            return open_lock(path)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
