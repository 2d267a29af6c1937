"""Flatcar images that a location really has: the marketplace's, and those with Kubernetes baked in of the community
gallery.

Generation and architecture follow the machine's size. A version that is announced and not there yet is not listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from azure.core.exceptions import HttpResponseError

from flatyard.base.errors import Refused
from flatyard.clouds.azure import sizes
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import code_of
from flatyard.clouds.azure.facts import LTS_SKUS, OFFERS, PUBLISHER
from flatyard.clouds.azure.reading import Shown, items, last, text
from flatyard.clouds.cloud import Image, ImageQuery
from flatyard.flatcar.images import GALLERY, GALLERY_NAME
from flatyard.flatcar.releases import is_supported, version_key
from flatyard.model.machines import AzureMachine
from flatyard.model.machines.azure import ImageReference
from flatyard.model.meant import is_placeholder

_NONE = ("NotFound", "ArtifactNotFound", "ImageNotFound", "PlatformImageNotFound", "ResourceNotFound")
_BOTH = ("gen2", "gen1")
_URN_PARTS = 4


async def images(account: Account, query: ImageQuery) -> tuple[Image, ...]:
    """Newest first, and of one version the newer generation first; empty when there is none."""
    machine = query.machine if isinstance(query.machine, AzureMachine) else None
    arch, generations = await _fits(account, machine, query.arch)
    if machine is not None and machine.image_id.value and not is_placeholder(machine.image_id.value):
        return await _by_id(account, machine.image_id.value, arch)
    if query.kubernetes:
        return await _baked(account, query, query.kubernetes, arch)
    named = machine.image_reference if machine is not None else None
    if named is not None and named.offer and not is_placeholder(named.offer):
        return await _by_reference(account, named, query, arch)
    return await _offered(account, query, arch, generations)


async def _fits(account: Account, machine: AzureMachine | None, arch: str) -> tuple[str, tuple[str, ...]]:
    """Architecture and generations that the machine's size boots, the newer generation first."""
    found = await sizes.size(account, machine.size) if machine is not None else None
    if found is None:
        return arch, _BOTH
    wanted = machine.security_profile if machine is not None else None
    if wanted is not None and wanted.security_type == "TrustedLaunch":
        return found.arch, ("gen2",)
    return found.arch, tuple(g for g in _BOTH if g in found.generations)


# ---- the marketplace


async def _offered(
    account: Account, query: ImageQuery, arch: str, generations: tuple[str, ...]
) -> tuple[Image, ...]:
    for offer in OFFERS.get(arch, ()):
        skus = [sku for channel in _skus(query) for sku in _of_generations(channel, arch, generations)]
        listed = await asyncio.gather(*(_versions(account, PUBLISHER, offer, sku) for sku in skus))
        found = [
            _image(PUBLISHER, offer, sku, version, arch)
            for sku, versions in zip(skus, listed, strict=True)
            for version in versions
            if query.version in (None, version)
        ]
        if found:
            return _sorted(found)
    return ()


def _skus(query: ImageQuery) -> tuple[str, ...]:
    """A channel's SKU; the channels' SKUs where only a version is asked for."""
    if query.channel:
        return LTS_SKUS if query.channel == "lts" else (query.channel,)
    return ("stable", "beta", "alpha", *LTS_SKUS)


def _of_generations(sku: str, arch: str, generations: tuple[str, ...]) -> list[str]:
    if arch == "arm64":
        return [f"{sku}-gen2", sku]  # all of them are Gen2, whatever they are called
    return [f"{sku}-gen2" if generation == "gen2" else sku for generation in generations]


async def _versions(account: Account, publisher: str, offer: str, sku: str) -> list[str]:
    """The versions that the location has; empty where it does not have the offer or the SKU."""
    api, where = account.clients.compute.virtual_machine_images, account.place.location

    def call() -> list[str]:
        try:
            return [text(row, "name") for row in api.list(where, publisher, offer, sku)]
        except HttpResponseError as problem:
            if problem.status_code == 404 and code_of(problem) in _NONE:
                return []
            raise

    return await account.read(f"listing images {publisher}:{offer}:{sku} in {where}", call)


async def _by_reference(
    account: Account, named: ImageReference, query: ImageQuery, arch: str
) -> tuple[Image, ...]:
    """What an imageReference means: its own version, or with `latest` the newest there."""
    publisher, sku = named.publisher or PUBLISHER, named.sku or f"{query.channel or 'stable'}-gen2"
    exact = named.version if named.version not in ("", "latest") else query.version
    versions = await _versions(account, publisher, named.offer, sku)
    return _sorted(
        _image(publisher, named.offer, sku, version, arch) for version in versions if exact in (None, version)
    )


def _image(publisher: str, offer: str, sku: str, version: str, arch: str) -> Image:
    generation = "gen2" if sku.endswith("-gen2") or arch == "arm64" else "gen1"
    return Image(
        f"{publisher}:{offer}:{sku}:{version}", f"{offer} {sku} {version}", version, arch, generation
    )


# ---- galleries


async def _baked(account: Account, query: ImageQuery, kubernetes: str, arch: str) -> tuple[Image, ...]:
    """Images of Flatcar's community gallery, which are for testing by its own words."""
    name = GALLERY_NAME.format(channel=query.channel or "stable", arch=arch, kubernetes=kubernetes)
    found = await _gallery(account, GALLERY, name)
    return _sorted(
        Image(
            f"/CommunityGalleries/{GALLERY}/Images/{name}/Versions/{version}",
            f"{name} {version}",
            version,
            arch,
            "gen2",
            kubernetes,
        )
        for version in found
        if query.version in (None, version)
    )


async def _gallery(account: Account, gallery: str, name: str) -> list[str]:
    api, where = account.clients.compute.community_gallery_image_versions, account.place.location

    def call() -> list[str]:
        try:
            return [text(row, "name") for row in api.list(where, gallery, name)]
        except HttpResponseError as problem:
            if problem.status_code == 404:
                return []
            raise

    return await account.read(f"listing images {name} of {gallery} in {where}", call)


async def _by_id(account: Account, image_id: str, arch: str) -> tuple[Image, ...]:
    """An image of the user's own: taken as it is; of a community gallery, if it is there."""
    words = image_id.strip("/").split("/")
    if words[0].lower() == "communitygalleries" and len(words) >= _URN_PARTS:
        there = await _gallery(account, words[1], words[3])
        version = words[5] if len(words) > 5 else "latest"
        found = _sorted(
            Image(f"/{'/'.join(words[:4])}/Versions/{v}", f"{words[3]} {v}", v, arch, "gen2")
            for v in there
            if version in ("latest", v)
        )
        return tuple(replace(image, version=_flatcar(image.version)) for image in found)
    return (Image(image_id, last(image_id), _flatcar(last(image_id)), arch, ""),)


def _flatcar(version: str) -> str:
    """The release that a gallery's version is named after; empty where it counts by itself, as most galleries do."""
    return version if _is_version(version) and is_supported(version) else ""


async def controllers(account: Account, reference: str) -> tuple[str, ...]:
    """The disk controllers that an image of the marketplace or a community gallery says it boots from, `SCSI` and
    `NVMe`; empty where it says nothing.
    """
    shown = await _shown(account, reference)
    told = {text(one, "name"): text(one, "value") for one in items(shown, "properties", "features")}
    return sizes.controllers_in(told.get("DiskControllerTypes", ""))


async def disk_gb(account: Account, reference: str) -> int:
    """Of the system disk of an image of the marketplace; 0 where it is not told."""
    said = text(await _shown(account, reference), "properties", "osDiskImage", "sizeInGb")
    return int(said) if said.isdigit() else 0


async def _shown(account: Account, reference: str) -> Shown:
    """An image as the marketplace or a community gallery has it; empty for others."""
    where = account.place.location
    compute = account.clients.compute
    words = reference.strip("/").split("/")
    urn = reference.split(":")
    if words[0].lower() == "communitygalleries" and len(words) >= _URN_PARTS:
        look: Callable[[], Shown] = lambda: compute.community_gallery_images.get(where, words[1], words[3])  # noqa: E731
    elif len(urn) == _URN_PARTS:
        look = lambda: compute.virtual_machine_images.get(where, *urn)  # noqa: E731
    else:
        return {}
    return await account.read(f"looking at image {reference}", look)


def _is_version(version: str) -> bool:
    try:
        version_key(version)
    except Refused:
        return False
    return True


def _sorted(found: Iterable[Image]) -> tuple[Image, ...]:
    known = [image for image in found if _is_version(image.version)]
    return tuple(
        sorted(known, key=lambda image: (version_key(image.version), image.generation), reverse=True)
    )
