"""The server: Azure Resource Manager and Entra's tokens over TLS, the control and the machines' metadata without.

python -m emulators.azure.arm.server FOLDER   with cert.pem and key.pem in it
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn

from . import app, control, tokens
from .routes import Answer, Request

PORT, PLAIN = 5443, 5080
Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Server:
    """One ASGI application for both ports."""

    def __init__(self, folder: Path) -> None:
        self.arm = app.Arm(folder)
        self.servers: list[uvicorn.Server] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        raw = b""
        while True:
            event = await receive()
            raw += event.get("body", b"")
            if not event.get("more_body"):
                break
        target = scope["raw_path"].decode() + "?" + scope["query_string"].decode()
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = app.read(scope["method"], target, headers, raw)
        answer = self.answer(request, scope["scheme"])
        if answer.lost:
            self.cut(scope)
            return
        await respond(send, answer)

    def answer(self, request: Request, scheme: str) -> Answer:
        if request.path.startswith("/_emulator") and scheme == "http":
            return control.answer(self.arm, request)
        public = tokens.answer(self.arm, request)
        if public is not None:
            return public
        return self.arm.answer(request)

    def cut(self, scope: Scope) -> None:
        """The connection breaks before a byte of the reply."""
        for server in self.servers:
            for connection in list(server.server_state.connections):
                if getattr(connection, "scope", None) is scope:
                    connection.transport.abort()


async def respond(send: Send, answer: Answer) -> None:
    content = answer.plain
    kind = b"text/plain; charset=utf-8"
    if content is None:
        content = b"" if answer.body is None else json.dumps(answer.body).encode()
        kind = b"application/json; charset=utf-8"
    if answer.status in (204, 304):
        content = b""
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    headers += [(b"content-type", kind), (b"x-ms-request-id", control.number().encode())]
    if answer.status != 204:
        headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class Abrupt(uvicorn.Server):
    """Ends with the process: nobody waits for connections that clients keep."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def main(folder: Path) -> None:
    served = Server(folder)
    common: dict[str, Any] = {
        "host": "127.0.0.1",
        "log_level": "warning",
        "access_log": False,
        "timeout_keep_alive": 120,
        "lifespan": "off",
    }
    plain = uvicorn.Config(served, port=PLAIN, **common)
    secure = uvicorn.Config(
        served,
        port=PORT,
        ssl_certfile=str(folder / "cert.pem"),
        ssl_keyfile=str(folder / "key.pem"),
        **common,
    )
    served.servers = [Abrupt(plain), Abrupt(secure)]
    await asyncio.gather(*(server.serve() for server in served.servers))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
