"""`flatyard kubeconfig NAME`."""

from __future__ import annotations

import click

from flatyard.cli import names
from flatyard.cli.options import common, talk_of


@click.command("kubeconfig")
@names.name
@common
def command(name: str) -> None:
    """Print the path of a kubeconfig file for the cluster NAME; only you can read it.

    \b
    kubectl --kubeconfig "$(flatyard kubeconfig NAME)" get nodes
    """
    import asyncio

    from flatyard.controller.places import places_of

    asyncio.run(_living(name))
    talk_of().data(str(places_of(name).kubeconfig))


async def _living(name: str) -> None:
    """A process that was killed is replaced, so that the file's server answers."""
    from flatyard.cli.clusters import link

    async with await link(name):
        return
