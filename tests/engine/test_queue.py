"""The queue runs each key once at a time, forgets nothing, and knows what is still waited for."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from flatyard.base.errors import Failed
from flatyard.engine.queue import Done, Key, Queue, Waiting, backoff
from flatyard.sim.loop import run

A, B = Key("machine", "a"), Key("machine", "b")


async def _settle(queue: Queue, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await queue.run()
    except TimeoutError:
        pass


def test_a_key_added_many_times_runs_once():
    seen = []

    async def reconcile(key):
        seen.append(key)
        return Done()

    async def main():
        queue = Queue(reconcile)
        for _ in range(5):
            queue.add(A)
        await _settle(queue, 1)

    run(main())
    assert seen == [A]


def test_a_key_added_while_in_work_runs_again_afterwards_and_never_beside_itself():
    running, most, count = 0, 0, 0

    async def main():
        nonlocal queue
        queue = Queue(reconcile)
        queue.add(A)
        await _settle(queue, 20)

    async def reconcile(key):
        nonlocal running, most, count
        running, count = running + 1, count + 1
        most = max(most, running)
        if count == 1:
            queue.add(A)
        await asyncio.sleep(1)
        running -= 1
        return Done()

    queue: Queue
    run(main())
    assert (most, count) == (1, 2)


def test_failures_back_off_and_a_success_forgets_them():
    times = []

    async def reconcile(key):
        times.append(asyncio.get_running_loop().time())
        if len(times) < 4:
            raise Failed("no")
        return Done()

    async def main():
        queue = Queue(reconcile)
        queue.add(A)
        await _settle(queue, 60)
        return queue.waits()

    assert run(main()) == ()
    assert [round(b - a) for a, b in pairwise(times)] == [2, 4, 8]


def test_what_is_waited_for_is_named():
    async def reconcile(key):
        return Waiting("its node has not joined yet") if key == A else Done()

    async def main():
        queue = Queue(reconcile)
        queue.add(A)
        queue.add(B)
        await _settle(queue, 1)
        return [(wait.key, wait.reason) for wait in queue.waits()]

    assert run(main()) == [(A, "its node has not joined yet")]


def test_a_bug_ends_the_run_instead_of_being_retried():
    async def reconcile(key):
        raise KeyError("bug")

    async def main():
        queue = Queue(reconcile)
        queue.add(A)
        await queue.run()

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main())
    assert caught.group_contains(KeyError)


@pytest.mark.parametrize(("failures", "pause"), [(1, 2), (2, 4), (7, 120), (50, 120)])
def test_backoff_doubles_up_to_two_minutes(failures, pause):
    assert backoff(failures) == pause
