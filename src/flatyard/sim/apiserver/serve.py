"""Serving the simulated API on loopback with TLS, on whatever event loop is running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp

from flatyard.base.serving import Server, Tls, listener, start
from flatyard.kube.memory import MemoryApi
from flatyard.sim.apiserver.server import ApiServer


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
    return await start(server, listener(port=port), tls=Tls(certificate, key), speed=speed)
