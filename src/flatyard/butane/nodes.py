"""Files, directories and links that sugar adds to a config, beside those that are written."""

from __future__ import annotations

from flatyard.base.values import replace
from flatyard.ignition.types import Config, Directory, File, Link, Resource

NODE_EXISTS = "matching filesystem node has existing contents or different type"


class Nodes:
    """The three lists of one config while entries are added, found by path."""

    def __init__(self, config: Config) -> None:
        self.files = list(config.storage.files)
        self.directories = list(config.storage.directories)
        self.links = list(config.storage.links)
        self._file_at = {file.path: index for index, file in enumerate(self.files)}
        self._link_at = {link.path: index for index, link in enumerate(self.links)}
        self._taken = {*self._file_at, *self._link_at, *(d.path for d in self.directories)}

    def is_taken(self, path: str) -> bool:
        """Whether anything stands at a path."""
        return path in self._taken

    def file_at(self, path: str) -> int | None:
        """The index of a file."""
        return self._file_at.get(path)

    def link_at(self, path: str) -> int | None:
        """The index of a link."""
        return self._link_at.get(path)

    def add_file(self, file: File) -> int:
        """Appends a file; gives its index."""
        self._file_at[file.path] = len(self.files)
        self._taken.add(file.path)
        self.files.append(file)
        return len(self.files) - 1

    def add_link(self, link: Link) -> int:
        """Appends a link; gives its index."""
        self._link_at[link.path] = len(self.links)
        self._taken.add(link.path)
        self.links.append(link)
        return len(self.links) - 1

    def add_directory(self, directory: Directory) -> int:
        """Appends a directory; gives its index."""
        self._taken.add(directory.path)
        self.directories.append(directory)
        return len(self.directories) - 1

    def fill(self, index: int, contents: Resource, mode: int) -> None:
        """Gives a file its contents, and a mode where it has none."""
        file = self.files[index]
        self.files[index] = replace(file, contents=contents, mode=mode if file.mode is None else file.mode)

    def into(self, config: Config) -> Config:
        """The config with the lists as they are now."""
        storage = replace(
            config.storage,
            directories=tuple(self.directories),
            files=tuple(self.files),
            links=tuple(self.links),
        )
        return replace(config, storage=storage)
