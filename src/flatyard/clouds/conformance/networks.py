"""Network and endpoint: made once, found again, completed, changed, removed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from flatyard.clouds.cloud import CloudError, Role
from flatyard.clouds.conformance.bench import (
    LEAVING,
    Bench,
    Check,
    emptied,
    living,
    only_these,
    owned,
    request,
    the_only,
)
from flatyard.model.cluster import Cluster

LEAST, MUCH_TOO_LONG = 12, 256
"""Characters of a cluster's name that every cloud takes, and that none does."""


async def the_network_is_made_once(bench: Bench) -> None:
    first = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    found = await bench.cloud.sweep(bench.ref)
    again = await bench.restarted().ensure_network(bench.ref, bench.cluster)
    assert first == again, f"{first} became {again}"
    assert found == await bench.cloud.sweep(bench.ref), "the second call made or removed something"
    await bench.cloud.delete_network(bench.ref)
    await bench.cloud.delete_network(bench.ref)


async def a_half_made_network_is_completed(bench: Bench) -> None:
    await bench.cloud.ensure_network(bench.ref, bench.cluster)
    whole = await owned(bench)
    for thing in whole:
        try:
            await bench.cloud.delete_owned(bench.ref, thing)
        except CloudError as no:
            assert no.retry, f"{thing.kind} {thing.id}: {no}"
        else:
            break
    await bench.wait(600)
    network = await bench.restarted().ensure_network(bench.ref, bench.cluster)
    kinds = Counter(thing.kind for thing in whole)
    found = Counter(thing.kind for thing in await owned(bench))
    assert found == kinds, f"of {dict(kinds)} there is {dict(found)} after it was completed"
    made = await bench.cloud.create(await request(bench, network=network))
    await only_these(bench, made)
    await emptied(bench)


async def the_network_stays_while_it_has_machines(bench: Bench) -> None:
    made = await bench.cloud.create(await request(bench))
    await bench.wait(300)
    try:
        await bench.cloud.delete_network(bench.ref)
    except CloudError as no:
        assert no.retry, f"the machines will go, and this is final: {no}"
    found = [instance.id for instance in await living(bench)]
    assert found == [made.id], "deleting the network took a machine"
    await bench.cloud.ensure_network(bench.ref, bench.cluster)
    await emptied(bench)
    left = await owned(bench)
    assert not left, f"left over: {left}"


async def two_clusters_share_nothing(bench: Bench) -> None:
    await bench.cloud.ensure_network(bench.ref, bench.cluster)
    network = await bench.cloud.ensure_network(bench.other, bench.cluster)
    mine = {(thing.kind, thing.id) for thing in await owned(bench)}
    theirs = await owned(bench, bench.other)
    assert not mine & {(thing.kind, thing.id) for thing in theirs}, "two clusters own the same thing"
    await emptied(bench)
    assert theirs == await owned(bench, bench.other), "deleting one network changed the other's"
    assert network == await bench.cloud.ensure_network(bench.other, bench.cluster)
    await emptied(bench, bench.other)


async def the_endpoint_has_exactly_these_backends(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    one = await bench.cloud.create(await request(bench, 1, network=network))
    two = await bench.cloud.create(await request(bench, 2, network=network))
    await bench.wait(300)
    ensure = bench.cloud.ensure_endpoint
    first = await ensure(bench.ref, bench.cluster, network, (one.id,))
    both = await ensure(bench.ref, bench.cluster, network, (one.id, two.id))
    assert (both.host, both.port) == (first.host, first.port), "the endpoint's name must never change"
    assert set(both.backends) == {one.id, two.id}, f"its backends are {both.backends}"
    found = await bench.cloud.sweep(bench.ref)
    less = await bench.restarted().ensure_endpoint(bench.ref, bench.cluster, network, (two.id,))
    assert less.backends == (two.id,), f"its backends are {less.backends}"
    assert less.host == first.host, f"the endpoint's name was {first.host} and is {less.host}"
    assert found == await bench.cloud.sweep(bench.ref), "changing backends must not make resources"
    await emptied(bench)


async def the_endpoint_is_there_before_its_backends(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    empty = await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())
    assert empty.host and empty.port == bench.cluster.spec.endpoint.port, f"the endpoint is {empty}"
    found = await owned(bench)
    again = await bench.restarted().ensure_endpoint(bench.ref, bench.cluster, network, ())
    assert (again.host, again.port, again.backends) == (empty.host, empty.port, ())
    assert found == await owned(bench), "a new process made or removed something"
    await emptied(bench)


async def the_endpoint_loses_a_backend_that_is_gone(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    one = await bench.cloud.create(await request(bench, 1, network=network))
    two = await bench.cloud.create(await request(bench, 2, network=network))
    await bench.wait(300)
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, (one.id, two.id))
    await bench.cloud.delete(bench.ref, one)
    await bench.wait(600)
    less = await bench.restarted().ensure_endpoint(bench.ref, bench.cluster, network, (two.id,))
    assert less.backends == (two.id,), f"its backends are {less.backends}"
    await emptied(bench)


async def the_endpoint_goes_and_comes(bench: Bench) -> None:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    before = await owned(bench)
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())
    await bench.cloud.delete_endpoint(bench.ref)
    await bench.restarted().delete_endpoint(bench.ref)
    assert {o.id for o in await owned(bench)} == {o.id for o in before}, "something of the endpoint is left"
    made = await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())
    assert made.host, "it did not come again"
    await emptied(bench)


async def deleting_what_never_was_is_fine(bench: Bench) -> None:
    await bench.cloud.delete_endpoint(bench.ref)
    await bench.cloud.delete_network(bench.ref)
    listed = await bench.cloud.machines(bench.ref)
    assert all(instance.state in LEAVING for instance in listed), f"a cluster that never was has {listed}"
    left = await bench.cloud.sweep(bench.ref)
    assert not left, f"a cluster that never was owns {left}"


async def the_longest_cluster_name_is_taken(bench: Bench) -> None:
    """The longest that preflight has nothing against: all that is named after the cluster has room for it."""
    name = await _longest_name(bench)
    ref, cluster = replace(bench.ref, name=name), _called(bench, name)
    network = await bench.cloud.ensure_network(ref, cluster)
    wanted = await request(bench, ref=ref, network=network)
    wanted = replace(wanted, name=f"{name}-control-plane-1", role=Role.CONTROL_PLANE, pool="control-plane")
    made = await bench.cloud.create(wanted)
    await bench.cloud.ensure_endpoint(ref, cluster, network, (made.id,))
    found = await the_only(bench, ref=ref)
    assert found.name == wanted.name, f"{wanted.name} became {found.name}"
    assert network == await bench.restarted().ensure_network(ref, cluster), (
        "a new process finds another network"
    )
    await emptied(bench, ref)
    assert not await owned(bench, ref), "something of the cluster with the long name is left"


async def _longest_name(bench: Bench) -> str:
    right, wrong = 1, MUCH_TOO_LONG
    while wrong - right > 1:
        length = (right + wrong) // 2
        if await bench.cloud.preflight(_called(bench, "c" * length)):
            wrong = length
        else:
            right = length
    assert right >= LEAST, f"preflight takes a name of {right} characters at most"
    return "c" * right


def _called(bench: Bench, name: str) -> Cluster:
    return replace(bench.cluster, metadata=replace(bench.cluster.metadata, name=name))


CHECKS: tuple[Check, ...] = (
    the_network_is_made_once,
    a_half_made_network_is_completed,
    the_network_stays_while_it_has_machines,
    two_clusters_share_nothing,
    the_endpoint_has_exactly_these_backends,
    the_endpoint_is_there_before_its_backends,
    the_endpoint_loses_a_backend_that_is_gone,
    the_endpoint_goes_and_comes,
    deleting_what_never_was_is_fine,
    the_longest_cluster_name_is_taken,
)
