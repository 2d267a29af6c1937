"""The run file of a background process: who it is, how to reach it, and a lock that dies with it.

The file outlives its process, so that a successor takes the same port and token and kubeconfigs go on working.
Whether a process lives is asked of its lock (flock), never of its process id, which may be another's by now.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flatyard.base.errors import Refused


@dataclass(frozen=True, slots=True)
class Run:
    """How to reach the process of one cluster; `port` is 0 until it first listened."""

    cluster: str
    twin: str
    region: str
    speed: float
    token: str = field(repr=False)
    port: int = 0
    pid: int = 0
    ca: str = ""
    """The PEM certificate of the authority that signed the server's."""
    real: bool = False
    """The cluster is not simulated: `twin` is the cloud itself."""
    account: str = ""
    """What tells the credentials that the process was started with from others (`controller.accounts`)."""

    @property
    def simulated(self) -> bool:
        return not self.real and self.twin != "local"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def encode(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def decode(cls, text: bytes) -> Run | None:
        """What `encode` wrote; None for a file that is not (yet) whole."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


class Held:
    """The run file, locked by this process for as long as it lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def read(self) -> Run | None:
        """What a former process left."""
        size = os.fstat(self._descriptor).st_size
        return Run.decode(os.pread(self._descriptor, size, 0))

    def write(self, run: Run) -> None:
        """Tell others how to reach us; a reader meanwhile may see half of it and reads again."""
        text = run.encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def clear(self) -> None:
        """Forget how a deleted cluster's process was reached."""
        os.ftruncate(self._descriptor, 0)

    def remove(self) -> None:
        """The cluster is gone: so is its run file."""
        self._path.unlink(missing_ok=True)

    def release(self) -> None:
        os.close(self._descriptor)


def hold(path: Path) -> Held | None:
    """Lock the run file, making it if need be; None when a living process has it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        if _is(path, descriptor):
            return Held(path, descriptor)
        os.close(descriptor)  # removed between open and lock: that was another file


def look(path: Path) -> tuple[Run | None, bool]:
    """What the run file says, and whether its process lives."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, False
    except PermissionError:
        raise Refused(
            f"the background process of cluster {path.stem} is root's", next="run the same command with sudo"
        ) from None
    try:
        living = not _lock(descriptor, shared=True)
        return Run.decode(os.pread(descriptor, os.fstat(descriptor).st_size, 0)), living
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
