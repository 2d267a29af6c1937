"""Contents → a squashfs image, by mksquashfs, the same bytes for the same contents wherever and whenever it runs.

mksquashfs reads the files where they are, as fast as it can, and is told what stands where: a small staging folder
has all that is not a file on disk, and definitions ("pseudo file definitions" in mksquashfs(1)) name the files and
all modes. So nothing of the machine (umask, clock, file system, link counts) shows in the image. The compressor's own
version does: other versions of squashfs-tools or libzstd may make other, equally good bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from flatyard.base.errors import Failed, Refused
from flatyard.base.values import dataclass
from flatyard.sysext.contents import DIRECTORY_MODE, Contents, Copy, Entry, Folder, Link, Text

LEVEL = 3
"""zstd's level: 10 % larger than level 15 and six times as fast; a node reads both equally fast."""
BLOCK = 128 * 1024
TOOL = "mksquashfs"
OLDEST = (4, 5)
"""The first squashfs-tools whose definitions can name a file anywhere (July 2021; its CHANGES, 4.5, 1.7)."""
INSTALL = "apt-get install squashfs-tools"
"""The one command on Debian and Ubuntu; the package has this name on Fedora, Arch and Homebrew (squashfs) too."""
_STAGE, _DEFINITIONS, _MADE = "tree", "definitions", "image"
"""Names in the private folder beside the target."""
_BUFFERS, _PER_PROCESSOR = 128, 8
"""MiB: at least, and for each processor where there are many."""
_PECULIAR = re.compile(rb"([^A-Za-z0-9_./+-])")


@dataclass(frozen=True, slots=True)
class Image:
    """A written image."""

    path: Path
    size: int

    @property
    def sha256(self) -> str:
        """The hash of its bytes, hexadecimal; read whenever it is asked for."""
        return sha256_of(self.path)


def write(tree: Contents, target: Path, *, level: int = LEVEL) -> Image:
    """Write an image; whatever was at `target` is replaced only by a whole one.

    Raises Refused when there is no usable mksquashfs or something lies below what is no folder, Failed with
    mksquashfs' last words when it fails, and when a file changed while it was read.
    """
    tool = _tool()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        made = Path(folder) / _MADE
        staging = _Staging(Path(folder) / _STAGE)
        staging.add(tree)
        definitions = staging.definitions(Path(folder) / _DEFINITIONS)
        _run([tool, str(staging.root), str(made), *_options(level), *definitions], target)
        staging.check()
        made.chmod(0o644)
        image = Image(target, made.stat().st_size)
        made.replace(target)
    return image


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _options(level: int) -> list[str]:
    times = ["-mkfs-time", "0", "-all-time", "0", "-root-time", "0"]
    owners = ["-all-root", "-root-uid", "0", "-root-gid", "0", "-root-mode", f"{DIRECTORY_MODE:o}"]
    packing = ["-comp", "zstd", "-Xcompression-level", str(level), "-b", str(BLOCK)]
    # no xattrs: an overlay.opaque on a folder would hide what the OS and other extensions have there
    # no holes: whether blocks of zeros are written as such would depend on how many the file has on this disk
    content = ["-no-xattrs", "-no-sparse", "-no-exports", "-noappend"]
    # without -exit-on-error a file that cannot be read becomes an empty one
    running = ["-mem", _memory(), "-exit-on-error", "-no-progress", "-quiet"]
    return [*packing, *times, *owners, *content, *running]


def _memory() -> str:
    """For mksquashfs' buffers; how much does not show in the image.

    By itself it takes a quarter of the machine and touches new memory with every block, which makes packing a
    fifteenth slower. squashfs-tools 4.7 refuses less than 4 MiB for each processor (check_min_memory in its reader.c).
    """
    return f"{max(_BUFFERS, _PER_PROCESSOR * (os.cpu_count() or 1))}M"


def _tool() -> str:
    tool = shutil.which(TOOL)
    if tool is None:
        raise Refused(f"there is no {TOOL}", why="it packs extension images", next=INSTALL)
    return tool


def _check_age(tool: str) -> None:
    """Asked only when it failed: the answer takes as long as a small image."""
    done = subprocess.run([tool, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r"version (\d+)\.(\d+)", done.stdout)
    if version and (int(version[1]), int(version[2])) < OLDEST:
        raise Refused(
            f"{tool} is too old: {version[0]}",
            why=f"{'.'.join(map(str, OLDEST))} is the first that can be told where each file is",
            next="install a newer squashfs-tools",
        )


def _run(command: list[str], target: Path) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        check=False,
    )
    if done.returncode:
        _check_age(command[0])
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        raise Failed(
            f"{target} was not written: mksquashfs {_ended(done.returncode)}",
            why=" ".join(said[-3:]),
            next=_next(said),
        )


def _ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with {code}"


def _next(said: list[str]) -> str:
    full = any("No space left" in line for line in said)
    return "make room and run it again" if full else "run it again; mksquashfs itself says the rest"


def _environment() -> Mapping[str, str]:
    """Ours, without the variable that mksquashfs refuses beside options of the same meaning."""
    return {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}


# ---- what mksquashfs is given


@dataclass(frozen=True, slots=True)
class _Source:
    """A file on disk as it was before it was read: equal to itself afterwards, unless it changed."""

    path: str
    device: int
    inode: int
    mode: int
    size: int
    modified: int

    @property
    def identity(self) -> tuple[int, int]:
        """The same for all names of one file."""
        return self.device, self.inode


def _source(path: str) -> _Source:
    """Raises Failed when there is no such file, or this user may not read it."""
    try:
        about = os.lstat(path)
        if stat.S_ISLNK(about.st_mode):
            path = os.path.realpath(path)
            about = os.lstat(path)
    except OSError as problem:
        raise _unreadable(path, problem.strerror or "") from None
    if not os.access(path, os.R_OK):
        raise _unreadable(path, "this user may not")
    return _Source(path, about.st_dev, about.st_ino, about.st_mode, about.st_size, about.st_mtime_ns)


class _Staging:
    """A folder for mksquashfs to read, and the definitions that complete it.

    Files whose mode on disk is the wanted one are read where they are: a definition names them. Definitions can give
    a mode only to what is in the folder, so those with another mode get a name there: a further link, which takes no
    room and leaves the file as it is, or a copy where no link can be made.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root
        self._lines: list[bytes] = []
        self._sources: list[_Source] = []
        self._names: dict[tuple[int, int], str] = {}

    def add(self, tree: Contents) -> None:
        """Everything, in the tree's order. Raises Refused and Failed as `write` does."""
        for path, entry in tree.entries.items():
            _check_parent(path, tree)
            try:
                self._add(path, entry)
            except OSError as problem:
                raise Failed(
                    f"{path} was not made ready for mksquashfs: {problem.strerror or problem}",
                    next="make room beside the image, or let it go to another folder",
                ) from None

    def definitions(self, file: Path) -> list[str]:
        """Options that hand them over: in a file, but for those with a line break, which a file cannot hold."""
        broken = [line for line in self._lines if b"\n" in line]
        file.write_bytes(b"".join(line + b"\n" for line in self._lines if b"\n" not in line))
        return ["-pf", str(file), *(word for line in broken for word in ("-p", os.fsdecode(line)))]

    def check(self) -> None:
        """Raises Failed if a file changed since it was added: mksquashfs takes what it finds."""
        for source in self._sources:
            if _source(source.path) != source:
                raise _changed(source.path)

    def _add(self, path: str, entry: Entry) -> None:
        match entry:
            case Folder(mode):
                (self.root / path).mkdir()
                self._define(path, f"m {mode:o} 0 0")
            case Link(target):
                (self.root / path).symlink_to(target)
            case Text(content, mode):
                (self.root / path).write_bytes(content)
                self._define(path, f"m {mode:o} 0 0")
            case Copy():
                self._add_file(path, entry)

    def _add_file(self, path: str, entry: Copy) -> None:
        source = _source(os.fspath(entry.source))
        if source.size != entry.size or not stat.S_ISREG(source.mode):
            raise _changed(source.path)
        first = self._names.setdefault(source.identity, path)
        if first != path:
            self._add_name(path, first)
            return
        self._sources.append(source)
        if stat.S_IMODE(source.mode) == entry.mode:
            self._define(path, "l ", source.path)
        else:
            _link_or_copy(source, self.root / path)
            self._define(path, f"m {entry.mode:o} 0 0")

    def _add_name(self, path: str, first: str) -> None:
        """One more name of a file that has one in the image."""
        staged = self.root / first
        if staged.exists():
            (self.root / path).hardlink_to(staged)
        else:
            self._define(path, "L ", first)

    def _define(self, path: str, what: str, other: str = "") -> None:
        self._lines.append(_escaped(path) + b" " + what.encode() + _escaped(other))


def _check_parent(path: str, tree: Contents) -> None:
    """What lies below a link would be written to where the link points, outside of everything."""
    parent = path.rpartition("/")[0]
    if parent and not isinstance(tree.entries.get(parent), Folder):
        raise Refused(
            f"{path} is to lie in {parent}, which is not a directory",
            why="an image has one thing under each name",
            next=f"make {parent} a directory in the tree",
        )


def _link_or_copy(source: _Source, target: Path) -> None:
    try:
        target.hardlink_to(source.path)
    except OSError:  # on another file system, or not this user's file
        shutil.copyfile(source.path, target)
        if target.stat().st_size != source.size:
            raise _changed(source.path) from None


def _escaped(path: str) -> bytes:
    """As mksquashfs reads names in definitions: a backslash takes whatever follows as it is."""
    return _PECULIAR.sub(rb"\\\1", os.fsencode(path))


def _unreadable(path: str, why: str) -> Failed:
    return Failed(
        f"{path} cannot be read", why=why, next="see that it is there and readable, then run it again"
    )


def _changed(path: str) -> Failed:
    return Failed(f"{path} changed while it was read", next="run it again")
