"""What the machines of a local cluster are made of: the Kubernetes extension in a feed, and the control plane's images.

Both are compiled once per version from the Go module proxy and kept below the cache; nothing is fetched from a
registry. A feed that is served on loopback hands the extension to Ignition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flatyard.base.errors import Failed
from flatyard.sysext.feed import Feed, parse_feed
from flatyard.sysext.feed_folder import SUMS, check_image, read_sums, write_feed
from flatyard.sysext.images import control_plane
from flatyard.sysext.kubernetes_tree import kubernetes_contents
from flatyard.sysext.layout import EXTENSION, image_name
from flatyard.sysext.source import binaries
from flatyard.sysext.squashfs import write

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Supplies:
    """Folders below the cache. `feed` has `kubernetes/` with images and sums, `images` one folder per version."""

    root: Path

    @property
    def feed(self) -> Path:
        return self.root / "feed"

    def images(self, version: str) -> Path:
        """Archives of one version's control plane."""
        return self.root / "images" / version

    async def ensure(self, version: str, arch: str, tree: Path, say: Say) -> None:
        """Make what a version needs and is not there yet; minutes the first time.

        `tree` is a root tree whose iptables kube-proxy's image takes along. Raises Failed.
        """
        await asyncio.to_thread(self._extension, version, arch, say)
        await asyncio.to_thread(self._archives, version, arch, tree, say)

    def _extension(self, version: str, arch: str, say: Say) -> None:
        folder = self.feed / EXTENSION
        image = folder / image_name(version, arch)
        packed = not image.exists()
        if packed:
            programs = binaries(version, arch, say=say)
            programs.check()
            folder.mkdir(parents=True, exist_ok=True)
            say(f"packing {image.name}")
            write(kubernetes_contents(programs), image)
        if packed or image.name not in read_sums(folder / SUMS):
            write_feed(self.feed)
        _check(image)

    def _archives(self, version: str, arch: str, tree: Path, say: Say) -> None:
        folder = self.images(version)
        folder.mkdir(parents=True, exist_ok=True)
        control_plane(version, arch, root=tree, folder=folder, say=say)


def _check(image: Path) -> None:
    """Whether an image still is what was packed: sums that were written anew each time would hide that it is not.

    Raises Failed.
    """
    checked = check_image(image)
    if checked.trouble:
        raise Failed(
            f"{image.name} {checked.trouble}",
            why=f"{image} hashes to {checked.sha256}; no machine would take it",
            next=f"sudo rm {image}, then flatyard up again, which packs it anew",
        )


class FolderFeeds:
    """`engine.context.Feeds` of a folder that is served at `base`."""

    def __init__(self, folder: Path, base: str) -> None:
        self._folder = folder
        self._base = base

    async def feed(self, base: str) -> Feed:
        """The hashes as they are now; what a local cluster runs was compiled here, whatever its file says."""
        sums = self._folder / EXTENSION / SUMS
        try:
            return parse_feed(sums.read_text(), str(sums), self._base)
        except FileNotFoundError:
            raise Failed(f"there is no {sums}", next="flatyard up FILE makes it") from None
