"""Contents → a squashfs image, by mksquashfs, the same bytes for the same contents wherever and whenever it runs.

mksquashfs is given a tar stream instead of a folder: names, modes, owners and times are then ours, nothing is copied
or linked into a staging folder, and no option of the machine (umask, clock, file system) shows in the image. The
compressor's own version does: other versions of squashfs-tools or libzstd may make other, equally good bytes.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from flatyard.base.errors import Failed, Refused
from flatyard.base.values import dataclass
from flatyard.sysext.contents import DIRECTORY_MODE, Contents, Copy, Entry, Folder, Link, Text

LEVEL = 3
"""zstd's level: 10 % larger than level 15 and six times as fast; a node reads both equally fast."""
LEVELS = range(1, 23)
BLOCK = 128 * 1024
TOOL = "mksquashfs"
OLDEST = (4, 5)
"""The first squashfs-tools that read tar streams (released 2021)."""
INSTALL = "apt-get install squashfs-tools"
"""The one command on Debian and Ubuntu; the package has this name on Fedora, Arch and Homebrew (squashfs) too."""
_CHUNK = 1 << 20
_PIPE = 1 << 20
"""What anybody may ask of Linux; with its usual 64 KiB packing took a tenth longer."""


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

    Raises Refused when there is no usable mksquashfs, Failed with its last words when it fails.
    """
    tool = _tool()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        made = Path(folder) / target.name
        _run([tool, "-", str(made), *_options(level)], tree, target)
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
    content = ["-no-xattrs", "-no-exports", "-noappend"]
    return ["-tar", *packing, *times, *owners, *content, "-no-progress", "-quiet"]


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
            why=f"{'.'.join(map(str, OLDEST))} is the first that reads tar streams",
            next="install a newer squashfs-tools",
        )


def _run(command: list[str], tree: Contents, target: Path) -> None:
    with tempfile.TemporaryFile("w+") as words, _started(command, words) as process:
        assert process.stdin is not None
        broken: OSError | None = None
        try:
            with process.stdin as stream:
                _stream(tree, stream)
        except BrokenPipeError as problem:  # it ended early, and has said why
            broken = problem
        code = process.wait()
        if code or broken:
            _check_age(command[0])
            words.seek(0)
            said = [line.strip() for line in words.read().splitlines() if line.strip()]
            raise Failed(
                f"{target} was not written: mksquashfs {_ended(code)}",
                why=" ".join(said[-3:]),
                next=_next(said),
            ) from None


def _ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with {code}"


def _next(said: list[str]) -> str:
    full = any("No space left" in line for line in said)
    return "make room and run it again" if full else "run it again; mksquashfs itself says the rest"


@contextmanager
def _started(command: list[str], words: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """mksquashfs, ended with us whatever happens."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=words, stderr=words, env=_environment(), bufsize=0
    )
    try:
        _widen(process)
        yield process
    except BaseException:
        process.kill()
        process.wait()
        raise


def _widen(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # this user has many pipes
            fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, _PIPE)


def _environment() -> Mapping[str, str]:
    """Ours, without the variable that mksquashfs refuses beside options of the same meaning."""
    return {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}


# ---- the tar stream


def _stream(tree: Contents, stream: IO[bytes]) -> None:
    names: dict[tuple[int, int], str] = {}
    for path, entry in tree.entries.items():
        _send(path, entry, names, stream)
    stream.write(bytes(2 * tarfile.BLOCKSIZE))


def _send(path: str, entry: Entry, names: dict[tuple[int, int], str], stream: IO[bytes]) -> None:
    header = tarfile.TarInfo(path)
    match entry:
        case Folder(mode):
            header.type, header.mode = tarfile.DIRTYPE, mode
            _head(header, stream)
        case Link(target):
            header.type, header.linkname, header.mode = tarfile.SYMTYPE, target, 0o777
            _head(header, stream)
        case Text(content, mode):
            header.size, header.mode = len(content), mode
            _head(header, stream)
            _write_all(stream, content + _padding(len(content)))
        case Copy():
            _send_file(header, entry, names, stream)


def _send_file(
    header: tarfile.TarInfo, entry: Copy, names: dict[tuple[int, int], str], stream: IO[bytes]
) -> None:
    with entry.source.open("rb", buffering=0) as file:
        about = os.fstat(file.fileno())
        first = names.setdefault((about.st_dev, about.st_ino), header.name)
        header.mode = entry.mode
        if first != header.name:
            header.type, header.linkname = tarfile.LNKTYPE, first
            _head(header, stream)
            return
        if about.st_size != entry.size:
            raise Failed(f"{entry.source} changed while it was read", next="run it again")
        header.size = about.st_size
        _head(header, stream)
        _pour(file, entry, stream)
        _write_all(stream, _padding(about.st_size))


def _pour(file: IO[bytes], entry: Copy, stream: IO[bytes]) -> None:
    left = entry.size
    while left:
        count = _move(file, stream, min(_CHUNK, left))
        if not count:
            raise Failed(f"{entry.source} changed while it was read", next="run it again")
        left -= count


def _move(file: IO[bytes], stream: IO[bytes], most: int) -> int:
    """Some bytes on their way; on Linux the kernel hands its pages over, which saves two copies of everything."""
    if hasattr(os, "splice"):
        return os.splice(file.fileno(), stream.fileno(), most)
    content = file.read(most)
    _write_all(stream, content)
    return len(content)


def _head(header: tarfile.TarInfo, stream: IO[bytes]) -> None:
    _write_all(stream, header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))


def _write_all(stream: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[stream.write(rest) :]


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
