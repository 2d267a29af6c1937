"""`flatyard down NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flatyard.cli import durations, names
from flatyard.cli.options import common, talk_of
from flatyard.cli.talk import Talk

if TYPE_CHECKING:
    from flatyard.controller.events import Event
    from flatyard.controller.link import Link
    from flatyard.controller.places import Places


@click.command("down")
@names.name
@click.option("-y", "--yes", is_flag=True, help="Do not ask. On sim nothing is asked.")
@click.option("--delete-volumes", is_flag=True, help="Delete volumes too; they are kept otherwise.")
@durations.timeout
@common
def command(name: str, yes: bool, delete_volumes: bool, timeout: float | None) -> None:
    """Delete cluster NAME: load balancers, workers, control plane, endpoint, network.

    Nothing is deleted that does not carry the cluster's own tags. Run it again after an interruption.
    """
    import asyncio

    asyncio.run(_down(talk_of(), name, yes, delete_volumes, timeout))


async def _down(talk: Talk, name: str, yes: bool, delete_volumes: bool, timeout: float | None) -> None:
    from flatyard.base.errors import Failed
    from flatyard.cli.clusters import all_names, cloud_of, is_simulated
    from flatyard.cli.follow import Follow, failed
    from flatyard.controller.launch import remove_leftovers
    from flatyard.controller.places import places_of

    places = places_of(name)
    names = await all_names()
    if name not in names and not await remove_leftovers(places):
        talk.data(f"There is no cluster {name!r} (known: {', '.join(names) or 'none'}); nothing to do.")
        return
    if name in names:
        await _only_simulated(name, yes)

    simulated = await is_simulated(name)
    where = await _where(name)

    async def order(link: Link) -> int:
        return await link.down(delete_volumes=delete_volumes)

    again = f"flatyard down {name}" + (" --delete-volumes" if delete_volumes else "")
    watched = durations.patience(timeout, await cloud_of(name))
    follow = Follow(talk, places, order, f"down {name}", timeout=watched, again=again)
    event = await _until_gone(follow, places)
    if event is not None and not event.done:
        raise failed(event, name)
    left = event.left if event is not None else 0
    if left:
        raise Failed(f"{left} resources of cluster {name} are left {where}", next=again)
    talk.data(f"Cluster {name} is gone: 0 resources are left {where}, and its API is closed.")
    for wait in event.waits if event is not None else ():
        fate = "ended with the simulated cloud that it was in" if simulated else "is still there"
        talk.say(f"{wait.object} was kept, and {fate}")


async def _where(name: str) -> str:
    """Where nothing may be left, in words."""
    from flatyard.cli.clusters import store
    from flatyard.clouds.table import entry
    from flatyard.engine import record as records

    record = await records.load(store(), name)
    if record is None or record.cloud == "sim":
        return "in the simulated cloud"
    return "on this machine" if record.cloud == "local" else f"on {entry(record.cloud).title}"


async def _until_gone(follow: object, places: Places) -> Event | None:
    """Follow to the end, and until the process has ended; None when it had already forgotten the cluster."""
    import asyncio

    from flatyard.cli.clusters import all_names
    from flatyard.cli.follow import Follow
    from flatyard.controller.launch import remove_leftovers
    from flatyard.controller.runfile import look

    assert isinstance(follow, Follow)
    event: Event | None = None
    if places.name in await all_names():
        event = await follow.until_done()
        if not event.done:
            return event
    run, living = look(places.run)
    while living:
        await asyncio.sleep(0.05)
        living = look(places.run)[1]
    if run is not None:
        await _ended(run.pid)
    await remove_leftovers(places)
    return event


async def _ended(pid: int) -> None:
    """Wait until a process that has let go of the cluster has ended, which takes it a moment."""
    import asyncio
    import os

    for _ in range(100):
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):
            return
        await asyncio.sleep(0.05)


async def _only_simulated(name: str, yes: bool) -> None:
    """On a real cloud ask before anything is deleted; on sim nothing is asked."""
    import sys

    from flatyard.base.errors import Refused
    from flatyard.cli.clusters import store
    from flatyard.engine import record as records

    record = await records.load(store(), name)
    if record is None or record.cloud == "sim" or yes:
        return
    if not sys.stdin.isatty():
        raise Refused("nobody can be asked: this is no terminal", next=f"flatyard down --yes {name}")
    click.confirm(f"Delete cluster {name} and everything in it?", abort=True, err=True)
