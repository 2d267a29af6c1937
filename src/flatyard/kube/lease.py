"""A coordination Lease held by one of several: who acts on a cluster (DESIGN §3 "Who acts").

The rules of client-go's leader election: nobody's clock is trusted. Another's Lease counts as expired when
it has not changed for its own duration as measured here, on the event loop's clock.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from flatyard.base.errors import Failed
from flatyard.base.world import World, rfc3339_micro
from flatyard.kube.api import AlreadyExists, Api, Conflict, Json, NotFound, Object, Unreachable
from flatyard.kube.resources import LEASES


class LeaseLost(Failed):
    """Somebody else holds the Lease now, or it could not be renewed in time: stop acting at once."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the Lease said when it last changed, and when that was by our loop's clock."""

    holder: str
    version: str
    seconds: float
    at: float

    def over(self, now: float) -> bool:
        return not self.holder or now >= self.at + self.seconds


class Lease:
    """One Lease that `holder` wants.

    `seconds` is how long a holder that fell silent keeps others out; it renews every third of that, and stops
    acting (`valid` is false) when two thirds have passed without a renewal.
    """

    def __init__(
        self, api: Api, world: World, namespace: str, name: str, holder: str, seconds: int = 15
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.holder = holder
        self._api = api
        self._world = world
        self._seconds = seconds
        self._seen: Observation | None = None
        self._object: Object | None = None
        self._renewed: float | None = None

    @property
    def valid(self) -> bool:
        """Whether we hold the Lease and may act on it now."""
        return self._renewed is not None and _now() < self._renewed + self._seconds * 2 / 3

    @property
    def held_by(self) -> str:
        """The holder seen last; empty when nobody holds it."""
        return self._seen.holder if self._seen else ""

    async def attempt(self) -> bool:
        """Try once to take or renew the Lease; False while somebody else has it. May raise Unreachable."""
        asked = _now()
        try:
            taken = await self._attempt()
        except (AlreadyExists, Conflict):
            return False
        if taken:
            self._renewed = asked
        return taken

    async def _attempt(self) -> bool:
        try:
            current = await self._api.get(LEASES, self.namespace, self.name)
        except NotFound:
            self._note(await self._api.create(LEASES, self._json(None)))
            return True
        self._note(current)
        ours = self.held_by == self.holder
        if not ours and self._seen is not None and not self._seen.over(_now()):
            self._renewed = None
            return False
        self._note(await self._api.replace(LEASES, self._json(current)))
        return True

    async def acquire(self) -> None:
        """Wait until the Lease is ours, through outages of the API."""
        while True:
            try:
                if await self.attempt():
                    return
            except Unreachable:
                pass
            await asyncio.sleep(self._seconds / 5)

    async def keep(self) -> None:
        """Renew until cancelled; raises LeaseLost when that is no longer possible."""
        while self.valid:
            await asyncio.sleep(self._seconds / 3 if self._fresh else self._seconds / 15)
            try:
                if not await self.attempt() and self.held_by != self.holder:
                    break
            except Unreachable:
                continue
        self._renewed = None
        raise LeaseLost(
            f"lost the Lease {self.namespace}/{self.name}",
            why=f"it is held by {self.held_by}" if self.held_by != self.holder else "it could not be renewed",
        )

    @property
    def _fresh(self) -> bool:
        """Whether the last attempt to renew succeeded."""
        return self._renewed is not None and _now() < self._renewed + self._seconds / 3

    async def release(self) -> None:
        """Give the Lease up, so that the next holder need not wait for it to expire."""
        if self._renewed is None or self._object is None:
            return
        self._renewed = None
        raw = self._json(self._object)
        raw["spec"]["holderIdentity"] = ""
        raw["spec"]["leaseDurationSeconds"] = 1
        try:
            self._note(await self._api.replace(LEASES, raw))
        except (Conflict, NotFound):
            return

    def _note(self, object: Object) -> None:
        """Remember the Lease; the clock for its expiry starts again only when it changed."""
        self._object = object
        version = object.resource_version
        if self._seen is None or self._seen.version != version:
            spec = object.spec
            seconds = float(spec.get("leaseDurationSeconds") or self._seconds)
            self._seen = Observation(str(spec.get("holderIdentity") or ""), version, seconds, _now())

    def _json(self, current: Object | None) -> Json:
        """The Lease as we want it: ours, renewed now."""
        stamp = rfc3339_micro(self._world.now())
        old = current.spec if current else {}
        same = old.get("holderIdentity") == self.holder
        transitions = int(old.get("leaseTransitions") or 0)
        spec = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self._seconds,
            "acquireTime": old.get("acquireTime", stamp) if same else stamp,
            "renewTime": stamp,
            "leaseTransitions": transitions if same or current is None else transitions + 1,
        }
        if current is not None:
            return {**current.raw, "spec": {**old, **spec}}
        return {"metadata": {"namespace": self.namespace, "name": self.name}, "spec": spec}


def _now() -> float:
    return asyncio.get_running_loop().time()
