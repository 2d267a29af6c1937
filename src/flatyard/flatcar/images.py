"""Where Flatcar's images are on each cloud, as data, and which one to take of those that a region really has.

Sources: Flatcar's pages on running on EC2, Azure, Google Compute Engine, OpenStack and VMware; the lookups of
Cluster API's providers. The newest release reaches a marketplace late, so a channel is resolved over what
is there, never over what was announced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flatyard.base.errors import Refused
from flatyard.flatcar.releases import CHANNELS, channel_of, newest_first

_DOWNLOAD = "https://{channel}.release.flatcar-linux.net/{arch}-usr/{version}"


@dataclass(frozen=True, slots=True)
class ImageRule:
    """How one cloud's images are found. Texts may hold `{channel}`, `{version}`, `{dashed}` and `{arch}`.

    `owner`: account, publisher or project that offers them; empty where the user uploads them. `name`: the
    pattern of an image's name. `offers`: Azure's offer by architecture; `skus`: Azure's SKU by generation.
    `family`: what always points to the channel's newest. `download`: what to upload where there is no offer.
    """

    owner: str = ""
    name: str = ""
    description: str = ""
    offers: Mapping[str, str] = field(default_factory=dict)
    skus: Mapping[str, str] = field(default_factory=dict)
    family: str = ""
    download: str = ""
    arches: tuple[str, ...] = ("amd64", "arm64")


IMAGE_RULES: Mapping[str, ImageRule] = {
    "aws": ImageRule(
        owner="075585003325",
        name="Flatcar-{channel}-{version}*-hvm",
        description="Flatcar Container Linux {channel} {version}*",
    ),
    "azure": ImageRule(
        owner="kinvolk",
        offers={"amd64": "flatcar-container-linux-corevm-amd64", "arm64": "flatcar-container-linux-corevm"},
        skus={"gen1": "{channel}", "gen2": "{channel}-gen2", "arm64": "{channel}"},
    ),
    "gcp": ImageRule(
        owner="kinvolk-public",
        name="flatcar-{channel}-{dashed}",
        family="flatcar-{channel}",
        arches=("amd64",),
    ),
    "openstack": ImageRule(
        name="flatcar-{channel}-{version}", download=f"{_DOWNLOAD}/flatcar_production_openstack_image.img.gz"
    ),
    "vsphere": ImageRule(
        name="flatcar-{channel}-{version}",
        download=f"{_DOWNLOAD}/flatcar_production_vmware_ova.ova",
        arches=("amd64",),
    ),
}
"""By the cloud's name in a cluster file. `flatcar-container-linux` (Azure, with a plan) is the retired offer."""

GALLERY = "flatcar4capi-742ef0cb-dcaa-4ecb-9cb0-bfd2e43dccc0"
"""Azure community gallery with Kubernetes baked in (flavor image); for testing only, by its own words."""
GALLERY_NAME = "flatcar-{channel}-{arch}-capi-{kubernetes}"


def resolve(
    available: Iterable[str], *, channel: str = "stable", version: str | None = None, where: str = ""
) -> str:
    """The version to use out of those that a region has: the wanted one, or the channel's newest.

    Raises Refused, naming what there is, when nothing fits. `where` names the region in the message.
    """
    if channel not in CHANNELS:
        raise Refused(f"{channel!r} is not a Flatcar channel", next=f"choose one of {', '.join(CHANNELS)}")
    there = newest_first(available)
    if version is not None:
        if version in there:
            return version
        raise _missing(f"Flatcar {version}", there, where)
    for candidate in there:
        if channel_of(candidate) == channel:
            return candidate
    raise _missing(f"an image of Flatcar's channel {channel}", there, where)


def _missing(wanted: str, there: tuple[str, ...], where: str) -> Refused:
    has = ", ".join(there[:6]) or "none at all"
    return Refused(
        f"{wanted} is not there{f' in {where}' if where else ''}",
        why=f"what is there: {has}",
        next="choose one of these with spec.flatcar.version, or another channel or region",
    )
