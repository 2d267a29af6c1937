"""A TCP load balancer on the bridge, which stands in for a cloud's: `python -m …balancer FOLDER LOCK`.

It listens on the endpoint's address and passes connections on to control planes that are ready, in turn. Readiness is
what a cloud's would ask, GET /readyz over TLS, each second; a backend that fails twice loses its sessions too, so that
clients with long watches notice. Backends are read from the cluster's folder, whenever that changes. When none is
ready, one that takes the connection will do: the first control plane joins itself through here.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flatyard.clouds.local.folders import ClusterFolder, EndpointFile

INTERVAL = 1.0
TIMEOUT = 2.0
FALL = 2
"""Failed checks in a row after which a ready backend is not."""
_PIECE = 65536


class Backend:
    """One control plane, and the sessions that lead to it."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self.ready = False
        self.failures = 0
        self.sessions: dict[asyncio.StreamWriter, None] = {}

    async def check(self, context: ssl.SSLContext) -> None:
        """Ask whether it is ready, and cut its sessions when it no longer is."""
        if await self._answers(context):
            self.ready, self.failures = True, 0
            return
        self.failures += 1
        if self.ready and self.failures >= FALL:
            self.ready = False
            self.cut()

    async def _answers(self, context: ssl.SSLContext) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT):
                reader, writer = await asyncio.open_connection(self.address, self.port, ssl=context)
                try:
                    writer.write(b"GET /readyz HTTP/1.1\r\nHost: readyz\r\nConnection: close\r\n\r\n")
                    return b" 200 " in await reader.readline()
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError):
            return False

    def cut(self) -> None:
        for writer in tuple(self.sessions):
            writer.transport.abort()


class Balancer:
    """Keeps to what the endpoint's file says."""

    def __init__(self, folder: ClusterFolder) -> None:
        self._folder = folder
        self._backends: dict[str, Backend] = {}
        self._turn = 0
        # which machine it is, is for the client to check; here only its state matters
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    async def run(self) -> None:
        """Serve until the endpoint is gone."""
        endpoint = self._read()
        if endpoint is None:
            return
        server = await asyncio.start_server(self._serve, endpoint.address, endpoint.port, backlog=1024)
        async with server:
            while self._read() is not None:
                checks = [backend.check(self._context) for backend in self._backends.values()]
                await asyncio.gather(asyncio.sleep(INTERVAL), *checks)

    def _read(self) -> EndpointFile | None:
        endpoint = self._folder.endpoint()
        if endpoint is None:
            return None
        for key in tuple(self._backends):
            if key not in endpoint.backends:
                self._backends.pop(key).cut()
        for key, address in endpoint.backends.items():
            if key not in self._backends:
                self._backends[key] = Backend(address, endpoint.backend_port)
        return endpoint

    def _order(self) -> Iterator[Backend]:
        """Whom to try: those that are ready, in turn, then the others."""
        self._turn += 1
        ready = [backend for backend in self._backends.values() if backend.ready]
        turn = self._turn % len(ready) if ready else 0
        yield from ready[turn:] + ready[:turn]
        yield from (backend for backend in self._backends.values() if not backend.ready)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._read()
        for backend in self._order():
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(TIMEOUT):
                    there = await asyncio.open_connection(backend.address, backend.port)
                await self._session(backend, (reader, writer), there)
                return
        writer.transport.abort()

    async def _session(
        self,
        backend: Backend,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        backend.sessions |= {here[1]: None, there[1]: None}
        try:
            await asyncio.gather(_pass_on(here[0], there[1]), _pass_on(there[0], here[1]))
        finally:
            for writer in (here[1], there[1]):
                backend.sessions.pop(writer, None)
                writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction to its end; a broken one breaks the other too."""
    try:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


def main() -> int:
    """The lock, descriptor `argv[2]`, is held by being open."""
    os.set_inheritable(int(sys.argv[2]), False)
    asyncio.run(Balancer(ClusterFolder(Path(sys.argv[1]))).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
