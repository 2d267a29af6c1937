"""The proxy passes on what it is given, and answers wrongly exactly as often as it is told."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from emulators.openstack.proxy import Proxy, Reply, is_create


class Service:
    """Something behind the proxy: it counts, and echoes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.connections: list[socket.socket] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.bodies.append(body)
                shown = {"servers": [{"id": "old"}, {"id": "new"}]}
                answer = json.dumps({"server": {"id": "new"}} if self.command == "POST" else shown).encode()
                self.send_response(202 if self.command == "POST" else 200)
                self.send_header("X-Seen", self.headers.get("X-Auth-Token", ""))
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do

            def setup(self) -> None:
                super().setup()
                service.connections.append(self.connection)

            def log_message(self, format: str, *words: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def hang_up(self) -> None:
        """End what is idle."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def proxy(service: Service) -> Iterator[tuple[Proxy, int]]:
    inner = service.server.server_port
    made = Proxy({0: inner})
    made.start()
    yield made, made._servers[0].server_port
    made.close()


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, object]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request(method, path, body, {"X-Auth-Token": "t"})
    answer = client.getresponse()
    text = answer.read()
    client.close()
    return answer.status, json.loads(text)


def test_it_passes_on(proxy: tuple[Proxy, int], service: Service) -> None:
    assert ask(proxy[1], "POST", "/v2.1/servers", b"{}") == (202, {"server": {"id": "new"}})
    assert service.bodies == [b"{}"]
    assert proxy[0].requests == [("POST", "/v2.1/servers", 202)]


def test_a_reply_of_its_own_reaches_nobody_behind_it(proxy: tuple[Proxy, int], service: Service) -> None:
    proxy[0].add(is_create, 2, Reply(429, {"overLimit": {"message": "too many"}}, {"Retry-After": "3"}))
    assert [ask(proxy[1], "POST", "/v2.1/servers")[0] for _ in range(3)] == [429, 429, 202]
    assert len(service.bodies) == 1
    assert ask(proxy[1], "GET", "/v2.1/servers/detail")[0] == 200


def test_a_lost_reply_happened(proxy: tuple[Proxy, int], service: Service) -> None:
    proxy[0].add(is_create, 1)
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(proxy[1], "POST", "/v2.1/servers", b"{}")
    assert service.bodies == [b"{}"]


def test_lists_lag_behind_creates(proxy: tuple[Proxy, int]) -> None:
    proxy[0].lag = 60.0
    ask(proxy[1], "POST", "/v2.1/servers", b"{}")
    assert ask(proxy[1], "GET", "/v2.1/servers/detail?limit=5") == (200, {"servers": [{"id": "old"}]})
    proxy[0].calm()
    assert ask(proxy[1], "GET", "/v2.1/servers/detail")[1] == {"servers": [{"id": "old"}, {"id": "new"}]}


def test_no_room_asks_for_another_flavor(proxy: tuple[Proxy, int], service: Service) -> None:
    proxy[0].full(1, "huge")
    for _ in range(2):
        ask(proxy[1], "POST", "/v2.1/servers", b'{"server": {"flavorRef": "small"}}')
    assert [json.loads(body)["server"]["flavorRef"] for body in service.bodies] == ["huge", "small"]


def test_a_connection_that_the_service_gave_up_is_made_anew(
    service: Service, proxy: tuple[Proxy, int]
) -> None:
    client = http.client.HTTPConnection("127.0.0.1", proxy[1])
    for body in (b"first", b"second", b"third"):
        client.request("POST", "/v2.0/ports", body)
        assert client.getresponse().read() == b'{"server": {"id": "new"}}'
        service.hang_up()
    assert service.bodies == [b"first", b"second", b"third"]
