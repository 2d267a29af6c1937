"""Properties of the in-memory API that hold after any history, and what a restart finds again."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flatyard.base.errors import Failed
from flatyard.base.world import SeededWorld
from flatyard.kube.api import ApiError, EventType, Gone, Object, Propagation
from flatyard.kube.kinds import BUILT_IN
from flatyard.kube.memory import VERSIONS, MemoryApi
from flatyard.kube.resources import CONFIGMAPS, MACHINES, NAMESPACES, NODES, PODS
from flatyard.kube.shelf import Scope
from flatyard.kube.storage import owner_uids
from flatyard.sim import loop

NAMES = st.sampled_from(["a", "b", "c", "d"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), NAMES, st.sampled_from(["", "a", "b"])),
        st.tuples(st.just("label"), NAMES, st.sampled_from(["x", "y"])),
        st.tuples(st.just("hold"), NAMES, st.just("")),
        st.tuples(st.just("release"), NAMES, st.just("")),
        st.tuples(st.just("delete"), NAMES, st.sampled_from(list(Propagation))),
    ),
    max_size=40,
)


def machine(name: str, owners: tuple[Object, ...] = (), **metadata: object) -> dict:
    references = [
        {
            "apiVersion": o.raw["apiVersion"],
            "kind": o.kind,
            "name": o.name,
            "uid": o.uid,
            "blockOwnerDeletion": True,
        }
        for o in owners
    ]
    extra = {"ownerReferences": references} if references else {}
    return {"metadata": {"name": name, "namespace": "default", **extra, **metadata}, "spec": {}}


async def apply(api: MemoryApi, operation: tuple) -> None:
    """Do one thing; that it may be refused is part of the history."""
    verb, name, argument = operation
    try:
        match verb:
            case "create":
                owners = (await api.get(MACHINES, "default", argument),) if argument else ()
                await api.create(MACHINES, machine(name, owners))
            case "label":
                await api.merge_patch(MACHINES, "default", name, {"metadata": {"labels": {"l": argument}}})
            case "hold":
                await api.merge_patch(
                    MACHINES, "default", name, {"metadata": {"finalizers": ["flatyard.dev/x"]}}
                )
            case "release":
                await api.merge_patch(MACHINES, "default", name, {"metadata": {"finalizers": None}})
            case _:
                await api.delete(MACHINES, "default", name, propagation=argument)
    except ApiError as refused:
        assert refused.status in (404, 409, 422), refused


def check_invariants(api: MemoryApi) -> None:
    storage = api.storage
    objects = {o.uid: o for shelf in storage.shelves.values() for o in shelf.objects.values()}
    assert set(storage.uids) == set(objects)
    owned = {(uid, o.uid) for o in objects.values() for uid in owner_uids(o)}
    assert owned == {(uid, child) for uid, children in storage.owned.items() for child in children}
    shelf = storage.shelves[api.kind(MACHINES)]
    versions = [change.version for change in shelf.history]
    assert versions == sorted(set(versions))
    assert all(int(o.resource_version) <= storage.version for o in objects.values())
    inside = {(n, name): o for n, names in shelf.namespaces.items() for name, o in names.items()}
    assert inside == shelf.objects


async def replayed(api: MemoryApi, since: str, start: tuple[Object, ...], **selectors: str) -> list[dict]:
    """What a watcher has in the end who listed at `since`."""
    known = {o.name: o.raw for o in start}
    events = api.watch(MACHINES, resource_version=since, **selectors)
    await api.create(CONFIGMAPS, {"metadata": {"name": "end", "namespace": "default"}})
    await api.create(MACHINES, machine("zz-end", labels={"l": "x"}))
    async for event in events:
        if event.object.name == "zz-end":
            break
        if event.type is EventType.DELETED:
            del known[event.object.name]
        elif event.type is not EventType.BOOKMARK:
            assert (event.object.name in known) == (event.type is EventType.MODIFIED)
            known[event.object.name] = event.object.raw
    await events.aclose()
    return [known[name] for name in sorted(known)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OPERATIONS, st.integers(0, 40), st.sampled_from(["", "l=x"]), st.sampled_from([None, 0.0, 0.5]))
def test_a_watch_replays_to_what_a_list_shows(operations, pause, labels, delay) -> None:
    async def run() -> None:
        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time), delay=delay)
        start, snapshot = await api.list(MACHINES, labels=labels), None
        copies: dict[str, tuple[Object, dict]] = {}
        for number, operation in enumerate(operations):
            if number == pause:
                start = await api.list(MACHINES, labels=labels)
                snapshot = await api.list(MACHINES)
            await apply(api, operation)
            check_invariants(api)
            copies |= {o.resource_version: (o, o.edit()) for o in (await api.list(MACHINES)).items}
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        check_invariants(api)
        assert all(object.raw == copy for object, copy in copies.values()), (
            "a stored object was changed in place"
        )
        end = [o.raw for o in (await api.list(MACHINES, labels=labels)).items]
        assert await replayed(api, start.resource_version, start.items, labels=labels) == end
        if snapshot is not None:
            shelf = api.storage.shelves[api.kind(MACHINES)]
            assert tuple(shelf.at(int(snapshot.resource_version), Scope())) == snapshot.items

    loop.run(run())


@settings(max_examples=60, deadline=None)
@given(OPERATIONS, st.booleans())
def test_a_restart_finds_everything_and_counts_on(operations, slow) -> None:
    kept: dict[str, bytes] = {}

    def remember(key: str, value: bytes | None) -> None:
        kept.pop(key, None)
        if value is not None:
            kept[key] = value

    async def remember_slowly(key: str, value: bytes | None) -> None:
        await asyncio.sleep(0.01)
        remember(key, value)

    async def run() -> None:
        world = SeededWorld(1, asyncio.get_running_loop().time)
        api = MemoryApi(world, persist=remember_slowly if slow else remember)
        for operation in operations:
            await apply(api, operation)
        again = MemoryApi(world, stored=dict(kept).items())
        check_invariants(again)
        if kept:
            assert [o.raw for o in (await again.list(MACHINES)).items] == [
                o.raw for o in (await api.list(MACHINES)).items
            ]
            assert again.storage.version >= api.storage.version
            with pytest.raises(Gone):
                await anext(again.watch(MACHINES, resource_version="1"))

    loop.run(run())


def test_a_write_that_cannot_be_kept_did_not_happen() -> None:
    async def run() -> None:
        broken = False
        events = []

        def persist(key: str, value: bytes | None) -> None:
            if broken and key != VERSIONS:
                raise Failed("the disk is full")

        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time), persist=persist)
        owner = await api.create(MACHINES, machine("owner"))
        await api.create(MACHINES, machine("child", (owner,)))
        before = await api.list(MACHINES)
        broken = True
        for attempt in (
            lambda: api.create(MACHINES, machine("new")),
            lambda: api.merge_patch(MACHINES, "default", "owner", {"spec": {"x": 1}}),
            lambda: api.delete(MACHINES, "default", "owner"),
        ):
            with pytest.raises(Failed, match="disk"):
                await attempt()
            assert (await api.list(MACHINES)).items == before.items
            check_invariants(api)
        broken = False
        await api.create(MACHINES, machine("new"))
        async for event in api.watch(MACHINES, resource_version=before.resource_version):
            events.append((event.type, event.object.name))
            break
        assert events == [(EventType.ADDED, "new")]

    loop.run(run())


@pytest.mark.parametrize("delay", [None, 0.1])
def test_controllers_try_again_what_could_not_be_kept(delay) -> None:
    async def run() -> None:
        fails = False

        async def persist(key: str, value: bytes | None) -> None:
            if fails and key.startswith("namespaces/") and value is None:
                raise Failed("the disk is full")

        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time), persist=persist, delay=delay)
        await api.create(NAMESPACES, {"metadata": {"name": "shop"}})
        fails = True
        with contextlib.suppress(Failed):
            await api.delete(NAMESPACES, "", "shop")
        await asyncio.sleep(60)
        assert "shop" in [o.name for o in (await api.list(NAMESPACES)).items]
        fails = False
        with contextlib.suppress(ApiError):
            await api.delete(NAMESPACES, "", "shop")
        await asyncio.sleep(60)
        assert "shop" not in [o.name for o in (await api.list(NAMESPACES)).items]

    loop.run(run())


def test_nobody_sees_a_write_before_it_is_durable() -> None:
    async def run() -> None:
        release = asyncio.Event()

        async def persist(key: str, value: bytes | None) -> None:
            await release.wait()

        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time), persist=persist)
        start = str(api.storage.version)
        writing = asyncio.create_task(api.create(MACHINES, machine("slow")))
        watching = asyncio.create_task(anext(api.watch(MACHINES, resource_version=start)))
        reading = asyncio.create_task(api.get(MACHINES, "default", "slow"))
        await asyncio.sleep(1)
        assert not (writing.done() or watching.done() or reading.done())
        release.set()
        assert (await reading).uid == (await writing).uid == (await watching).object.uid

    loop.run(run())


def test_a_stored_kind_that_is_not_served_is_named() -> None:
    stored = json.dumps(
        {"apiVersion": "cluster.k8s.io/v1alpha1", "kind": "Machine", "metadata": {"name": "x"}}
    )
    with pytest.raises(Failed, match="machines/default/x"):
        MemoryApi(SeededWorld(1, lambda: 0.0), BUILT_IN, stored=[("machines/default/x", stored.encode())])


def test_a_namespace_goes_when_everything_in_it_is_gone() -> None:
    async def run() -> None:
        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time), delay=0.1)
        await api.create(NAMESPACES, {"metadata": {"name": "shop"}})
        raw = machine("held", finalizers=["flatyard.dev/x"])
        raw["metadata"]["namespace"] = "shop"
        await api.create(MACHINES, raw)
        await api.delete(NAMESPACES, "", "shop")
        with pytest.raises(ApiError, match="being terminated") as refused:
            await api.create(CONFIGMAPS, {"metadata": {"name": "late", "namespace": "shop"}})
        assert refused.value.status == 403
        await asyncio.sleep(20)
        assert (await api.get(NAMESPACES, "", "shop")).status["phase"] == "Terminating"
        await api.merge_patch(MACHINES, "shop", "held", {"metadata": {"finalizers": None}})
        await asyncio.sleep(20)
        assert "shop" not in [o.name for o in (await api.list(NAMESPACES)).items]
        with pytest.raises(ApiError, match="may not be deleted"):
            await api.delete(NAMESPACES, "", "kube-system")

    loop.run(run())


def test_a_restart_goes_on_with_deletions_that_were_under_way() -> None:
    kept: dict[str, bytes] = {}

    def persist(key: str, value: bytes | None) -> None:
        kept.pop(key, None)
        if value is not None:
            kept[key] = value

    async def run() -> None:
        world = SeededWorld(1, asyncio.get_running_loop().time)
        api = MemoryApi(world, persist=persist, delay=60.0)
        owner = await api.create(MACHINES, machine("owner"))
        await api.create(MACHINES, machine("child", (owner,)))
        await api.delete(MACHINES, "default", "owner")
        again = MemoryApi(world, stored=dict(kept).items())
        assert [o.name for o in (await again.list(MACHINES)).items] == ["child"]
        await again.create(CONFIGMAPS, {"metadata": {"name": "anything", "namespace": "default"}})
        assert (await again.list(MACHINES)).items == ()

    loop.run(run())


def test_a_pod_on_a_node_waits_for_its_kubelet() -> None:
    async def run() -> None:
        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time))
        spec = {"nodeName": "n", "terminationGracePeriodSeconds": 30}
        await api.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
        await api.delete(PODS, "default", "p")
        going = await api.get(PODS, "default", "p")
        assert going.metadata["deletionGracePeriodSeconds"] == 30 and going.deleting
        await api.delete(PODS, "default", "p", grace_seconds=0)
        assert (await api.list(PODS)).items == ()

    loop.run(run())


def test_watchers_of_one_field_value_are_not_asked_about_others() -> None:
    """A thousand kubelets that watch their own pods must not make each pod a thousand times as dear."""

    async def run() -> None:
        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time))
        start = str(api.storage.version)
        watches = [api.watch(PODS, resource_version=start, fields=f"spec.nodeName=n{i}") for i in range(1000)]
        waiting = [asyncio.ensure_future(anext(watch)) for watch in watches]
        await asyncio.sleep(0)
        await api.create(
            PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "n7"}}
        )
        shelf = api.storage.shelves[api.kind(PODS)]
        assert len(list(shelf.audience(shelf.history[-1]))) == 1
        assert (await waiting[7]).object.name == "p"
        assert sum(1 for w in waiting if w.done()) == 1
        for future in waiting:
            future.cancel()

    loop.run(run())


def test_a_quiet_watcher_is_told_the_version() -> None:
    async def run() -> None:
        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time))
        watch = api.watch(NODES, resource_version=str(api.storage.version))
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        for number in range(1100):
            await api.merge_patch(NAMESPACES, "", "default", {"metadata": {"labels": {"n": str(number)}}})
        event = await waiting
        assert event.type is EventType.BOOKMARK and int(event.object.resource_version) >= 1000

    loop.run(run())
