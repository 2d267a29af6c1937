"""The background process of one cluster on this machine: `python -m flatyard.controller.local NAME`, as root.

It is the controller, and the feed on loopback from which Ignition fetches the Kubernetes extension. The machines
are processes of their own and outlive it; another one goes on where a killed one stopped.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

from flatyard.base.world import RealWorld
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.images import made_of, reference_of
from flatyard.clouds.local.settings import architecture, for_cluster, settings
from flatyard.controller.background import run_background, run_of
from flatyard.controller.clients import HttpClients
from flatyard.controller.keeper import Keeper
from flatyard.controller.launch import Start, remove_folder, write_private
from flatyard.controller.measuring import Measuring, Wording
from flatyard.controller.places import Places
from flatyard.controller.real import keep
from flatyard.controller.runfile import Held
from flatyard.controller.supplies import FolderFeeds, Supplies
from flatyard.engine import secrets
from flatyard.engine.context import Seams, Step, StepState
from flatyard.store import open_store
from flatyard.sysext.serve import serving

_PORT_FILE = "feed-port"


def main(name: str) -> int:
    """Run until the cluster is deleted or the process is asked to end; 0 also when another one has the cluster."""
    return run_background(name, lambda _: asyncio.new_event_loop(), _live)


async def _live(places: Places, what: Start, held: Held) -> None:
    world = RealWorld()
    store = open_store(None, world)
    keys = await secrets.ensure(store, world, places.name)
    supplies = Supplies(settings().cache / "local")
    version = what.cluster.spec.kubernetes.version
    async with AsyncExitStack() as stack:
        supplies.feed.mkdir(parents=True, exist_ok=True)
        base = await stack.enter_async_context(serving(supplies.feed, port=_former_port(places)))
        _remember_port(places, base)
        clients = HttpClients(world)
        stack.push_async_callback(clients.close)
        place = replace(for_cluster(settings(), what.cluster), images=supplies.images(version))
        cloud = LocalCloud(place, world)
        seams = Seams(
            world=world,
            cloud=cloud,
            store=store,
            clients=clients,
            feeds=FolderFeeds(supplies.feed, base),
            holder=f"background process of {places.name}",
        )
        keeper = Keeper(places.name, run_of(places, what, held, world, keys), seams, lambda: "")
        keeper.seams.on_step = keeper.on_step
        keeper.measuring = _measuring(places, cloud, world)

        def tell(sentence: str) -> None:
            loop.call_soon_threadsafe(
                keeper.on_step, Step(world.now(), f"supplies/{version}", StepState.WAITING, sentence)
            )

        loop = asyncio.get_running_loop()
        cloud.settings = replace(place, tell=tell)

        async def prepare() -> None:
            """Before the first machine: what all machines need, told as steps of the round."""
            made = await cloud.provisions(reference_of(cloud.settings))
            await supplies.ensure(version, architecture(), made.tree, tell)
            keeper.on_step(Step(world.now(), f"supplies/{version}", StepState.DONE, "ready"))

        keeper.prepare = prepare

        await keep(places, keeper, keys, held)
    await store.delete(secrets.secrets_key(places.name))
    held.remove()
    remove_folder(places)


def _former_port(places: Places) -> int:
    """The feed's address is in what machines were created with, so a successor takes the same port."""
    try:
        return int((places.folder / _PORT_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _remember_port(places: Places, base: str) -> None:
    write_private(places.folder / _PORT_FILE, base.rpartition(":")[2].encode())


def _measuring(places: Places, cloud: LocalCloud, world: RealWorld) -> Measuring:
    made = made_of(cloud.settings)
    return Measuring(places.timing, world, Wording(made.words, stand_in=made.stand_in), cloud.milestones)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
