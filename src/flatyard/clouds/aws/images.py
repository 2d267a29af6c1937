"""Flatcar's AMIs that the region really has: by their publisher, channel or version, and architecture."""

from __future__ import annotations

import re

from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.naming import tags_of
from flatyard.clouds.cloud import Image, ImageQuery, Rejected
from flatyard.model.machines import AwsMachine
from flatyard.model.meant import is_placeholder

_NAME = re.compile(r"Flatcar-(stable|beta|alpha|lts)-(\d+\.\d+\.\d+)(?:-arm64)?-hvm")
_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_CHANNEL = re.compile(r"flatcar-(stable|beta|alpha|lts)", re.IGNORECASE)
_PUBLISHED = "aws"
"""The partition in which Flatcar publishes; in others, such as China's, the account has copies of its own."""
BAKED, RELEASE = "kubernetes_version", "distribution_version"
"""Tags of image-builder's AMIs (images/capi/packer/ami/packer.json): `v1.34.3`; Flatcar's release if it was given."""
_ARCHES = {"amd64": "x86_64", "arm64": "arm64"}
_NO_IMAGE = ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable")
_NO_TYPE = ("InvalidInstanceType", "InvalidInstanceType.NotFound", "InvalidParameterValue")


async def images(account: Account, query: ImageQuery, arch: str = "") -> tuple[Image, ...]:
    """Newest first; the image that the machine spec names alone, where it names one; empty when there is none.

    `arch`: the machine's, where it is known already.
    """
    machine = query.machine
    if not arch:
        arch = (
            await arch_of(account, machine.size, query.arch)
            if isinstance(machine, AwsMachine)
            else query.arch
        )
    named = machine.image if isinstance(machine, AwsMachine) else ""
    if named and not is_placeholder(named):
        row = await image(account, named)
        fits = row and row["Architecture"] == _ARCHES[arch] and not other_baked(row, query.kubernetes)
        return (_image(row, query),) if row and fits else ()
    if query.kubernetes:
        rows = [row for row in await own(account, arch) if _holds(row, query)]
        return tuple(_image(row, query) for row in rows)
    rows = await account.pages(
        f"listing Flatcar's images in {account.region}",
        "ec2",
        "describe_images",
        "Images",
        Owners=[FACTS.images.publisher if account.partition == _PUBLISHED else "self"],
        Filters=_filters(
            arch, f"Flatcar-{'*' if query.version else query.channel}-{query.version or '*'}*hvm"
        ),
    )
    return tuple(
        sorted((_image(row, query) for row in rows if _NAME.fullmatch(row["Name"])), key=_newest_first)
    )


async def image(account: Account, reference: str) -> Answer | None:
    """One image by its id, None if the region has none such."""
    try:
        answer = await account.read(
            f"looking for image {reference}", "ec2", "describe_images", ImageIds=[reference]
        )
    except Rejected as no:
        if no.code in _NO_IMAGE:
            return None
        raise
    return next(iter(answer["Images"]), None)


async def arch_of(account: Account, size: str, otherwise: str = "amd64") -> str:
    """Architecture of an instance type, in Kubernetes' words; `otherwise` for a type that there is not."""
    row = await size_of(account, size)
    return arch_in(row) if row else otherwise


def arch_in(row: Answer) -> str:
    """Architecture of an instance type as EC2 describes it, in Kubernetes' words."""
    return "arm64" if "arm64" in row["ProcessorInfo"]["SupportedArchitectures"] else "amd64"


async def size_of(account: Account, size: str) -> Answer | None:
    """An instance type as the region has it, None if it has none such."""
    try:
        answer = await account.read(
            f"looking for instance type {size}", "ec2", "describe_instance_types", InstanceTypes=[size]
        )
    except Rejected as no:
        if no.code in _NO_TYPE:
            return None
        raise
    return next(iter(answer["InstanceTypes"]), None)


async def own(account: Account, arch: str) -> list[Answer]:
    """The account's own Flatcar images, newest first: such as image-builder's `capa-ami-flatcar-stable-v1.34.3-…`."""
    rows = await account.pages(
        "listing the account's own images",
        "ec2",
        "describe_images",
        "Images",
        Owners=["self"],
        Filters=_filters(arch, "*flatcar*", "*Flatcar*"),
    )
    return sorted(rows, key=_age, reverse=True)


def _age(row: Answer) -> tuple[tuple[int, ...], str, str]:
    """By Flatcar's release, then by when it was made, in whole seconds; image-builder's names end in a finer stamp."""
    release = _release(row)
    numbers = tuple(int(part) for part in release.split(".")) if release else ()
    return numbers, str(row.get("CreationDate", "")), str(row.get("Name", ""))


def baked(row: Answer) -> str:
    """The Kubernetes version in an image, as its tag says it; empty when it has none."""
    version = str(tags_of(row).get(BAKED, ""))
    return version if version.startswith("v") or not version else f"v{version}"


def _holds(row: Answer, query: ImageQuery) -> bool:
    """Whether one of the account's own images is the wanted one: by its tags, else by what its name says."""
    wanted, name = query.kubernetes or "", str(row.get("Name", ""))
    channel, release = _CHANNEL.search(name), _release(row)
    if query.version and release and release != query.version:
        return False
    if not query.version and channel and channel[1] != query.channel:
        return False
    # 1.34.3 is neither in 1.34.30 nor in 11.34.3
    named = re.search(rf"(?<![\d.]){re.escape(wanted.removeprefix('v'))}(?![\d.])", name)
    return baked(row) == wanted if baked(row) else named is not None


def other_baked(row: Answer, wanted: str | None) -> str:
    """The Kubernetes version in an image, where it is not the wanted one; nothing of an image that does not tell."""
    found = baked(row)
    return found if wanted and found != wanted else ""


def _release(row: Answer) -> str:
    """Flatcar's release, from the name of its publisher's images or from image-builder's tag; empty when unknown."""
    parsed = _NAME.fullmatch(str(row.get("Name", "")))
    told = tags_of(row).get(RELEASE, "")
    return parsed[2] if parsed else told if _RELEASE.fullmatch(told) else ""


def _filters(arch: str, *names: str) -> list[dict[str, object]]:
    wanted = {"architecture": (_ARCHES[arch],), "state": ("available",), "name": names}
    return [{"Name": key, "Values": list(values)} for key, values in wanted.items()]


def _image(row: Answer, query: ImageQuery) -> Image:
    return Image(
        reference=row["ImageId"],
        name=str(row.get("Name", "")),
        version=_release(row) or query.version or "",
        arch="arm64" if row["Architecture"] == "arm64" else "amd64",
        kubernetes=query.kubernetes,
    )


def _newest_first(found: Image) -> tuple[tuple[int, ...], str]:
    return tuple(-int(part) for part in found.version.split(".")), found.reference
