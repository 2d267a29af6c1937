"""Hands a feed's folder out by HTTP, at the addresses that extensions.flatcar.org has.

For a cluster on this machine or in this network; a feed for the world belongs on a web server or in a bucket, which
needs nothing of this. Ranges, HEAD, ETag and If-Modified-Since are starlette's.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flatyard.base.errors import Failed
from flatyard.base.serving import LOOPBACK, listener, start
from flatyard.sysext.feed_folder import named

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
    folder: Path, *, host: str = LOOPBACK, port: int = 0, say: _Say | None = None
) -> AsyncIterator[str]:
    """Serve a folder while the context lasts; yields the URL. Port 0 is any free one.

    Raises Failed when the address cannot be listened at.
    """
    at = _listener(host, port)
    server = await start(application(folder, say), at)
    try:
        yield _url(at)
    finally:
        await server.close()


def _listener(host: str, port: int) -> socket.socket:
    try:
        return listener(host, port)
    except OSError as problem:
        raise Failed(
            f"cannot listen at {host}:{port}",
            why=problem.strerror or str(problem),
            next="another address with --listen, or port 0 for any free one",
        ) from None


def _url(at: socket.socket) -> str:
    host, port = at.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
