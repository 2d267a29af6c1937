"""`flatyard images import`: bring Flatcar's image to a cloud that offers none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from flatyard.base.errors import Exit, Refused
from flatyard.cli.options import talk_of

if TYPE_CHECKING:
    from flatyard.cli.images_lookup import Account
    from flatyard.clouds.cloud import Image

_OWN = {
    "aws": "Amazon Web Services",
    "azure": "Microsoft Azure",
    "gcp": "Google Cloud",
}
"""Clouds where Flatcar's makers publish every release."""


def bring(
    account: Account, *, channel: str, version: str, arch: str, url: str, key: str | None, output: str
) -> int:
    """Import and print what the image is called there. Raises Refused where there is nothing to import."""
    import asyncio

    from flatyard.flatcar import channel_of, newest_release

    _refuse(account)
    if version and channel_of(version) != channel:
        channel = channel_of(version)
    source = {"channel": channel, "version": version or newest_release(channel).version, "arch": arch}
    if url:
        source["url"] = url
    if key:
        source["key"] = Path(key).read_text(encoding="ascii", errors="replace")
    talk = talk_of()
    talk.say(f"Flatcar {source['version']} ({channel}, {arch})")
    image = asyncio.run(_import(account, source))
    if output == "json":
        found = {
            "reference": image.reference,
            "name": image.name,
            "version": image.version,
            "arch": image.arch,
        }
        talk.data(json.dumps(found, indent=2))
    else:
        talk.data(image.reference)
        talk.say(f"it is called {image.name}; clusters of this project find it by channel and version")
    return Exit.DONE


def _refuse(account: Account) -> None:
    if account.cloud in _OWN:
        raise Refused(
            f"{_OWN[account.cloud]} has Flatcar's images already: their makers publish every release there",
            next=f"flatyard images list --cloud {account.cloud} --region {account.region or '…'}",
        )
    if account.cloud == "sim":
        raise Refused(
            "a simulated twin has all its images already",
            next=f"flatyard images list --cloud sim --as {account.as_ or '…'}",
        )
    if account.cloud == "local":
        raise Refused(
            "machines on this one boot a disk image where it lies",
            next="name it in the cluster file: spec: {cloud: {local: {image: /path/flatcar_production_image.bin.bz2}}}",
        )


async def _import(account: Account, fields: dict[str, str]) -> Image:
    from flatyard.base.world import RealWorld
    from flatyard.cli.images_lookup import cluster_of
    from flatyard.clouds import table

    adapter = table.connect(cluster_of(account), RealWorld())
    try:
        from flatyard.clouds.openstack.image_import import Source, import_image

        client = adapter.client  # type: ignore[attr-defined]  # OpenStack's adapter has it
        return await import_image(client, Source(**fields), talk_of().say)
    finally:
        await adapter.close()
