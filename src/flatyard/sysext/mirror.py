"""A feed copied into a folder: chosen images, each checked against the other feed's sums, then sums of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flatyard.base.errors import Refused
from flatyard.sysext.download import Download, Downloader, together
from flatyard.sysext.feed_folder import SUMS, NamedImage, named, natural, parse_sums
from flatyard.sysext.layout import EXTENSION, minor_of
from flatyard.sysext.versions import MINORS

AT_ONCE = 4
"""Images that are fetched at the same time."""
_MINOR = re.compile(r"v\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What became of one image."""

    image: NamedImage
    path: Path
    fetched: bool


async def mirror(
    base: str,
    folder: Path,
    *,
    versions: Sequence[str] = (),
    arches: Sequence[str] = ("x86-64", "arm64"),
    extension: str = EXTENSION,
    downloader: Downloader,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Mirrored, ...]:
    """Have images of the feed at `base` in `folder`/EXTENSION/, each with the hash that the feed names.

    `versions` may be whole (`v1.34.3`) or minors (`v1.34`, all its patches); none: the newest patch of each supported
    Kubernetes minor, and the newest version of any other extension. What is there is not fetched again. Raises
    Refused, with what there is, for versions that the feed does not have; Failed as the downloader does.
    """
    url = f"{base.rstrip('/')}/{extension}"
    sums = parse_sums((await downloader.small(f"{url}/{SUMS}")).decode("utf-8", "replace"), f"{url}/{SUMS}")
    offered = [image for name in sums if (image := named(name)) and image.extension == extension]
    chosen = choose(offered, versions, arches)
    if not chosen:
        raise Refused(f"{url} has no images for {' or '.join(arches)}", next="choose others with --arch")
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(image: NamedImage) -> Mirrored:
        path = folder / extension / image.name
        async with gate:
            fetched = await downloader.fetch(Download(f"{url}/{image.name}", path, sums[image.name]))
        say(f"{'fetched' if fetched else 'kept'} {image.name}")
        return Mirrored(image, path, fetched)

    return await together(one(image) for image in chosen)


def choose(
    offered: Iterable[NamedImage], versions: Sequence[str], arches: Sequence[str]
) -> tuple[NamedImage, ...]:
    """The images to have, oldest first. Raises Refused for versions that are not offered."""
    images = sorted(
        (image for image in offered if image.arch in arches), key=lambda i: (natural(i.version), i.arch)
    )
    if not versions:
        return tuple(image for image in images if image.version in _newest(images))
    wanted = [_with_v(version, images) for version in versions]
    missing = [version for version in wanted if not any(_fits(image, version) for image in images)]
    if missing:
        there = ", ".join(dict.fromkeys(image.version for image in images[-16:]))
        raise Refused(
            f"the feed has no image of {', '.join(missing)}",
            why=f"its newest are {there}" if there else "it has none for this architecture",
            next="choose others with --version",
        )
    return tuple(image for image in images if any(_fits(image, version) for version in wanted))


def _fits(image: NamedImage, version: str) -> bool:
    return image.version == version or (
        bool(_MINOR.fullmatch(version)) and minor_of(image.version) == version
    )


def _with_v(version: str, images: Iterable[NamedImage]) -> str:
    """`1.34.3` is taken for `v1.34.3` where the feed's versions are written so."""
    written = any(image.version.startswith("v") for image in images)
    return f"v{version}" if written and version[:1].isdigit() else version


def _newest(images: Sequence[NamedImage]) -> frozenset[str]:
    """Of Kubernetes the newest patch of each minor that we support, of others the newest version."""
    if images and images[0].extension != EXTENSION:
        return frozenset({images[-1].version})
    supported = {minor.name for minor in MINORS}
    patches: Mapping[str, str] = {
        minor_of(image.version): image.version
        for image in images
        if minor_of(image.version) in supported and "-" not in image.version
    }
    return frozenset(patches.values())
