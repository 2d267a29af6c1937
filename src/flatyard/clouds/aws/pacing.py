"""How fast an account lets itself be called: EC2 has a bucket of tokens for each action (EC2 developer guide, "Request
throttling for the Amazon EC2 API"), and whoever empties one spoils it for everybody else in the account.
"""

from __future__ import annotations

import asyncio
from math import inf

RATES = {"run_instances": (5, 2.0), "terminate_instances": (100, 5.0)}
READS, WRITES = (100, 20.0), (50, 5.0)
"""Sizes of buckets, and what they get in a second."""
_READING = ("describe_", "get_")


class Pace:
    """One region's buckets. `faster`: how many times faster than an account's of everyday they fill."""

    def __init__(self, faster: float = 1.0) -> None:
        self._faster = faster
        self._next: dict[str, float] = {}
        """By action, when its bucket would have been empty but for what has been taken."""

    async def turn(self, service: str, operation: str) -> None:
        """Wait until the action has a token left."""
        if service != "ec2":
            return
        size, refill = RATES.get(operation) or (READS if operation.startswith(_READING) else WRITES)
        pause = 1 / (refill * self._faster)
        now = asyncio.get_running_loop().time()
        due = max(self._next.get(operation, -inf) + pause, now - size * pause)
        self._next[operation] = due
        if due > now:
            await asyncio.sleep(due - now)
