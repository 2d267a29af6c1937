"""The files directory of Butane on this machine's disk."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flatyard.butane import LocalEntry, LocalFileError

READ_LIMIT = 256 << 20
"""Bytes of one local file, which becomes a part of the config; a sparse one may be larger than any memory."""
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


@dataclass(frozen=True, slots=True)
class DiskFiles:
    """A directory on disk, by its absolute path (`flatyard.butane.FilesDir`).

    `flatyard.butane` hands in paths that stay inside by their spelling. Links are followed wherever they lead,
    as the reference does: who may write into the directory is trusted.
    """

    root: Path

    def read(self, path: str) -> bytes:
        """A file's bytes. A pipe or a device is refused, because reading one may never end."""
        place = self.root / path
        with _said("open", place):
            found = place.stat()
            mode = found.st_mode
            if stat.S_ISDIR(mode):
                raise LocalFileError(f"read {place}: is a directory")
            if not stat.S_ISREG(mode):
                raise LocalFileError(f"read {place}: not a regular file")
            with place.open("rb") as file:
                data = file.read(min(found.st_size, READ_LIMIT) + 1)  # not the limit: it is allocated whole
                if len(data) > found.st_size:
                    data += file.read(READ_LIMIT + 1 - len(data))
            if len(data) > READ_LIMIT:
                raise LocalFileError(f"read {place}: larger than {READ_LIMIT} bytes")
            return data

    def stat(self, path: str) -> LocalEntry:
        """What is there, links followed."""
        place = self.root / path
        with _said("stat", place):
            return _entry(place.stat().st_mode)

    def lstat(self, path: str) -> LocalEntry:
        """What is there itself."""
        place = self.root / path
        with _said("lstat", place):
            return _entry(place.lstat().st_mode)

    def readlink(self, path: str) -> str:
        """A link's target as written; one that is not UTF-8 has no way into a config."""
        place = self.root / path
        with _said("readlink", place):
            return _utf8(str(place.readlink()), place)

    def listdir(self, path: str) -> tuple[str, ...]:
        """Names in a directory, sorted; one that is not UTF-8 has no way into a config."""
        place = self.root / path
        with _said("open", place):
            return tuple(sorted(_utf8(child.name, place) for child in place.iterdir()))


def _entry(mode: int) -> LocalEntry:
    return LocalEntry(_KINDS.get(stat.S_IFMT(mode), "other"), stat.S_IMODE(mode) & 0o777)


def _utf8(name: str, place: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise LocalFileError(f"read {place}: name {name!a} is not UTF-8") from None
    return name


@contextmanager
def _said(call: str, place: Path) -> Iterator[None]:
    """The operating system's refusals in the reference's words: `open DIR/x: no such file or directory`."""
    try:
        yield
    except OSError as problem:
        why = problem.strerror or str(problem)
        raise LocalFileError(f"{call} {place}: {why[:1].lower()}{why[1:]}") from None
    except ValueError:  # a NUL in the path, or half a surrogate pair
        raise LocalFileError(f"{call} {str(place)!a}: invalid argument") from None
