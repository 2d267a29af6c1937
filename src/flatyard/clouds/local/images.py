"""Which image a machine boots: a tree or a Flatcar disk image that the user names, or the stand-in.

An image's reference is `stand-in:VERSION`, the path of a tree, or `FILE@sha256:DIGEST` for a disk image, whose /usr
stays below the cache: a cluster's machines go on with the image that they were given when its file has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flatyard.base.errors import Failed
from flatyard.clouds.cloud import Image, ImageQuery, Rejected
from flatyard.clouds.local import disk_image, rootfs, stand_in
from flatyard.clouds.local.gpt import ImageError
from flatyard.clouds.local.os_release import Release, release_of
from flatyard.clouds.local.settings import LocalSettings, architecture

STAND_IN = f"stand-in:{stand_in.VERSION}"
_DIGEST = "@sha256:"
WHAT_IT_TAKES = (
    "a Flatcar disk image (flatcar_production_image.bin or .bin.bz2), or a directory that holds usr/ of one"
)


@dataclass(frozen=True, slots=True)
class Given:
    """The user's image: what it is, how machines refer to it, and its tree."""

    path: Path
    reference: str
    tree: Path
    release: Release

    @property
    def name(self) -> str:
        """Like `Flatcar 4593.2.5 of /srv/flatcar_production_image.bin`."""
        return f"{self.release.title or 'an OS without a name'} of {self.path}"


@dataclass(frozen=True, slots=True)
class MadeOf:
    """What machines are made of, in words, and whether that is a stand-in for Flatcar."""

    words: str
    stand_in: bool


def given(settings: LocalSettings) -> Given | None:
    """The user's image as far as it is known: None where none is named, or one that nobody has opened yet."""
    if not settings.image:
        return None
    path = Path(settings.image).resolve()
    if path.is_dir():
        release = release_of(path)
        return Given(path, str(path), path, release) if release and rootfs.is_tree(path) else None
    found = disk_image.kept(settings.cache, path)
    return Given(path, f"{path}{_DIGEST}{found.digest}", found.tree, found.release) if found else None


async def opened(settings: LocalSettings) -> Given | None:
    """The user's image, after what is in it was taken out: minutes for a packed one that was never seen.

    Raises ImageError, and OSError where there is no such file.
    """
    path = Path(settings.image).resolve()
    if settings.image and not path.is_dir():
        await disk_image.ensure(settings.cache, path, settings.tell)
    return given(settings)


def made_of(settings: LocalSettings) -> MadeOf:
    """What to call the machines wherever a result is shown."""
    if not settings.image:
        return MadeOf("containers of a stand-in for Flatcar", True)
    found = given(settings)
    return MadeOf(
        f"containers of {found.name if found else settings.image}",
        stand_in=found is not None and found.release.is_stand_in,
    )


def images(settings: LocalSettings, query: ImageQuery) -> tuple[Image, ...]:
    """The user's image, or the stand-in, where its version and this machine's architecture are what is asked for.

    It stands in for every channel, since no channel can be had in parts.
    """
    arch = architecture()
    if query.kubernetes is not None or query.arch != arch:
        return ()
    if settings.image:
        found = given(settings)
        if found is None or not _fits(found.release, query.version, arch):
            return ()
        return (Image(found.reference, found.name, found.release.version, arch),)
    if query.version not in (None, stand_in.VERSION):
        return ()
    return (Image(STAND_IN, stand_in.TITLE, stand_in.VERSION, arch),)


def _fits(release: Release, version: str | None, arch: str) -> bool:
    return release.arch in ("", arch) and version in (None, release.version)


def reference_of(settings: LocalSettings) -> str:
    """The reference of the one image that this machine has."""
    if not settings.image:
        return STAND_IN
    found = given(settings)
    return found.reference if found else str(Path(settings.image).resolve())


async def tree_of(settings: LocalSettings, reference: str) -> Path:
    """The root tree behind an image's reference, made first where it is not there yet. Raises Failed, Rejected."""
    if reference == STAND_IN:
        try:
            return await stand_in.ensure(settings.cache, settings.tell)
        except OSError as error:
            raise Failed(f"{settings.cache} cannot hold the stand-in", why=str(error)) from None
    name, _, digest = reference.partition(_DIGEST)
    path = Path(name)
    if not path.is_absolute() or (path.is_dir() and not rootfs.is_tree(path)):
        raise Rejected(f"{reference} is no image of this machine", next=f"use {STAND_IN}, or {WHAT_IT_TAKES}")
    return path if path.is_dir() else await _tree_of_disk(settings, path, digest)


async def _tree_of_disk(settings: LocalSettings, path: Path, digest: str) -> Path:
    kept = disk_image.by_digest(settings.cache, digest) if digest else None
    if kept:
        return kept.tree
    try:
        found = await disk_image.ensure(settings.cache, path, settings.tell)
    except ImageError as error:
        raise Rejected(f"{path}: {error}", next="download the image again") from None
    except OSError as error:
        raise Rejected(f"{path} cannot be used: {error}", next=f"name {WHAT_IT_TAKES}") from None
    if digest and found.digest != digest:
        raise Rejected(
            f"{path} is another image than the one that this cluster's machines are made of",
            why=f"that had sha256 {digest} in {disk_image.LABEL}, this one {found.digest}, {found.release.title}",
            next="put the former image back, or make a new cluster of this one",
        )
    return found.tree
