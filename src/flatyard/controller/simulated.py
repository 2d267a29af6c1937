"""The background process of one simulated cluster: `python -m flatyard.controller.simulated NAME`.

It is the simulated account, the machines in it, the Kubernetes API on loopback, and the controller, in one
process and one loop whose seconds pass `speed` times faster. Everything that must outlive it is on its disk and
in the store, so that another one goes on where a killed one stopped.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from flatyard.base.serving import Server
from flatyard.base.world import RealWorld
from flatyard.clouds.cloud import Instance
from flatyard.clouds.sim.region import Region
from flatyard.controller.background import LINGER, around, run_background, run_of, served, token_kubeconfig
from flatyard.controller.keeper import Keeper
from flatyard.controller.launch import Start, remove_folder, write_private
from flatyard.controller.measuring import Measuring, Wording
from flatyard.controller.places import Places
from flatyard.controller.runfile import Held
from flatyard.engine import secrets
from flatyard.engine.context import Seams, Step
from flatyard.node.milestones import Milestone
from flatyard.sim.apiserver.serve import serve
from flatyard.sim.disk import SqliteDisk
from flatyard.sim.loop import ScaledLoop
from flatyard.store import Store, open_store


def main(name: str) -> int:
    """Run until the cluster is deleted or the process is asked to end; 0 also when another one has the cluster."""
    return run_background(name, lambda what: ScaledLoop(what.speed), _live)


async def _live(places: Places, what: Start, held: Held) -> None:
    world = RealWorld(what.speed)
    store = open_store(None, world)
    keys = await secrets.ensure(store, world, places.name)
    run = run_of(places, what, held, world, keys)
    disk = SqliteDisk(places.disk)
    region = Region(what.cluster, world, disk)
    await region.start()
    try:
        seams = _seams(world, region, store, places.name)
        keeper = Keeper(places.name, run, seams, lambda: _why_no_api(region))
        keeper.measuring = _measuring(places, what, region, world)
        keeper.seams.on_step = keeper.on_step

        async def listen(port: int, certificate: Path, key: Path) -> Server:
            return await serve(
                region.kubernetes.api,
                certificate=certificate,
                key=key,
                token=run.token,
                port=port,
                version=what.cluster.spec.kubernetes.version,
                speed=what.speed,
                around=lambda inner: around(keeper, inner),
            )

        async with served(places, keeper, keys, held, listen):
            write_private(places.kubeconfig, token_kubeconfig(keeper.run))
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


def _measuring(places: Places, what: Start, region: Region, world: RealWorld) -> Measuring:
    choice = what.cluster.spec.cloud
    words = f"simulated {choice.twin} {choice.region}, {what.speed:g} times faster than the clock"

    async def milestones(instance: Instance) -> Mapping[Milestone, str]:
        return region.machines.milestones(instance.id)

    return Measuring(places.timing, world, Wording(words, simulated=True), milestones, what.speed)


def _nobody(step: Step) -> None:
    """Replaced as soon as there is a keeper."""


def _why_no_api(region: Region) -> str:
    kubernetes = region.kubernetes
    return "" if kubernetes.available else kubernetes.why_unavailable()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
