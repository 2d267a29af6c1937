"""Event loops whose time is simulated: one that jumps, and one that runs faster than the wall.

`VirtualLoop` has no sockets and no waiting: when nothing is ready it jumps to the next timer, so a day of
timers costs what their callbacks cost. What would make a run depend on anything but its inputs (sockets,
threads, executors, subprocesses, signals) is refused. Timers that are due together run in the order in which
they were set; tasks are cancelled and async generators closed in the order in which they were made.

`ScaledLoop` is an ordinary selector loop whose seconds are simulated ones.

Both lean on four names of `asyncio.BaseEventLoop` that are the same in Python 3.11 to 3.14: `_selector`,
`_process_events`, `_scheduled` and `_clock_resolution`.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import selectors
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any, TypeVar, cast

from flatyard.base.errors import Failed

T = TypeVar("T")
_RESOLUTION = 1e-6
_REFUSED = (
    ("an executor", ("run_in_executor", "set_default_executor")),
    ("name resolution", ("getaddrinfo", "getnameinfo")),
    ("a signal handler", ("add_signal_handler", "remove_signal_handler")),
    ("a subprocess", ("subprocess_exec", "subprocess_shell", "connect_read_pipe", "connect_write_pipe")),
    ("a socket", ("create_connection", "create_server", "create_datagram_endpoint")),
    ("a socket", ("connect_accepted_socket",)),
    ("a socket", ("create_unix_connection", "create_unix_server", "start_tls", "sendfile")),
    ("a socket", ("add_reader", "remove_reader", "add_writer", "remove_writer")),
    ("a socket", ("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall")),
    ("a socket", ("sock_sendto", "sock_connect", "sock_accept", "sock_sendfile")),
)


class Stuck(Failed):
    """Every task waits for another one: no timer is set and nothing can happen any more.

    `waiting` has one line per task, oldest first: its name and the chain of awaits down to the last frame.
    """

    def __init__(self, waiting: tuple[str, ...]) -> None:
        super().__init__(
            f"the simulation is stuck: {len(waiting)} task(s) wait and no timer is set",
            why="\n       ".join(waiting),
        )
        self.waiting = waiting


class NotSimulated(RuntimeError):
    """Something that a simulated run must not use: the result would not depend on the inputs alone."""


class _Timer(asyncio.TimerHandle):
    """A timer that keeps its place among those due at the same moment."""

    __slots__ = ("order",)
    order: int

    def __lt__(self, other: asyncio.TimerHandle) -> bool:
        mine, theirs = self.when(), other.when()
        return mine < theirs or (mine == theirs and self.order < cast(_Timer, other).order)


class _Jump:
    """Stands where a selector would: waiting for t seconds is being t seconds later."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = weakref.ref(loop)

    def select(self, timeout: float | None) -> tuple[()]:
        loop = self._loop()
        if loop is not None and timeout != 0:
            loop._jump()
        return ()

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in simulated time, which starts at 0; raises Stuck on deadlock."""

    _scheduled: list[_Timer]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = _RESOLUTION
        self._selector = _Jump(self)
        self._numbers = itertools.count()
        self._tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._generators: weakref.WeakKeyDictionary[AsyncGenerator[Any, Any], int] = (
            weakref.WeakKeyDictionary()
        )
        self._owner = threading.get_ident()

    def time(self) -> float:
        """Simulated seconds since the loop was made."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        timer = _Timer(when, callback, args, self, context)
        timer.order = next(self._numbers)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: object, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._owner:
            raise NotSimulated("a thread called into the simulation; simulated runs have one thread")
        return self.call_soon(callback, *args, context=context)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        **options: Any,  # noqa: ANN401 - what they may be differs between Python versions
    ) -> asyncio.Task[T]:
        task = super().create_task(coro, **options)
        self._tasks[task] = next(self._numbers)
        return task

    def unfinished(self) -> tuple[asyncio.Task[Any], ...]:
        """The tasks that are not done, oldest first."""
        pending = [(number, task) for task, number in self._tasks.items() if not task.done()]
        return tuple(task for _, task in sorted(pending, key=lambda pair: pair[0]))

    async def shutdown_asyncgens(self) -> None:
        """Close the async generators that were left open, oldest first."""
        alive = sorted(
            ((number, agen) for agen, number in self._generators.items()), key=lambda pair: pair[0]
        )
        for _, agen in alive:
            await agen.aclose()

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        self._generators[agen] = next(self._numbers)
        super()._asyncgen_firstiter_hook(agen)  # type: ignore[misc]

    def _jump(self) -> None:
        if not self._scheduled:
            raise Stuck(tuple(describe(task) for task in self.unfinished()))
        self._now = max(self._now, self._scheduled[0].when())

    def _process_events(self, event_list: tuple[()]) -> None:
        pass


def _refusal(what: str, name: str) -> Callable[..., object]:
    def refuse(*_: object, **__: object) -> object:
        raise NotSimulated(f"{name}: a simulated run has no use for {what}; use the sim's own twin of it")

    refuse.__name__ = name
    return refuse


for _what, _names in _REFUSED:
    for _name in _names:
        setattr(VirtualLoop, _name, _refusal(_what, _name))


class _ScaledSelector(selectors.DefaultSelector):
    """A selector whose timeouts are in simulated seconds."""

    speed = 1.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None else timeout / self.speed)


class ScaledLoop(asyncio.SelectorEventLoop):
    """A loop on real sockets whose clock runs `speed` times faster than the wall and starts at 0.

    Every timer is in simulated seconds, those of network servers too: an idle timeout of 5 s ends after
    5 / `speed` seconds on the wall.
    """

    def __init__(self, speed: float) -> None:
        selector = _ScaledSelector()
        selector.speed = speed
        super().__init__(selector)
        if speed <= 0:
            self.close()
            raise ValueError(f"speed must be above 0, not {speed}")
        self.speed = speed
        self._clock_resolution = _RESOLUTION * speed
        self._start = super().time()

    def time(self) -> float:
        """Simulated seconds since the loop was made."""
        return (super().time() - self._start) * self.speed


def run(main: Coroutine[Any, Any, T], *, until: float | None = None, loop: VirtualLoop | None = None) -> T:
    """Run `main` in simulated time and return its result; then cancel what is left, oldest first.

    `until` is the simulated second by which `main` must be done. Raises TimeoutError when it is not, Stuck
    when nothing can happen any more. A given `loop` is closed too.
    """
    loop = loop or VirtualLoop()
    task = loop.create_task(main)
    late: list[str] = []
    if until is not None:
        loop.call_at(until, _overdue, task, late)
    try:
        return loop.run_until_complete(task)
    except asyncio.CancelledError:
        if late:
            raise TimeoutError(f"not done after {until} simulated seconds: {late[0]}") from None
        raise
    finally:
        _clean_up(loop)


def describe(task: asyncio.Task[Any]) -> str:
    """A task in one line: its name, and each await down to the frame that waits. No memory addresses."""
    steps = [f"{code.co_qualname} ({_place(code, frame)})" for code, frame in _frames(task.get_coro())]
    return f"{task.get_name()}: " + (" → ".join(steps) or "not started")


def _frames(waiting: object) -> list[tuple[CodeType, FrameType | None]]:
    found: list[tuple[CodeType, FrameType | None]] = []
    while waiting is not None:
        for prefix, link in (("cr", "cr_await"), ("ag", "ag_await"), ("gi", "gi_yieldfrom")):
            code = getattr(waiting, f"{prefix}_code", None)
            if isinstance(code, CodeType):
                found.append((code, getattr(waiting, f"{prefix}_frame", None)))
                waiting = getattr(waiting, link, None)
                break
        else:
            return found
    return found


def _place(code: CodeType, frame: FrameType | None) -> str:
    line = frame.f_lineno if frame is not None else code.co_firstlineno
    return f"{PurePath(code.co_filename).name}:{line}"


def _overdue(task: asyncio.Task[Any], late: list[str]) -> None:
    if not task.done():
        late.append(describe(task))
        task.cancel()


def _clean_up(loop: VirtualLoop) -> None:
    try:
        left = loop.unfinished()
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        for task in left:
            _report(loop, task)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _report(loop: VirtualLoop, task: asyncio.Task[Any]) -> None:
    if task.cancelled() or task.exception() is None:
        return
    loop.call_exception_handler(
        {"message": "a task failed while it was cancelled", "exception": task.exception(), "task": task}
    )
