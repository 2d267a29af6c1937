"""`flatyard images import`: bring Flatcar's image to a cloud that offers none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flatyard.base.errors import Exit, Refused
from flatyard.cli.accounts import asked
from flatyard.cli.options import talk_of

if TYPE_CHECKING:
    from flatyard.cli.images_lookup import Account
    from flatyard.clouds.cloud import Image

CURRENT = "https://{channel}.release.flatcar-linux.net/{arch}-usr/current/version.txt"
"""Where Flatcar's release server tells a channel's current release. It is not signed; the image itself is."""
SECONDS = 10.0
_VERSION = re.compile(r"^FLATCAR_VERSION=(\d+\.\d+\.\d+)$", re.MULTILINE)
_OWN = ("aws", "azure", "gcp")
"""Clouds where Flatcar's makers publish every release."""


def bring(
    account: Account, *, channel: str, version: str, arch: str, url: str, key: str | None, output: str
) -> int:
    """Import and print what the image is called there. Raises Refused where there is nothing to import."""
    import asyncio

    from flatyard.flatcar import channel_of

    _refuse(account)
    talk = talk_of()
    if url and not version:
        raise click.UsageError("--url needs --version: nobody else can tell what lies there")
    source = {"channel": channel_of(version) if version else channel, "version": version, "arch": arch}
    if url:
        source["url"] = url
    if key:
        source["key"] = Path(key).read_text(encoding="ascii", errors="replace")
    with asked(talk):
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


def _newest(channel: str, arch: str, say: Callable[[str], None]) -> str:
    """The channel's current release as its server tells it, or the newest of our release data where it does not."""
    import httpx2

    from flatyard.flatcar import newest_release

    url = CURRENT.format(channel=channel, arch=arch)
    try:
        answer = httpx2.get(url, timeout=SECONDS, follow_redirects=True)
        answer.raise_for_status()
        found = _VERSION.search(answer.text)
        why = "" if found else "it says no version"
    except httpx2.HTTPError as error:
        found, why = None, str(error) or type(error).__name__
    if found:
        return found[1]
    known = newest_release(channel)
    say(f"{url} does not tell the current release ({why}); the newest known one of {known.released} is taken")
    return known.version


def _refuse(account: Account) -> None:
    from flatyard.clouds.table import entry

    known = entry(account.cloud)
    if account.cloud in _OWN:
        where = f"{account.cloud} --region" if known.adapter else f"sim --as {account.cloud} --region"
        raise Refused(
            f"{known.title} has Flatcar's images already: their makers publish every release there",
            next=f"flatyard images list --cloud {where} {account.region or '…'}",
        )
    if known.adapter is None:
        raise Refused(
            f"images cannot be brought to {known.title}",
            why="this release only simulates it",
            next=f"flatyard images list --cloud sim --as {known.name}",
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

    talk = talk_of()
    adapter = table.connect(cluster_of(account), RealWorld())
    try:
        from flatyard.clouds.openstack.image_import import Source, import_image

        fields["version"] = fields["version"] or _newest(fields["channel"], fields["arch"], talk.say)
        talk.say(f"Flatcar {fields['version']} ({fields['channel']}, {fields['arch']})")
        client = adapter.client  # type: ignore[attr-defined]  # OpenStack's adapter has it
        return await import_image(client, Source(**fields), talk.say)
    finally:
        await adapter.close()
