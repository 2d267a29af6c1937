"""What every background process of a cluster is: one per cluster, told by its run file, reached on loopback.

It takes the run file's lock or ends quietly, serves the control routes behind the file's token, and leaves the file
to its successor. `simulated`, `local` and `cloud` say what there is behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from flatyard.base.errors import Exit, FlatyardError
from flatyard.base.serving import Server
from flatyard.base.world import RealWorld, World
from flatyard.controller.control import Asgi, Control
from flatyard.controller.keeper import Keeper
from flatyard.controller.launch import Start, write_private
from flatyard.controller.places import Places, places_of
from flatyard.controller.runfile import Held, Run, hold
from flatyard.pki import ClusterSecrets, Kubeconfig
from flatyard.sim.loop import describe

HOSTS = ("127.0.0.1", "localhost")
TRIES = 40
LINGER = 0.5
"""Wall seconds for which the API stays open after the end, so that followers hear of it."""

Live = Callable[[Places, Start, Held], Awaitable[None]]
Listen = Callable[[int, Path, Path], Awaitable[Server]]
"""Serve on a port of loopback (0: any free one), with a certificate and its key as PEM files."""


def first_run(name: str, what: Start, world: RealWorld) -> Run:
    """A run file's content for a cluster that never had a process; its token is minted here."""
    choice = what.cluster.spec.cloud
    token = world.random_bytes(32).hex()
    return Run(name, choice.twin, choice.region, what.speed, token=token, real=not choice.simulated)


def run_background(name: str, loop_of: Callable[[Start], asyncio.AbstractEventLoop], live: Live) -> int:
    """Run until the cluster is deleted or the process is asked to end; 0 also when another one has the cluster."""
    places = places_of(name)
    what = Start.decode(places.cluster.read_bytes())
    loop = loop_of(what)
    asyncio.set_event_loop(loop)
    task = loop.create_task(_held(places, what, live))
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


async def _held(places: Places, what: Start, live: Live) -> None:
    """Take the cluster, or end quietly because another process has it."""
    for _ in range(TRIES):
        held = hold(places.run)
        if held is not None:
            try:
                await live(places, what, held)
            finally:
                held.release()
            return
        await asyncio.sleep(0.02 * what.speed)  # a command that looks at the file locks it for a moment


def run_of(places: Places, what: Start, held: Held, world: RealWorld, keys: ClusterSecrets) -> Run:
    """This process as its run file tells it, with what a former one left there."""
    run = held.read() or first_run(places.name, what, world)
    return replace(run, pid=os.getpid(), speed=what.speed, ca=keys.kubernetes.certificate.decode())


def around(keeper: Keeper, inner: Asgi) -> Asgi:
    """The control routes in front of an application."""
    return Control(keeper, keeper.run.token, inner)


@asynccontextmanager
async def served(
    places: Places, keeper: Keeper, keys: ClusterSecrets, held: Held, listen: Listen
) -> AsyncIterator[None]:
    """Listens on loopback while the block runs, on the same port as a former process if it is free."""
    files = _server_files(places, keys, keeper.seams.world)
    try:
        server = await listen(keeper.run.port, *files)
    except OSError:  # somebody else has the port now
        server = await listen(0, *files)
    try:
        keeper.run = replace(keeper.run, port=server.port)
        held.write(keeper.run)
        yield
    finally:
        await server.close()


def token_kubeconfig(run: Run) -> bytes:
    """A kubeconfig for an API that is served behind the run file's token."""
    return Kubeconfig(name=run.cluster, server=run.url, ca=run.ca.encode(), token=run.token).render()


def _server_files(places: Places, keys: ClusterSecrets, world: World) -> tuple[Path, Path]:
    pair = keys.kubernetes.server("kube-apiserver", HOSTS, world)
    certificate, key = places.folder / "server.crt", places.folder / "server.key"
    write_private(certificate, pair.certificate)
    write_private(key, pair.key)
    return certificate, key
