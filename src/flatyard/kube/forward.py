"""A port of a pod as a stream of bytes, through the Kubernetes API: what `kubectl port-forward` does.

Over WebSocket with the subprotocol v4.channel.k8s.io, which the kubelets and container runtimes of all supported
minors speak and API servers pass on as it is (k8s.io/cri-streaming, pkg/streaming/portforward/websocket.go): of each
message the first byte is a channel's number; channel 0 carries data, channel 1 the words of a failure, and the first
message on each is only the port again, in two bytes. kubectl's own subprotocol, SPDY/3.1+portforward.k8s.io, would
put SPDY's frames into those of WebSocket and gain nothing for one stream.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
from anyio.abc import ByteStream
from httpx2.websockets import AsyncWebSocketSession, HTTPXWSException
from wsproto.utilities import ProtocolError, generate_nonce

from flatyard.kube.api import ApiError, Unreachable
from flatyard.kube.resources import PODS

SUBPROTOCOL = "v4.channel.k8s.io"
MESSAGE = 1 << 20
"""Bytes of the longest message; the runtimes send 32 KiB."""
SWITCHING_PROTOCOLS = 101
_DATA, _FAILURE = 0, 1


class Tunnel(ByteStream):
    """The bytes of one forwarded port.

    `receive` and `send` raise anyio.BrokenResourceError with the other side's words, or what ended the connection.
    """

    def __init__(self, session: AsyncWebSocketSession) -> None:
        self._session = session
        self._begun: dict[int, None] = {}
        self._left = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while not self._left:
            self._left = await self._message()
        found, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return found

    async def _message(self) -> bytes:
        """The data of the next message, if it has any."""
        try:
            message = await self._session.receive_bytes()
        except HTTPXWSException as error:
            raise anyio.BrokenResourceError(f"the connection ended: {_told(error)}") from error
        channel, rest = message[0] if message else _DATA, message[1:]
        if channel not in self._begun:
            self._begun[channel] = None
            return b""
        if channel == _FAILURE and rest:
            raise anyio.BrokenResourceError(rest.decode(errors="replace"))
        return rest

    async def send(self, item: bytes) -> None:
        try:
            await self._session.send_bytes(bytes([_DATA]) + item)
        except (HTTPXWSException, ProtocolError) as error:  # the latter: the other side has closed already
            raise anyio.BrokenResourceError(f"the connection ended: {_told(error)}") from error

    async def send_eof(self) -> None:
        """This subprotocol cannot end one direction alone."""
        await self.aclose()

    async def aclose(self) -> None:
        await self._session.close()


@asynccontextmanager
async def forwarded(
    client: httpx2.AsyncClient, namespace: str, pod: str, port: int, *, seconds: float
) -> AsyncIterator[Tunnel]:
    """The tunnel to a pod's port, for as long as the block runs; `client` is one of the cluster's API.

    Raises ApiError when the API refuses, and Unreachable when it does not answer within so many seconds.
    """
    path, query = f"{PODS.path(namespace, pod)}/portforward", {"ports": str(port)}
    try:
        async with client.stream("GET", path, params=query, headers=_upgrade(), timeout=seconds) as answer:
            if answer.status_code != SWITCHING_PROTOCOLS:
                raise await _refused(answer)
            stream = answer.extensions["network_stream"]
            async with AsyncWebSocketSession(
                stream, max_message_size_bytes=MESSAGE, keepalive_ping_interval_seconds=None, response=answer
            ) as session:
                yield Tunnel(session)
    except httpx2.TimeoutException:
        raise Unreachable(f"the Kubernetes API does not answer within {seconds:g} s") from None
    except httpx2.TransportError as error:
        raise Unreachable(f"the Kubernetes API did not answer: {_told(error)}") from error
    except BaseExceptionGroup as group:  # the session is a task group: what the block raised is in it
        raise _single(group) from None


def _upgrade() -> dict[str, str]:
    """RFC 6455, section 4.1. A kubelet answers 406 to whoever accepts JSON alone."""
    return {
        "Accept": "*/*",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": generate_nonce().decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
    }


async def _refused(answer: httpx2.Response) -> ApiError:
    """What an answer that is no tunnel says; its words are a Status object's, or plain ones of a kubelet."""
    text = (await answer.aread()).decode(errors="replace")
    try:
        said = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        said = text.strip()[:200]
    return ApiError(said or f"the API answered {answer.status_code}", status=answer.status_code)


def _single(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _single(error) if isinstance(error, BaseExceptionGroup) else error


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
