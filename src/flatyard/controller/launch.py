"""Finding the living background process of a cluster, or starting one in its place."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import flatyard
from flatyard.base.errors import Failed
from flatyard.base.world import RealWorld
from flatyard.clouds import table
from flatyard.clouds.facts import Login
from flatyard.controller.link import Broken, Link
from flatyard.controller.places import Places
from flatyard.controller.runfile import hold, look
from flatyard.decode import from_json
from flatyard.engine import record as records
from flatyard.engine.wanted import cluster_object
from flatyard.model.cluster import Cluster
from flatyard.store import open_store

START_SECONDS = 30.0
POLL = 0.05
LOG_LINES = 12
STARTED = "--- a process is started\n"
"""What stands in the log before each process."""
AUTHORITIES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name files with certificates of authorities: they say whom to believe, not who asks."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a first process of a cluster must know; a successor finds it in the run file."""

    cluster: Cluster
    speed: float

    def encode(self) -> bytes:
        return json.dumps({"cluster": cluster_object(self.cluster), "speed": self.speed}, indent=1).encode()

    @classmethod
    def decode(cls, text: bytes) -> Start:
        found = json.loads(text)
        return cls(from_json(Cluster, found["cluster"]), float(found["speed"]))


async def link_to(places: Places, start: Start | None = None) -> Link:
    """A link to the living process, started now if there is none.

    Raises Failed when it cannot be started, with the end of its log.
    """
    child: subprocess.Popen[bytes] | None = None
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_SECONDS
    while loop.time() < deadline:
        run, living = look(places.run)
        if living and run is not None and run.port:
            link = Link(run)
            try:
                await link.health()
                return link
            except Broken:
                await link.__aexit__(None, None, None)
        elif not living and (child is None or child.poll() is not None):
            if child is not None and child.returncode > 0:  # a killed one (below 0) is replaced
                raise _stillborn(places, f"it ended with exit code {child.returncode}")
            if start is None and not places.cluster.exists():
                start = await _remembered(places.name)
            if start is not None:
                await prepare(places, start)
            child = spawn(places)
        await asyncio.sleep(POLL)
    raise _stillborn(places, f"it did not answer within {START_SECONDS:.0f} s")


async def prepare(places: Places, start: Start) -> None:
    """Make the account's folder for a cluster that is new; what a deleted one of that name left is removed.

    Another command may do the same meanwhile: the folder is removed only where there is an old disk in it, which
    a process makes while it holds the run file.
    """
    held = hold(places.run)
    if held is None:
        return
    try:
        if await exists(places.name) and (start.cluster.spec.cloud.simulated or places.cluster.exists()):
            return
        if places.disk.exists():
            remove_folder(places)
            held.clear()
        places.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(places.cluster, start.encode())
    finally:
        held.release()


async def _remembered(name: str) -> Start | None:
    """What a first process here must know of a cluster that was made on another machine, with the same store."""
    record = await records.load(open_store(None, RealWorld()), name)
    if record is None or record.cloud in ("sim", "local"):
        return None
    documents = [json.loads(text) for text in record.applied]
    found = next((document for document in documents if document.get("kind") == "Cluster"), None)
    return Start(from_json(Cluster, found), 1.0) if found else None


def write_private(path: Path, content: bytes) -> None:
    """Write a file whole, readable by its owner alone."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    new.replace(path)


async def exists(name: str) -> bool:
    """Whether the store knows a cluster of that name."""
    return await records.load(open_store(None, RealWorld()), name) is not None


async def remove_leftovers(places: Places) -> bool:
    """Remove what a process that was killed at the very end of a deletion left; whether there was anything.

    Nothing is removed while the store knows the cluster or a process lives.
    """
    if not places.run.exists() and not places.folder.exists():
        return False
    held = hold(places.run)
    if held is None:
        return True
    try:
        if not await exists(places.name):
            remove_folder(places)
            held.remove()
    finally:
        held.release()
    return True


def remove_folder(places: Places) -> None:
    """Remove what this machine keeps of the cluster: its log, its kubeconfig, and on sim the account itself."""
    shutil.rmtree(places.folder, ignore_errors=True)


def spawn(places: Places) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, in a session of its own, talking to its log alone."""
    places.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _mark(places)
    cloud = _cloud(places)
    command = [sys.executable, "-P", "-m", _module(cloud), places.name]
    package = str(Path(flatyard.__file__).resolve().parent.parent)
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != package]
    login = Login() if cloud == "sim" else table.facts(cloud).login
    environment = from_everywhere(login, os.environ, Path.cwd())
    environment["PYTHONPATH"] = os.pathsep.join([package, *others])
    if "://" not in environment.get("FLATYARD_STATE", ""):
        environment["FLATYARD_STATE"] = str(places.state)
    log = os.open(places.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=environment,
        )
    finally:
        os.close(log)


def from_everywhere(login: Login, environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """An environment that means in any folder what this one means in `folder`: its files are named from the root."""
    found = dict(environ)
    for name in (*(file.variable for file in login.files), *login.paths, *AUTHORITIES):
        if found.get(name) and not found[name].startswith("~"):
            found[name] = str(folder / found[name])
    for file in login.files:
        if file.here and not found.get(file.variable) and (folder / file.here).is_file():
            found[file.variable] = str(folder / file.here)
    return found


def _cloud(places: Places) -> str:
    """The name of the cloud that the cluster is in: `sim` for a simulated one."""
    try:
        choice = Start.decode(places.cluster.read_bytes()).cluster.spec.cloud
    except FileNotFoundError:
        return "sim"
    return "sim" if choice.simulated else choice.name


def _module(cloud: str) -> str:
    """What the process of a cluster in that cloud runs."""
    return f"flatyard.controller.{ {'sim': 'simulated', 'local': 'local'}.get(cloud, 'cloud') }"


def _mark(places: Places) -> None:
    """Tell in the log where what the next process says begins."""
    log = os.open(places.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(log, "w") as file:
        file.write(STARTED)


def _stillborn(places: Places, why: str) -> Failed:
    try:
        said = places.log.read_text(errors="replace").rpartition(STARTED)[2]
        lines = said.splitlines()[-LOG_LINES:]
    except FileNotFoundError:
        lines = []
    return Failed(
        f"the background process of cluster {places.name} did not start",
        why="\n       ".join([why, *lines]),
        next=f"see {places.log}, then run the same command again",
    )
