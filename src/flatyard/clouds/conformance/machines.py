"""A machine after it is made: restart, evidence, delete; its name and tags at their limits."""

from __future__ import annotations

from dataclasses import replace

from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_MACHINE,
    TAG_OWNED,
    TAG_ROLE,
    InstanceState,
    Rejected,
)
from flatyard.clouds.conformance.bench import (
    GONE,
    Bench,
    Check,
    emptied,
    only_these,
    owned,
    request,
    shown,
    the_only,
)

ROOM_FOR_OURS = 10
"""Tags that an adapter may set itself: the five of the protocol, a name, and what its cloud wants."""


async def restart_keeps_id_and_addresses(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.wait(300)
    before = await shown(bench, made)
    await bench.restarted().restart(bench.ref, before)
    await bench.wait(300)
    after = await shown(bench, made)
    assert after.state is InstanceState.RUNNING, f"after a restart it is {after.state}"
    same = (before.id, before.provider_id, before.node_name, before.addresses, before.attempt)
    assert same == (after.id, after.provider_id, after.node_name, after.addresses, after.attempt)
    await emptied(bench)


async def a_failed_boot_leaves_evidence(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.wait(300)
    assert await bench.cloud.evidence(bench.ref, made) is None, "there is no failure yet"
    bench.break_down(made)
    found = await bench.cloud.evidence(bench.ref, made)
    assert found is not None and found.unit == "kubelet.service", f"the evidence is {found}"
    assert any("no such file" in line for line in found.lines), f"its lines are {found.lines}"
    await emptied(bench)
    await bench.wait(7200)
    assert await bench.cloud.evidence(bench.ref, made) is None, "an instance that is gone has no evidence"


async def evidence_of_a_new_instance_is_none(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    assert await bench.cloud.evidence(bench.ref, made) is None, "it has not even booted"
    await emptied(bench)


async def delete_twice_is_fine(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.cloud.delete(bench.ref, made)
    await bench.cloud.delete(bench.ref, made)
    await bench.wait(7200)
    await bench.cloud.delete(bench.ref, made)
    left = [one for one in await bench.cloud.machines(bench.ref) if one.state not in GONE]
    assert not left, f"two hours after it was deleted there is {left}"
    await emptied(bench)


async def delete_takes_everything_of_the_machine(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.wait(300)
    await bench.cloud.delete(bench.ref, made)
    await bench.wait(7200)
    left = [thing for thing in await owned(bench) if thing.machine_id == made.machine_id]
    assert not left, f"the machine is gone, and there is {left}"
    await emptied(bench)


async def delete_leaves_the_others(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    first = await bench.cloud.create(await request(bench, 1, network=network))
    second = await bench.cloud.create(await request(bench, 2, network=network))
    await bench.wait(300)
    await bench.restarted().delete(bench.ref, first)
    await bench.wait(600)
    found = await the_only(bench)
    assert (found.id, found.state) == (second.id, InstanceState.RUNNING), f"the other one is now {found}"
    await emptied(bench)


async def the_longest_name_is_taken(bench: Bench) -> None:
    length = bench.cloud.limits.machine_name_length
    name = "general-" + "x" * (length - len("general-") - 5) + "-0001"
    made = await bench.cloud.create(replace(await request(bench), name=name))
    found = await shown(bench, made)
    assert found.name == name, f"a name of {length} characters became {found.name}"
    assert found.node_name and len(found.node_name) <= 253, f"its node is called {found.node_name!r}"
    await emptied(bench)


async def an_odd_name_is_taken_or_rejected_whole(bench: Bench) -> None:
    wanted = replace(await request(bench), name="general_/ 1")
    before = await owned(bench)
    try:
        made = await bench.cloud.create(wanted)
    except Rejected as no:
        assert "general_/ 1" in str(no), f"the refusal does not tell the name: {no}"
        assert await owned(bench) == before, "something was made before the refusal"
    else:
        found = await shown(bench, made)
        assert found.name == wanted.name, f"{wanted.name} became {found.name}"
    await emptied(bench)


async def user_tags_at_their_limits_are_taken(bench: Bench) -> None:
    limits = bench.cloud.limits
    room = max(1, min(40, limits.tag_count - ROOM_FOR_OURS))
    value = "v" * min(limits.tag_value_length, 256)
    made = await bench.cloud.create(
        replace(await request(bench), tags={f"team-{number:03d}": value for number in range(room)})
    )
    found = await shown(bench, made)
    assert found.machine_id == made.machine_id and found.attempt == 1, "many tags hide ours"
    await emptied(bench)


async def user_tags_in_any_script_are_taken_or_rejected_whole(bench: Bench) -> None:
    wanted = replace(await request(bench), tags={"team": "größe 検査 😀"})
    before = await owned(bench)
    try:
        made = await bench.cloud.create(wanted)
    except Rejected as no:
        assert "team" in str(no), f"the refusal does not name the tag: {no}"
        assert await owned(bench) == before, "something was made before the refusal"
    else:
        await only_these(bench, made)
    await emptied(bench)


async def user_tags_do_not_replace_ours(bench: Bench) -> None:
    false = dict.fromkeys((TAG_CLUSTER, TAG_OWNED, TAG_MACHINE, TAG_ROLE, TAG_ATTEMPT), "7")
    wanted = replace(await request(bench), tags=false)
    made = await bench.cloud.create(wanted)
    found = await the_only(bench, bench.restarted())
    assert (found.id, found.machine_id, found.attempt) == (made.id, wanted.machine_id, 1)
    await emptied(bench)
    left = await bench.cloud.sweep(bench.ref)
    assert not left, f"left over: {left}"


CHECKS: tuple[Check, ...] = (
    restart_keeps_id_and_addresses,
    a_failed_boot_leaves_evidence,
    evidence_of_a_new_instance_is_none,
    delete_twice_is_fine,
    delete_takes_everything_of_the_machine,
    delete_leaves_the_others,
    the_longest_name_is_taken,
    an_odd_name_is_taken_or_rejected_whole,
    user_tags_at_their_limits_are_taken,
    user_tags_in_any_script_are_taken_or_rejected_whole,
    user_tags_do_not_replace_ours,
)
