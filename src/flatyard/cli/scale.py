"""`flatyard scale NAME POOL=N…`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from flatyard.cli import durations, names
from flatyard.cli.options import common, talk_of
from flatyard.cli.talk import Talk

if TYPE_CHECKING:
    from flatyard.controller.link import Link

_FORM = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?)=(\d{1,5})")


class Size(click.ParamType[tuple[str, int]]):
    """POOL=N."""

    name = "POOL=N"

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        match = _FORM.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not a size; write POOL=N, for example general=5", param, ctx)
        return match[1], int(match[3])


@click.command("scale")
@names.name
@click.argument("sizes", nargs=-1, required=True, metavar="POOL=N...", type=Size())
@durations.timeout
@common
def command(name: str, sizes: tuple[tuple[str, int], ...], timeout: float | None) -> None:
    """Give the pools of cluster NAME other numbers of machines, and wait until they are there.

    The file keeps its number, and the next `up` leaves yours alone until the file changes it.
    """
    import asyncio

    asyncio.run(_scale(talk_of(), name, sizes, timeout))


async def _scale(talk: Talk, name: str, sizes: tuple[tuple[str, int], ...], timeout: float | None) -> None:
    from flatyard.cli.clusters import cloud_of, known, remark
    from flatyard.cli.follow import Follow, failed
    from flatyard.controller.places import places_of

    await known(name)
    words = " ".join(f"{pool}={number}" for pool, number in sizes)

    async def order(link: Link) -> int:
        round = 0
        for pool, number in sizes:
            round = await link.scale(pool, number)
        return round

    again = f"flatyard scale {name} {words}"
    watched = durations.patience(timeout, await cloud_of(name))
    follow = Follow(talk, places_of(name), order, f"{name}: {words}", timeout=watched, again=again)
    event = await follow.until_done()
    if not event.done:
        raise failed(event, name)
    talk.data(f"Cluster {name} has {words}{await remark(name)}.")
    talk.next((f"flatyard get machines {name}", "the machines and their nodes"))
