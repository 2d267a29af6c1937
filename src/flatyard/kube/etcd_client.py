"""etcd's membership, asked of a living member through its JSON gateway.

etcd serves its gRPC API as JSON beside it, on the same port (etcd.io, "gRPC gateway"): POST, 64-bit ids as decimal
strings, refusals as {"code": gRPC status, "message": …}. A client certificate of the etcd authority opens it.

The way to a member leads through the Kubernetes API, which is all that one has to reach from outside: its port is
forwarded to by the kubelet of its node, as Cluster API does it, and TLS runs from here to etcd inside. An API that
has lost etcd's majority forwards nothing, since it cannot read the pod: then the members are asked at their own
addresses, from where these can be reached.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import anyio
import httpcore2
import httpx2
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from flatyard.kube.api import ApiError, Json
from flatyard.kube.etcd import EtcdError, EtcdRefused, EtcdSilent, Member, NoQuorum

PORT = 2379
NAMESPACE = "kube-system"
SECONDS = 12.0
"""A member without a leader says so after 7 s (its request timeout of 5 s and two elections)."""
CONNECT_SECONDS = 3.0
HEAD_START = 2.0
FORWARD_SECONDS = 8.0
"""For a tunnel and TLS in it: half a dozen round trips; an API server tries a dead node's kubelet for 30 s."""
_NOT_FOUND = 5
_LEADERLESS = ("no leader", "timed out", "leader changed", "deadline exceeded", "stopped", "not capable")


class Way(Protocol):
    """One way to one member."""

    @property
    def where(self) -> str:
        """The member, and the way to it, in words."""
        ...

    async def post(self, path: str, content: bytes) -> tuple[int, bytes]:
        """The status and the body of its answer. Raises EtcdSilent, and NoQuorum when it keeps us waiting."""
        ...


class Forwards(Protocol):
    """What opens a port of a pod: a client of the cluster's API."""

    def forward(
        self, namespace: str, pod: str, port: int, *, seconds: float
    ) -> AbstractAsyncContextManager[ByteStream]: ...


class HttpEtcd:
    """`EtcdMembers` by whichever way answers first: `through` the API, and when none of these does, `straight`.

    What a member remembers (`agreed=False`) is only asked for when the API is silent: straight.
    """

    def __init__(self, through: Sequence[Way], straight: Sequence[Way] = ()) -> None:
        self._through = tuple(through)
        self._straight = tuple(straight)

    async def list(self, *, agreed: bool = True) -> tuple[Member, ...]:
        """See EtcdMembers."""
        found = await self._ask(agreed, "list", {"linearizable": agreed})
        members = [_member(raw) for raw in found.get("members") or ()]
        return tuple(sorted(members, key=lambda m: (m.name, m.id)))

    async def remove(self, member_id: str) -> None:
        """See EtcdMembers."""
        await self._ask(True, "remove", {"ID": member_id})

    async def _ask(self, agreed: bool, verb: str, body: Json) -> Json:
        async def ask(way: Way) -> Json:
            status, content = await way.post(f"/v3/cluster/member/{verb}", json.dumps(body).encode())
            return _read(way.where, verb, status, content)

        problems: list[EtcdError] = []
        for ways in (self._through, self._straight) if agreed else (self._straight,):
            found = await _first(ways, ask, problems)
            if isinstance(found, EtcdError):
                raise found
            if found is not None:
                return found
        raise next((p for p in problems if isinstance(p, NoQuorum)), None) or EtcdSilent(
            "no etcd member could be reached", why="; ".join(p.what for p in problems)
        )


async def _first(
    ways: Sequence[Way], ask: Callable[[Way], Awaitable[Json]], problems: list[EtcdError]
) -> Json | EtcdError | None:
    """The first answer, or refusal; None when each way came to nothing, and then `problems` says why.

    A way that has not answered after HEAD_START is not given up: the next is tried beside it. What is asked twice
    so does no harm: a member that was removed already is fine.
    """
    ended: asyncio.Queue[Json | EtcdError] = asyncio.Queue()

    async def attempt(way: Way) -> None:
        try:
            ended.put_nowait(await ask(way))
        except EtcdError as error:
            ended.put_nowait(error)

    untried, running = deque(ways), 0
    tasks: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:
        while untried or running:
            if untried:
                tasks.append(group.create_task(attempt(untried.popleft())))
                running += 1
            try:
                async with asyncio.timeout(HEAD_START if untried else None):
                    found = await ended.get()
            except TimeoutError:
                continue
            running -= 1
            if not isinstance(found, (EtcdSilent, NoQuorum)):
                for task in tasks:
                    task.cancel()
                return found
            problems.append(found)
    return None


@dataclass(frozen=True, slots=True)
class Straight:
    """A member at its own address, on a network that leads there."""

    address: str
    tls: ssl.SSLContext
    port: int = PORT

    @property
    def where(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"etcd at https://{host}:{self.port}"

    async def post(self, path: str, content: bytes) -> tuple[int, bytes]:
        """See Way."""
        timeout = httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS)
        url = self.where.removeprefix("etcd at ") + path
        try:
            async with httpx2.AsyncClient(verify=self.tls, timeout=timeout, trust_env=False) as client:
                answer = await client.post(url, content=content)
        except httpx2.ReadTimeout:
            raise _late(self.where) from None
        except httpx2.TransportError as error:
            raise _silent(self.where, error) from error
        return answer.status_code, answer.content


@dataclass(frozen=True, slots=True)
class Through:
    """A member in the static pod that kubeadm makes on a node, through the cluster's API."""

    api: Forwards
    node: str
    tls: ssl.SSLContext
    port: int = PORT

    @property
    def where(self) -> str:
        return f"etcd on {self.node}, through the Kubernetes API"

    async def post(self, path: str, content: bytes) -> tuple[int, bytes]:
        """See Way."""
        try:
            async with self._connection() as connection:
                try:
                    async with asyncio.timeout(SECONDS):
                        url = f"https://{self.node}:{self.port}{path}"
                        answer = await connection.request("POST", url, content=content)
                except TimeoutError:
                    raise _late(self.where) from None
                return answer.status, answer.content
        except ApiError as error:
            raise EtcdSilent(f"{self.where}: {error.what}") from error
        except (*_BROKEN, httpcore2.NetworkError, httpcore2.ProtocolError, TimeoutError) as error:
            raise _silent(self.where, error) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpcore2.AsyncHTTP11Connection]:
        """HTTP over TLS over the forwarded port. kubeadm puts the node's name into etcd's certificate."""
        pod = f"etcd-{self.node}"
        async with self.api.forward(NAMESPACE, pod, self.port, seconds=FORWARD_SECONDS) as tunnel:
            async with asyncio.timeout(FORWARD_SECONDS):
                inner = await TLSStream.wrap(
                    tunnel, hostname=self.node, ssl_context=self.tls, standard_compatible=False
                )
            origin = httpcore2.Origin(b"https", self.node.encode(), self.port)
            yield httpcore2.AsyncHTTP11Connection(origin=origin, stream=_Stream(inner))


_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, ssl.SSLError)


class _Stream(httpcore2.AsyncNetworkStream):
    """A stream of bytes as httpcore2 reads and writes it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.send(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _late(where: str) -> NoQuorum:
    return NoQuorum(f"{where} does not answer in {SECONDS:g} s")


def _silent(where: str, error: Exception) -> EtcdSilent:
    return EtcdSilent(f"{where}: {str(error) or type(error).__name__}")


def _read(where: str, verb: str, status: int, content: bytes) -> Json:
    """What a member answered; raises what its refusal means."""
    try:
        found: Json = json.loads(content)
    except ValueError:
        found = {"message": content[:200].decode(errors="replace")}
    if status < 400:
        return found
    said = str(found.get("message") or found.get("error") or f"status {status}")
    if found.get("code") == _NOT_FOUND and verb == "remove":
        return {}
    if any(words in said for words in _LEADERLESS):
        raise NoQuorum(f"{where}: {said}")
    raise EtcdRefused(f"{where}: {said}")


def _member(raw: Json) -> Member:
    """A member from JSON, in which what is empty or false is left out."""
    return Member(
        id=str(raw["ID"]),
        name=str(raw.get("name") or ""),
        peer_urls=tuple(str(url) for url in raw.get("peerURLs") or ()),
        learner=bool(raw.get("isLearner")),
    )
