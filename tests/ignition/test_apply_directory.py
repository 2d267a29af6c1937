"""The reference's 517 cases, carried out on a directory on disk, and random ones beside what must not change.

As root everything is compared as it is on disk, owners included. As another user contents, modes and links are
compared as they are on disk, and owners as the root says them: those that were asked for.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from flatyard.ignition.apply import Options
from flatyard.ignition.root_directory import DirectoryRoot
from flatyard.ignition.tree import Node, NodeKind, Root, Tree


def _golden() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "golden_apply", Path(__file__).with_name("test_apply_golden.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = _golden()
IS_ROOT = os.geteuid() == 0


def put(root: DirectoryRoot, folder: Path, path: str, node: Node) -> None:
    """Makes one inode as a tree in memory has it."""
    if node.kind is NodeKind.DIRECTORY:
        if path != "/":
            root.mkdir(path, 0o700)
    elif node.kind is NodeKind.FILE:
        root.write(path, node.content, 0o600)
    elif node.kind is NodeKind.LINK:
        root.symlink(path, node.target)
    else:
        os.mkfifo(folder / path[1:])
    root.chown(path, node.uid, node.gid)
    if node.kind is not NodeKind.LINK:
        root.chmod(path, node.mode)


Stamp = tuple[int, ...]


class Bench:
    """One directory for all cases: after each, what changed is put back as it was."""

    def __init__(self, folder: Path, base: Tree) -> None:
        self.folder, self.base = folder, base
        self.root = DirectoryRoot(folder)
        self.nodes = dict(base.walk())
        for path, node in self.nodes.items():
            put(self.root, folder, path, node)
        self.before = self.stamps()
        self.seen: tuple[dict[str, Stamp], list[str]] | None = None

    def stamp(self, there: os.stat_result) -> Stamp:
        """What differs for an inode that anything was done to, if only in name."""
        owner = (0, 0) if IS_ROOT else self.root._owner(there)
        return there.st_ino, there.st_mode, there.st_nlink, there.st_ctime_ns, *owner

    def stamps(self) -> dict[str, Stamp]:
        """The stamps of the directory and of everything below it, by path."""
        found = {"/": self.stamp(self.folder.lstat())}
        pending = [""]
        while pending:
            path = pending.pop()
            with os.scandir(f"{self.folder}{path}/") as entries:
                for entry in entries:
                    below = f"{path}/{entry.name}"
                    found[below] = self.stamp(entry.stat(follow_symlinks=False))
                    mode = found[below][1]
                    if stat.S_ISDIR(mode) and (IS_ROOT or mode & 0o500 == 0o500):
                        pending.append(below)
        return found

    def look(self) -> tuple[dict[str, Stamp], list[str]]:
        """What is there now, and which of it is new or changed."""
        now = self.stamps()
        return now, sorted(path for path, stamp in now.items() if stamp != self.before.get(path))

    def after(self) -> Tree:
        """What the directory has now, as a tree in memory."""
        tree = self.base.overlay()
        now, changed = self.seen = self.look()
        for path in sorted(self.before.keys() - now.keys(), reverse=True):
            tree.remove(path)
        for path in changed:
            node = self.root.lstat(path)
            assert node is not None
            tree.remove(path) if node.kind is not NodeKind.DIRECTORY else None
            content = self.root.read(path) if node.kind is NodeKind.FILE else b""
            tree._put(path, Node(node.kind, node.mode, node.uid, node.gid, content, node.target, node.inode))
        return tree

    def restore(self) -> None:
        """Puts back what was changed; only that and what holds it is looked at again."""
        now, changed = self.seen or self.look()
        self.seen = None
        touched = sorted({*changed, *(self.before.keys() - now.keys())} & self.before.keys())
        for path in changed:
            is_directory = path in self.nodes and self.nodes[path].kind is NodeKind.DIRECTORY
            if not (is_directory and stat.S_ISDIR(now[path][1])):
                self.root.remove(path)
        for path in touched:
            if os.path.lexists(f"{self.folder}{path}"):
                self.root.chown(path, self.nodes[path].uid, self.nodes[path].gid)
                self.root.chmod(path, self.nodes[path].mode)
            else:
                put(self.root, self.folder, path, self.nodes[path])
        for path in {
            *touched,
            *(posixpath.dirname(path) for path in (*touched, *changed)),
        } & self.before.keys():
            self.before[path] = self.stamp(Path(f"{self.folder}{path}").lstat())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("root")
    bench = Bench(folder, GOLDEN.BASE)
    yield bench
    bench.root.close()


def carried_out(data: bytes, root: Root, options: Options) -> str:
    return asyncio.run(GOLDEN.carry_out(data, root, options))


@pytest.mark.parametrize("name", GOLDEN.CASES)
def test_outcome_and_changes_on_disk_are_the_reference_s(name: str, bench: Bench):
    case = GOLDEN.CASES[name]
    data = case["ign"].encode("utf-8", "surrogateescape")
    try:
        result = carried_out(data, bench.root, Options(keys_fragment=True))
        found = GOLDEN.changes(bench.after())
    finally:
        bench.restore()
    if name in GOLDEN.REFUSED:
        assert (result, found) == ("fail:fetch-offline", [])
    else:
        assert result == case["outcome"]
        assert GOLDEN.comparable(found) == GOLDEN.comparable(GOLDEN.as_flatcar(case))
