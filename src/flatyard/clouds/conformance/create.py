"""A machine is made once, whatever happens to the call, to its reply and to the process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial

from flatyard.clouds.cloud import CloudError, Instance, InstanceState, Role, Transient
from flatyard.clouds.conformance.bench import (
    LEAVING,
    USER_DATA,
    Bench,
    Check,
    emptied,
    living,
    only_these,
    persistently,
    request,
    shown,
    the_only,
)


async def create_makes_what_was_asked_for(bench: Bench) -> None:
    wanted = await request(bench)
    made = await bench.cloud.create(wanted)
    assert (made.machine_id, made.attempt) == (wanted.machine_id, 1), "the reply does not name the machine"
    await bench.wait(300)
    found = await the_only(bench)
    assert found.state is InstanceState.RUNNING, f"after five minutes it is {found.state}"
    assert (found.role, found.name) == (Role.WORKER, wanted.name), f"it is shown as {found.role} {found.name}"
    assert found.provider_id and found.node_name, "provider id and node name are known by now"
    assert any(kind == "InternalIP" for kind, _ in found.addresses), "it has no address"
    await emptied(bench)


async def the_role_is_shown(bench: Bench) -> None:
    wanted = replace(await request(bench), role=Role.CONTROL_PLANE, name="prod-control-plane-0001", pool="")
    await bench.cloud.create(wanted)
    found = await the_only(bench, bench.restarted())
    assert found.role is Role.CONTROL_PLANE, f"a control plane is shown as {found.role}"
    await emptied(bench)


async def the_zone_is_the_one_asked_for(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    for number, zone in enumerate(network.zones or ("",), 1):
        wanted = replace(await request(bench, number, network=network), zone=zone)
        await bench.cloud.create(wanted)
    found = sorted(instance.zone for instance in await living(bench))
    assert found == sorted(network.zones or ("",)), f"asked for {network.zones}, got {found}"
    await emptied(bench)


async def create_twice_makes_one(bench: Bench) -> None:
    wanted = await request(bench)
    first = await bench.cloud.create(wanted)
    again = await bench.cloud.create(wanted)
    assert first.id == again.id, f"the same request made {first.id} and {again.id}"
    await only_these(bench, first)
    await emptied(bench)


async def concurrent_creates_make_one(bench: Bench) -> None:
    wanted = await request(bench)
    clouds = (bench.cloud, bench.restarted(), bench.restarted())
    answers = await asyncio.gather(*(cloud.create(wanted) for cloud in clouds), return_exceptions=True)
    for answer in answers:
        told = isinstance(answer, Instance) or (isinstance(answer, CloudError) and answer.retry)
        assert told, f"a create beside another one ended with {answer!r}"
    made = await persistently(bench, lambda: bench.cloud.create(wanted))
    ids = {answer.id for answer in answers if isinstance(answer, Instance)} | {made.id}
    assert ids == {made.id}, f"creates at once made {sorted(ids)}"
    await only_these(bench, made)
    await emptied(bench)


async def a_lost_reply_makes_one(bench: Bench) -> None:
    wanted = await request(bench)
    bench.lose_replies(1)
    try:
        await bench.cloud.create(wanted)
    except Transient:
        pass
    else:
        raise AssertionError("a lost reply must be told as Transient")
    made = await bench.restarted().create(wanted)
    found = await the_only(bench)
    assert found.id == made.id, "the retry returned another instance than the one that exists"
    await emptied(bench)


async def lost_replies_in_a_row_make_one(bench: Bench) -> None:
    wanted = await request(bench)
    bench.lose_replies(3)
    made = await persistently(bench, lambda: bench.restarted().create(wanted))
    bench.lose_replies(0)
    await only_these(bench, made)
    await emptied(bench)


async def a_crash_in_the_midst_makes_one(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    made = []
    for number, pause in enumerate((0.0, 0.05, 0.5, 1.5), 1):
        wanted = await request(bench, number, network=network)
        dying = asyncio.ensure_future(bench.restarted().create(wanted))
        await asyncio.sleep(pause)
        dying.cancel()
        with suppress(asyncio.CancelledError):
            await dying
        made.append(await persistently(bench, partial(bench.restarted().create, wanted)))
    await only_these(bench, *made)
    await emptied(bench)


async def a_new_process_adopts_by_tag(bench: Bench) -> None:
    wanted = await request(bench)
    made = await bench.cloud.create(wanted)
    found = await the_only(bench, bench.restarted())
    assert (found.id, found.machine_id, found.attempt) == (made.id, wanted.machine_id, 1)
    await emptied(bench)


async def a_new_process_creates_nothing_twice(bench: Bench) -> None:
    wanted = await request(bench)
    made = await bench.cloud.create(wanted)
    await bench.wait(300)
    again = await bench.restarted().create(wanted)
    assert again.id == made.id, f"after the machine was up, a new process made {again.id} beside {made.id}"
    await only_these(bench, made)
    await emptied(bench)


async def the_next_attempt_is_another_instance(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    first = await bench.cloud.create(await request(bench, network=network))
    await bench.cloud.delete(bench.ref, first)
    await bench.wait(600)
    second = await bench.cloud.create(await request(bench, attempt=2, network=network))
    assert second.attempt == 2 and second.state not in LEAVING, f"the second attempt is {second}"
    found = await the_only(bench)
    assert found.id == second.id, f"{second.id} is the second attempt, and {found.id} lives"
    await emptied(bench)


async def a_token_means_one_request(bench: Bench) -> None:
    wanted = await request(bench)
    made = await bench.cloud.create(wanted)
    given = bench.user_data(made)
    other = replace(wanted, user_data=b'{"ignition":{"version":"3.3.0"}}')
    try:
        again = await bench.restarted().create(other)
    except CloudError as no:
        assert not no.retry, f"another request of the same token will never be right: {no}"
    else:
        assert again.id == made.id, f"the same token made {made.id} and {again.id}"
    assert given == USER_DATA, "the first request's user data is not what the machine gets"
    await only_these(bench, made)
    await emptied(bench)


async def the_reply_is_what_the_list_shows(bench: Bench) -> None:
    """But for the zone, which some clouds choose after they replied."""
    made = await bench.cloud.create(await request(bench))
    listed = await shown(bench, made)
    told = (made.name, made.machine_id, made.attempt, made.role, made.zone or listed.zone)
    found = (listed.name, listed.machine_id, listed.attempt, listed.role, listed.zone)
    assert told == found, f"the reply says {told}, and the list {found}"
    await emptied(bench)


CHECKS: tuple[Check, ...] = (
    create_makes_what_was_asked_for,
    the_role_is_shown,
    the_zone_is_the_one_asked_for,
    create_twice_makes_one,
    concurrent_creates_make_one,
    a_lost_reply_makes_one,
    lost_replies_in_a_row_make_one,
    a_crash_in_the_midst_makes_one,
    a_new_process_adopts_by_tag,
    a_new_process_creates_nothing_twice,
    the_next_attempt_is_another_instance,
    a_token_means_one_request,
    the_reply_is_what_the_list_shows,
)
