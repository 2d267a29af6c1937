"""Talking to the background process of a simulated cluster: HTTPS on loopback, its own authority, its token."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from urllib.parse import urlencode

import httpx2

from flatyard.base.errors import Failed, FlatyardError, PartlyDone, Refused
from flatyard.controller.events import Event
from flatyard.controller.runfile import Run
from flatyard.controller.state import State
from flatyard.engine.plan import Observed
from flatyard.engine.wanted import Wanted, cluster_object, deployment_object
from flatyard.kube.api import Json, Object
from flatyard.operate.timing import Measurements

PREFIX = "/flatyard/v1/"
ERRORS: dict[str, type[FlatyardError]] = {kind.__name__: kind for kind in (Failed, Refused, PartlyDone)}


class Broken(Failed):
    """The process did not answer, or died in the middle: it is replaced, and the command sent again."""


class Link:
    """A connection to the process that `run` describes. Every call may raise Broken."""

    def __init__(self, run: Run) -> None:
        self.run = run
        context = ssl.create_default_context(cadata=run.ca)
        self._client = httpx2.AsyncClient(
            base_url=run.url + PREFIX,
            verify=context,
            headers={"Authorization": f"Bearer {run.token}"},
            timeout=httpx2.Timeout(60, connect=5),
            trust_env=False,
        )

    async def __aenter__(self) -> Link:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def health(self) -> None:
        """Raises Broken when the process does not listen (yet)."""
        await self._ask("GET", "healthz")

    async def observed(self) -> Observed:
        """What is there, for a plan."""
        return Observed(**await self._ask("GET", "observed"))

    async def intent(self, wanted: Wanted) -> int:
        """Write what the documents want; returns the round to follow."""
        body = {
            "cluster": cluster_object(wanted.cluster),
            "deployments": [deployment_object(d, wanted.name) for d in wanted.deployments],
        }
        return int((await self._ask("POST", "intent", body))["round"])

    async def scale(self, pool: str, replicas: int) -> int:
        """Write the number of a pool's machines; returns the round to follow."""
        return int((await self._ask("POST", "scale", {"pool": pool, "replicas": replicas}))["round"])

    async def restart(self, machines: Sequence[str], request: str) -> int:
        """Ask for a restart of these machines; returns the round to follow. The same request again is the same."""
        body = {"machines": list(machines), "request": request}
        return int((await self._ask("POST", "restart", body))["round"])

    async def down(self, *, delete_volumes: bool) -> int:
        """Set the tombstone; returns the round to follow, which ends with the process."""
        return int((await self._ask("POST", "down", {"delete_volumes": delete_volumes}))["round"])

    async def state(self) -> State:
        """How the cluster stands."""
        return State.decode(await self._fetch("GET", "state"))

    async def timing(self) -> Measurements:
        """What was measured of its machines."""
        return Measurements.decode(await self._fetch("GET", "timing"))

    async def objects(self, plural: str) -> tuple[Object, ...]:
        """All objects of one kind."""
        found = await self._ask("GET", "objects?" + urlencode({"kind": plural}))
        return tuple(Object(raw) for raw in found["items"])

    async def follow(self, round: int) -> AsyncIterator[Event]:
        """Events from the start of `round` on; raises Broken when the process dies."""
        try:
            path = f"progress?round={round}"
            timeout = httpx2.Timeout(None, connect=5)
            async with self._client.stream("GET", path, timeout=timeout) as response:
                if response.status_code != 200:
                    raise _failure(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    yield Event.decode(line)
        except httpx2.TransportError as error:
            raise self._broken(error) from error
        raise self._broken(None)

    async def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        found: Json = json.loads(await self._fetch(method, path, body))
        return found

    async def _fetch(self, method: str, path: str, body: Json | None = None) -> bytes:
        try:
            response = await self._client.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise self._broken(error) from error
        if response.status_code != 200:
            raise _failure(response.status_code, response.content)
        return response.content

    def _broken(self, error: Exception | None) -> Broken:
        return Broken(
            f"the background process of cluster {self.run.cluster} (pid {self.run.pid}) does not answer",
            why=str(error or "") or "it ended",
            next="run the same command again: it starts another one, which goes on from here",
        )


def _failure(status: int, body: bytes) -> FlatyardError:
    """The error that the process answered."""
    try:
        found = json.loads(body)["error"]
        kind = ERRORS.get(found["kind"], Failed)
        return kind(found["what"], why=found["why"], next=found["next"])
    except (ValueError, KeyError, TypeError):
        return Failed(f"the background process answered {status}", why=body[:200].decode(errors="replace"))
