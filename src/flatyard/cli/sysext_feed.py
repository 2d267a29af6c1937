"""`flatyard sysext feed`, `mirror` and `serve`: a feed made, copied, handed out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flatyard.base.errors import Exit
from flatyard.cli.options import common, output, talk_of
from flatyard.cli.sysext_build import ARCHITECTURES

if TYPE_CHECKING:
    from flatyard.sysext.feed_folder import Written


@click.command("feed")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option("--base", metavar="URL", help="Where DIR will be served; transfer files hold it.")
@output("text", "json")
@common
def feed_command(folder: str, base: str | None, output: str) -> None:
    """Make DIR a feed: sums and transfer files for the images in DIR/EXTENSION/.

    Can be run again after each new image: only what changed is written.
    """
    from flatyard.sysext.feed_folder import write_feed

    if base is not None and not base.startswith(("http://", "https://", "file://")):
        raise click.BadParameter("an http, https or file URL is wanted.", param_hint="'--base'")
    print_feed(write_feed(Path(folder), base), folder, output)


def print_feed(written: Written, folder: str, form: str) -> None:
    """What a feed has, and what was written."""
    from flatyard.ignition.report import visible

    talk = talk_of()
    if form == "json":
        facts = {
            "base": written.base or None,
            "images": [{"name": image.name, "sha256": sha256} for image, sha256 in written.images],
            "changed": [str(path) for path in written.changed],
        }
        talk.data(json.dumps(facts, indent=2))
        return
    for image, sha256 in written.images:
        talk.data(f"{sha256}  {visible(image.name)}")
    for path in written.changed:
        talk.detail(f"wrote {path}")
    if not written.images:
        talk.say(f"there are no images in {folder}")
        talk.next((f"flatyard sysext build kubernetes VERSION --to {folder}/kubernetes", "the first one"))
    elif not written.base:
        talk.say("no transfer files: they hold the address at which nodes find the feed")
        talk.next((f"flatyard sysext feed {folder} --base URL", "writes them"))


@click.command("mirror")
@click.argument("feed", metavar="FROM")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--version", "versions", multiple=True, metavar="VERSION", help="v1.34.3, or v1.34: all its patches."
)
@click.option(
    "--arch", "arches", multiple=True, type=click.Choice(list(ARCHITECTURES)), help="Default: both."
)
@click.option("--extension", metavar="EXT", default="kubernetes", show_default=True, help="Which one.")
@click.option("--base", metavar="URL", help="Where DIR will be served; transfer files hold it.")
@output("text", "json")
@common
def mirror_command(
    feed: str,
    folder: str,
    versions: tuple[str, ...],
    arches: tuple[str, ...],
    extension: str,
    base: str | None,
    output: str,
) -> None:
    """Copy images from the feed at FROM into DIR, and make DIR a feed.

    FROM is an address such as https://extensions.flatcar.org/extensions, or `bakery` for that one. Without --version:
    the newest patch of each supported minor. Each image must have the sha256 that FROM's SHA256SUMS names; what is
    there is kept, what was interrupted goes on where it stopped.
    """
    import asyncio

    from flatyard.sysext.contents import check_name
    from flatyard.sysext.download import Downloader
    from flatyard.sysext.feed_folder import write_feed
    from flatyard.sysext.layout import BAKERY
    from flatyard.sysext.mirror import mirror

    check_name(extension)
    address = BAKERY if feed == "bakery" else feed
    if not address.startswith(("http://", "https://")):
        raise click.BadParameter("an http or https URL is wanted, or `bakery`.", param_hint="'FROM'")
    say = talk_of().say

    async def run() -> None:
        async with Downloader(say=say) as downloader:
            wanted = arches or tuple(ARCHITECTURES)
            await mirror(
                address,
                Path(folder),
                versions=versions,
                arches=wanted,
                extension=extension,
                downloader=downloader,
                say=say,
            )

    asyncio.run(run())
    print_feed(write_feed(Path(folder), base), folder, output)


@click.command("serve")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--listen", metavar="HOST:PORT", default="127.0.0.1:0", show_default=True, help="Port 0: any free one."
)
@common
def serve_command(folder: str, listen: str) -> int:
    """Serve the feed in DIR by HTTP until it is interrupted; prints its URL.

    Ranges, HEAD, ETag and If-Modified-Since work, nothing outside DIR is handed out, and
    /EXT-VERSION-ARCH.raw is found in the extension's folder. -v shows requests.
    """
    import asyncio

    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter("HOST:PORT is wanted, as in 127.0.0.1:8080.", param_hint="'--listen'")
    try:
        asyncio.run(_serve(Path(folder), host.strip("[]"), int(port)))
    except KeyboardInterrupt:
        talk_of().say("stopped")
    return Exit.DONE


async def _serve(folder: Path, host: str, port: int) -> None:
    import asyncio

    from flatyard.sysext.serve import serving

    async with serving(folder, host=host, port=port, say=talk_of().detail) as url:
        talk_of().data(url)
        await asyncio.Event().wait()
