"""Sweep: all that is ours, and nothing else; `down` ends with it empty."""

from __future__ import annotations

from datetime import datetime

from flatyard.clouds.cloud import CloudError
from flatyard.clouds.conformance.bench import (
    Bench,
    Check,
    emptied,
    only_these,
    owned,
    request,
    the_only,
)

ROUNDS = 10


async def _swept(bench: Bench) -> None:
    """Delete what sweep finds, in rounds, as `down` does when nothing else is known."""
    for _ in range(ROUNDS):
        found = await owned(bench)
        if not found:
            return
        for thing in found:
            try:
                await bench.cloud.delete_owned(bench.ref, thing)
            except CloudError as still:
                assert still.retry, f"{thing.kind} {thing.id}: {still}"
        await bench.wait(120)
    raise AssertionError(f"left over: {await owned(bench)}")


async def sweep_is_empty_after_deleting(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    made = await bench.cloud.create(await request(bench, network=network))
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, (made.id,))
    kinds = {thing.kind for thing in await owned(bench)}
    assert "instance" in kinds, f"sweep shows {sorted(kinds)} and no instance"
    await emptied(bench)
    left = await owned(bench)
    assert not left, f"left over: {left}"


async def sweep_alone_can_empty_the_account(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    made = await bench.cloud.create(await request(bench, network=network))
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, (made.id,))
    await _swept(bench)


async def sweep_finds_what_nobody_remembers(bench: Bench) -> None:
    stray = bench.stray()
    found = await owned(bench)
    assert stray in [thing.id for thing in found], f"of {stray} sweep shows {found}"
    await _swept(bench)


async def sweep_and_list_show_nothing_of_others(bench: Bench) -> None:
    mine = await bench.cloud.create(await request(bench))
    theirs = await bench.cloud.create(await request(bench, 2, ref=bench.other))
    bench.foreign("general-0001")
    await only_these(bench, mine)
    swept = {thing.id for thing in await bench.cloud.sweep(bench.ref)}
    assert theirs.id not in swept, "sweep shows a machine of another cluster"
    machines = {thing.machine_id for thing in await bench.cloud.sweep(bench.ref)} - {""}
    assert machines == {mine.machine_id}, f"sweep shows machines {machines}"
    await emptied(bench)
    left = await the_only(bench, ref=bench.other)
    assert left.id == theirs.id, "emptying one cluster took a machine of another"
    await emptied(bench, bench.other)


async def sweep_alone_spares_what_others_own(bench: Bench) -> None:
    theirs = await bench.cloud.create(await request(bench, 2, ref=bench.other))
    network = await bench.cloud.ensure_network(bench.other, bench.cluster)
    await bench.cloud.ensure_endpoint(bench.other, bench.cluster, network, (theirs.id,))
    await bench.cloud.create(await request(bench))
    before = await owned(bench, bench.other)
    await _swept(bench)
    assert await owned(bench, bench.other) == before, "sweeping one cluster changed another"
    left = await the_only(bench, ref=bench.other)
    assert left.id == theirs.id, "sweeping one cluster took a machine of another"
    await emptied(bench, bench.other)


async def sweep_spares_what_is_not_tagged_owned(bench: Bench) -> None:
    """A user may put the cluster's tag on a volume of theirs; that does not give it away."""
    theirs = bench.borrowed()
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    await bench.cloud.create(await request(bench, network=network))
    found = [thing.id for thing in await owned(bench)]
    assert theirs not in found, f"sweep shows {theirs}, which is not tagged owned"
    await emptied(bench)
    await _swept(bench)
    assert bench.remains(theirs), f"{theirs} is not tagged owned, and went with the cluster"


async def sweep_tells_when_a_machine_was_made(bench: Bench) -> None:
    """So that what is young is spared: it may still be somebody's create."""
    made = await bench.cloud.create(await request(bench))
    stamps = {thing.id: thing.created for thing in await owned(bench)}
    assert stamps.get(made.id), f"when {made.id} was made is not told"
    for thing, stamp in stamps.items():
        assert not stamp or datetime.fromisoformat(stamp).tzinfo, f"{thing} was made at {stamp!r}"
    await emptied(bench)


async def sweep_names_the_machine_of_each_thing(bench: Bench) -> None:
    wanted = await request(bench)
    made = await bench.cloud.create(wanted)
    found = [thing for thing in await owned(bench) if thing.id == made.id]
    told = [(thing.kind, thing.machine_id, thing.name) for thing in found]
    assert told == [("instance", wanted.machine_id, wanted.name)], f"sweep shows {wanted.name} as {found}"
    await emptied(bench)


async def a_deleted_owned_thing_may_be_missing(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())
    found = await owned(bench)
    await emptied(bench)
    for thing in found:
        await bench.cloud.delete_owned(bench.ref, thing)


CHECKS: tuple[Check, ...] = (
    sweep_is_empty_after_deleting,
    sweep_alone_can_empty_the_account,
    sweep_finds_what_nobody_remembers,
    sweep_and_list_show_nothing_of_others,
    sweep_alone_spares_what_others_own,
    sweep_spares_what_is_not_tagged_owned,
    sweep_tells_when_a_machine_was_made,
    sweep_names_the_machine_of_each_thing,
    a_deleted_owned_thing_may_be_missing,
)
