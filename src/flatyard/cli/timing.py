"""`flatyard timing NAME`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flatyard.cli import names
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.operate.timing import Timing


@click.command("timing")
@names.name
@output("table", "json", "svg", "html")
@click.option(
    "--to", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file instead of stdout."
)
@common
def command(name: str, output: str, to: Path | None) -> None:
    """Where the time went when the machines of cluster NAME were made.

    For each machine: creating it, Ignition, boot, merging the extension, containerd, images, kubeadm, and the
    node until it was Ready; and the whole `up`. As a table with the longest first, as JSON, and as a picture: SVG, or
    a page of HTML with the figures. Machines that were made later are told apart.

    Seconds of a simulated cluster are simulated ones.
    """
    import asyncio

    from flatyard.base.errors import Failed

    report = asyncio.run(_report(name))
    if not report.runs:
        raise Failed(
            f"no machine of cluster {name} was asked for yet",
            why="its network is being made, or what its machines need is being built",
            next=f"flatyard status {name}",
        )
    text = _text(report, output)
    if to is None:
        talk_of().data(text)
        return
    try:
        to.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise Failed(f"{to} cannot be written", why=str(error), next="name another file with --to") from None
    talk_of().say(f"wrote {to}{' (simulated)' if report.simulated else ''}")


async def _report(name: str) -> Timing:
    from flatyard.cli.clusters import link
    from flatyard.operate.timing import timing

    async with await link(name) as process:
        return timing(await process.timing())


def _text(report: Timing, form: str) -> str:
    from flatyard.operate import gantt
    from flatyard.operate.timing_report import as_json, table

    if form == "json":
        return json.dumps(as_json(report), indent=2)
    if form == "table":
        return table(report)
    return (gantt.svg if form == "svg" else gantt.html)(report).rstrip("\n")
