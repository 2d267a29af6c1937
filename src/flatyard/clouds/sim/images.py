"""The Flatcar images of the simulated region: what was released, once the marketplace has it, and what
users name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flatyard.clouds.sim.account import Account
from flatyard.clouds.sim.releases import Release
from flatyard.clouds.sim.rows import ImageRow
from flatyard.flatcar.images import IMAGE_RULES, ImageRule


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images to list; empty fields match everything."""

    channel: str = ""
    version: str = ""
    arch: str = ""
    kubernetes: str = ""
    name: str = ""
    """Reference or name of one image."""
    generations: tuple[str, ...] = ()


class Images:
    """The images that the account can see in its region, newest version first."""

    def __init__(self, account: Account, releases: Sequence[Release]) -> None:
        self._account = account
        self._releases = releases
        self.lag_days = account.facts.images.lag_days
        """How long after its release an image shows up; a fault may change it."""
        self._there: tuple[float, tuple[ImageRow, ...]] | None = None

    def list(self, wanted: ImageFilter) -> tuple[ImageRow, ...]:
        found = (row for row in (*self._published(), *self._account.images) if _fits(row, wanted))
        return tuple(sorted(found, key=_newest_first))

    def get(self, reference: str) -> ImageRow | None:
        """The image of that reference."""
        kept = self._account.images.get(reference)
        return kept or next((row for row in self._published() if row.id == reference), None)

    def assume(self, reference: str, like: ImageRow) -> ImageRow:
        """Take an image that the user named to exist, with the release of `like` in it."""
        return self.get(reference) or self._keep(like, reference, reference, like.kubernetes)

    def bake(self, base: ImageRow, kubernetes: str) -> ImageRow:
        """The image of `base` with Kubernetes in it, as users of image-builder keep one in their account."""
        reference, name = f"{base.id}-capi-{kubernetes}", f"{base.name}-capi-{kubernetes}"
        return self._account.images.get(reference) or self._keep(base, reference, name, kubernetes)

    def _keep(self, like: ImageRow, reference: str, name: str, kubernetes: str) -> ImageRow:
        row = replace(like, id=reference, seq=self._account.next_seq(), name=name, kubernetes=kubernetes)
        return self._account.images.put(replace(row, assumed=True))

    def _published(self) -> tuple[ImageRow, ...]:
        if self._there and self._there[0] == self.lag_days:
            return self._there[1]
        source = self._account.facts.images
        rows = tuple(
            self._row(release, arch, generation)
            for release in self._releases
            if release.age_days >= self.lag_days
            for arch in source.arches
            for generation in source.generations
            if (arch, generation) != ("arm64", "gen1")
        )
        self._there = (self.lag_days, rows)
        return rows

    def _row(self, release: Release, arch: str, generation: str) -> ImageRow:
        source, rule = self._account.facts.images, IMAGE_RULES.get(self._account.persona.name, ImageRule())
        digest = self._account.digest(f"{release.version}/{arch}/{generation}")
        sku = rule.skus.get(arch) or rule.skus.get(generation, "")
        words = {
            "channel": release.channel,
            "version": release.version,
            "dashed": release.version.replace(".", "-"),
            "arch": arch,
            "offer": rule.offers.get(arch, ""),
            "sku": sku.format(channel=release.channel),
            "digest": f"0{digest[:16]}",
            "uuid": f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}",
        }
        return ImageRow(
            id=source.reference.format(**words),
            seq=0,
            name=source.name.format(**words),
            version=release.version,
            channel=release.channel,
            arch=arch,
            generation=generation,
        )


def _fits(row: ImageRow, wanted: ImageFilter) -> bool:
    return (
        wanted.channel in ("", row.channel)
        and wanted.version in ("", row.version)
        and wanted.arch in ("", row.arch)
        and wanted.name in ("", row.id, row.name)
        and (not wanted.generations or not row.generation or row.generation in wanted.generations)
        and wanted.kubernetes == row.kubernetes
    )


def _newest_first(row: ImageRow) -> tuple[tuple[int, ...], str, str]:
    version = tuple(-int(part) for part in row.version.split(".") if part.isdigit())
    return (version, "" if row.generation == "gen2" else row.generation, row.id)
