"""Images: what the region really has, by channel, version and architecture."""

from __future__ import annotations

from flatyard.clouds.cloud import Image, ImageQuery
from flatyard.clouds.conformance.bench import Bench, Check

CHANNELS = ("stable", "beta", "alpha", "lts")


async def _stable(bench: Bench) -> tuple[Image, ...]:
    found = await bench.cloud.images(ImageQuery("stable", None, machine=bench.machine))
    assert found, "the region has no stable image"
    return found


def _version(image: Image) -> tuple[int, ...]:
    return tuple(int(part) for part in image.version.split("."))


async def images_come_newest_first(bench: Bench) -> None:
    await _stable(bench)
    for channel in CHANNELS:
        found = await bench.cloud.images(ImageQuery(channel, None, machine=bench.machine))
        versions = [_version(image) for image in found]
        assert versions == sorted(versions, reverse=True), f"the versions of {channel} come as {versions}"
        assert all(image.reference and image.name for image in found), "an image has no reference or name"


async def an_image_is_found_by_its_version(bench: Bench) -> None:
    for wanted in (await _stable(bench))[:3]:
        query = ImageQuery("stable", wanted.version, machine=bench.machine)
        found = await bench.cloud.images(query)
        assert wanted in found, f"{wanted.version} is not found by its version"
        assert {image.version for image in found} == {wanted.version}, f"{wanted.version} brings {found}"


async def a_version_that_is_not_there_has_no_image(bench: Bench) -> None:
    found = await bench.cloud.images(ImageQuery("stable", "1000.0.0", machine=bench.machine))
    assert not found, f"version 1000.0.0 brings {found}"


async def images_are_of_the_architecture(bench: Bench) -> None:
    have = bench.cloud.traits.architectures
    for arch in ("amd64", "arm64"):
        found = await bench.cloud.images(ImageQuery("stable", None, arch=arch))
        assert all(image.arch == arch for image in found), f"asked for {arch}, got {found}"
        assert arch in have or not found, f"the traits know no {arch}, and there is {found}"


async def a_new_process_finds_the_same_images(bench: Bench) -> None:
    query = ImageQuery("stable", None, machine=bench.machine)
    found = await bench.restarted().images(query)
    assert await _stable(bench) == found, f"a new process finds {found}"


CHECKS: tuple[Check, ...] = (
    images_come_newest_first,
    an_image_is_found_by_its_version,
    a_version_that_is_not_there_has_no_image,
    images_are_of_the_architecture,
    a_new_process_finds_the_same_images,
)
