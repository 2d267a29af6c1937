"""A proxy in front of the services that answers wrongly when told to: throttling, server errors, lost replies, lag.

It passes everything on and knows nothing of OpenStack but which requests are a server's create and a list of servers.
It runs in threads of the test's own process, so that a test tells it directly.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that the proxy gives by itself."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)


Match = Callable[[str, str], bool]
"""Of a request's method and path."""


def is_create(method: str, path: str) -> bool:
    return method == "POST" and urlsplit(path).path.endswith("/servers")


def is_list(method: str, path: str) -> bool:
    return method == "GET" and urlsplit(path).path.endswith(("/servers", "/servers/detail"))


@dataclass(slots=True)
class Fault:
    """What happens to the next `left` matching requests: answered with `reply`, or passed on and the answer lost."""

    match: Match
    left: int
    reply: Reply | None = None
    """None: the request happens, and the connection breaks before the answer."""


class Proxy:
    """Listens on the keys of `ports` and passes on to their values, all on 127.0.0.1."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        self.ports = ports
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, int]] = []
        """Method, path and status of everything that passed."""
        self.edit: Callable[[str, str, bytes], bytes] | None = None
        """Changes a request's body: of method, path and body."""
        self.lag = 0.0
        """Seconds for which lists of servers do not show what was created."""
        self._born: dict[str, float] = {}
        self._lock = threading.Lock()
        self._servers: list[ThreadingHTTPServer] = []

    def start(self) -> None:
        """Call it on the stage: its threads stay where it was called."""
        for front, inner in self.ports.items():
            server = ThreadingHTTPServer(("127.0.0.1", front), self._handler(inner))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
            self._servers.append(server)

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, match: Match, count: int, reply: Reply | None = None) -> None:
        with self._lock:
            self.faults.append(Fault(match, count, reply))

    def full(self, count: int, flavor: str) -> None:
        """The next `count` creates ask for a flavor that no host has room for, whatever they asked for."""
        left = [count]

        def edit(method: str, path: str, body: bytes) -> bytes:
            if not left[0] or not is_create(method, path):
                return body
            left[0] -= 1
            asked = json.loads(body)
            asked["server"]["flavorRef"] = flavor
            return json.dumps(asked).encode()

        self.edit = edit

    def calm(self) -> None:
        """No more faults."""
        with self._lock:
            self.faults.clear()
            self.lag = 0.0
            self.edit = None

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, counted."""
        with self._lock:
            for fault in self.faults:
                if fault.left and fault.match(method, path):
                    fault.left -= 1
                    return fault
        return None

    def note(self, method: str, path: str, status: int) -> None:
        with self._lock:
            self.requests.append((method, path, status))

    def seen(self, method: str, path: str, body: bytes) -> bytes:
        """Remember when servers were created; take from lists those that they do not show yet."""
        if is_create(method, path) and body:
            made = json.loads(body).get("server", {}).get("id")
            if made:
                self._born[made] = time.monotonic()
        if is_list(method, path) and self.lag and body:
            listed = json.loads(body)
            now = time.monotonic()
            listed["servers"] = [
                server
                for server in listed.get("servers", ())
                if now - self._born.get(server["id"], -self.lag) >= self.lag
            ]
            return json.dumps(listed).encode()
        return body

    def _handler(self, inner: int) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            upstream: http.client.HTTPConnection | None = None

            def setup(self) -> None:
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def pass_on(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else self._chunks()
                fault = proxy.fault(self.command, self.path)
                if fault is not None and fault.reply is not None:
                    proxy.note(self.command, self.path, fault.reply.status)
                    self.answer(
                        fault.reply.status,
                        {"Content-Type": "application/json", **fault.reply.headers},
                        json.dumps(fault.reply.body).encode(),
                    )
                    return
                if proxy.edit is not None:
                    body = proxy.edit(self.command, self.path, body)
                status, headers, answer = self._ask(body)
                proxy.note(self.command, self.path, status)
                if fault is not None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if status in (200, 201, 202):
                    answer = proxy.seen(self.command, self.path, answer)
                self.answer(status, headers, answer)

            def _chunks(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return b""
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
                headers["Host"] = self.headers.get("Host", "127.0.0.1")
                while True:
                    is_new = self.upstream is None
                    upstream = self.upstream = self.upstream or self._connected()
                    try:
                        upstream.request(self.command, self.path, body or None, headers)
                        found = upstream.getresponse()
                        content = found.read()
                        kept = {k: v for k, v in found.getheaders() if k.lower() not in _HOP}
                        return found.status, kept, content
                    except (ConnectionResetError, BrokenPipeError):
                        upstream.close()
                        self.upstream = None
                        if is_new:
                            raise
                        # an idle connection that the service gave up: before the request, or while it came

            def _connected(self) -> http.client.HTTPConnection:
                made = http.client.HTTPConnection("127.0.0.1", inner, timeout=120)
                made.connect()
                made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return made

            def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD" and body:
                    self.wfile.write(body)

            wbufsize = -1
            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = pass_on

            def log_message(self, format: str, *words: object) -> None:
                return

        return Handler
