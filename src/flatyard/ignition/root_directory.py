"""A directory on disk as a `Root`: what `flatyard ignition apply` writes to.

Every operation walks from a descriptor of the directory, one component at a time, and follows no link
(openat(2) with O_NOFOLLOW): whatever the links below it say, or are made to say meanwhile, nothing outside is
read or written. Pipes, sockets and devices are looked at, never opened.

A user who is not root cannot give files away. Owners that could not be set are remembered for as long as the
`DirectoryRoot` lives, so that the rest goes on as on a machine; what belongs to that user counts as root's, as in
a tree that the user unpacked. Linux only: modes and files are reached through /proc/self/fd.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from flatyard.ignition.tree import Node, NodeKind, RootError

READ_LIMIT = 256 << 20
"""Bytes of an existing file that are read at most: account files, units, what is copied from /etc/skel."""
DEPTH_LIMIT = 256
"""Levels of a directory that is removed; each takes a descriptor."""

_T = TypeVar("_T")
_Key = tuple[int, int]  # device and inode
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = _PLACE | os.O_DIRECTORY
_SCAN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: NodeKind.FILE,
    stat.S_IFDIR: NodeKind.DIRECTORY,
    stat.S_IFLNK: NodeKind.LINK,
    stat.S_IFIFO: NodeKind.FIFO,
    stat.S_IFSOCK: NodeKind.SOCKET,
}
_NOTHING = (errno.ENOENT, errno.ENOTDIR)
_SPECIAL_NAMES = frozenset(("", ".", ".."))


class DirectoryRoot:
    """An existing directory, open until `close`. Use it in a `with` statement.

    Raises RootError where it is no directory, or cannot be opened. Not for several threads.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise _error("open", str(path), problem) from None
        self._user, self._group = os.geteuid(), os.getegid()
        self._owners: dict[_Key, tuple[int, int]] = {}
        self._lent: dict[_Key, tuple[int, int]] = {}
        self._temporaries = 0

    def __enter__(self) -> DirectoryRoot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back the modes that a user who is not root needed changed on the way, and the descriptors."""
        for fd, mode in self._lent.values():
            with suppress(OSError):
                _proc(fd).chmod(mode)
            os.close(fd)
        self._lent.clear()
        os.close(self._fd)

    @property
    def is_whole_machine(self) -> bool:
        """Whether this is the `/` of the running system."""
        return os.path.samestat(os.fstat(self._fd), Path("/").stat())

    @property
    def is_writable(self) -> bool:
        """Whether this user may make entries in it, or may change its mode so."""
        if os.fstatvfs(self._fd).f_flag & os.ST_RDONLY:
            return False
        return os.access(_proc(self._fd), os.W_OK | os.X_OK) or os.fstat(self._fd).st_uid == self._user

    def has_owner(self, path: str) -> bool:
        """Whether the owner on disk is the one that was asked for. Raises RootError."""
        there = self._on("lstat", path, lambda fd, name: os.lstat(name, dir_fd=fd))
        return self._owner(there) == (there.st_uid, there.st_gid)

    # reading

    def lstat(self, path: str) -> Node | None:
        """What stands at a canonical path, without its content; None too where a file stands on the way."""

        def look(fd: int, name: str) -> Node:
            there = os.lstat(name, dir_fd=fd)
            target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(there.st_mode) else ""
            return self._node(there, target)

        try:
            return self._on("lstat", path, look)
        except RootError as problem:
            if problem.errno not in _NOTHING:
                raise
            return None

    def read(self, path: str) -> bytes:
        """The bytes of a regular file of at most READ_LIMIT."""

        def look(fd: int, name: str) -> bytes:
            with _file(fd, name, os.O_RDONLY) as file, open(file, "rb", closefd=False) as stream:
                content = stream.read(READ_LIMIT + 1)
            if len(content) > READ_LIMIT:
                raise OSError(errno.EFBIG, f"larger than {READ_LIMIT} bytes")
            return content

        return self._on("read", path, look)

    def listdir(self, path: str) -> tuple[str, ...]:
        """Names in a directory, sorted."""
        return self._on("open", path, lambda fd, name: tuple(sorted(_names(fd, name))))

    # writing

    def mkdir(self, path: str, mode: int) -> None:
        """A new directory with exactly this mode, and the setgid bit of its parent, whatever the umask is."""

        def make(fd: int, name: str) -> None:
            os.mkdir(name, 0o700, dir_fd=fd)
            self._born(fd, os.lstat(name, dir_fd=fd))
            _chmod(fd, name, mode | os.fstat(fd).st_mode & stat.S_ISGID)

        self._on("mkdir", path, make)

    def write(self, path: str, content: bytes, mode: int) -> None:
        """A new file, or one in place of another file or a link: under its name it is whole or not at all."""

        def make(fd: int, name: str) -> None:
            with self._temporary(fd) as (temporary, file):
                _write_all(file, content)
                self._born(fd, os.fstat(file))
                os.fchmod(file, mode)
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)

        self._on("write", path, make)

    def append(self, path: str, content: bytes) -> None:
        """More bytes at the end of a regular file: all of them or none."""

        def add(fd: int, name: str) -> None:
            with _file(fd, name, os.O_WRONLY | os.O_APPEND) as file:
                size = os.fstat(file).st_size
                try:
                    _write_all(file, content)
                except OSError:
                    os.ftruncate(file, size)
                    raise

        self._on("append to", path, add)

    def symlink(self, path: str, target: str) -> None:
        """A new symbolic link."""

        def make(fd: int, name: str) -> None:
            os.symlink(target, name, dir_fd=fd)
            self._born(fd, os.lstat(name, dir_fd=fd))

        self._on("symlink", path, make)

    def link(self, path: str, existing: str) -> None:
        """Another name for an existing inode; a link itself, not what it leads to."""
        self._between("link", existing, path, os.link)

    def rename(self, path: str, to: str) -> None:
        """Moves a file, link or whole directory within one filesystem."""
        self._between("rename", path, to, os.rename)

    def chmod(self, path: str, mode: int) -> None:
        """New permission bits of a file or directory."""

        def change(fd: int, name: str) -> None:
            key = _key(os.lstat(name, dir_fd=fd))
            if key in self._lent:
                self._lent[key] = (self._lent[key][0], mode)
            else:
                _chmod(fd, name, mode)

        self._on("chmod", path, change)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """New owner of the inode itself. One that this user, or this user namespace, may not give is remembered."""

        def change(fd: int, name: str) -> None:
            there = os.lstat(name, dir_fd=fd)
            self._owners.pop(_key(there), None)
            try:
                os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
            except OSError as problem:
                if problem.errno not in (errno.EPERM, errno.EINVAL):
                    raise
                self._drop_special_bits(fd, name, there)
                self._owners[_key(there)] = uid, gid
            else:
                if self._user:
                    self._owners[_key(there)] = uid, gid

        self._on("chown", path, change)

    def remove(self, path: str) -> None:
        """Removes whatever stands there, whole directories too; nothing is fine.

        The root itself and what is mounted below it are refused.
        """
        if path == "/":
            raise _refused("remove /: the root itself is not removed", errno.EBUSY)
        try:
            self._on("remove", path, self._remove)
        except RootError as problem:
            if problem.errno not in _NOTHING:
                raise

    # how

    def _on(self, call: str, path: str, act: Callable[[int, str], _T]) -> _T:
        """Acts in the directory that holds a path, by its descriptor and the last name."""
        try:
            try:
                return self._once(path, act)
            except PermissionError:
                if not self._lend(path):
                    raise
                return self._once(path, act)
        except OSError as problem:
            raise _error(call, path, problem) from None
        except (ValueError, OverflowError):  # a NUL, half a surrogate pair, an id beyond 32 bits
            raise _refused(f"{call} {path!a}: invalid argument", errno.EINVAL) from None

    def _once(self, path: str, act: Callable[[int, str], _T]) -> _T:
        *parents, name = _parts(path)
        fd = self._walk(parents)
        try:
            return act(fd, name)
        finally:
            os.close(fd)

    def _walk(self, parts: list[str]) -> int:
        """A new descriptor of a directory below the root, links refused."""
        fd = os.dup(self._fd)
        for part in parts:
            try:
                below = os.open(part, _STEP, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _between(self, call: str, path: str, to: str, act: Callable[..., None]) -> None:
        options = {} if act is os.rename else {"follow_symlinks": False}

        def there(to_fd: int, new: str) -> None:
            self._once(path, lambda fd, old: act(old, new, src_dir_fd=fd, dst_dir_fd=to_fd, **options))

        try:
            self._on(call, to, there)
        except RootError as problem:
            if problem.errno not in (errno.EACCES, errno.EPERM) or not self._lend(path):
                raise
            self._on(call, to, there)

    @contextmanager
    def _temporary(self, fd: int) -> Iterator[tuple[str, int]]:
        """A new file under a name of its own, which is gone afterwards, renamed or not."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            self._temporaries += 1
            name = f".flatyard-{os.getpid()}-{self._temporaries}"
            with suppress(FileExistsError):
                file = os.open(name, flags, 0o600, dir_fd=fd)
                break
        try:
            yield name, file
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)
            raise
        finally:
            os.close(file)

    def _remove(self, fd: int, name: str, depth: int = 0) -> None:
        try:
            os.unlink(name, dir_fd=fd)
        except IsADirectoryError:
            self._empty(fd, name, depth)
            os.rmdir(name, dir_fd=fd)

    def _empty(self, fd: int, name: str, depth: int) -> None:
        if depth == DEPTH_LIMIT:
            raise OSError(errno.EMFILE, f"directories deeper than {DEPTH_LIMIT} levels")
        if self._user and os.lstat(name, dir_fd=fd).st_uid == self._user:
            _chmod(fd, name, 0o700)
        below = os.open(name, _SCAN, dir_fd=fd)
        try:
            if _mount(below) != _mount(fd):
                raise OSError(errno.EBUSY, "a filesystem is mounted there")
            for entry in _entries(below):
                self._remove(below, entry, depth + 1)
        finally:
            os.close(below)

    # owners and modes of a user who is not root

    def _node(self, there: os.stat_result, target: str) -> Node:
        kind = _KINDS.get(stat.S_IFMT(there.st_mode), NodeKind.DEVICE)
        _, lent = self._lent.get(_key(there), (0, stat.S_IMODE(there.st_mode)))
        linked = kind is not NodeKind.DIRECTORY and there.st_nlink > 1
        inode = there.st_dev << 64 | there.st_ino if linked else 0
        return Node(kind, lent, *self._owner(there), target=target, inode=inode)

    def _owner(self, there: os.stat_result) -> tuple[int, int]:
        uid, gid = there.st_uid, there.st_gid
        if self._user:
            uid, gid = (0 if uid == self._user else uid), (0 if gid == self._group else gid)
        return self._owners.get(_key(there), (uid, gid))

    def _born(self, parent: int, there: os.stat_result) -> None:
        """A new inode has the owner that root's would have, not that of an older one with its number."""
        self._owners.pop(_key(there), None)
        if self._user:
            above = os.fstat(parent)
            self._owners[_key(there)] = 0, self._owner(above)[1] if above.st_mode & stat.S_ISGID else 0

    def _drop_special_bits(self, fd: int, name: str, there: os.stat_result) -> None:
        """What the kernel does to a file that gets another owner."""
        mode = stat.S_IMODE(there.st_mode)
        kept = mode & ~(stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0))
        if stat.S_IFMT(there.st_mode) not in (stat.S_IFDIR, stat.S_IFLNK) and kept != mode:
            _chmod(fd, name, kept)

    def _lend(self, path: str) -> bool:
        """Makes what stands on the way usable by its owner until `close`; false where nothing helps."""
        if not self._user:
            return False
        fd = os.dup(self._fd)
        is_changed = self._lend_one(fd)
        try:
            for part in _parts(path):
                below = os.open(part, _PLACE, dir_fd=fd)
                os.close(fd)
                fd = below
                is_changed |= self._lend_one(fd)
        except OSError:
            pass  # the operation itself says what is wrong
        finally:
            os.close(fd)
        return is_changed

    def _lend_one(self, fd: int) -> bool:
        there = os.fstat(fd)
        needed = {stat.S_IFDIR: 0o700, stat.S_IFREG: 0o600}.get(stat.S_IFMT(there.st_mode), 0)
        mode = stat.S_IMODE(there.st_mode)
        if there.st_uid != self._user or mode & needed == needed:
            return False
        self._lent.setdefault(_key(there), (os.dup(fd), mode))
        _proc(fd).chmod(mode | needed)
        return True


def _parts(path: str) -> list[str]:
    """The components of a canonical path; the root is `.` of itself."""
    parts = path[1:].split("/") if path != "/" else ["."]
    if path != "/" and (not path.startswith("/") or not _SPECIAL_NAMES.isdisjoint(parts)):
        raise OSError(errno.EINVAL, "not a canonical path")
    return parts


def _key(there: os.stat_result) -> _Key:
    return there.st_dev, there.st_ino


def _proc(fd: int) -> Path:
    """A name for what a descriptor stands for, links not followed once more."""
    return Path(f"/proc/self/fd/{fd}")


def _error(call: str, path: str, problem: OSError) -> RootError:
    """The operating system's refusal in the words of the reference: `mkdir /x: no space left on device`."""
    if isinstance(problem, RootError):
        return problem
    why = problem.strerror or str(problem)
    return _refused(f"{call} {path}: {why[:1].lower()}{why[1:]}", problem.errno)


def _refused(text: str, number: int | None) -> RootError:
    error = RootError(text)
    error.errno = number
    return error


@contextmanager
def _file(fd: int, name: str, flags: int) -> Iterator[int]:
    """A regular file, opened; that it is one is known before anything is opened."""
    place = os.open(name, _PLACE, dir_fd=fd)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        file = os.open(_proc(place), flags | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        yield file
    finally:
        os.close(file)


def _names(fd: int, name: str) -> list[str]:
    directory = os.open(name, _SCAN, dir_fd=fd)
    try:
        return _entries(directory)
    finally:
        os.close(directory)


def _entries(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def _write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def _chmod(fd: int, name: str, mode: int) -> None:
    place = os.open(name, _PLACE, dir_fd=fd)
    try:
        if stat.S_ISLNK(os.fstat(place).st_mode):
            raise OSError(errno.EOPNOTSUPP, "a link has no mode")
        _proc(place).chmod(mode)
    finally:
        os.close(place)


def _mount(fd: int) -> str:
    """The mount that a descriptor is on; bind mounts of one filesystem differ in it, though not in their device."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines()
    return next((line for line in lines if line.startswith("mnt_id:")), "")
