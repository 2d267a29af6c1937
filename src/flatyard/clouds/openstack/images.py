"""Which images the project can boot: those with Flatcar's properties, and those that are named after it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openstack.exceptions import DuplicateResource
from openstack.image.v2.image import Image as GlanceImage

from flatyard.base.errors import Refused
from flatyard.clouds.cloud import Image, ImageQuery
from flatyard.clouds.openstack.answers import if_any
from flatyard.clouds.openstack.client import Client
from flatyard.flatcar.releases import channel_of, version_key
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meant import is_placeholder

CHANNEL, VERSION, KUBERNETES = "flatcar_channel", "os_version", "kubernetes_version"
"""Properties that an import sets, beside os_distro and architecture."""
_VERSION = re.compile(r"(?<![0-9])([0-9]{4})[.-]([0-9]+)[.-]([0-9]+)(?![0-9])")
_KUBERNETES = re.compile(r"v1\.[0-9]+\.[0-9]+")
_ARCH: Mapping[str, str] = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Known:
    """One of Glance's images, as far as it is Flatcar's."""

    image: Image
    channel: str


async def images(client: Client, query: ImageQuery) -> tuple[Image, ...]:
    """The image that the machine spec names, or every one that the query fits, the newest first."""
    machine = query.machine
    named = machine.image if isinstance(machine, OpenstackMachine) else ""
    if named and not is_placeholder(named):
        found = await client.read(f"looking for image {named}", lambda: _by_name(client, named))
        return (_named(found),) if found is not None else ()
    fitting = [known.image for known in await flatcar(client) if _fits(known, query)]
    return tuple(sorted(fitting, key=lambda i: (*version_key(i.version), i.reference), reverse=True))


def _by_name(client: Client, named: str) -> GlanceImage | None:
    """An active image by name or id. The SDK's own search warns of itself. Raises DuplicateResource."""
    found: list[object] = [*client.sdk.image.images(name=named)]
    if not found:
        found = [if_any(lambda: client.sdk.image.get_image(named))]
    usable = [image for image in found if isinstance(image, GlanceImage) and image.status == "active"]
    if len(usable) > 1:
        raise DuplicateResource(f"{len(usable)} images are called {named}: give the id of one")
    return usable[0] if usable else None


async def flatcar(client: Client) -> list[Known]:
    """Every active image of Flatcar that the project sees."""
    found = await client.read("listing images", lambda: list(client.sdk.image.images(status="active")))
    known = [read(image) for image in found if isinstance(image, GlanceImage)]
    return [one for one in known if one is not None]


def read(found: GlanceImage) -> Known | None:
    """By its properties, else by its name (`FlatcarContainerLinux-3815-2-2`); None when it is no Flatcar."""
    name, properties = str(found.name or ""), found.properties or {}
    distro = str(found.os_distro or "")
    if distro != "flatcar" and not name.lower().startswith("flatcar"):
        return None
    match = _VERSION.search(str(found.os_version or "")) or _VERSION.search(name)
    if match is None:
        return None
    version = ".".join(match.groups())
    channel = str(properties.get(CHANNEL) or "")
    if not channel:
        try:
            channel = channel_of(version)
        except Refused:
            return None
    baked = _KUBERNETES.search(str(properties.get(KUBERNETES) or "")) or _KUBERNETES.search(name)
    return Known(
        Image(str(found.id), name, version, _arch(found, name), kubernetes=baked[0] if baked else None),
        channel,
    )


def _arch(found: GlanceImage, name: str) -> str:
    said = str(found.architecture or "")
    return _ARCH.get(said) or ("arm64" if "arm64" in name or "aarch64" in name else "amd64")


def _named(found: GlanceImage) -> Image:
    known = read(found)
    if known is not None:
        return known.image
    name = str(found.name or "")
    return Image(str(found.id), name, str(found.os_version or ""), _arch(found, name))


def _fits(known: Known, query: ImageQuery) -> bool:
    if known.image.arch != query.arch or known.image.kubernetes != query.kubernetes:
        return False
    return known.image.version == query.version if query.version else known.channel == query.channel


def newest(found: Iterable[Known]) -> list[str]:
    """What there is, in words, for messages."""
    by = {(k.channel, k.image.version, k.image.arch) for k in found}
    return [f"{channel} {version} {arch}" for channel, version, arch in sorted(by, reverse=True)]
