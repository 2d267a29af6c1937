"""More machines than a page of the cloud's list holds, as fast as the cloud's rate limit lets them be made."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from flatyard.clouds.cloud import CreateRequest, Instance
from flatyard.clouds.conformance.bench import Bench, Check, emptied, living, persistently, request

AT_ONCE = 16


async def many_machines_come_on_all_pages(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    first = await request(bench, network=network)
    room = asyncio.Semaphore(AT_ONCE)

    async def make(wanted: CreateRequest) -> Instance:
        async with room:
            return await persistently(bench, lambda: bench.cloud.create(wanted))

    numbers = range(1, bench.beyond_a_page + 1)
    wanted = [replace(first, machine_id=bench.machine_id(n), name=f"general-{n:04d}") for n in numbers]
    bench.meter(True)
    made = await asyncio.gather(*(make(one) for one in wanted))
    found = await living(bench)
    bench.meter(False)
    assert len(found) == bench.beyond_a_page, f"{bench.beyond_a_page} were made, {len(found)} are listed"
    assert {i.id for i in found} == {i.id for i in made}, "the list shows others than were made"
    strangers = {i.machine_id for i in found} ^ {one.machine_id for one in wanted}
    assert not strangers, f"machine ids were lost or made up: {sorted(strangers)}"
    addresses = [value for i in found for kind, value in i.addresses if kind == "InternalIP"]
    assert len(set(addresses)) == len(addresses), "two machines share an address"
    await emptied(bench)
    assert not await bench.cloud.sweep(bench.ref), "something is left of them"


CHECKS: tuple[Check, ...] = (many_machines_come_on_all_pages,)
