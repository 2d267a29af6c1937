"""Ignition's files stage: what a config does to a root.

Groups, users and their keys; then directories, files and links by depth; then units, drop-ins and masks;
then the preset. It stops at the first error and undoes nothing, as on a machine. Order and edge cases follow
Ignition 2.24 (the release in Flatcar stable), with Flatcar's way of writing SSH keys.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flatyard.base.values import dataclass
from flatyard.ignition import paths
from flatyard.ignition.accounts import AccountError, Accounts
from flatyard.ignition.fetch import Blobs, Fetched, FetchError
from flatyard.ignition.presets import PRESET_FILE, UNIT_DIRECTORY, preset_lines
from flatyard.ignition.tree import Node, NodeKind, Root, RootError, follow, make_parents
from flatyard.ignition.types import Config, Directory, File, Link, Owner, Resource, Unit, User

RESULT_FILE = "/etc/.ignition-result.json"
NO_BLOBS = Fetched({})
MOST_ACCOUNTS = 2_000
"""Users and groups of one config; each is looked up in the account files as a whole, as `useradd` does."""
_UNCHANGED = 0xFFFFFFFF  # ids have 32 bits on the way to the kernel, where all ones leave the owner
_Entry = Directory | File | Link


class ApplyError(Exception):
    """What stopped the stage; `path` names the entry it was about (a path, unit, user or group)."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


@dataclass(frozen=True, slots=True)
class Options:
    """How the Ignition at hand was built: whether SSH keys go to `authorized_keys.d/ignition` (Flatcar) or
    to `authorized_keys`. `day` is the day, counted from 1970-01-01, that account files note."""

    keys_fragment: bool = True
    day: int = 0


AS_FLATCAR = Options()


def apply(config: Config, root: Root, blobs: Blobs = NO_BLOBS, options: Options = AS_FLATCAR) -> None:
    """Carries out the files stage below `root`.

    The config is expected to be valid. `blobs` gives the bytes of resources (see `fetch.fetch_all`).
    Raises ApplyError at the first thing that fails; what was done before stays.
    """
    stage = _Stage(root, blobs, options)
    stage.passwd(config)
    stage.entries(config)
    for unit in config.systemd.units:
        with _about(unit.name):
            stage.unit(unit)
    with _about(PRESET_FILE):
        stage.presets(config.systemd.units)
    with _about(RESULT_FILE):
        stage.result()


@contextmanager
def _about(what: str) -> Iterator[None]:
    try:
        yield
    except (RootError, FetchError, AccountError) as problem:
        raise ApplyError(str(problem), what) from problem


class _Stage:
    def __init__(self, root: Root, blobs: Blobs, options: Options) -> None:
        self.root = root
        self.blobs = blobs
        self.options = options
        self.accounts = Accounts(root, options.day)

    # accounts

    def passwd(self, config: Config) -> None:
        declared = len(config.passwd.groups) + len(config.passwd.users)
        if declared > MOST_ACCOUNTS:
            raise ApplyError(f"{declared} users and groups are more than {MOST_ACCOUNTS}", "passwd")
        for group in config.passwd.groups:
            with _about(group.name):
                self.accounts.ensure_group(group)
        for user in config.passwd.users:
            with _about(user.name):
                self.user(user)

    def user(self, user: User) -> None:
        self.accounts.ensure_user(user)
        if user.should_exist is False:
            return
        if user.password_hash is not None:
            self.accounts.set_password(user.name, user.password_hash)
        if user.ssh_authorized_keys:
            self.keys(user)

    def keys(self, user: User) -> None:
        """Written as the user, who must be able to write in the home."""
        row = self.accounts.user(user.name)
        assert row is not None
        uid, gid = int(row[2]), int(row[3])
        directory = posixpath.join(row[5], ".ssh")
        parts = ["authorized_keys.d", "ignition"] if self.options.keys_fragment else ["authorized_keys"]
        path = paths.resolve(self.root, posixpath.join(directory, *parts))
        self.user_directories(posixpath.dirname(path), uid, gid)
        text = "\n".join(user.ssh_authorized_keys)
        self.root.write(path, (text.removesuffix("\n") + "\n").encode(), 0o600)
        self.root.chown(path, uid, gid)

    def user_directories(self, path: str, uid: int, gid: int) -> None:
        node = self.root.lstat(path)
        if node is None:
            self.user_directories(posixpath.dirname(path), uid, gid)
            self.root.mkdir(path, 0o700)
            self.root.chown(path, uid, gid)
        elif not _may_write(node, uid, gid):
            raise RootError(f"creating parent dirs in {path}: permission denied")

    # directories, files, links

    def entries(self, config: Config) -> None:
        storage = config.storage
        soft = tuple(link for link in storage.links if not link.hard)
        entries: tuple[_Entry, ...] = (*storage.directories, *storage.files, *soft)
        placed = [(self.joined(entry), entry) for entry in entries]
        placed.sort(key=lambda pair: paths.depth(pair[0]))
        placed += [(self.joined(link), link) for link in storage.links if link.hard]
        self.check_distinct(placed)
        for joined, entry in placed:
            with _about(entry.path):
                self.entry(joined, entry)

    def joined(self, entry: _Entry) -> str:
        with _about(entry.path):
            return paths.join(self.root, entry.path)

    def check_distinct(self, placed: list[tuple[str, _Entry]]) -> None:
        seen: dict[str, str] = {}
        for joined, entry in placed:
            if joined in seen:
                message = f"resolves to the same path as {seen[joined]} after symlink chasing: {joined}"
                raise ApplyError(message, entry.path)
            seen[joined] = entry.path

    def entry(self, joined: str, entry: _Entry) -> None:
        path = paths.canonical(self.root, joined)
        if isinstance(entry, Directory):
            self.directory(path, entry)
        elif isinstance(entry, File):
            self.file(path, entry)
        elif entry.hard:
            self.hard_link(path, entry)
        else:
            self.soft_link(path, entry)

    def directory(self, path: str, entry: Directory) -> None:
        node = self.root.lstat(path)
        if node is not None and entry.overwrite:
            self.root.remove(path)
            node = None
        if node is None:
            make_parents(self.root, path)
            self.root.mkdir(path, 0o755)
        elif node.kind is not NodeKind.DIRECTORY:
            raise RootError("A non-directory already exists and overwrite is false")
        self.permissions(path, entry, entry.mode)

    def file(self, path: str, entry: File) -> None:
        node = self.root.lstat(path)
        if node is not None and entry.overwrite:
            self.root.remove(path)
            node = None
        if node is not None and node.kind is not NodeKind.FILE:
            raise RootError("A non regular file exists there already and overwrite is false")
        if node is not None and entry.contents.source is not None:
            raise RootError("A file exists there already and overwrite is false")
        if node is None:
            make_parents(self.root, path)
            self.root.write(path, self.contents(entry), 0o644)
        for resource in entry.append:
            if resource.source is None:
                raise RootError("an appended resource has no source")
            self.root.append(path, self.blobs(resource))
        self.permissions(path, entry, entry.mode)

    def contents(self, entry: File) -> bytes:
        if entry.contents.source is not None:
            return self.blobs(entry.contents)
        for resource in entry.append[:1]:
            self.blobs(_checked(resource))  # a first piece that cannot be had leaves no file behind
        return b""

    def soft_link(self, path: str, entry: Link) -> None:
        target = entry.target or ""
        node = self.root.lstat(path)
        if node is not None and not entry.overwrite:
            if node.kind is not NodeKind.LINK:
                raise RootError("a non-symlink already exists at that path and overwrite is false")
            if posixpath.normpath(node.target) == posixpath.normpath(target):
                return
            message = f"a symlink exists at that path but points to {node.target}, not {target}"
            raise RootError(f"{message} and overwrite is false")
        self.root.remove(path)
        make_parents(self.root, path)
        self.root.symlink(path, target)
        self.own(path, entry, self.target_owner(path, target))

    def target_owner(self, path: str, target: str) -> tuple[int, int]:
        """A link belongs to whoever owns its target, as far as the target can be told from outside."""
        if target.startswith("/"):
            return 0, 0
        try:
            node = self.root.lstat(
                follow(self.root, posixpath.join(posixpath.dirname(path), target), last=True)
            )
        except RootError:
            return 0, 0
        return (node.uid, node.gid) if node else (0, 0)

    def hard_link(self, path: str, entry: Link) -> None:
        target = paths.resolve(self.root, posixpath.normpath(posixpath.join("/", entry.target or "")))
        node, there = self.root.lstat(path), self.root.lstat(target)
        if node is not None and not entry.overwrite:
            is_same = path == target or (there is not None and there.inode != 0 and there.inode == node.inode)
            if is_same:
                return
            message = "a file already exists at that path but is not the target and overwrite is false"
            raise RootError(message)
        self.root.remove(path)
        make_parents(self.root, path)
        self.root.link(path, target)

    def permissions(self, path: str, entry: Directory | File, mode: int | None) -> None:
        node = self.root.lstat(path)
        assert node is not None
        self.own(path, entry, (node.uid, node.gid))
        if mode is not None:
            self.root.chmod(path, mode)

    def own(self, path: str, entry: _Entry, default: tuple[int, int]) -> None:
        uid = self.number(entry.user, self.accounts.uid, "user")
        gid = self.number(entry.group, self.accounts.gid, "group")
        self.root.chown(path, default[0] if uid is None else uid, default[1] if gid is None else gid)

    def number(self, owner: Owner, lookup: Callable[[str], int | None], kind: str) -> int | None:
        if not owner.name:
            number = None if owner.id is None else owner.id & _UNCHANGED
            return None if number == _UNCHANGED else number
        found = lookup(owner.name)
        if found is None:
            raise RootError(f'no such {kind} "{owner.name}"')
        return found

    # units

    def unit(self, unit: Unit) -> None:
        for dropin in unit.dropins:
            if dropin.contents is not None:
                name = f"{unit.name}.d/{dropin.name}"
                self.replace(posixpath.join(UNIT_DIRECTORY, name), dropin.contents)
        path = posixpath.join(UNIT_DIRECTORY, unit.name)
        if unit.contents:
            self.replace(path, unit.contents)
        if unit.mask is not None:
            self.mask(path, mask=unit.mask)

    def replace(self, name: str, text: str) -> None:
        path = paths.resolve(self.root, posixpath.normpath(name))
        self.root.remove(path)
        make_parents(self.root, path)
        self.root.write(path, text.encode(), 0o644)

    def mask(self, name: str, *, mask: bool) -> None:
        path = paths.resolve(self.root, posixpath.normpath(name))
        node = self.root.lstat(path)
        if mask:
            self.root.remove(path)
            make_parents(self.root, path)
            self.root.symlink(path, "/dev/null")
        elif node is not None and node.kind is NodeKind.LINK and node.target == "/dev/null":
            self.root.remove(path)

    def presets(self, units: tuple[Unit, ...]) -> None:
        lines = preset_lines(units, self.root)
        if not lines:
            return
        path = paths.resolve(self.root, PRESET_FILE)
        if self.root.lstat(path) is None:
            make_parents(self.root, path)
            self.root.write(path, b"", 0o644)
        self.root.append(path, "".join(f"{line}\n" for line in lines).encode())

    def result(self) -> None:
        path = paths.resolve(self.root, RESULT_FILE)
        self.root.remove(path)
        make_parents(self.root, path)
        self.root.write(path, b'{"userConfigProvided": true}\n', 0o600)


def _checked(resource: Resource) -> Resource:
    if resource.source is None:
        raise RootError("an appended resource has no source")
    return resource


def _may_write(node: Node, uid: int, gid: int) -> bool:
    if node.kind is not NodeKind.DIRECTORY:
        return False
    if uid == 0:
        return True
    wanted = 0o300 if node.uid == uid else 0o030 if node.gid == gid else 0o003
    return node.mode & wanted == wanted
