"""An ASGI application behind a listening socket, on whatever event loop is running; for those who import it alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"
KEEP_ALIVE_SECONDS = 75.0


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers and without its polling: whoever starts it ends it, and a scaled loop
    would make both wrong."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    async def main_loop(self) -> None:
        await self.ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(slots=True)
class Server:
    """A running server; `port` is where it listens."""

    port: int
    _uvicorn: _Uvicorn
    _task: asyncio.Task[None]

    async def close(self) -> None:
        """Stop listening and end every connection, watches too."""
        self._uvicorn.should_exit = True
        self._uvicorn.force_exit = True
        self._uvicorn.ended.set()
        await self._task


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. `clients`: the authority of those who may connect, each with a certificate of it; None lets all in."""

    certificate: Path
    key: Path
    clients: Path | None = None


def listener(host: str = LOOPBACK, port: int = 0) -> socket.socket:
    """A socket to serve on; port 0 is any free one. Raises OSError when the address cannot be listened at.

    With its protocol named, asyncio sets TCP_NODELAY: else each answer waits 40 ms for an acknowledgement.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


async def start(app: ASGIApp, at: socket.socket, *, tls: Tls | None = None, speed: float = 1.0) -> Server:
    """Serve until it is closed. `speed` is how many of the running loop's seconds pass in one of the wall clock's, so
    that connections stay open for as long as clients expect."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=int(KEEP_ALIVE_SECONDS * speed),
        timeout_graceful_shutdown=0,
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
        ssl_ca_certs=str(tls.clients) if tls and tls.clients else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.clients else ssl.CERT_NONE,
    )
    running = _Uvicorn(config)
    task = asyncio.get_running_loop().create_task(running.serve([at]))
    while not running.started and not task.done():
        await asyncio.sleep(0)
    if task.done():
        task.result()
    return Server(int(at.getsockname()[1]), running, task)
