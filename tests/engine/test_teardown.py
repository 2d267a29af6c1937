"""What `down` does about machines that somebody else began to delete."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from flatyard.clouds.cloud import InstanceState
from flatyard.engine.commands import bring_up, take_down

DEADLINE = 2 * 3600.0


def test_down_ends_a_deletion_that_somebody_began_and_never_ended(simulate, example):
    """Where deleting is work of this machine's own, an interrupted one goes on only when it is asked for again."""

    async def main(life):
        assert (await bring_up(life.seams(), life.wanted, DEADLINE))[1].done
        cloud, again = life.region.cloud, []
        whole, listed = cloud.delete, cloud.machines
        workers = (i for i in life.region.provider.account.instances if i.tags["flatyard-role"] == "worker")
        begun = {i.id for i in workers}

        async def as_deleting(ref):
            found = await listed(ref)
            stuck = [i for i in found if i.id in begun and i.state is InstanceState.RUNNING]
            return tuple(replace(i, state=InstanceState.DELETING) if i in stuck else i for i in found)

        async def asked(ref, instance):
            again.append(instance.id)
            await whole(ref, instance)

        cloud.delete, cloud.machines = asked, as_deleting
        async with asyncio.timeout(600):
            assert (await take_down(life.seams(), life.wanted.name, DEADLINE)).gone
        assert begun and begun <= {*again}
        assert life.region.left_over() == ()

    simulate(main, example("quickstart.yaml", 2))
