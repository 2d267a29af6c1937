"""The background process of one cluster in a real cloud's account: `python -m flatyard.controller.cloud NAME`.

It is the controller and nothing else: the machines, the network and the cluster's API are the cloud's, and outlive
it. Another process goes on where a killed one stopped, with the credentials of whoever starts it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from flatyard.base.world import RealWorld, World
from flatyard.clouds import table
from flatyard.clouds.cloud import Adapter, Instance
from flatyard.controller.accounts import fingerprint
from flatyard.controller.background import run_background, run_of
from flatyard.controller.clients import HttpClients
from flatyard.controller.feeds import HttpFeeds, base_of_environment
from flatyard.controller.keeper import Keeper
from flatyard.controller.launch import Start, remove_folder
from flatyard.controller.measuring import Measuring, Wording
from flatyard.controller.places import Places
from flatyard.controller.real import keep
from flatyard.controller.runfile import Held
from flatyard.engine import secrets
from flatyard.engine.context import Seams
from flatyard.node.milestones import Milestone
from flatyard.store import Store, open_store


def main(name: str) -> int:
    """Run until the cluster is deleted or the process is asked to end; 0 also when another one has the cluster."""
    return run_background(name, lambda _: asyncio.new_event_loop(), _live)


async def _live(places: Places, what: Start, held: Held) -> None:
    world = RealWorld()
    async with AsyncExitStack() as stack:
        cloud = table.connect(what.cluster, world)
        stack.push_async_callback(cloud.close)
        store = open_store(None, world)
        keys = await secrets.ensure(store, world, places.name)
        clients = HttpClients(world, by_name=True)
        stack.push_async_callback(clients.close)
        seams = _seams(world, cloud, store, clients, places.name)
        run = run_of(places, what, held, world, keys)
        login = table.facts(run.twin).login
        run = replace(run, account=fingerprint(login, run.token, os.environ))
        keeper = Keeper(places.name, run, seams, lambda: "")
        keeper.seams.on_step = keeper.on_step
        keeper.owner = cloud.owner
        keeper.measuring = _measuring(places, what, world)
        await keep(places, keeper, keys, held)
        await store.delete(secrets.secrets_key(places.name))
    held.remove()
    remove_folder(places)


def _seams(world: World, cloud: Adapter, store: Store, clients: HttpClients, name: str) -> Seams:
    """The holder is the same for every process of a cluster on one machine: the run file's lock proves that the last
    one is dead. A store may be shared between machines, so the machine is in it."""
    return Seams(
        world=world,
        cloud=cloud,
        store=store,
        clients=clients,
        feeds=HttpFeeds(base_of_environment()),
        holder=f"background process of {name} on {socket.gethostname()} ({os.getuid()})",
    )


def _measuring(places: Places, what: Start, world: World) -> Measuring:
    choice = what.cluster.spec.cloud
    words = f"machines on {table.place(choice.twin, choice.region)}"
    return Measuring(places.timing, world, Wording(words), _untold)


async def _untold(instance: Instance) -> Mapping[Milestone, str]:
    """What a machine reached while it booted is in its journal, which nobody reads without SSH."""
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
