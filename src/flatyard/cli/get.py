"""`flatyard get KIND [CLUSTER]`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from flatyard.cli import names
from flatyard.cli.options import common, output, talk_of

if TYPE_CHECKING:
    from flatyard.kube.api import Object

KINDS = {
    "clusters": "clusters",
    "pools": "machinedeployments",
    "machinedeployments": "machinedeployments",
    "machinesets": "machinesets",
    "machines": "machines",
    "nodes": "nodes",
    "events": "events",
    "pods": "pods",
    "resources": "resources",
}


@click.command("get")
@click.argument("kind", type=click.Choice(tuple(KINDS)))
@click.argument("cluster", required=False, shell_complete=names.complete)
@output("table", "json", "yaml", "name")
@common
def command(kind: str, cluster: str | None, output: str) -> None:
    """List the objects of KIND of one CLUSTER, or of every cluster.

    `resources` are what the cloud holds under the cluster's tags. JSON and YAML are the objects as the
    Kubernetes API shows them, in a List.
    """
    import asyncio

    from flatyard.cli import tables

    talk = talk_of()
    found = asyncio.run(_found(KINDS[kind], cluster))
    if output == "table":
        text = tables.table(KINDS[kind], found)
        if text:
            talk.data(text)
        else:
            talk.say(f"there are no {kind}")
        return
    objects = [object for _, objects in found for object in objects]
    if output == "name":
        for object in objects:
            talk.data(f"{object.kind.lower()}/{object.name}")
    else:
        talk.data(_listing(objects, output))


async def _found(plural: str, cluster: str | None) -> list[tuple[str, tuple[Object, ...]]]:
    from flatyard.cli.clusters import all_names, link

    found = []
    for name in (cluster,) if cluster else await all_names():
        async with await link(name) as process:
            found.append((name, await process.objects(plural)))
    return found


def _listing(objects: Sequence[Object], form: str) -> str:
    listing = {"apiVersion": "v1", "kind": "List", "items": [object.raw for object in objects]}
    if form == "json":
        return json.dumps(listing, indent=2)
    import yaml

    return yaml.safe_dump(listing, sort_keys=False).rstrip()
