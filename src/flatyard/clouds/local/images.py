"""Which image a machine boots: a tree that the user names, or the stand-in."""

from __future__ import annotations

from pathlib import Path

from flatyard.base.errors import Failed
from flatyard.clouds.cloud import Image, ImageQuery, Rejected
from flatyard.clouds.local import rootfs, stand_in
from flatyard.clouds.local.settings import LocalSettings, architecture

STAND_IN = f"stand-in:{stand_in.VERSION}"


def images(settings: LocalSettings, query: ImageQuery) -> tuple[Image, ...]:
    """The user's tree, or the stand-in where its version and this machine's architecture are what is asked for.

    It stands in for every channel, since no channel can be had in parts.
    """
    arch = architecture()
    if query.kubernetes is not None or query.arch != arch:
        return ()
    if settings.image:
        path = Path(settings.image).resolve()
        return (Image(str(path), f"root tree {path}", _version(path), arch),) if rootfs.is_tree(path) else ()
    if query.version not in (None, stand_in.VERSION):
        return ()
    return (Image(STAND_IN, stand_in.TITLE, stand_in.VERSION, arch),)


def reference_of(settings: LocalSettings) -> str:
    """The reference of the one image that this machine has."""
    return str(Path(settings.image).resolve()) if settings.image else STAND_IN


def _version(tree: Path) -> str:
    try:
        lines = (tree / "usr/lib/os-release").read_text().splitlines()
    except FileNotFoundError:
        return ""
    found = [line.partition("=")[2].strip('"') for line in lines if line.startswith("VERSION_ID=")]
    return found[0] if found else ""


async def tree_of(settings: LocalSettings, reference: str) -> Path:
    """The root tree behind an image's reference, made first where it is the stand-in."""
    if reference == STAND_IN:
        try:
            return await stand_in.ensure(settings.cache, settings.tell)
        except OSError as error:
            raise Failed(f"{settings.cache} cannot hold the stand-in", why=str(error)) from None
    path = Path(reference)
    if not path.is_absolute() or not rootfs.is_tree(path):
        raise Rejected(
            f"{reference} is no image of this machine", next=f"use {STAND_IN}, or a directory that holds usr/"
        )
    return path
