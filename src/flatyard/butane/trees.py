"""`storage.trees`: local directories copied file by file."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from flatyard.base.values import replace
from flatyard.butane import source
from flatyard.butane.files import NO_FILES_DIR, FilesDir, LocalEntry, LocalFileError, inside
from flatyard.butane.nodes import NODE_EXISTS, Nodes
from flatyard.butane.origins import Origins
from flatyard.butane.resources import embed
from flatyard.ignition.report import Entry, Path, error
from flatyard.ignition.types import Config, Directory, File, Link, Owner

_EXECUTABLE = 0o111
_TREE_DEPTH_LIMIT = 100


def add_trees(
    config: Config, trees: tuple[source.Tree, ...], files: FilesDir | None, origins: Origins
) -> tuple[Config, tuple[Entry, ...]]:
    """The config with the trees' files and links; findings by YAML path."""
    if files is None:
        return config, (error(NO_FILES_DIR, ("storage", "trees", 0)),)
    copier = _Copier(Nodes(config), files, origins)
    for index, tree in enumerate(trees):
        copier.copy(tree, ("storage", "trees", index))
    return copier.nodes.into(config), tuple(copier.found)


class _Copier:
    def __init__(self, nodes: Nodes, files: FilesDir, origins: Origins) -> None:
        self.nodes = nodes
        self.files = files
        self.origins = origins
        self.found: list[Entry] = []

    def copy(self, tree: source.Tree, at: Path) -> None:
        """One tree; errors are collected, the walk goes on."""
        try:
            base = inside(tree.local)
            if self.files.stat(base).kind != "directory":
                self.found.append(error("root of tree must be a directory", at))
                return
            for path, entry in self.walk(base, 0):
                self.add(tree, path, entry, _destination(tree, base, path), at)
        except LocalFileError as problem:
            self.found.append(error(str(problem), at))

    def walk(self, path: str, depth: int) -> Iterator[tuple[str, LocalEntry]]:
        """A directory and everything below, names in byte order, each directory where it sorts."""
        entry = self.files.stat(path) if depth == 0 else self.files.lstat(path)
        yield path, entry
        if entry.kind == "directory":
            if depth > _TREE_DEPTH_LIMIT:
                raise LocalFileError(f"{path}: nested deeper than {_TREE_DEPTH_LIMIT} levels")
            for name in sorted(self.files.listdir(path), key=lambda name: name.encode("utf-8", "replace")):
                yield from self.walk(name if path == "." else f"{path}/{name}", depth + 1)

    def add(self, tree: source.Tree, path: str, entry: LocalEntry, place: str, at: Path) -> None:
        try:
            if entry.kind == "directory":
                self.directory(tree, place, at)
            elif entry.kind == "file":
                self.file(tree, path, entry, place, at)
            elif entry.kind == "link":
                self.link(tree, path, place, at)
            else:
                text = "trees may only contain files, directories, and symlinks"
                self.found.append(error(text, at))
        except LocalFileError as problem:
            self.found.append(error(str(problem), at))

    def directory(self, tree: source.Tree, place: str, at: Path) -> None:
        """Directories are implied, unless the tree says whose they are."""
        if tree.dir_mode is None and tree.user == Owner() and tree.group == Owner():
            return
        if self.nodes.is_taken(place):
            self.found.append(error(NODE_EXISTS, at))
            return
        mode = 0o755 if tree.dir_mode is None else tree.dir_mode
        index = self.nodes.add_directory(Directory(path=place, user=tree.user, group=tree.group, mode=mode))
        self.origins.made["storage", "directories", index] = at

    def file(self, tree: source.Tree, path: str, entry: LocalEntry, place: str, at: Path) -> None:
        index = self.nodes.file_at(place)
        taken = self.nodes.files[index].contents.source if index is not None else self.nodes.is_taken(place)
        if taken:
            self.found.append(error(NODE_EXISTS, at))
            return
        if index is None:
            index = self.nodes.add_file(File(path=place, user=tree.user, group=tree.group))
            self.origins.made["storage", "files", index] = at
        else:
            self.origins.made["storage", "files", index, "contents"] = at
            if self.nodes.files[index].mode is None:
                self.origins.made["storage", "files", index, "mode"] = at
        mode = 0o755 if entry.mode & _EXECUTABLE else 0o644
        contents = embed(self.files.read(path), self.nodes.files[index].contents)
        self.nodes.fill(index, contents, mode if tree.file_mode is None else tree.file_mode)

    def link(self, tree: source.Tree, path: str, place: str, at: Path) -> None:
        index = self.nodes.link_at(place)
        taken = self.nodes.links[index].target if index is not None else self.nodes.is_taken(place)
        if taken:
            self.found.append(error(NODE_EXISTS, at))
            return
        if index is None:
            index = self.nodes.add_link(Link(path=place, user=tree.user, group=tree.group))
            self.origins.made["storage", "links", index] = at
        else:
            self.origins.made["storage", "links", index, "target"] = at
        self.nodes.links[index] = replace(self.nodes.links[index], target=self.files.readlink(path))


def _destination(tree: source.Tree, base: str, path: str) -> str:
    relative = path if base == "." else path[len(base) + 1 :]
    place = posixpath.normpath(posixpath.join(tree.path or "/", relative))
    return place[1:] if place.startswith("//") else place
