"""Hands a feed's folder out by HTTP, at the addresses that extensions.flatcar.org has.

For a cluster on this machine or in this network; a feed for the world belongs on a web server or in a bucket, which
needs nothing of this. Ranges, HEAD, ETag and If-Modified-Since are starlette's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flatyard.base.errors import Failed
from flatyard.sysext.feed_folder import named

ADDRESS = "127.0.0.1"
_KEEP_ALIVE_SECONDS = 75
_Say = Callable[[str], None]


class FeedFiles(StaticFiles):
    """The files below a folder, never above it: links that lead out, and names that start with a dot, are not there.

    `EXT-VERSION-ARCH.raw` is found in the extension's folder whatever folder it is asked for in, as the redirector
    finds it: `BASE/kubernetes-v1.34.3-x86-64.raw` is what Butane snippets have.
    """

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        if any(step.startswith(".") for step in Path(path).parts):
            return "", None
        found = super().lookup_path(path)
        image = named(path.rpartition(os.sep)[2])
        if found[1] is None and image:
            return super().lookup_path(str(Path(image.extension) / image.name))
        return found


def application(folder: Path, say: _Say | None = None) -> ASGIApp:
    """A feed as ASGI; `say` is told of each request."""
    files = Starlette(routes=[Mount("/", FeedFiles(directory=folder))])

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if say and message["type"] == "http.response.start":
                say(
                    f"{(scope.get('client') or ['-'])[0]} {scope['method']} {scope['path']} {message['status']}"
                )
            await send(message)

        await files(scope, receive, sending)

    return told


@contextlib.asynccontextmanager
async def serving(
    folder: Path, *, host: str = ADDRESS, port: int = 0, say: _Say | None = None
) -> AsyncIterator[str]:
    """Serve a folder while the context lasts; yields the URL. Port 0 is any free one.

    Raises Failed when the address cannot be listened at.
    """
    listener = _listener(host, port)
    config = uvicorn.Config(
        application(folder, say),
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=0,
    )
    server = _Server(config)
    task = asyncio.get_running_loop().create_task(server.serve([listener]))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0)
        yield _url(listener)
    finally:
        server.should_exit = server.force_exit = True
        server.ended.set()
        await task


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers and without its polling: whoever starts it ends it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    async def main_loop(self) -> None:
        await self.ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as problem:
        raise Failed(
            f"cannot listen at {host}:{port}",
            why=problem.strerror or str(problem),
            next="another address with --listen, or port 0 for any free one",
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
