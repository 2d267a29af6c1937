"""Who holds a Lease: one at a time, whatever clocks say, and nobody after it was lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.kube.api import Unreachable
from flatyard.kube.lease import Lease, LeaseLost
from flatyard.kube.memory import MemoryApi
from flatyard.kube.resources import LEASES
from flatyard.sim import loop


class Cut:
    """An API that can be cut off from one holder."""

    def __init__(self, api: MemoryApi) -> None:
        self._api = api
        self.off = False

    def __getattr__(self, name: str):
        async def call(*args: object, **kwargs: object) -> object:
            if self.off:
                raise Unreachable("cut off")
            return await getattr(self._api, name)(*args, **kwargs)

        return call


def now() -> float:
    return asyncio.get_running_loop().time()


def make(holder: str, api: object, *, skew: float = 0.0) -> Lease:
    world = SeededWorld(1, asyncio.get_running_loop().time, SIMULATED_EPOCH + timedelta(seconds=skew))
    return Lease(api, world, "kube-system", "flatyard", holder)


def in_time(scenario) -> None:
    async def run() -> None:
        await scenario(MemoryApi(SeededWorld(1, asyncio.get_running_loop().time)))

    loop.run(run(), until=10_000)


def test_the_second_waits_until_the_first_lets_go() -> None:
    async def scenario(api) -> None:
        first, second = make("first", api), make("second", api)
        assert await first.attempt() and not await second.attempt()
        assert (second.held_by, second.valid, first.valid) == ("first", False, True)
        keeping = asyncio.create_task(first.keep())
        await asyncio.sleep(120)
        assert not await second.attempt() and first.valid
        keeping.cancel()
        await first.release()
        assert not first.valid and await second.attempt()
        spec = (await api.get(LEASES, "kube-system", "flatyard")).spec
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 1)

    in_time(scenario)


@pytest.mark.parametrize("skew", [-86_400.0, 86_400.0])
def test_a_holder_that_fell_silent_is_succeeded_whatever_its_clock_says(skew) -> None:
    async def scenario(api) -> None:
        first, second = make("first", api, skew=skew), make("second", api)
        await first.attempt()
        started = now()
        await second.acquire()
        assert 15 <= now() - started <= 19
        assert not first.valid

    in_time(scenario)


def test_a_holder_that_is_cut_off_stops_before_another_may_start() -> None:
    async def scenario(api) -> None:
        cut = Cut(api)
        first, second = make("first", cut), make("second", api)
        await first.attempt()
        keeping = asyncio.create_task(first.keep())
        succeeding = asyncio.create_task(second.acquire())
        await asyncio.sleep(7)
        cut.off = True
        while not succeeding.done():
            assert not (first.valid and second.valid)
            await asyncio.sleep(0.1)
        assert second.valid and not first.valid
        with pytest.raises(LeaseLost, match="kube-system/flatyard"):
            await keeping

    in_time(scenario)


def test_a_lease_that_somebody_took_is_lost_at_the_next_renewal() -> None:
    async def scenario(api) -> None:
        first = make("first", api)
        await first.attempt()
        await api.merge_patch(LEASES, "kube-system", "flatyard", {"spec": {"holderIdentity": "thief"}})
        with pytest.raises(LeaseLost) as lost:
            await first.keep()
        assert "thief" in str(lost.value) and not first.valid

    in_time(scenario)


def test_waiting_survives_an_outage() -> None:
    async def scenario(api) -> None:
        cut = Cut(api)
        cut.off = True
        waiting = asyncio.create_task(make("first", cut).acquire())
        await asyncio.sleep(100)
        assert not waiting.done()
        cut.off = False
        await waiting

    in_time(scenario)
