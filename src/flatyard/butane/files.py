"""The directory that `local:` paths count from. Butane itself reads nothing: a `FilesDir` is handed in."""

from __future__ import annotations

import posixpath

from flatyard.base.typed import Protocol
from flatyard.base.values import dataclass

NO_FILES_DIR = "local file paths are relative to a files directory that must be specified with -d/--files-dir"
ESCAPES = "local file path traverses outside the files directory"


class LocalFileError(Exception):
    """A local file that cannot be had; the text is the reference's (the operating system's for most)."""


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """What stands at a path: `kind` is file, directory, link or other; `mode` the permission bits."""

    kind: str
    mode: int = 0o644


class FilesDir(Protocol):
    """A directory of local files. Paths are relative, clean, and stay inside; '.' is the directory itself.

    Every method raises LocalFileError where the operating system refuses, in its words
    (`open DIR/x: no such file or directory`).
    """

    def read(self, path: str) -> bytes:
        """A file's bytes, links followed."""

    def stat(self, path: str) -> LocalEntry:
        """What is there, links followed."""

    def lstat(self, path: str) -> LocalEntry:
        """What is there itself."""

    def readlink(self, path: str) -> str:
        """A link's target as written."""

    def listdir(self, path: str) -> tuple[str, ...]:
        """Names in a directory, in any order."""


def inside(local: str) -> str:
    """A local path as a clean one relative to the files directory; a leading slash counts from there too.

    Raises LocalFileError when it leads outside.
    """
    cleaned = posixpath.normpath(local.lstrip("/") or ".")
    if cleaned == ".." or cleaned.startswith("../"):
        raise LocalFileError(ESCAPES)
    return cleaned


def read_local(files: FilesDir | None, local: str) -> bytes:
    """The bytes of a local file. Raises LocalFileError."""
    if files is None:
        raise LocalFileError(NO_FILES_DIR)
    return files.read(inside(local))
