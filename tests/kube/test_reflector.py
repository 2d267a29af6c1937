"""A reflector's copy stays equal to the API, through forgotten versions and outages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from flatyard.base.world import SeededWorld
from flatyard.kube.api import Gone, Unreachable
from flatyard.kube.memory import MemoryApi
from flatyard.kube.reflector import Reflector
from flatyard.kube.resources import MACHINES
from flatyard.sim import loop


def machine(name: str, **labels: str) -> dict:
    return {"metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": {}}


class Flaky:
    """An API that can be out of reach, or have forgotten a watch's version."""

    def __init__(self, api: MemoryApi) -> None:
        self.api = api
        self.down = False
        self.lists = 0
        self.breaks: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def interrupt(self, error: Exception) -> None:
        broken, self.breaks = self.breaks, asyncio.get_running_loop().create_future()
        broken.set_exception(error)
        broken.exception()

    async def list(self, *args: object, **kwargs: object) -> object:
        if self.down:
            raise Unreachable("no route to host")
        self.lists += 1
        return await self.api.list(*args, **kwargs)

    async def watch(self, *args: object, **kwargs: object):
        if self.down:
            raise Unreachable("no route to host")
        events = self.api.watch(*args, **kwargs)
        try:
            while True:
                following = asyncio.ensure_future(anext(events))
                breaks = self.breaks
                await asyncio.wait([following, breaks], return_when=asyncio.FIRST_COMPLETED)
                if breaks.done():
                    following.cancel()
                    breaks.result()
                yield following.result()
        finally:
            await asyncio.sleep(0)
            await events.aclose()


def reflect(scenario: Callable[..., Awaitable[None]], **selectors: str) -> list[tuple[str, str]]:
    """Run a scenario beside a reflector; what its handler saw."""
    seen: list[tuple[str, str]] = []

    async def run() -> None:
        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time))
        await api.create(MACHINES, machine("first", zone="a"))
        flaky = Flaky(api)
        reflector = Reflector(
            flaky, MACHINES, handler=lambda e: seen.append((e.type.value, e.object.name)), **selectors
        )
        task = asyncio.create_task(reflector.run())
        await reflector.synced.wait()
        await scenario(api, flaky, reflector)
        held = [o.raw for o in (await api.list(MACHINES, **selectors)).items]
        assert [o.raw for o in reflector.items()] == held and len(reflector) == len(held)
        task.cancel()

    loop.run(run(), until=3600)
    return seen


def test_it_follows_changes() -> None:
    async def scenario(api, flaky, reflector) -> None:
        await api.create(MACHINES, machine("second"))
        await api.merge_patch(MACHINES, "default", "first", {"spec": {"x": 1}})
        await api.delete(MACHINES, "default", "first")
        await asyncio.sleep(1)
        assert (
            reflector.get("default", "second").name == "second" and reflector.get("default", "first") is None
        )
        assert flaky.lists == 1

    assert reflect(scenario) == [
        ("ADDED", "first"), ("ADDED", "second"), ("MODIFIED", "first"), ("DELETED", "first")
    ]  # fmt: skip


def test_objects_that_leave_its_selection_are_deleted_for_it() -> None:
    async def scenario(api, flaky, reflector) -> None:
        await api.merge_patch(MACHINES, "default", "first", {"metadata": {"labels": {"zone": "b"}}})
        await asyncio.sleep(1)

    assert reflect(scenario, labels="zone=a") == [("ADDED", "first"), ("DELETED", "first")]


def test_a_forgotten_version_makes_it_list_again_and_report_what_vanished() -> None:
    async def scenario(api, flaky, reflector) -> None:
        flaky.down = True
        flaky.interrupt(Unreachable("reset"))
        await asyncio.sleep(0.1)
        await api.delete(MACHINES, "default", "first")
        await api.create(MACHINES, machine("second"))
        api.storage.compact()
        flaky.down = False
        await asyncio.sleep(60)
        assert flaky.lists == 2

    assert reflect(scenario) == [("ADDED", "first"), ("DELETED", "first"), ("ADDED", "second")]


def test_an_object_made_anew_under_the_same_name_is_another_one() -> None:
    async def scenario(api, flaky, reflector) -> None:
        flaky.interrupt(Gone("too old"))
        await api.delete(MACHINES, "default", "first")
        await api.create(MACHINES, machine("first"))
        await asyncio.sleep(60)

    assert reflect(scenario) == [("ADDED", "first"), ("DELETED", "first"), ("ADDED", "first")]


def test_an_outage_is_waited_out_without_a_new_list() -> None:
    async def scenario(api, flaky, reflector) -> None:
        flaky.down = True
        flaky.interrupt(Unreachable("reset"))
        await api.create(MACHINES, machine("second"))
        await asyncio.sleep(600)
        assert reflector.get("default", "second") is None
        flaky.down = False
        await asyncio.sleep(31)
        assert flaky.lists == 1

    assert reflect(scenario) == [("ADDED", "first"), ("ADDED", "second")]
