"""What was done to a root: a `Root` that notes every change on its way to another one."""

from __future__ import annotations

from enum import StrEnum

from flatyard.base.values import dataclass
from flatyard.ignition.tree import Node, NodeKind, Root, RootError


class Action(StrEnum):
    """What became of a path."""

    CREATED = "created"
    CHANGED = "changed"
    REPLACED = "replaced"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """One path and what stands there now; for a removed one, what stood there, whole directories as one.

    `target` is a link's text. Owners are those that were asked for.
    """

    path: str
    action: Action
    kind: NodeKind
    mode: int
    uid: int
    gid: int
    target: str = ""


class Noting:
    """Hands every operation on to `root`; `changes` tells what came of them."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._before: dict[str, Node | None] = {}
        self._rewritten: set[str] = set()
        self._removed: set[str] = set()

    def changes(self) -> tuple[Change, ...]:
        """What is not as it was, in the order in which it was first touched. Raises RootError."""
        found = (self._change(path, before) for path, before in self._before.items())
        return tuple(change for change in found if change is not None)

    def _change(self, path: str, before: Node | None) -> Change | None:
        now = self._root.lstat(path)
        if before is None:
            action = Action.CREATED
        elif now is None:
            action = Action.REMOVED
        elif path in self._removed:
            action = Action.REPLACED
        else:
            action = Action.CHANGED
        node = now or before
        is_same = now == before and path not in self._rewritten
        if node is None or is_same:
            return None
        return Change(path, action, node.kind, node.mode, node.uid, node.gid, node.target)

    def _touch(self, path: str) -> None:
        if path not in self._before:
            self._before[path] = self._root.lstat(path)

    # Root

    def lstat(self, path: str) -> Node | None:
        """As `Root`."""
        return self._root.lstat(path)

    def read(self, path: str) -> bytes:
        """As `Root`."""
        return self._root.read(path)

    def listdir(self, path: str) -> tuple[str, ...]:
        """As `Root`."""
        return self._root.listdir(path)

    def mkdir(self, path: str, mode: int) -> None:
        """As `Root`."""
        self._touch(path)
        self._root.mkdir(path, mode)

    def write(self, path: str, content: bytes, mode: int) -> None:
        """As `Root`."""
        self._touch(path)
        self._root.write(path, content, mode)
        self._rewritten.add(path)

    def append(self, path: str, content: bytes) -> None:
        """As `Root`."""
        self._touch(path)
        self._root.append(path, content)
        self._rewritten.add(path)

    def symlink(self, path: str, target: str) -> None:
        """As `Root`."""
        self._touch(path)
        self._root.symlink(path, target)
        self._rewritten.add(path)

    def link(self, path: str, existing: str) -> None:
        """As `Root`."""
        self._touch(path)
        self._root.link(path, existing)
        self._rewritten.add(path)

    def chmod(self, path: str, mode: int) -> None:
        """As `Root`."""
        self._touch(path)
        self._root.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """As `Root`."""
        self._touch(path)
        self._root.chown(path, uid, gid)

    def rename(self, path: str, to: str) -> None:
        """As `Root`."""
        self._touch(path)
        self._touch(to)
        self._root.rename(path, to)
        self._rewritten.add(to)

    def remove(self, path: str) -> None:
        """As `Root`. A directory that could not be removed whole counts as changed: entries of it may be gone."""
        self._touch(path)
        before = self._root.lstat(path)
        try:
            self._root.remove(path)
        except RootError:
            if before is not None and before.kind is NodeKind.DIRECTORY:
                self._rewritten.add(path)
            raise
        if before is not None:
            self._removed.add(path)
            self._rewritten.add(path)
