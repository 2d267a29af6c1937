"""Which images answer an ImageQuery on the simulated cloud: what the user named, or the channel's in the
region.
"""

from __future__ import annotations

import re
from dataclasses import replace

from flatyard.clouds.cloud import Image, ImageQuery
from flatyard.clouds.facts import Size
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.images import ImageFilter
from flatyard.clouds.sim.rows import ImageRow
from flatyard.model.machines import MachineSpec
from flatyard.model.meant import is_placeholder

_FAMILY = re.compile(r"(?:.*/)?family/flatcar-(stable|beta|alpha|lts)")
_CHANNELS = ("stable", "beta", "alpha", "lts")


async def images(provider: Provider, query: ImageQuery) -> tuple[Image, ...]:
    """What the region has for the query, newest first; architecture and generation follow the machine's
    size.
    """
    wanted = filter_of(provider, query)
    named = query.machine.image if query.machine else ""
    if named and not is_placeholder(named):
        meant = _meant(provider, named, wanted)
        if meant is None:
            row = await provider.named_image(named, wanted)
            return (_image(row),) if row else ()
        wanted = meant
    rows = await provider.list_images(wanted)
    if query.kubernetes:
        baked = [await provider.baked_image(row.id, query.kubernetes) for row in rows[:1]]
        rows = tuple(row for row in baked if row)
    return tuple(_image(row) for row in rows)


def filter_of(provider: Provider, query: ImageQuery) -> ImageFilter:
    """Channel or version, and what the machine's size can boot."""
    size = size_of(provider, query.machine)
    return ImageFilter(
        channel="" if query.version else query.channel,
        version=query.version or "",
        arch=size.arch if size else query.arch,
        generations=size.generations if size else (),
    )


def size_of(provider: Provider, machine: MachineSpec | None) -> Size | None:
    """The machine's size as far as the cloud lists it."""
    return provider.persona.facts.size(machine.size) if machine else None


def _meant(provider: Provider, named: str, wanted: ImageFilter) -> ImageFilter | None:
    """What a reference says that is not one image: Azure's publisher:offer:sku:version, GCP's families."""
    family = _FAMILY.fullmatch(named)
    if family:
        return replace(wanted, channel="" if wanted.version else family[1])
    parts = named.split(":")
    if provider.persona.name != "azure" or len(parts) != 4:
        return None
    sku, version = parts[2], parts[3]
    channel = next((channel for channel in _CHANNELS if sku.startswith(channel)), wanted.channel)
    generations = ("gen2",) if sku.endswith("-gen2") else ("gen1",)
    if wanted.arch == "arm64":
        generations = ("gen2",)
    exact = "" if version in ("", "latest") else version
    return replace(
        wanted,
        channel="" if exact or wanted.version else channel,
        version=exact or wanted.version,
        generations=generations,
    )


def _image(row: ImageRow) -> Image:
    return Image(row.id, row.name, row.version, row.arch, row.generation, row.kubernetes or None)
