"""The background process of one simulated cluster: `python -m flatyard.controller.simulated NAME`.

It is the simulated account, the machines in it, the Kubernetes API on loopback, and the controller, in one
process and one loop whose seconds pass `speed` times faster. Everything that must outlive it is on its disk and
in the store, so that another one goes on where a killed one stopped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from flatyard.base.errors import Exit, FlatyardError
from flatyard.base.world import RealWorld, World
from flatyard.clouds.sim.region import Region
from flatyard.controller.control import Asgi, Control
from flatyard.controller.keeper import Keeper
from flatyard.controller.launch import Start, remove_folder, write_private
from flatyard.controller.places import Places, places_of
from flatyard.controller.runfile import Held, Run, hold
from flatyard.engine import secrets
from flatyard.engine.context import Seams, Step
from flatyard.pki import ClusterSecrets, Kubeconfig
from flatyard.sim.apiserver.serve import Server, serve
from flatyard.sim.disk import SqliteDisk
from flatyard.sim.loop import ScaledLoop, describe
from flatyard.store import Store, open_store

HOSTS = ("127.0.0.1", "localhost")
TRIES = 40
LINGER = 0.5
"""Wall seconds for which the API stays open after the end, so that followers hear of it."""


def first_run(name: str, what: Start, world: RealWorld) -> Run:
    """A run file's content for a cluster that never had a process; its token is minted here."""
    choice = what.cluster.spec.cloud
    return Run(name, choice.twin, choice.region, what.speed, token=world.random_bytes(32).hex())


def main(name: str) -> int:
    """Run until the cluster is deleted or the process is asked to end; 0 also when another one has the cluster."""
    places = places_of(name)
    what = Start.decode(places.cluster.read_bytes())
    loop = ScaledLoop(what.speed)
    asyncio.set_event_loop(loop)
    task = loop.create_task(_held(places, what))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    loop.add_signal_handler(signal.SIGUSR1, tell_tasks, loop)
    try:
        loop.run_until_complete(task)
    except asyncio.CancelledError:
        return Exit.DONE
    except FlatyardError as error:
        print(error, file=sys.stderr)
        return error.exit
    finally:
        loop.close()
    return Exit.DONE


def tell_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """On SIGUSR1: what every task waits for, into the log."""
    for text in sorted(describe(task) for task in asyncio.all_tasks(loop)):
        print(text, file=sys.stderr, flush=True)


async def _held(places: Places, what: Start) -> None:
    """Take the cluster, or end quietly because another process has it."""
    for _ in range(TRIES):
        held = hold(places.run)
        if held is not None:
            try:
                await _live(places, what, held)
            finally:
                held.release()
            return
        await asyncio.sleep(0.02 * what.speed)  # a command that looks at the file locks it for a moment


async def _live(places: Places, what: Start, held: Held) -> None:
    world = RealWorld(what.speed)
    run = held.read() or first_run(places.name, what, world)
    store = open_store(None, world)
    keys = await secrets.ensure(store, world, places.name)
    run = replace(run, pid=os.getpid(), speed=what.speed, ca=keys.kubernetes.certificate.decode())
    disk = SqliteDisk(places.disk)
    region = Region(what.cluster, world, disk)
    await region.start()
    try:
        seams = _seams(world, region, store, places.name)
        keeper = Keeper(places.name, run, seams, lambda: _why_no_api(region))
        keeper.seams.on_step = keeper.on_step
        async with _served(places, region, keeper, keys, what, held):
            await keeper.until_gone()
            await asyncio.sleep(LINGER * what.speed)
    finally:
        await region.stop()
        disk.close()
    await store.delete(secrets.secrets_key(places.name))
    held.remove()
    remove_folder(places)


def _seams(world: RealWorld, region: Region, store: Store, name: str) -> Seams:
    """The holder is the same for every process of a cluster: the run file's lock proves that the last one is dead."""
    return Seams(
        world=world,
        cloud=region.cloud,
        store=store,
        clients=region.clients,
        feeds=region.feeds,
        holder=f"background process of {name}",
        on_step=_nobody,
    )


def _nobody(step: Step) -> None:
    """Replaced as soon as there is a keeper."""


def _why_no_api(region: Region) -> str:
    kubernetes = region.kubernetes
    return "" if kubernetes.available else kubernetes.why_unavailable()


@asynccontextmanager
async def _served(
    places: Places, region: Region, keeper: Keeper, keys: ClusterSecrets, what: Start, held: Held
) -> AsyncIterator[None]:
    """The API and the control routes on loopback while the block runs; the run file and kubeconfig say where."""

    def around(inner: Asgi) -> Asgi:
        return Control(keeper, keeper.run.token, inner)

    files = _server_files(places, keys, keeper.seams.world)

    async def listen(port: int) -> Server:
        return await serve(
            region.kubernetes.api,
            certificate=files[0],
            key=files[1],
            token=keeper.run.token,
            port=port,
            version=what.cluster.spec.kubernetes.version,
            speed=what.speed,
            around=around,
        )

    try:
        server = await listen(keeper.run.port)
    except OSError:  # somebody else has the port now
        server = await listen(0)
    try:
        keeper.run = replace(keeper.run, port=server.port)
        write_private(places.kubeconfig, _kubeconfig(keeper.run))
        held.write(keeper.run)
        yield
    finally:
        await server.close()


def _server_files(places: Places, keys: ClusterSecrets, world: World) -> tuple[Path, Path]:
    pair = keys.kubernetes.server("kube-apiserver", HOSTS, world)
    certificate, key = places.folder / "server.crt", places.folder / "server.key"
    write_private(certificate, pair.certificate)
    write_private(key, pair.key)
    return certificate, key


def _kubeconfig(run: Run) -> bytes:
    return Kubeconfig(name=run.cluster, server=run.url, ca=run.ca.encode(), token=run.token).render()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
