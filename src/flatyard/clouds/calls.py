"""Blocking SDK calls of one cloud's account: in a bounded pool, paced, tried again, and told in the engine's words.

An adapter makes one `Calls` and sends every call of its SDK through it, with the SDK's own retries switched off.
What is tried again here is short (throttling, a broken connection, a server error): the engine's queue does the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import stamina

from flatyard.clouds.cloud import CloudError, RateLimited, Transient

T = TypeVar("T")
Translate = Callable[[str, Exception], CloudError | None]
"""What one of the SDK's exceptions means; `what` is the act in words, as in `creating web-1`. None: a bug of ours."""

THREADS = 16
ATTEMPTS = 5
SECONDS = 45.0
"""For which a call is tried again; a create that is still refused then is the engine's to repeat."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0


class Calls:
    """`per_second` and `burst` keep below the cloud's own limit, which its facts name.

    A caller that is cancelled leaves its call running: the act may still happen, as with a lost reply, and `close`
    waits for it.
    """

    def __init__(
        self, translate: Translate, *, per_second: float, burst: int, threads: int = THREADS
    ) -> None:
        self._translate = translate
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="cloud")
        self._pause = 1 / per_second
        self._slack = burst * self._pause
        self._next = 0.0
        self.count = 0
        """Calls that were made, retries too."""

    async def read(self, what: str, call: Callable[[], T]) -> T:
        """A call that changes nothing, or that changes nothing more when it is repeated.

        Raises the CloudError that the last answer means.
        """
        return await self._repeated(_wait, what, call)

    async def once(self, what: str, call: Callable[[], T]) -> T:
        """One call, never repeated: the engine decides what then. Raises the CloudError that the answer means."""
        await self._turn()
        self.count += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, call)
        try:
            return await asyncio.shield(running)
        except Exception as problem:
            error = self._translate(what, problem)
            if error is None:
                raise
            raise error from None

    async def write(self, what: str, call: Callable[[], T]) -> T:
        """As `once`, but for throttling, which says that nothing was done: that is waited out and tried again."""
        return await self._repeated(_wait_if_limited, what, call)

    async def close(self) -> None:
        """Wait for every call that was begun, and end the pool."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _repeated(self, on: Callable[[Exception], bool | float], what: str, call: Callable[[], T]) -> T:
        """The first try is made before there is a loop: nearly every call ends with it."""
        try:
            return await self.once(what, call)
        except CloudError as error:
            if not on(error):
                raise
            first = error
        async for attempt in stamina.retry_context(
            on=on,
            attempts=ATTEMPTS,
            timeout=SECONDS,
            wait_initial=FIRST_WAIT,
            wait_max=LONGEST_WAIT,
        ):
            with attempt:
                if attempt.num == 1:
                    raise first  # it is the loop's first attempt, so that the loop waits as it asks
                return await self.once(what, call)
        raise AssertionError("stamina ends with the last error")

    async def _turn(self) -> None:
        """A bucket of `burst` calls that fills at `per_second`."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next + self._pause, now - self._slack)
        if self._next > now:
            await asyncio.sleep(self._next - now)


def _wait(problem: Exception) -> bool | float:
    if isinstance(problem, Transient):
        return True
    return _wait_if_limited(problem)


def _wait_if_limited(problem: Exception) -> bool | float:
    if isinstance(problem, RateLimited):
        return problem.retry_after or True
    return False
