"""Machines in a simulated region keep or lose their disk as their instances do."""

from __future__ import annotations

import asyncio

from flatyard.base.world import SeededWorld
from flatyard.clouds.cloud import ClusterRef, CreateRequest, ImageQuery, Role
from flatyard.clouds.sim.faults import parse_faults
from flatyard.clouds.sim.region import Region
from flatyard.model import cluster as model
from flatyard.model.machines import AwsMachine
from flatyard.model.meta import ObjectMeta
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import VirtualLoop, run

REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
CLUSTER = model.Cluster(
    metadata=ObjectMeta(name="prod"),
    spec=model.ClusterSpec(cloud=model.CloudChoice(sim=model.SimCloud(as_="aws", region="us-east-1"))),
)


def test_a_zone_that_comes_back_brings_its_machines_with_their_disks() -> None:
    loop, disk = VirtualLoop(), MemoryDisk()

    def memories() -> list[str]:
        return [key for key, _ in disk.items("machines/")]

    async def main() -> None:
        troubles = parse_faults(["zone:us-east-1a=down@t=300,for=300"])
        region = Region(CLUSTER, SeededWorld(1, loop.time), disk, troubles=troubles)
        await region.start()
        images = await region.cloud.images(ImageQuery("stable", None))
        network = await region.cloud.ensure_network(REF, CLUSTER)
        made = await region.cloud.create(
            CreateRequest(
                cluster=REF,
                machine_id="01JGFJJZ00CCCCCCCCCCCCCCCC",
                attempt=1,
                name="plain",
                role=Role.WORKER,
                pool="general",
                zone="us-east-1a",
                image=images[0].reference,
                machine=AwsMachine(),
                network=network,
                user_data=b'{"ignition":{"version":"3.4.0"}}',
            )
        )
        await asyncio.sleep(400)
        machine = region.machines.machines[made.id]
        assert memories() == [f"machines/{made.id}"] and not machine.memory.on
        await asyncio.sleep(400)
        assert region.machines.machines[made.id] is machine and machine.memory.on
        await region.cloud.delete(REF, made)
        assert memories() == [], "a deleted instance takes its disk with it"
        await region.stop()

    run(main(), loop=loop)
