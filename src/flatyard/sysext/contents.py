"""What goes into an image: paths and what stands there, as values; a folder read into them.

Owners are always root and times always zero, so neither is here. Bytes stay where they are on disk: an entry names
its source, and whoever writes the image reads it once.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from flatyard.base.errors import Problem, Refused, Severity
from flatyard.base.values import dataclass

DIRECTORY_MODE = 0o755
PLAIN_MODE = 0o644
PROGRAM_MODE = 0o755
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory."""

    mode: int = DIRECTORY_MODE


@dataclass(frozen=True, slots=True)
class Text:
    """A small file whose bytes are known here."""

    content: bytes
    mode: int = PLAIN_MODE


@dataclass(frozen=True, slots=True)
class Copy:
    """A file with the bytes of one on disk. Entries with the same source become one file with several names.

    `capabilities` are those that running it gives, a bit for each as in linux/capability.h; extension images, where
    everything is root's, do without.
    """

    source: Path
    size: int
    mode: int = PROGRAM_MODE
    capabilities: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


Entry = Folder | Text | Copy | Link


@dataclass(frozen=True, slots=True)
class Contents:
    """An image's tree: paths without a leading slash, in byte order, each folder before what it holds."""

    entries: Mapping[str, Entry]

    def text(self, path: str) -> bytes | None:
        """The bytes of a plain file, read from disk where they are there; None for anything else."""
        entry = self.entries.get(path)
        if isinstance(entry, Text):
            return entry.content
        return entry.source.read_bytes() if isinstance(entry, Copy) else None

    def below(self, folder: str) -> tuple[str, ...]:
        """Names that stand directly in a folder."""
        return tuple(path.rpartition("/")[2] for path in self.entries if path.rpartition("/")[0] == folder)

    def with_entries(self, more: Mapping[str, Entry]) -> Contents:
        """The same tree and more; what was there under the same path is replaced."""
        return contents({**self.entries, **more})


def contents(entries: Mapping[str, Entry]) -> Contents:
    """A tree of entries; folders above them that nobody named are added."""
    whole: dict[str, Entry] = {}
    for path in entries:
        for parent in PurePosixPath(path).parents:
            if parent.name:
                whole[str(parent)] = Folder()
    whole.update(entries)
    return Contents({path: whole[path] for path in sorted(whole, key=_in_order)})


def _in_order(path: str) -> tuple[bytes, ...]:
    """By each step of the path, so that a folder stands right before its contents, whatever the locale."""
    return tuple(os.fsencode(step) for step in path.split("/"))


def check_name(name: str) -> None:
    """Raises Refused unless a name can be an extension's: it becomes part of file names and of addresses."""
    if not _NAME.fullmatch(name):
        raise Refused(
            f"{name!r} is not a name for an extension",
            why="small letters, digits, dots, hyphens and underscores, as in docker-buildx",
            next="choose another name",
        )


# ---- a folder on disk


def read_tree(root: Path, *, keep_modes: bool = False) -> Contents:
    """A prepared folder as contents; links are kept as links, and never followed.

    Modes depend on the umask of whoever prepared it, so they become 0755 for folders and programs and 0644 for other
    files (set-id and sticky bits stay), unless `keep_modes`. Raises Refused, naming all of them, for what an image
    cannot hold or a node would not take: devices, sockets, pipes, files that cannot be read.
    """
    entries: dict[str, Entry] = {}
    troubles: list[str] = []
    for found in _walk(root):
        path = os.path.relpath(found.path, root)
        try:
            entry = _entry(found, keep_modes=keep_modes)
        except OSError as problem:
            troubles.append(f"{path}: {problem.strerror}")
            continue
        if entry is None:
            troubles.append(f"{path}: neither a file nor a directory nor a link")
        else:
            entries[path] = entry
    if troubles:
        raise Refused(
            f"{root} has what an extension image cannot hold",
            why="; ".join(troubles[:10]) + (f"; and {len(troubles) - 10} more" if troubles[10:] else ""),
            next="remove it, or make it readable",
        )
    return contents(entries)


def _walk(root: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(root) as listing:
        found = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    for entry in found:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _entry(found: os.DirEntry[str], *, keep_modes: bool) -> Entry | None:
    about = found.stat(follow_symlinks=False)
    mode = stat.S_IMODE(about.st_mode)
    if stat.S_ISLNK(about.st_mode):
        return Link(os.readlink(found.path))  # noqa: PTH115 - a Path would change what the link says
    if stat.S_ISDIR(about.st_mode):
        os.scandir(found.path).close()
        return Folder(mode if keep_modes else _plain(mode, DIRECTORY_MODE))
    if not stat.S_ISREG(about.st_mode):
        return None
    if not os.access(found.path, os.R_OK):
        raise PermissionError(13, "cannot be read by this user")
    usual = PROGRAM_MODE if mode & stat.S_IXUSR else PLAIN_MODE
    return Copy(Path(found.path), about.st_size, mode if keep_modes else _plain(mode, usual))


def _plain(mode: int, usual: int) -> int:
    return usual | (mode & _SPECIAL)


# ---- what the programs in it are for

_ELF = b"\x7fELF"
_MACHINES = {62: "x86-64", 183: "arm64"}
"""ELF's e_machine (EM_X86_64, EM_AARCH64) to systemd's name of an architecture."""


def machine_of(start: bytes) -> str | None:
    """The architecture of a program by its first 20 bytes; `other` for one that we do not build for, None for none.

    Source: the ELF specification, e_ident and e_machine.
    """
    if len(start) < 20 or not start.startswith(_ELF):
        return None
    machine = int.from_bytes(start[18:20], "little" if start[5] == 1 else "big")
    return _MACHINES.get(machine, "other")


def architectures(tree: Contents) -> Mapping[str, tuple[str, ...]]:
    """Which architectures the programs in a tree are for, with the paths of each."""
    found: dict[str, list[str]] = {}
    for path, entry in tree.entries.items():
        if isinstance(entry, Copy) and entry.size >= 20:
            with entry.source.open("rb", buffering=0) as file:
                machine = machine_of(file.read(20))
            if machine:
                found.setdefault(machine, []).append(path)
    return {machine: tuple(paths) for machine, paths in found.items()}


def outside(paths: Iterable[str]) -> tuple[str, ...]:
    """Paths that systemd-sysext does not merge: everything but /usr and /opt. The topmost ones only."""
    found = [path for path in paths if path.split("/")[0] not in ("usr", "opt")]
    return tuple(path for path in found if not any(path.startswith(f"{other}/") for other in found))


def warnings(tree: Contents) -> tuple[Problem, ...]:
    """What a reader should know of a tree before it becomes an image."""
    return tuple(
        Problem(Severity.WARNING, None, f"/{path}", "is not merged by a node: only /usr and /opt are")
        for path in outside(tree.entries)
    )
