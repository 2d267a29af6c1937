"""The control routes of a background process, in front of the simulated Kubernetes API on the same port.

An ASGI application by hand: a handful of routes below /flatyard/v1/, all behind the token of the run file.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qs

from flatyard.base.errors import FlatyardError
from flatyard.controller.events import Event
from flatyard.controller.link import PREFIX
from flatyard.kube.api import Json

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Behind(Protocol):
    """What the routes lead to."""

    def why_no_api(self) -> str:
        """Why the Kubernetes API does not answer; empty while it does."""
        ...

    async def answer(self, method: str, path: str, query: dict[str, str], body: Json) -> bytes | None:
        """JSON, or None where there is no such route. May raise any FlatyardError."""
        ...

    def follow(self, round: int) -> AsyncIterator[Event]: ...


class Control:
    """Takes its own routes and hands the rest to the Kubernetes API, while that answers."""

    def __init__(self, behind: Behind, token: str, inner: Asgi) -> None:
        self._behind = behind
        self._token = token
        self._inner = inner

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or not path.startswith(PREFIX):
            await self._kubernetes(scope, receive, send)
        elif not self._known(scope):
            await _reply(send, 401, _error(FlatyardError("the token is not the run file's")))
        else:
            await self._route(scope, path.removeprefix(PREFIX), receive, send)

    async def _kubernetes(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        why = self._behind.why_no_api() if scope["type"] == "http" else ""
        if why:
            message = f"the simulated Kubernetes API does not answer: {why}"
            status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
            status |= {"message": message, "reason": "ServiceUnavailable", "code": 503}  # type: ignore[dict-item]
            await _reply(send, 503, json.dumps(status).encode())
        else:
            await self._inner(scope, receive, send)

    def _known(self, scope: MutableMapping[str, Any]) -> bool:
        sent = next((v for k, v in scope["headers"] if k.lower() == b"authorization"), b"")
        return hmac.compare_digest(sent, f"Bearer {self._token}".encode())

    async def _route(self, scope: MutableMapping[str, Any], path: str, receive: Receive, send: Send) -> None:
        query = {k: v[-1] for k, v in parse_qs(scope["query_string"].decode()).items()}
        if path == "progress":
            await self._progress(int(query.get("round", "0")), send)
            return
        body = await _body(receive)
        try:
            found = await self._behind.answer(scope["method"], path, query, json.loads(body) if body else {})
        except FlatyardError as error:
            await _reply(send, 409, _error(error))
            return
        if found is None:
            await _reply(send, 404, _error(FlatyardError(f"there is no {PREFIX}{path}")))
        else:
            await _reply(send, 200, found)

    async def _progress(self, round: int, send: Send) -> None:
        await send(_start(200, b"application/x-ndjson"))
        async for event in self._behind.follow(round):
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _error(error: FlatyardError) -> bytes:
    kind = next((k.__name__ for k in type(error).__mro__ if k.__name__ in _KINDS), "Failed")
    return json.dumps(
        {"error": {"kind": kind, "what": error.what, "why": error.why, "next": error.next}}
    ).encode()


_KINDS = ("Failed", "Refused", "PartlyDone")


def _start(status: int, media: bytes) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", media)]}


async def _reply(send: Send, status: int, body: bytes) -> None:
    await send(_start(status, b"application/json"))
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
