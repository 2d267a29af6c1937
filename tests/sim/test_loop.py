"""Simulated time: a day of timers in moments, in an order that depends on the program alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard.sim.loop import NotSimulated, ScaledLoop, Stuck, VirtualLoop, run

DAY = 86_400.0
SOURCES = Path(__file__).parents[2] / "src"


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_day_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(DAY)
        return now()

    assert run(main()) == DAY


def test_timeouts_end_at_their_moment() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(DAY)
        return now()

    assert run(main()) == 30


def test_task_groups_events_and_queues_work() -> None:
    async def main() -> list[tuple[float, str]]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        done = asyncio.Event()
        seen: list[tuple[float, str]] = []

        async def produce() -> None:
            for item in "abc":
                await asyncio.sleep(5)
                queue.put_nowait(item)
            done.set()

        async def consume() -> None:
            while True:
                seen.append((now(), await queue.get()))

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            consumer = group.create_task(consume())
            await done.wait()
            await asyncio.sleep(0)
            consumer.cancel()
        return seen

    assert [item for _, item in run(main())] == ["a", "b", "c"]


def test_an_error_reaches_the_caller() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(DAY))
            await asyncio.sleep(1)
            raise KeyError("x")

    with pytest.raises(ExceptionGroup) as caught:
        run(main())
    assert isinstance(caught.value.exceptions[0], KeyError)


def test_a_deadlock_names_who_waits_for_what() -> None:
    async def waits_for_a_lock(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> None:
        event = asyncio.Event()
        first = asyncio.create_task(waits_for_a_lock(event), name="machine/worker-2")
        await asyncio.sleep(3)
        await first

    with pytest.raises(Stuck) as caught:
        run(main())
    assert len(caught.value.waiting) == 2
    assert "main" in caught.value.waiting[0]
    assert caught.value.waiting[1].startswith("machine/worker-2: ")
    assert "waits_for_a_lock (test_loop.py:" in caught.value.waiting[1]
    assert "Event.wait (locks.py:" in caught.value.waiting[1]
    assert "0x" not in str(caught.value)


def test_until_is_a_deadline_that_says_what_it_waited_for() -> None:
    async def waits_long() -> None:
        await asyncio.sleep(DAY)

    with pytest.raises(TimeoutError, match=r"not done after 60 simulated seconds: .*waits_long"):
        run(waits_long(), until=60)


def test_until_is_not_reached_by_a_run_that_ends() -> None:
    async def main() -> float:
        await asyncio.sleep(59)
        return now()

    assert run(main(), until=60) == 59


def test_a_cancelled_main_is_cancelled_and_not_late() -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(main(), until=60)


def test_what_is_left_is_cancelled_in_the_order_of_its_making() -> None:
    ended: list[int] = []
    kept: list[asyncio.Task[None]] = []

    async def child(number: int) -> None:
        try:
            await asyncio.sleep(DAY)
        finally:
            ended.append(number)

    async def main() -> None:
        kept.extend(asyncio.create_task(child(n)) for n in range(50))
        await asyncio.sleep(1)

    run(main())
    assert ended == list(range(50))


def test_open_generators_are_closed_in_the_order_of_their_making() -> None:
    closed: list[int] = []
    kept: list[AsyncIterator[int]] = []

    async def numbers(start: int) -> AsyncIterator[int]:
        try:
            while True:
                yield start
        finally:
            closed.append(start)

    async def main() -> None:
        for start in range(20):
            kept.append(numbers(start))
            await anext(kept[-1])

    run(main())
    assert closed == list(range(20))


def test_a_failure_during_clean_up_is_reported() -> None:
    reported: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(DAY)
        finally:
            raise KeyError("lost")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(str(context["message"])))
        kept.append(asyncio.create_task(child()))
        await asyncio.sleep(1)

    kept: list[asyncio.Task[None]] = []
    run(main())
    assert reported == ["a task failed while it was cancelled"]


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda loop: loop.run_in_executor(None, len, ""), "executor"),
        (lambda loop: asyncio.to_thread(len, ""), "executor"),
        (lambda loop: asyncio.open_connection("127.0.0.1", 1), "socket"),
        (lambda loop: asyncio.start_server(lambda r, w: None, "127.0.0.1", 0), "socket"),
        (lambda loop: asyncio.create_subprocess_exec("true"), "subprocess"),
        (lambda loop: loop.getaddrinfo("localhost", 80), "name resolution"),
        (lambda loop: loop.add_reader(0, len), "socket"),
        (lambda loop: loop.add_signal_handler(15, len), "signal"),
    ],
)
def test_the_outside_is_refused(act: Callable[[asyncio.AbstractEventLoop], object], word: str) -> None:
    async def main() -> None:
        result = act(asyncio.get_running_loop())
        if asyncio.iscoroutine(result):
            await result

    with pytest.raises(NotSimulated, match=word):
        run(main())


def test_another_thread_is_refused() -> None:
    refused: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def intrude() -> None:
            try:
                loop.call_soon_threadsafe(len, "")
            except NotSimulated as error:
                refused.append(error)

        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    run(main())
    assert len(refused) == 1


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 60.0, 3600.0, 1e9]) | st.floats(0, 1e6), max_size=60))
def test_timers_run_by_time_and_then_in_the_order_of_setting(delays: list[float]) -> None:
    ran: list[tuple[float, int]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for index, delay in enumerate(delays):
            loop.call_at(delay, lambda d=delay, i=index: ran.append((d, i)))
        await asyncio.sleep(2e9)

    run(main())
    assert ran == sorted((delay, index) for index, delay in enumerate(delays))


@given(st.lists(st.tuples(st.floats(0.001, 1e5), st.booleans()), max_size=40))
def test_cancelled_timers_never_run_and_move_no_clock(timers: list[tuple[float, bool]]) -> None:
    ran: list[int] = []

    async def main() -> float:
        loop = asyncio.get_running_loop()
        handles = [loop.call_later(delay, ran.append, i) for i, (delay, _) in enumerate(timers)]
        for handle, (_, cancel) in zip(handles, timers, strict=True):
            if cancel:
                handle.cancel()
        kept = [delay for delay, cancel in timers if not cancel]
        await asyncio.sleep(max(kept, default=0) + 1e-3)
        return now()

    kept = sorted((delay, i) for i, (delay, cancel) in enumerate(timers) if not cancel)
    assert run(main()) == pytest.approx(max((delay for delay, _ in kept), default=0), abs=0.002)
    assert ran == [i for _, i in kept]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_nested_sleeps_add_up(seed: int) -> None:
    steps = [(seed >> shift) % 97 for shift in range(0, 30, 3)]

    async def main() -> float:
        for step in steps:
            await asyncio.sleep(step)
        return now()

    assert run(main()) == sum(steps)


def test_each_of_many_timers_costs_a_few_calls() -> None:
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for second in range(20_000):
            loop.call_at(second * 4.32, int)
        await asyncio.sleep(DAY)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        run(main())
    finally:
        sys.setprofile(before)
    assert calls < 80 * 20_000, calls


PROGRAM = """
import asyncio
from flatyard.sim.loop import run

async def node(name, log):
    try:
        for beat in range(20):
            await asyncio.sleep(10)
            log.append(f"{asyncio.get_running_loop().time()} {name}")
        await asyncio.Event().wait()
    finally:
        log.append(f"gone {name}")

async def main():
    log = []
    tasks = [asyncio.create_task(node(f"n{i}", log), name=f"n{i}") for i in range(100)]
    done, pending = await asyncio.wait(tasks, timeout=150)
    return log, tasks

log, _ = run(main())
print(chr(10).join(log))
"""


def test_the_same_run_under_any_hash_seed() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(SOURCES)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "4242")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b"\n") == 1600


def test_the_loop_is_closed_even_after_an_error() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        run(main(), loop=loop)
    assert loop.is_closed()


def test_a_scaled_loop_serves_sockets_while_hours_pass() -> None:
    loop = ScaledLoop(speed=36_000)

    async def main() -> tuple[bytes, float]:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        begun = loop.time()
        await asyncio.sleep(3600)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"ping\n")
        answer = await reader.readline()
        writer.close()
        server.close()
        return answer, loop.time() - begun

    wall = asyncio.new_event_loop()
    begun = wall.time()
    try:
        answer, passed = loop.run_until_complete(main())
    finally:
        loop.close()
    assert answer == b"ping\n"
    assert passed >= 3600
    assert wall.time() - begun < 10
    wall.close()


def test_a_scaled_loop_needs_a_speed() -> None:
    with pytest.raises(ValueError, match="above 0"):
        ScaledLoop(0)
