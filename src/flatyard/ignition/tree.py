"""A machine's root filesystem in memory, cheap to copy: what a config is applied to.

`Root` is the seam: whatever offers these few operations on canonical paths can be written to. `Tree` is the
one in memory; an overlay shares its base, so a thousand machines cost one base image and their own files.
Paths given to a `Root` are absolute, clean, and lead through directories only; `paths` makes them so.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Protocol

from flatyard.base.values import dataclass, replace

SYMLINK_LIMIT = 40
PATH_MAX, NAME_MAX = 4096, 255
"""Bytes that Linux takes: of a path with its final NUL, and of one component."""
SPACE = 1 << 30
"""Bytes of content that a tree takes before it is full: a config of a few kilobytes may unpack to any size."""
_SETUID, _SETGID, _GROUP_EXEC = 0o4000, 0o2000, 0o010


class NodeKind(StrEnum):
    """What stands at a path."""

    FILE = "file"
    DIRECTORY = "dir"
    LINK = "link"
    FIFO = "fifo"
    SOCKET = "socket"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Node:
    """One inode. `content` is a file's bytes, `target` a link's text; names of one hard-linked file share a
    non-zero `inode`."""

    kind: NodeKind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    content: bytes = b""
    target: str = ""
    inode: int = 0


class RootError(OSError):
    """An operation that the filesystem refuses; the text is the kernel's."""


class Root(Protocol):
    """Operations on canonical paths. All raise RootError where the kernel would."""

    def lstat(self, path: str) -> Node | None:
        """What stands at the path itself; a real root may leave `content` empty."""

    def read(self, path: str) -> bytes:
        """The bytes of a regular file."""

    def listdir(self, path: str) -> tuple[str, ...]:
        """Names in a directory, sorted."""

    def mkdir(self, path: str, mode: int) -> None:
        """A new directory, owned as the kernel does it (group and setgid bit of a setgid parent)."""

    def write(self, path: str, content: bytes, mode: int) -> None:
        """A new file, or one in place of a file or link that stands there (never through the link)."""

    def append(self, path: str, content: bytes) -> None:
        """More bytes at the end of an existing file."""

    def symlink(self, path: str, target: str) -> None:
        """A new symbolic link."""

    def link(self, path: str, existing: str) -> None:
        """Another name for an existing inode."""

    def chmod(self, path: str, mode: int) -> None:
        """New permission bits."""

    def chown(self, path: str, uid: int, gid: int) -> None:
        """New owner of the inode itself; clears setuid and setgid of files as the kernel does."""

    def rename(self, path: str, to: str) -> None:
        """Moves a file, link or whole directory."""

    def remove(self, path: str) -> None:
        """Removes whatever stands there, whole directories too; nothing is fine, the root itself is not."""


class Tree:
    """A root in memory. `overlay()` gives a copy that shares everything not written."""

    __slots__ = ("_base", "_children", "_free", "_inodes", "_nodes")

    def __init__(self, nodes: Mapping[str, Node] | None = None, *, base: Tree | None = None) -> None:
        self._base = base
        self._nodes: dict[str, Node | None] = dict(nodes or {})
        self._children: dict[str, set[str]] = {}
        self._inodes: int = base._inodes if base else 0
        self._free: int = base._free if base else SPACE
        if base is None:
            self._nodes.setdefault("/", Node(NodeKind.DIRECTORY, 0o755))
        for path, node in self._nodes.items():
            self._note(path)
            self._inodes = max(self._inodes, node.inode if node else 0)

    def overlay(self) -> Tree:
        """A tree with the same contents; writing to it leaves this one as it is. This one must not be
        written to afterwards."""
        return Tree(base=self)

    # reading

    def lstat(self, path: str) -> Node | None:
        """What stands at a canonical path."""
        tree: Tree | None = self
        while tree is not None:
            if path in tree._nodes:
                return tree._nodes[path]
            tree = tree._base
        return None

    def read(self, path: str) -> bytes:
        """The bytes of a file at a canonical path."""
        node = self.lstat(path)
        if node is None or node.kind is not NodeKind.FILE:
            raise RootError(f"read {path}: no such file")
        return node.content

    def listdir(self, path: str) -> tuple[str, ...]:
        """Names in a directory, sorted."""
        names: set[str] = set()
        tree: Tree | None = self
        while tree is not None:
            names |= tree._children.get(path, set())
            tree = tree._base
        prefix = "" if path == "/" else path
        return tuple(sorted(name for name in names if self.lstat(f"{prefix}/{name}") is not None))

    def walk(self, path: str = "/") -> Iterator[tuple[str, Node]]:
        """Every path below and including one, parents first, siblings by name."""
        pending = [path]
        while pending:
            path = pending.pop()
            node = self.lstat(path)
            if node is None:
                continue
            yield path, node
            if node.kind is NodeKind.DIRECTORY:
                prefix = path.rstrip("/")
                pending += [f"{prefix}/{name}" for name in reversed(self.listdir(path))]

    def resolve(self, path: str) -> str:
        """The canonical path that a program on this machine would reach, links followed, the last too.

        The last component need not exist. Raises RootError for loops and files on the way.
        """
        return follow(self, path, last=True)

    def get(self, path: str) -> Node | None:
        """What a program on this machine would see at a path, links followed; None if nothing."""
        try:
            return self.lstat(self.resolve(path))
        except RootError:
            return None

    def text(self, path: str) -> str | None:
        """A file's text as a program on this machine would read it; None if there is no such file."""
        node = self.get(path)
        if node is None or node.kind is not NodeKind.FILE:
            return None
        return node.content.decode("utf-8", "replace")

    # writing

    def mkdir(self, path: str, mode: int) -> None:
        parent = self._parent(path)
        if self.lstat(path) is not None:
            raise RootError(f"mkdir {path}: file exists")
        inherited = parent.mode & _SETGID
        gid = parent.gid if inherited else 0
        self._put(path, Node(NodeKind.DIRECTORY, mode | inherited, 0, gid))

    def write(self, path: str, content: bytes, mode: int) -> None:
        there = self.lstat(path)
        if there is not None and there.kind is NodeKind.DIRECTORY:
            raise RootError(f"write {path}: is a directory")
        self._take(len(content))
        self._put(path, Node(NodeKind.FILE, mode, 0, self._group_in(path), content))

    def append(self, path: str, content: bytes) -> None:
        node = self._file(path)
        self._take(len(content))
        self._change(path, replace(node, content=node.content + content))

    def symlink(self, path: str, target: str) -> None:
        if self.lstat(path) is not None:
            raise RootError(f"symlink {path}: file exists")
        check_path(target)
        self._put(path, Node(NodeKind.LINK, 0o777, 0, self._group_in(path), target=target))

    def link(self, path: str, existing: str) -> None:
        node = self.lstat(existing)
        if node is None:
            raise RootError(f"link {existing} {path}: no such file or directory")
        if node.kind is NodeKind.DIRECTORY:
            raise RootError(f"link {existing} {path}: operation not permitted")
        if self.lstat(path) is not None:
            raise RootError(f"link {existing} {path}: file exists")
        if not node.inode:
            self._inodes += 1
            node = replace(node, inode=self._inodes)
            self._put(existing, node)
        self._put(path, node)

    def chmod(self, path: str, mode: int) -> None:
        self._change(path, replace(self._existing(path), mode=mode))

    def chown(self, path: str, uid: int, gid: int) -> None:
        node = self._existing(path)
        mode = node.mode
        if node.kind is not NodeKind.DIRECTORY:
            mode &= ~(_SETUID | (_SETGID if mode & _GROUP_EXEC else 0))
        self._change(path, replace(node, uid=uid, gid=gid, mode=mode))

    def rename(self, path: str, to: str) -> None:
        self._parent(to)
        if to.startswith(f"{path}/"):
            raise RootError(f"rename {path}: invalid argument")
        for old, node in tuple(self.walk(path)):
            self._put(to + old[len(path) :], node)
        self.remove(path)

    def remove(self, path: str) -> None:
        if path == "/":
            raise RootError("remove /: the root itself is not removed")
        for here, _ in tuple(self.walk(path)):
            self._nodes[here] = None

    def _take(self, size: int) -> None:
        if size > self._free:
            raise RootError("no space left on device")
        self._free -= size

    def _existing(self, path: str) -> Node:
        node = self.lstat(path)
        if node is None:
            raise RootError(f"{path}: no such file or directory")
        return node

    def _file(self, path: str) -> Node:
        node = self._existing(path)
        if node.kind is not NodeKind.FILE:
            raise RootError(f"open {path}: not a regular file")
        return node

    def _parent(self, path: str) -> Node:
        parent = self.lstat(posixpath.dirname(path))
        if parent is None:
            raise RootError(f"{path}: no such file or directory")
        if parent.kind is not NodeKind.DIRECTORY:
            raise RootError(f"{path}: not a directory")
        return parent

    def _group_in(self, path: str) -> int:
        parent = self._parent(path)
        return parent.gid if parent.mode & _SETGID else 0

    def _change(self, path: str, node: Node) -> None:
        """Writes a changed inode under all its names."""
        if node.inode:
            for other, there in tuple(self.walk()):
                if there.inode == node.inode:
                    self._put(other, node)
        else:
            self._put(path, node)

    def _put(self, path: str, node: Node) -> None:
        self._nodes[path] = node
        self._note(path)

    def _note(self, path: str) -> None:
        directory, _, name = path.rpartition("/")
        if name:
            self._children.setdefault(directory or "/", set()).add(name)


def check_path(path: str) -> None:
    """Raises RootError for a path that no system call takes."""
    if "\0" in path:
        raise RootError(f"{path[:NAME_MAX]!r}: invalid argument")
    raw = path.encode("utf-8", "replace")
    if len(raw) >= PATH_MAX or any(len(name) > NAME_MAX for name in raw.split(b"/")):
        raise RootError(f"{path[:NAME_MAX]}…: file name too long")


def follow(root: Root, path: str, *, last: bool) -> str:
    """A canonical path: links followed as a program inside the root would, the last component only if
    asked. Missing components are taken literally. Raises RootError for loops and for files on the way."""
    check_path(path)
    pending = [part for part in path.split("/") if part][::-1]
    done: list[str] = []
    hops = 0
    while pending:
        part = pending.pop()
        if part in (".", ".."):
            done = done[:-1] if part == ".." else done
            continue
        here = "/" + "/".join((*done, part))
        node = root.lstat(here)
        if node is not None and node.kind is NodeKind.LINK and (pending or last):
            hops += 1
            if hops > SYMLINK_LIMIT:
                raise RootError(f"lstat {path}: too many levels of symbolic links")
            done = [] if node.target.startswith("/") else done
            pending += [p for p in node.target.split("/") if p][::-1]
            continue
        if node is not None and node.kind is not NodeKind.DIRECTORY and pending:
            raise RootError(f"lstat {path}: not a directory")
        done.append(part)
    return "/" + "/".join(done)


def make_parents(root: Root, path: str) -> None:
    """The missing directories on the way to a canonical path: 0755, owned by root."""
    missing = []
    parent = posixpath.dirname(path)
    while root.lstat(parent) is None:
        missing.append(parent)
        parent = posixpath.dirname(parent)
    for directory in reversed(missing):
        root.mkdir(directory, 0o755)
