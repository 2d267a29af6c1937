"""How long an API may keep us waiting: without etcd's majority it keeps everybody, for a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flatyard.kube.api import Unreachable


@asynccontextmanager
async def answer_within(seconds: float) -> AsyncIterator[None]:
    """Raises Unreachable when the block takes longer than so many seconds of the loop's."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unreachable(f"the Kubernetes API does not answer within {seconds:g} s") from None
