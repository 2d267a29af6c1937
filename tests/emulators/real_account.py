"""What the benches of real accounts share: waiting as long as a real cloud takes, and leaving nothing there."""

from __future__ import annotations

import asyncio
from typing import Any

from flatyard.clouds import conformance
from flatyard.clouds.cloud import Cloud, CloudError, ClusterRef, Instance, InstanceState

SETTLED = 900.0
"""Seconds in which every machine has come up or gone."""
EXPIRED = 130.0
"""Seconds for which a check of a URL's end waits."""
ROUNDS = 40
UNDER_WAY = (InstanceState.PENDING, InstanceState.DELETING)


class RealAccount:
    """Two clusters of fresh ids in an account that is somebody's."""

    cloud: Cloud
    ref: ClusterRef
    other: ClusterRef
    between: Any
    """What interferes with the SDK. `lag`: seconds by which it makes lists late; `lost`: replies that it swallows."""
    _ids: list[str]
    """Of the machines, by their numbers."""
    _look: float
    """Seconds between two looks."""
    _fetched: bool = False
    """Whether the check asks for URLs: then waiting is waiting for one's end."""

    def machine_id(self, number: int) -> str:
        return self._ids[number]

    def lose_replies(self, count: int) -> None:
        self.between.lost = count

    def lag(self, seconds: float) -> None:
        self.between.lag = seconds

    def meter(self, on: bool) -> None:
        """A real account always does."""

    async def wait(self, seconds: float) -> None:
        """Until nothing starts or ends; for a URL's end, as long as that takes."""
        if self._fetched:
            await asyncio.sleep(min(seconds, EXPIRED))
            return
        await asyncio.sleep(min(seconds, self.between.lag))
        async with asyncio.timeout(SETTLED):
            while any(one.state in UNDER_WAY for one in await self._instances()):
                await asyncio.sleep(self._look)

    async def _instances(self) -> list[Instance]:
        return [one for ref in (self.ref, self.other) for one in await self.cloud.machines(ref)]

    async def swept(self, ref: ClusterRef) -> None:
        """Delete whatever is the cluster's, in as many rounds as that takes."""
        for _ in range(ROUNDS):
            left = await self.cloud.sweep(ref)
            if not left:
                return
            for owned in left:
                try:
                    await self.cloud.delete_owned(ref, owned)
                except CloudError as no:
                    assert no.retry, f"{owned.kind} {owned.id} cannot be deleted: {no}"
            await self.wait(SETTLED)
            await asyncio.sleep(self._look)
        raise AssertionError(f"left in the account: {await self.cloud.sweep(ref)}")


async def held(bench: Any, named: conformance.Check) -> None:
    """One check, after which the account is as it was."""
    try:
        await named(bench)
    finally:
        await bench.clean()
