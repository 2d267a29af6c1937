"""A bucket in a directory of this machine: 0700 folders, 0600 files, create-only by hard link.

Plain system calls instead of obstore's LocalStore, which makes files with mode 0644 & umask and does not sync
them: a state full of keys must be private from the first byte and survive a power cut. All calls are
synchronous and short, so it also runs on an event loop without threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from flatyard.base.world import World
from flatyard.store.bucket import Entry, Exclusive, Exists

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_TEMPORARY = ".tmp-"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose files these become: under sudo, the invoking user's."""

    uid: int
    gid: int


class DirectoryBucket:
    """Blobs as files below `root`, which is made when the first blob is written."""

    def __init__(self, root: Path, world: World, owner: Owner | None = None) -> None:
        self._root = root
        self._world = world
        self._owner = owner

    @property
    def place(self) -> str:
        return str(self._root)

    async def create(self, path: str, blob: bytes) -> None:
        self.create_now(path, blob)

    def create_now(self, path: str, blob: bytes) -> None:
        """`create`, for callers outside a loop."""
        target = self._root / path
        temporary = self._write_temporary(target.parent, blob)
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise Exists(path) from None
        finally:
            temporary.unlink()
        _sync_folder(target.parent)
        _sweep(target.parent)

    async def overwrite(self, path: str, blob: bytes) -> None:
        target = self._root / path
        self._write_temporary(target.parent, blob).replace(target)
        _sync_folder(target.parent)

    async def get(self, path: str) -> bytes | None:
        return self.get_now(path)

    def get_now(self, path: str) -> bytes | None:
        """`get`, for callers outside a loop."""
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    async def remove(self, path: str) -> None:
        (self._root / path).unlink(missing_ok=True)

    async def entries(self, folder: str) -> tuple[Entry, ...]:
        found: list[Entry] = []
        _walk(self._root / folder, f"{folder}/" if folder else "", found)
        return tuple(sorted(found))

    def exclusive(self, name: str) -> Exclusive | None:
        folder = self._root / "flocks"
        self._make_folder(folder)
        descriptor = os.open(
            folder / name.replace("/", "%"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE
        )
        self._give(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return _Flock(descriptor)

    def _write_temporary(self, folder: Path, blob: bytes) -> Path:
        self._make_folder(folder)
        temporary = folder / f"{_mine(os.getpid())}{self._world.random_bytes(8).hex()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        try:
            self._give(descriptor)
            _write_all(descriptor, blob)
            os.fsync(descriptor)
        except BaseException:
            temporary.unlink()
            raise
        finally:
            os.close(descriptor)
        return temporary

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        try:
            folder.mkdir(_FOLDER_MODE)
        except FileExistsError:
            return
        if self._owner:
            os.chown(folder, self._owner.uid, self._owner.gid)

    def _give(self, descriptor: int) -> None:
        if self._owner:
            os.fchown(descriptor, self._owner.uid, self._owner.gid)


class _Flock:
    """An flock: gone with the process, so that a killed command leaves no lock behind."""

    proves_death = True

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def _mine(process: int) -> str:
    return f"{_TEMPORARY}{os.uname().nodename}-{process}-"


def _sweep(folder: Path) -> None:
    """Remove what killed processes of this machine left half-written."""
    prefix = _TEMPORARY + os.uname().nodename + "-"
    for item in folder.glob(f"{_TEMPORARY}*"):
        process = item.name.removeprefix(prefix).partition("-")[0]
        if process.isdecimal() and not _is_alive(int(process)):
            item.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write_all(descriptor: int, blob: bytes) -> None:
    view = memoryview(blob)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network and FUSE file systems cannot sync a folder; the file itself is synced
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _walk(folder: Path, prefix: str, found: list[Entry]) -> None:
    try:
        with os.scandir(folder) as items:
            entries = list(items)
    except (FileNotFoundError, NotADirectoryError):
        return
    for item in entries:
        if item.is_dir(follow_symlinks=False):
            _walk(folder / item.name, f"{prefix}{item.name}/", found)
        elif not item.name.startswith(_TEMPORARY):
            _add(item, prefix, found)


def _add(item: os.DirEntry[str], prefix: str, found: list[Entry]) -> None:
    try:
        found.append(Entry(prefix + item.name, item.stat().st_size))
    except FileNotFoundError:
        return  # pruned by another process between scan and stat
