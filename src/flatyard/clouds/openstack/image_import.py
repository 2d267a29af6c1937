"""Flatcar's OpenStack image into the project: downloaded, its signature checked, uploaded with the properties it needs.

Each step goes on where it stopped: what was downloaded stays in the cache, and an image that is there is taken. The
bytes that Glance got are compared by their hash with what was sent.

Sources: Flatcar's page on OpenStack (the image and its signature), Glance's common image properties.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2
from openstack.exceptions import raise_from_response
from openstack.image.v2.image import Image as GlanceImage

from flatyard.base.errors import Failed
from flatyard.clouds.cloud import Image, Transient
from flatyard.clouds.openstack import openpgp
from flatyard.clouds.openstack.answers import missing_is_fine
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.images import CHANNEL, Known, flatcar, read
from flatyard.flatcar.images import IMAGE_RULES
from flatyard.sysext.cache import cache_folder

FLATCAR_KEY = Path(__file__).with_name("flatcar.asc").read_text()
FLATCAR_FINGERPRINT = "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A"
"""Flatcar's image signing key, from its own installer; with the one subkey that signs until March 2027."""
ATTEMPTS, PAUSE = 5, 2.0
_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}
_QCOW2, _GZIP = b"QFI\xfb", b"\x1f\x8b"
_GIB, _MIB = 1 << 30, 1 << 20
_STEP = 64 * _MIB
"""Bytes between two lines of progress."""
_CHUNK = 1 << 20
_PARTIAL, _OK, _TOO_FAR = 206, 200, 416
_Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """Which image, from where, signed by whom. `url` may be of a `.gz`; its signature is at `url` + `.sig`."""

    channel: str
    version: str
    arch: str = "amd64"
    url: str = ""
    key: str = FLATCAR_KEY

    @property
    def address(self) -> str:
        """Where it is downloaded from."""
        form = IMAGE_RULES["openstack"].download
        return self.url or form.format(channel=self.channel, version=self.version, arch=self.arch)

    @property
    def name(self) -> str:
        return f"flatcar-{self.channel}-{self.version}-{self.arch}"


async def import_image(client: Client, source: Source, tell: _Tell, *, folder: Path | None = None) -> Image:
    """The image in the project, uploaded where it is not there yet. `folder` keeps the download.

    Raises Failed when the download or its signature is wrong, CloudError when the cloud refuses.
    """
    there = next((known for known in await flatcar(client) if _is(known, source)), None)
    if there is not None:
        tell(f"{there.image.name} is there already: {there.image.reference}")
        return there.image
    place = folder or cache_folder() / "images"
    place.mkdir(parents=True, exist_ok=True)
    packed = place / f"{source.name}.download"
    await _download(source.address, packed, tell)
    await _check(source, packed, tell)
    image = place / f"{source.name}.img"
    await asyncio.to_thread(_unpack, packed, image)
    try:
        made = await _upload(client, source, image, tell)
    finally:
        image.unlink(missing_ok=True)
    packed.unlink()
    return made


def _is(known: Known, source: Source) -> bool:
    image = known.image
    wanted = (source.channel, source.version, source.arch)
    return (known.channel, image.version, image.arch) == wanted and image.kubernetes is None


# ---- download


async def _download(url: str, target: Path, tell: _Tell) -> None:
    """Goes on where an earlier call stopped; a whole file beside its mark is not asked for again."""
    why = ""
    for number in range(ATTEMPTS):
        if number:
            tell(f"{url}: {why}; trying again")
            await asyncio.sleep(PAUSE)
        try:
            async with httpx2.AsyncClient(timeout=30, follow_redirects=True) as http:
                await _append(http, url, target, tell)
            return
        except httpx2.HTTPError as problem:
            why = str(problem) or type(problem).__name__
    raise Failed(f"{url} cannot be fetched", why=f"{why}, {ATTEMPTS} times", next="run it again: it goes on")


async def _append(http: httpx2.AsyncClient, url: str, target: Path, tell: _Tell) -> None:
    have = target.stat().st_size if target.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    async with http.stream("GET", url, headers=headers) as answer:
        if answer.status_code == _TOO_FAR and have:
            return
        if answer.status_code >= 500:
            raise httpx2.ReadError(f"{answer.status_code} {answer.reason_phrase}")
        if answer.status_code not in (_OK, _PARTIAL):
            raise Failed(f"{url} cannot be fetched", why=f"{answer.status_code} {answer.reason_phrase}")
        have = have if answer.status_code == _PARTIAL else 0
        size = have + int(answer.headers.get("content-length", 0))
        progress = Progress(f"downloading {target.stem}", size, tell, have)
        with target.open("ab" if have else "wb") as file:
            async for chunk in answer.aiter_raw():
                file.write(chunk)
                progress.add(len(chunk))
    if target.stat().st_size < size:
        raise httpx2.ReadError(f"cut short after {target.stat().st_size} of {size} bytes")


async def _check(source: Source, packed: Path, tell: _Tell) -> None:
    """The signature over what was downloaded. A wrong file is not kept."""
    url = f"{source.address}.sig"
    beside = packed.with_suffix(".sig")
    beside.unlink(missing_ok=True)
    await _download(url, beside, lambda _: None)
    fingerprint = FLATCAR_FINGERPRINT if source.key == FLATCAR_KEY else ""

    def verify() -> str:
        with packed.open("rb") as file:
            return openpgp.verify(source.address, file, beside.read_bytes(), source.key, fingerprint)

    try:
        signer = await asyncio.to_thread(verify)
    except openpgp.WrongSignature:
        packed.unlink()
        raise
    finally:
        beside.unlink(missing_ok=True)
    tell(f"{source.name} is signed by {signer}")


def _unpack(packed: Path, image: Path) -> None:
    with packed.open("rb") as file, image.open("wb") as out:
        is_gzip = file.read(2) == _GZIP
        file.seek(0)
        if is_gzip:
            with gzip.open(file) as inside:
                shutil.copyfileobj(inside, out, _CHUNK)
        else:
            shutil.copyfileobj(file, out, _CHUNK)


# ---- upload


async def _upload(client: Client, source: Source, image: Path, tell: _Tell) -> Image:
    kind, least, sha512 = await asyncio.to_thread(_facts, image)
    await _clear(client, source)
    words = {
        "name": source.name,
        "disk_format": kind,
        "container_format": "bare",
        "visibility": "private",
        "min_disk": least,
        **properties(source),
    }

    def create() -> str:
        answer = client.sdk.image.post("/images", json=words)
        raise_from_response(answer)
        return str(answer.json()["id"])

    key = await client.write(f"creating image {source.name}", create)
    size = image.stat().st_size

    def send() -> None:
        with image.open("rb") as file:
            reader = Reader(file, Progress(f"uploading {source.name}", size, tell))
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            answer = client.sdk.image.put(f"/images/{key}/file", data=reader, headers=headers)
            raise_from_response(answer)

    await client.write(f"uploading image {source.name}", send)
    found = await _active(client, source, key)
    if found.hash_algo == "sha512" and found.hash_value != sha512:
        await client.read("deleting it", lambda: client.sdk.image.delete_image(key))
        raise Failed(f"image {source.name} arrived damaged", why="its sha512 is another", next="run it again")
    known = read(found)
    assert known is not None, "it has the properties that it was given"
    tell(f"{source.name} is uploaded: {key}")
    return known.image


def properties(source: Source) -> dict[str, str]:
    """What Nova and this program need to know of it: virtio disks (/dev/vda), UEFI on arm64, what it is."""
    words = {
        "os_distro": "flatcar",
        "os_version": source.version,
        "os_type": "linux",
        "architecture": _ARCH[source.arch],
        CHANNEL: source.channel,
        "hw_disk_bus": "virtio",
        "hw_vif_model": "virtio",
        "hw_rng_model": "virtio",
    }
    return words | ({"hw_firmware_type": "uefi", "hw_machine_type": "virt"} if source.arch == "arm64" else {})


async def _clear(client: Client, source: Source) -> None:
    """What an upload that was cut off left: an image of that name without bytes."""
    what = f"looking for what is left of {source.name}"
    listed = await client.read(what, lambda: list(client.sdk.image.images(name=source.name, status="queued")))
    for image in listed:
        key = str(image.id)
        with missing_is_fine():
            await client.read(what, _deletion(client, key))


def _deletion(client: Client, key: str) -> Callable[[], object]:
    return lambda: client.sdk.image.delete_image(key, ignore_missing=False)


async def _active(client: Client, source: Source, key: str) -> GlanceImage:
    for _ in range(120):
        found = await client.read(f"reading image {source.name}", lambda: client.sdk.image.get_image(key))
        assert isinstance(found, GlanceImage)
        if found.status == "active":
            return found
        if found.status in ("killed", "deleted"):
            raise Failed(f"image {source.name} is {found.status}", next="run it again")
        await asyncio.sleep(1)
    raise Transient(f"image {source.name} does not become active", code="saving")


def _facts(image: Path) -> tuple[str, int, str]:
    """Format, the GiB of disk that it wants at least, and its sha512."""
    with image.open("rb") as file:
        head = file.read(32)
        file.seek(0)
        sha512 = hashlib.file_digest(file, "sha512").hexdigest()
    if head[:4] != _QCOW2:
        return "raw", -(-image.stat().st_size // _GIB), sha512
    return "qcow2", min(64, -(-int.from_bytes(head[24:32]) // _GIB)), sha512


class Progress:
    """Lines such as `downloading flatcar-…: 128 of 450 MiB`."""

    def __init__(self, what: str, size: int, tell: _Tell, done: int = 0) -> None:
        self._what, self._size, self._tell = what, size, tell
        self._done, self._told = done, done

    def add(self, count: int) -> None:
        self._done += count
        if self._done - self._told >= _STEP or self._done == self._size:
            self._told = self._done
            self._tell(f"{self._what}: {self._done // _MIB} of {self._size // _MIB} MiB")


class Reader:
    """A file that tells how far it was read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file, self._progress = file, progress

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._progress.add(len(chunk))
        return chunk
