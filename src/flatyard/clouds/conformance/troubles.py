"""What goes wrong at the cloud: throttling, server errors, quotas, capacity, instances that fail or end, late lists."""

from __future__ import annotations

from flatyard.clouds.cloud import (
    CloudError,
    Instance,
    InstanceState,
    NoCapacity,
    QuotaExceeded,
    RateLimited,
)
from flatyard.clouds.conformance.bench import (
    LEAVING,
    Bench,
    Check,
    caught_up,
    emptied,
    living,
    only_these,
    persistently,
    refusal_of,
    request,
    shown,
)
from flatyard.clouds.facts import Trouble

FAR_BEYOND_RETRIES = 100


async def _one(bench: Bench, made: Instance) -> None:
    found = [instance.id for instance in await living(bench)]
    assert found == [made.id], f"there are {found}"
    await emptied(bench)


async def throttling_is_waited_out(bench: Bench) -> None:
    wanted = await request(bench)
    bench.trouble(Trouble.RATE, 1)
    await _one(bench, await persistently(bench, lambda: bench.cloud.create(wanted)))


async def throttling_that_lasts_is_told(bench: Bench) -> None:
    wanted = await request(bench)
    bench.trouble(Trouble.RATE, FAR_BEYOND_RETRIES)
    no = await refusal_of(bench.cloud.create(wanted))
    assert isinstance(no, RateLimited), f"throttling is told as {type(no).__name__}: {no}"
    assert no.retry_after >= 0 and wanted.name in str(no), f"the refusal does not name its machine: {no}"
    bench.trouble(Trouble.RATE, 0)
    assert not await living(bench), "a throttled call made something"
    await _one(bench, await persistently(bench, lambda: bench.cloud.create(wanted)))


async def a_server_error_makes_one(bench: Bench) -> None:
    wanted = await request(bench)
    bench.trouble(Trouble.INTERNAL, 1)
    await _one(bench, await persistently(bench, lambda: bench.restarted().create(wanted)))


async def a_server_error_that_lasts_is_told(bench: Bench) -> None:
    wanted = await request(bench)
    bench.trouble(Trouble.INTERNAL, FAR_BEYOND_RETRIES)
    no = await refusal_of(bench.cloud.create(wanted))
    assert no.retry and wanted.name in str(no), f"a server error is told as {no!r}"
    bench.trouble(Trouble.INTERNAL, 0)
    await _one(bench, await persistently(bench, lambda: bench.cloud.create(wanted)))


async def a_quota_is_told_and_waited_for(bench: Bench) -> None:
    wanted = await request(bench)
    bench.trouble(Trouble.QUOTA_VCPUS, FAR_BEYOND_RETRIES)
    no = await refusal_of(bench.cloud.create(wanted))
    assert isinstance(no, QuotaExceeded), f"a quota is told as {type(no).__name__}: {no}"
    assert no.code and no.next, f"a quota without the cloud's code or what to do: {no!r}"
    bench.trouble(Trouble.QUOTA_VCPUS, 0)
    assert not await living(bench), "an instance beyond the quota was made"
    await _one(bench, await persistently(bench, lambda: bench.cloud.create(wanted)))


async def no_capacity_is_told(bench: Bench) -> None:
    """At once, or by an instance that goes to ERROR: both leave room for the next attempt."""
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    bench.trouble(Trouble.CAPACITY, FAR_BEYOND_RETRIES)
    try:
        made = await bench.cloud.create(await request(bench, network=network))
    except CloudError as no:
        assert isinstance(no, NoCapacity), f"a zone without room is told as {type(no).__name__}: {no}"
        assert no.code, f"no capacity without the cloud's code: {no!r}"
    else:
        await bench.wait(300)
        failed = await shown(bench, made)
        assert failed.no_capacity, f"that its zone has no room is not told: {failed}"
        assert failed.state is InstanceState.ERROR and failed.error, f"no capacity is shown as {failed}"
        await bench.cloud.delete(bench.ref, failed)
        await bench.wait(600)
    bench.trouble(Trouble.CAPACITY, 0)
    second = await request(bench, attempt=2, network=network)
    await _one(bench, await persistently(bench, lambda: bench.cloud.create(second)))


async def an_instance_in_error_says_why(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.wait(300)
    bench.fail(made)
    failed = await shown(bench, made)
    assert failed.state is InstanceState.ERROR, f"a failed instance is shown as {failed.state}"
    assert failed.error, "the cloud's words for it are not shown"
    await emptied(bench)


async def after_an_error_the_next_attempt_works(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    made = await bench.cloud.create(await request(bench, network=network))
    await bench.wait(300)
    bench.fail(made)
    await bench.cloud.delete(bench.ref, await shown(bench, made))
    await bench.wait(600)
    second = await request(bench, attempt=2, network=network)
    again = await persistently(bench, lambda: bench.cloud.create(second))
    assert again.attempt == 2, f"the second attempt is {again}"
    await _one(bench, again)


async def an_ended_instance_is_not_shown_as_living(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.wait(300)
    bench.end(made)
    await caught_up(bench)
    states = [i.state for i in await bench.restarted().machines(bench.ref) if i.id == made.id]
    assert all(state in LEAVING for state in states), f"the cloud ended it, and it is shown as {states}"
    await emptied(bench)


async def after_an_end_the_next_attempt_works(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    made = await bench.cloud.create(await request(bench, network=network))
    await bench.wait(300)
    bench.end(made)
    await bench.wait(600)
    second = await request(bench, attempt=2, network=network)
    again = await persistently(bench, lambda: bench.cloud.create(second))
    assert again.attempt == 2 and again.state not in LEAVING, f"the second attempt is {again}"
    await _one(bench, again)


async def lists_may_lag_and_agree_at_last(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    early = await bench.cloud.machines(bench.ref)
    assert [instance.id for instance in early] in ([], [made.id]), "the list shows something else"
    await only_these(bench, made)
    await emptied(bench)


async def a_late_list_makes_no_second(bench: Bench) -> None:
    wanted = await request(bench)
    bench.lag(min(3.0, bench.cloud.limits.list_lag_seconds))
    made = await bench.cloud.create(wanted)
    again = await bench.restarted().create(wanted)
    assert again.id == made.id, f"{made.id} was not listed yet, and {again.id} was made"
    found = [instance.id for instance in await living(bench)]
    bench.lag(0)
    assert found == [made.id], f"once lists have caught up there are {found}"
    await emptied(bench)


async def what_no_list_shows_yet_can_be_deleted(bench: Bench) -> None:
    wanted = await request(bench)
    bench.lag(min(3.0, bench.cloud.limits.list_lag_seconds))
    made = await bench.cloud.create(wanted)
    await bench.cloud.delete(bench.ref, made)
    await bench.wait(600)
    bench.lag(0)
    assert not await living(bench), "it was deleted before a list showed it, and is there"
    await emptied(bench)


CHECKS: tuple[Check, ...] = (
    throttling_is_waited_out,
    throttling_that_lasts_is_told,
    a_server_error_makes_one,
    a_server_error_that_lasts_is_told,
    a_quota_is_told_and_waited_for,
    no_capacity_is_told,
    an_instance_in_error_says_why,
    after_an_error_the_next_attempt_works,
    an_ended_instance_is_not_shown_as_living,
    after_an_end_the_next_attempt_works,
    lists_may_lag_and_agree_at_last,
    a_late_list_makes_no_second,
    what_no_list_shows_yet_can_be_deleted,
)
