"""Serving the simulated API on loopback with TLS, on whatever event loop is running."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from flatyard.kube.memory import MemoryApi
from flatyard.sim.apiserver.server import ApiServer

ADDRESS = "127.0.0.1"
KEEP_ALIVE_SECONDS = 75.0


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers and without its polling: a scaled loop would make both wrong."""

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


async def serve(
    api: MemoryApi,
    *,
    certificate: Path,
    key: Path,
    token: str,
    port: int = 0,
    version: str = "v1.34.3",
    speed: float = 1.0,
    around: Callable[[ASGIApp], ASGIApp] | None = None,
) -> Server:
    """Serve an API that `cluster.make_api` made on 127.0.0.1 (port 0: any free one), with TLS (PEM files).

    `version` is the Kubernetes version that the server claims. `speed` is how many of the running loop's
    seconds pass in one of the wall clock's, so that connections stay open for as long as clients expect.
    `around` may put routes of its own in front.
    """
    server: ASGIApp = ApiServer(api, token=token, version=version, wall=lambda seconds: seconds * speed)
    if around is not None:
        server = around(server)
    return await serve_app(server, certificate=certificate, key=key, port=port, speed=speed)


async def serve_app(
    app: ASGIApp, *, certificate: Path, key: Path, port: int = 0, speed: float = 1.0
) -> Server:
    """Serve any application on 127.0.0.1 with TLS; as `serve` for the rest."""
    # With its protocol named, asyncio sets TCP_NODELAY: else each answer waits 40 ms for an acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ADDRESS, port))
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
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
    )
    running = _Uvicorn(config)
    task = asyncio.get_running_loop().create_task(running.serve([listener]))
    while not running.started and not task.done():
        await asyncio.sleep(0)
    if task.done():
        task.result()
    return Server(int(listener.getsockname()[1]), running, task)
