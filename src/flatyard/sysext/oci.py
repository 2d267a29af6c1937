"""Container images as files, the same bytes for the same contents: OCI image layout in a tar archive.

`ctr -n k8s.io images import` takes them under the names in `io.containerd.image.name`. One archive may hold several
images; what they have in common is in it once. Source: OCI image-spec v1.1 (image-layout, manifest, config, layer),
containerd's docs for the annotation.

Layers are compressed with zstd at level 3 unless told otherwise. Importing a control plane (seven images, ctr and
containerd 2.1.5, two cores) took 1.9 to 2.4 s so, 2.8 to 3.4 s with gzip, 3.4 to 3.6 s not compressed at all:
containerd copies an archive into its store first, and 85 MB are copied sooner than 299. As with squashfs, another zstd
may make other, equally good bytes; layers that are not compressed are the same everywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from flatyard.base.errors import Failed, Refused
from flatyard.sysext.contents import Contents, Copy, Entry, Folder, Link, Text

EPOCH = "1970-01-01T00:00:00Z"
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_ZSTD = f"{LAYER}+zstd"
LEVEL = 3
INSTALL = "apt-get install zstd"
INDEX = "application/vnd.oci.image.index.v1+json"
NAME = "io.containerd.image.name"
REF = "org.opencontainers.image.ref.name"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `reference` is its full name with the tag; layers are trees, the lowest first."""

    reference: str
    layers: tuple[Contents, ...]
    entrypoint: tuple[str, ...] = ()
    user: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """A written archive: the images in it by name, its size in bytes, the sha256 of it."""

    path: Path
    references: tuple[str, ...]
    size: int
    sha256: str


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take them all."""
        ...


Pour = Callable[[Sink], None]


@dataclass(frozen=True, slots=True)
class _Blob:
    """Bytes that are made when they are needed, and known by digest and size before."""

    digest: str
    size: int
    pour: Pour

    def descriptor(self, media: str) -> dict[str, object]:
        return {"mediaType": media, "digest": f"sha256:{self.digest}", "size": self.size}


class _Counting:
    """Hash and size of what is written; passed on to another sink where there is one."""

    def __init__(self, onward: Sink | None = None) -> None:
        self._hash = hashlib.sha256()
        self._onward = onward
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        if self._onward is not None:
            self._onward.write(data)
        return len(data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class _Layer:
    """`content` is the digest of the tree as a plain tar, which the config has; `blob` is what the archive holds."""

    content: str
    blob: _Blob
    media: str


def write(images: Sequence[Image], target: Path, arch: str, *, compress: bool = True) -> Archive:
    """Write one archive of images for an architecture (`amd64`); `target` is replaced only by a whole one.

    Raises Refused when there is no zstd, Failed when it fails or when a file changes while it is read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        work = Path(folder)
        layers = _layers(images, work if compress else None)
        blobs: dict[str, _Blob] = {}
        manifests = [
            _manifest(image, [layers[id(tree)] for tree in image.layers], arch, blobs) for image in images
        ]
        index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
        made = work / target.name
        with made.open("wb", buffering=_CHUNK) as file:
            counting = _Counting(file)
            _archive(index, blobs, counting)
        made.chmod(0o644)
        made.replace(target)
    return Archive(target, tuple(image.reference for image in images), counting.size, counting.digest)


def _layers(images: Sequence[Image], work: Path | None) -> dict[int, _Layer]:
    """Each tree once, by its id: images share trees by being given the same one."""
    trees = {id(tree): tree for image in images for tree in image.layers}
    if work is None:
        return {number: _plain(tree) for number, tree in trees.items()}
    tool = check_tool()
    return {
        number: _compressed(tree, tool, work / f"{place}.zst")
        for place, (number, tree) in enumerate(trees.items())
    }


def check_tool() -> str:
    """The zstd on PATH; raises Refused, with what installs it, when there is none."""
    tool = shutil.which("zstd")
    if tool is None:
        raise Refused("there is no zstd", why="it compresses the layers of images", next=INSTALL)
    return tool


def _manifest(image: Image, layers: list[_Layer], arch: str, blobs: dict[str, _Blob]) -> dict[str, object]:
    """A manifest's descriptor in the index; its blobs are added to the archive's."""
    config = _bytes(_json(_config(image, layers, arch)))
    manifest = _bytes(
        _json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config.descriptor(CONFIG),
                "layers": [layer.blob.descriptor(layer.media) for layer in layers],
            }
        )
    )
    blobs.update({blob.digest: blob for blob in (*(layer.blob for layer in layers), config, manifest)})
    tag = image.reference.rpartition(":")[2]
    return manifest.descriptor(MANIFEST) | {
        "platform": {"architecture": arch, "os": "linux"},
        "annotations": {NAME: image.reference, REF: tag},
    }


def _config(image: Image, layers: list[_Layer], arch: str) -> dict[str, object]:
    settings: dict[str, object] = {"Env": [SEARCH_PATH], "WorkingDir": "/"}
    if image.entrypoint:
        settings["Entrypoint"] = list(image.entrypoint)
    if image.user:
        settings["User"] = image.user
    return {
        "created": EPOCH,
        "architecture": arch,
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.content}" for layer in layers]},
        "history": [{"created": EPOCH, "created_by": "flatyard"} for _ in layers],
    }


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _bytes(content: bytes) -> _Blob:
    return _Blob(
        hashlib.sha256(content).hexdigest(), len(content), lambda sink: _discard(sink.write(content))
    )


def _discard(result: object) -> None:
    """A sink's answer says nothing."""


# ---- a layer


def _plain(tree: Contents) -> _Layer:
    """Read once for its hash; read again, from the page cache, when it is written."""
    counting = _Counting()
    _pour_tree(tree, counting)
    blob = _Blob(counting.digest, counting.size, lambda sink: _pour_tree(tree, sink))
    return _Layer(counting.digest, blob, LAYER)


def _compressed(tree: Contents, tool: str, file: Path) -> _Layer:
    """Written beside the archive first, because its digest is its name. zstd's bytes do not depend on the cores."""
    command = [tool, "-q", "-c", f"-{LEVEL}", "-T0"]
    with file.open("wb") as out, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out) as process:
        assert process.stdin is not None
        counting = _Counting(process.stdin)
        try:
            # an early end of zstd shows in its exit code
            with contextlib.suppress(BrokenPipeError), process.stdin:
                _pour_tree(tree, counting)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise Failed(
            f"zstd ended with {process.returncode}", next="make room where the archives go, and run it again"
        )
    with file.open("rb") as made:
        digest = hashlib.file_digest(made, "sha256").hexdigest()
    return _Layer(
        counting.digest, _Blob(digest, file.stat().st_size, lambda sink: _pour_file(file, sink)), LAYER_ZSTD
    )


def _pour_file(path: Path, sink: Sink) -> None:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            sink.write(chunk)


_CAPABILITY = "SCHILY.xattr.security.capability"
"""How layers carry a file's capabilities (OCI image specification, \"File Attributes\")."""


def _pour_tree(tree: Contents, sink: Sink) -> None:
    for path, entry in tree.entries.items():
        _pour_entry(path, entry, sink)
    sink.write(bytes(2 * tarfile.BLOCKSIZE))


def _pour_entry(path: str, entry: Entry, sink: Sink) -> None:
    header = tarfile.TarInfo(path)
    match entry:
        case Folder(mode):
            header.type, header.mode = tarfile.DIRTYPE, mode
            _head(header, sink)
        case Link(target):
            header.type, header.linkname, header.mode = tarfile.SYMTYPE, target, 0o777
            _head(header, sink)
        case Text(content, mode):
            _file(header, len(content), mode, io.BytesIO(content), sink)
        case Copy(source, size, mode, capabilities):
            if capabilities:
                header.pax_headers = {_CAPABILITY: _file_capabilities(capabilities)}
            with source.open("rb", buffering=0) as file:
                _file(header, size, mode, file, sink)


def _file(header: tarfile.TarInfo, size: int, mode: int, content: IO[bytes], sink: Sink) -> None:
    header.size, header.mode = size, mode
    _head(header, sink)
    rest = size
    while rest:
        chunk = content.read(min(_CHUNK, rest))
        if not chunk:
            raise Failed(f"{header.name} became shorter while it was read", next="run it again")
        sink.write(chunk)
        rest -= len(chunk)
    sink.write(bytes(-size % tarfile.BLOCKSIZE))


def _file_capabilities(granted: int) -> str:
    """`vfs_cap_data` of linux/capability.h, revision 2: permitted and effective at once, nothing inheritable."""
    low, high = granted & 0xFFFFFFFF, granted >> 32
    return struct.pack("<5I", 0x02000001, low, 0, high, 0).decode("latin-1")


def _head(header: tarfile.TarInfo, sink: Sink) -> None:
    if header.pax_headers:
        sink.write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
    else:
        sink.write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))


# ---- the archive


def _archive(index: bytes, blobs: Mapping[str, _Blob], sink: Sink) -> None:
    """The layout file first, then the index, then the blobs by digest: readers of a stream know early what comes."""
    layout = _bytes(_json({"imageLayoutVersion": "1.0.0"}))
    for name in ("blobs", "blobs/sha256"):
        _pour_entry(name, Folder(), sink)
    members = [("oci-layout", layout), ("index.json", _bytes(index))]
    members += [(f"blobs/sha256/{digest}", blobs[digest]) for digest in sorted(blobs)]
    for name, blob in members:
        _member(name, blob, sink)
    sink.write(bytes(2 * tarfile.BLOCKSIZE))


def _member(name: str, blob: _Blob, sink: Sink) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode = blob.size, 0o644
    _head(header, sink)
    poured = _Counting(sink)
    blob.pour(poured)
    if poured.digest != blob.digest:
        raise Failed("a file changed while its image was written", next="run it again")
    sink.write(bytes(-blob.size % tarfile.BLOCKSIZE))
