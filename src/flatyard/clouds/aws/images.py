"""Flatcar's AMIs that the region really has: by their publisher, channel or version, and architecture."""

from __future__ import annotations

import re

from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.cloud import Image, ImageQuery, Rejected
from flatyard.model.machines import AwsMachine
from flatyard.model.meant import is_placeholder

_NAME = re.compile(r"Flatcar-(stable|beta|alpha|lts)-(\d+\.\d+\.\d+)(?:-arm64)?-hvm")
_ARCHES = {"amd64": "x86_64", "arm64": "arm64"}
_NO_IMAGE = ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable")
_NO_TYPE = ("InvalidInstanceType", "InvalidInstanceType.NotFound", "InvalidParameterValue")


async def images(account: Account, query: ImageQuery) -> tuple[Image, ...]:
    """Newest first; the image that the machine spec names alone, where it names one; empty when there is none."""
    machine = query.machine
    arch = await arch_of(account, machine.size, query.arch) if isinstance(machine, AwsMachine) else query.arch
    named = machine.image if isinstance(machine, AwsMachine) else ""
    if named and not is_placeholder(named):
        row = await image(account, named)
        return (_image(row, query),) if row and row["Architecture"] == _ARCHES[arch] else ()
    if query.kubernetes:
        return await _baked(account, query, arch)
    rows = await account.pages(
        f"listing Flatcar's images in {account.region}",
        "ec2",
        "describe_images",
        "Images",
        Owners=[FACTS.images.publisher],
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
    if row is None:
        return otherwise
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


async def _baked(account: Account, query: ImageQuery, arch: str) -> tuple[Image, ...]:
    """The account's own images with Kubernetes in them, as image-builder names them."""
    rows = await account.pages(
        "listing the account's own images",
        "ec2",
        "describe_images",
        "Images",
        Owners=["self"],
        Filters=_filters(arch, f"*flatcar*{query.kubernetes}*"),
    )
    newest = sorted(rows, key=lambda row: str(row.get("CreationDate", "")), reverse=True)
    return tuple(_image(row, query) for row in newest)


def _filters(arch: str, name: str) -> list[dict[str, object]]:
    wanted = {"architecture": _ARCHES[arch], "state": "available", "name": name}
    return [{"Name": key, "Values": [value]} for key, value in wanted.items()]


def _image(row: Answer, query: ImageQuery) -> Image:
    name = str(row.get("Name", ""))
    parsed = _NAME.fullmatch(name)
    return Image(
        reference=row["ImageId"],
        name=name,
        version=parsed[2] if parsed else query.version or "",
        arch="arm64" if row["Architecture"] == "arm64" else "amd64",
        kubernetes=query.kubernetes,
    )


def _newest_first(found: Image) -> tuple[tuple[int, ...], str]:
    return tuple(-int(part) for part in found.version.split(".")), found.reference
