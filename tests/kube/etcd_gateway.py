"""etcd's HTTP gateway as a client of its members sees it: JSON over TLS, for certificates of its own authority only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from flatyard.base.world import World
from flatyard.pki.keys import Authority

Answer = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]
"""Status and body for a path and what was sent there."""
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server; tasks of connections end with it."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        server.close()


class Etcd:
    """The gateway of one node's member, on a port of its own. `asked` is what it was asked, in order."""

    def __init__(self, node: str, authority: Authority, world: World, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._tls = _server(authority, node, world)

    def listening(self) -> contextlib.AbstractAsyncContextManager[int]:
        return listening(self.serve, self._tls)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split()[0])
            self.asked.append((head.split()[1], json.loads(await reader.readexactly(length))))
            status, found = self.answer(*self.asked[-1])
            body = json.dumps(found).encode()
            writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()


def _server(authority: Authority, node: str, world: World) -> ssl.SSLContext:
    pair = authority.server(node, (node,), world)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context
