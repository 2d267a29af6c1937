"""What the simulated control plane still has to do: one queue without duplicates, and timers that feed it.

One worker takes entries in the order of their arrival and carries each out as one write, while the cluster's
API answers. Nothing polls: an idle cluster costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from flatyard.kube.api import ApiError

Entry = tuple[str, str]
"""What is to be done, and to which object."""
Handler = Callable[[str], None]
RETRY = 5.0


class Work:
    """Entries to be carried out. `write` makes one durable write of what a handler changes."""

    def __init__(self, write: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self._write = write
        self._handlers: dict[str, Handler] = {}
        self._queue: dict[Entry, None] = {}
        self._timers: dict[Entry, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._may_run = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def handle(self, handlers: Mapping[str, Handler]) -> None:
        """Say who carries out what."""
        self._handlers.update(handlers)

    def add(self, what: str, key: str, after: float = 0.0) -> None:
        """Carry out `what` for `key` in `after` seconds; an earlier date for the same entry stands."""
        entry = (what, key)
        if self._task is None or entry in self._queue:
            return
        if after <= 0:
            self._now(entry)
            return
        loop = asyncio.get_running_loop()
        set_before = self._timers.get(entry)
        if set_before is not None:
            if set_before.when() <= loop.time() + after:
                return
            set_before.cancel()
        self._timers[entry] = loop.call_later(after, self._now, entry)

    def _now(self, entry: Entry) -> None:
        timer = self._timers.pop(entry, None)
        if timer is not None:
            timer.cancel()
        self._queue[entry] = None
        self._wake.set()

    def allow(self, allowed: bool) -> None:
        """Whether work may be done now."""
        if allowed:
            self._may_run.set()
        else:
            self._may_run.clear()

    def start(self) -> None:
        """Begin to work; entries added before this are not kept."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sim/kubernetes")
        self._task.add_done_callback(_tell)

    async def stop(self) -> None:
        """Stop working and forget what was to be done. Raises what a handler raised that it should not."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._queue.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._may_run.wait()
                await self._one()

    async def _one(self) -> None:
        entry = next(iter(self._queue), None)
        if entry is None:
            return
        del self._queue[entry]
        what, key = entry
        try:
            await self._write(lambda: self._handlers[what](key))
        except ApiError:
            self.add(what, key, after=RETRY)


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        context = {"message": "the simulated control plane died", "exception": task.exception(), "task": task}
        task.get_loop().call_exception_handler(context)
