"""`flatyard status [NAME]`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from flatyard.cli import names
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.controller.health import ClusterView


@click.command("status")
@names.optional_name
@output("tree", "json")
@common
def command(name: str | None, output: str) -> None:
    """One tree for cluster NAME, or for every cluster: what is not healthy comes first, and why.

    Exit code 0: healthy, 3: not healthy.
    """
    import asyncio

    from flatyard.base.errors import Exit
    from flatyard.cli.paint_status import as_json, lines

    talk = talk_of()
    views = asyncio.run(_views(name))
    if output == "json":
        found = [as_json(view) for view in views]
        talk.data(json.dumps(found[0] if name else found, indent=2))
    elif views:
        talk.data("\n\n".join("\n".join(lines(view, talk)) for view in views))
    else:
        talk.say("there is no cluster yet")
        talk.next(("flatyard up examples/quickstart.yaml", "a simulated one"))
    if not all(view.healthy for view in views):
        talk.next(*(_next(view) for view in views if not view.healthy))
        raise click.exceptions.Exit(Exit.UNHEALTHY)


async def _views(name: str | None) -> list[ClusterView]:
    from flatyard.cli.clusters import all_names, link
    from flatyard.controller.health import view

    views = []
    for each in (name,) if name else await all_names():
        async with await link(each) as process:
            views.append(view(await process.state()))
    return views


def _next(view: ClusterView) -> tuple[str, str]:
    if view.phase == "deleting":
        return f"flatyard down {view.name}", "goes on deleting"
    return f"flatyard get events {view.name}", "what happened lately"
