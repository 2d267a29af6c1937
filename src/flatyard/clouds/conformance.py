"""What every cloud's adapter must do, as checks that run on a simulator, an emulator or the real thing.

A test brings a `Bench` for its cloud and awaits each of `CHECKS`. A check raises AssertionError with a sentence.
A bench whose cloud cannot show something (no object store, no way to lose a reply) says so in its properties,
and the check then holds the adapter to the refusal instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from flatyard.clouds.cloud import (
    Cloud,
    CloudError,
    ClusterRef,
    CreateRequest,
    ImageQuery,
    Instance,
    InstanceState,
    Network,
    Role,
    StashForbidden,
    Transient,
)
from flatyard.model.cluster import Cluster
from flatyard.model.machines import MachineSpec
from flatyard.model.traits import StashScheme

GONE = (InstanceState.TERMINATED,)
LEAVING = (InstanceState.TERMINATED, InstanceState.DELETING)


class Bench(Protocol):
    """One cloud under test. `ref` and `other` are two clusters in the same account."""

    cloud: Cloud
    cluster: Cluster
    ref: ClusterRef
    other: ClusterRef
    machine: MachineSpec
    beyond_a_page: int
    """More machines than one page of the cloud's list holds, as the account under test pages."""

    def machine_id(self, number: int) -> str:
        """The number-th machine id, a ULID."""
        ...

    def restarted(self) -> Cloud:
        """A new adapter on the same account, as a new process has it: it remembers nothing."""
        ...

    def lose_replies(self, count: int) -> None:
        """The next `count` instance creates happen, and their replies are lost."""
        ...

    def foreign(self, name: str) -> None:
        """Somebody else makes an instance in the account, without our tags."""
        ...

    def break_down(self, instance: Instance) -> None:
        """Make the instance's first boot tell on its console that kubelet.service failed."""
        ...

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        ...

    async def get(self, url: str) -> int:
        """The HTTP status that a machine gets for a URL."""
        ...


Check = Callable[[Bench], Awaitable[None]]


async def request(
    bench: Bench,
    number: int = 1,
    *,
    attempt: int = 1,
    ref: ClusterRef | None = None,
    network: Network | None = None,
) -> CreateRequest:
    """A create request for the number-th machine, rendered the same each time."""
    owner = ref or bench.ref
    place = network or await bench.cloud.ensure_network(owner, bench.cluster)
    found = await bench.cloud.images(ImageQuery("stable", None, machine=bench.machine))
    assert found, "the region has no stable image"
    return CreateRequest(
        cluster=owner,
        machine_id=bench.machine_id(number),
        attempt=attempt,
        name=f"general-{number:04d}",
        role=Role.WORKER,
        pool="general",
        zone="",
        image=found[0].reference,
        machine=bench.machine,
        network=place,
        user_data=b'{"ignition":{"version":"3.4.0"}}',
    )


async def living(
    bench: Bench, cloud: Cloud | None = None, ref: ClusterRef | None = None
) -> tuple[Instance, ...]:
    """The cluster's instances once lists have caught up, without those that are leaving."""
    await bench.wait(max(5.0, bench.cloud.limits.list_lag_seconds) + 1)
    listed = await (cloud or bench.cloud).machines(ref or bench.ref)
    return tuple(instance for instance in listed if instance.state not in LEAVING)


async def emptied(bench: Bench, ref: ClusterRef | None = None) -> None:
    """Delete everything in the order of `down` and wait for it."""
    owner = ref or bench.ref
    for instance in await living(bench, ref=owner):
        await bench.cloud.delete(owner, instance)
    await bench.wait(600)
    await bench.cloud.delete_endpoint(owner)
    await bench.cloud.delete_network(owner)


async def create_makes_what_was_asked_for(bench: Bench) -> None:
    wanted = await request(bench)
    made = await bench.cloud.create(wanted)
    assert (made.machine_id, made.attempt) == (wanted.machine_id, 1), "the reply does not name the machine"
    await bench.wait(300)
    (shown,) = await living(bench)
    assert shown.state is InstanceState.RUNNING, f"after five minutes it is {shown.state}"
    assert shown.role is Role.WORKER and shown.name == wanted.name
    assert shown.provider_id and shown.node_name, "provider id and node name are known by now"
    assert any(kind == "InternalIP" for kind, _ in shown.addresses), "it has no address"
    await emptied(bench)


async def create_twice_makes_one(bench: Bench) -> None:
    wanted = await request(bench)
    first = await bench.cloud.create(wanted)
    again = await bench.cloud.create(wanted)
    assert first.id == again.id, f"the same request made {first.id} and {again.id}"
    assert len(await living(bench)) == 1
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
    (shown,) = await living(bench)
    assert shown.id == made.id, "the retry returned another instance than the one that exists"
    await emptied(bench)


async def the_next_attempt_is_another_instance(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    first = await bench.cloud.create(await request(bench, network=network))
    await bench.cloud.delete(bench.ref, first)
    await bench.wait(600)
    second = await bench.cloud.create(await request(bench, attempt=2, network=network))
    assert second.attempt == 2 and second.state not in LEAVING
    (shown,) = await living(bench)
    assert shown.id == second.id
    await emptied(bench)


async def a_new_process_adopts_by_tag(bench: Bench) -> None:
    wanted = await request(bench)
    made = await bench.cloud.create(wanted)
    (shown,) = await living(bench, bench.restarted())
    assert (shown.id, shown.machine_id, shown.attempt) == (made.id, wanted.machine_id, 1)
    await emptied(bench)


async def lists_may_lag_and_agree_at_last(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    early = await bench.cloud.machines(bench.ref)
    assert [instance.id for instance in early] in ([], [made.id]), "the list shows something else"
    assert [instance.id for instance in await living(bench)] == [made.id]
    await emptied(bench)


async def many_machines_come_on_all_pages(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    first = await request(bench, network=network)
    for number in range(1, bench.beyond_a_page + 1):
        name = f"general-{number:04d}"
        await bench.cloud.create(replace(first, machine_id=bench.machine_id(number), name=name))
        await bench.wait(1)
    shown = await living(bench)
    assert len({instance.id for instance in shown}) == len(shown) == bench.beyond_a_page
    await emptied(bench)


async def delete_twice_is_fine(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.cloud.delete(bench.ref, made)
    await bench.cloud.delete(bench.ref, made)
    await bench.wait(7200)
    await bench.cloud.delete(bench.ref, made)
    assert all(instance.state in GONE for instance in await bench.cloud.machines(bench.ref))
    await emptied(bench)


async def the_network_is_made_once(bench: Bench) -> None:
    first = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    owned = await bench.cloud.sweep(bench.ref)
    again = await bench.restarted().ensure_network(bench.ref, bench.cluster)
    assert first == again, f"{first} became {again}"
    assert owned == await bench.cloud.sweep(bench.ref), "the second call made or removed something"
    await bench.cloud.delete_network(bench.ref)
    await bench.cloud.delete_network(bench.ref)


async def the_endpoint_has_exactly_these_backends(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    one = await bench.cloud.create(await request(bench, 1, network=network))
    two = await bench.cloud.create(await request(bench, 2, network=network))
    await bench.wait(300)
    ensure = bench.cloud.ensure_endpoint
    first = await ensure(bench.ref, bench.cluster, network, (one.id,))
    both = await ensure(bench.ref, bench.cluster, network, (one.id, two.id))
    assert (both.host, both.port) == (first.host, first.port), "the endpoint's name must never change"
    assert set(both.backends) == {one.id, two.id}
    owned = await bench.cloud.sweep(bench.ref)
    less = await bench.restarted().ensure_endpoint(bench.ref, bench.cluster, network, (two.id,))
    assert less.backends == (two.id,) and less.host == first.host
    assert owned == await bench.cloud.sweep(bench.ref), "changing backends must not make resources"
    await emptied(bench)


async def sweep_is_empty_after_deleting(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    made = await bench.cloud.create(await request(bench, network=network))
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, (made.id,))
    kinds = {owned.kind for owned in await bench.cloud.sweep(bench.ref)}
    assert "instance" in kinds, f"sweep shows {sorted(kinds)} and no instance"
    await emptied(bench)
    left = await bench.cloud.sweep(bench.ref)
    assert not left, f"left over: {left}"


async def sweep_alone_can_empty_the_account(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    made = await bench.cloud.create(await request(bench, network=network))
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, (made.id,))
    for _ in range(10):
        for owned in await bench.cloud.sweep(bench.ref):
            try:
                await bench.cloud.delete_owned(bench.ref, owned)
            except CloudError as still:
                assert still.retry, f"{owned.kind} {owned.id}: {still}"
        await bench.wait(120)
    left = await bench.cloud.sweep(bench.ref)
    assert not left, f"left over: {left}"


async def sweep_and_list_show_nothing_of_others(bench: Bench) -> None:
    mine = await bench.cloud.create(await request(bench))
    theirs = await bench.cloud.create(await request(bench, 2, ref=bench.other))
    bench.foreign("general-0001")
    assert [instance.id for instance in await living(bench)] == [mine.id]
    assert theirs.id not in {owned.id for owned in await bench.cloud.sweep(bench.ref)}
    machines = {owned.machine_id for owned in await bench.cloud.sweep(bench.ref)} - {""}
    assert machines == {mine.machine_id}, f"sweep shows machines {machines}"
    await emptied(bench)
    (left,) = await living(bench, ref=bench.other)
    assert left.id == theirs.id, "emptying one cluster took a machine of another"
    await emptied(bench, bench.other)


async def a_deleted_owned_thing_may_be_missing(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())
    owned = await bench.cloud.sweep(bench.ref)
    await emptied(bench)
    for thing in owned:
        await bench.cloud.delete_owned(bench.ref, thing)


async def a_failed_boot_leaves_evidence(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.wait(300)
    assert await bench.cloud.evidence(bench.ref, made) is None, "there is no failure yet"
    bench.break_down(made)
    found = await bench.cloud.evidence(bench.ref, made)
    assert found is not None and found.unit == "kubelet.service", f"the evidence is {found}"
    assert any("no such file" in line for line in found.lines)
    await emptied(bench)
    await bench.wait(7200)
    assert await bench.cloud.evidence(bench.ref, made) is None, "an instance that is gone has no evidence"


async def a_stash_ends(bench: Bench) -> None:
    if bench.cloud.traits.stash is StashScheme.NONE:
        await _stash_is_refused(bench)
        return
    await bench.cloud.ensure_network(bench.ref, bench.cluster)
    kept = await bench.cloud.stash(bench.ref, "machine-1", b"secret", 900)
    short = await bench.cloud.stash(bench.ref, "machine-2", b"secret", 60)
    assert await bench.get(kept.url) == 200 and await bench.get(short.url) == 200
    forged = kept.url[:-1] + ("0" if kept.url[-1] != "0" else "1")
    assert await bench.get(forged) == 403, "a changed URL must not work"
    await bench.wait(120)
    assert await bench.get(short.url) == 403, "the URL works after its time"
    await bench.cloud.unstash(bench.ref, "machine-1")
    await bench.cloud.unstash(bench.ref, "machine-1")
    assert await bench.get(kept.url) == 403, "the URL works after unstash"
    await emptied(bench)
    assert not await bench.cloud.sweep(bench.ref), "the bucket is left over"


async def _stash_is_refused(bench: Bench) -> None:
    try:
        await bench.cloud.stash(bench.ref, "machine-1", b"secret", 900)
    except StashForbidden as no:
        assert no.next, "the refusal must say what to do instead"
        await bench.cloud.unstash(bench.ref, "machine-1")
        return
    raise AssertionError("the traits say that there is no stash, and stash worked")


async def preflight_finds_nothing_wrong(bench: Bench) -> None:
    found = await bench.cloud.preflight(bench.cluster)
    assert not found, f"preflight says {found}"


CHECKS: tuple[Check, ...] = (
    create_makes_what_was_asked_for,
    create_twice_makes_one,
    a_lost_reply_makes_one,
    the_next_attempt_is_another_instance,
    a_new_process_adopts_by_tag,
    lists_may_lag_and_agree_at_last,
    many_machines_come_on_all_pages,
    delete_twice_is_fine,
    the_network_is_made_once,
    the_endpoint_has_exactly_these_backends,
    sweep_is_empty_after_deleting,
    sweep_alone_can_empty_the_account,
    sweep_and_list_show_nothing_of_others,
    a_deleted_owned_thing_may_be_missing,
    a_failed_boot_leaves_evidence,
    a_stash_ends,
    preflight_finds_nothing_wrong,
)
