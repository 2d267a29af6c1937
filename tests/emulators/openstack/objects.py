"""A small Swift, or Ceph's gateway as it is before Reef: containers, objects and temporary URLs, in memory.

Its rules, each with its source in Swift's documentation: a token is wanted for everything but temporary URLs (api,
authentication); a container with objects is not deleted, 409 (api, delete container); a temporary URL's signature is
the HMAC of method, expiry and path with the container's or account's key, and 401 otherwise; a URL for GET is good for
HEAD; SHA-1 is not taken (middleware, tempurl; since 2.30); X-Delete-After ends an object (overview, expiring objects).
Tokens are not checked, only wanted.

The gateway's differ so: keys of containers are not known, and SHA-1 is the only digest
(https://docs.ceph.com/en/octopus/radosgw/swift/tempurl/); an account shows its keys to who may do everything with it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

KEYS = ("x-container-meta-temp-url-key", "x-container-meta-temp-url-key-2")
ACCOUNT_KEYS = ("x-account-meta-temp-url-key", "x-account-meta-temp-url-key-2")
DIGESTS = {40: "sha1", 64: "sha256", 128: "sha512"}


class Objects:
    """`now` is moved by tests instead of waiting. `gateway`: Ceph's. `closed`: it takes no token."""

    def __init__(self, port: int, *, gateway: bool = False) -> None:
        self.port = port
        self.gateway = gateway
        self.closed = False
        self.ahead = 0.0
        self.accounts: dict[str, dict[str, str]] = {}
        self.containers: dict[str, dict[str, str]] = {}
        self.objects: dict[str, tuple[bytes, float]] = {}
        self._server: ThreadingHTTPServer | None = None

    def now(self) -> float:
        return time.time() + self.ahead

    def start(self) -> None:
        """Call it on the stage."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(target)
        path, query = parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()}
        pieces = unquote(path).split("/", 4)
        depth = len([piece for piece in pieces if piece]) - 1
        container = "/".join(pieces[:4])
        if "temp_url_sig" in query:
            if depth < 3 or not self._signed(method, path, container, query):
                return 401, {}, b"Temp URL invalid"
        elif "x-auth-token" not in headers:
            return 401, {}, b"token wanted"
        elif self.closed:
            return 403, {}, b"AccessDenied"
        if depth == 1 and method in ("HEAD", "POST"):
            meta = {k: v for k, v in headers.items() if k.startswith("x-account-meta-")}
            known = self.accounts.setdefault(unquote(path), {})
            known |= meta if method == "POST" else {}
            return 204, dict(known), b""
        if depth == 1:
            names = [
                name.split("/")[3] for name in sorted(self.containers) if name.startswith(unquote(path) + "/")
            ]
            return 200, {}, json.dumps([{"name": name} for name in names]).encode()
        if depth == 2:
            return self._container(method, container, headers, query)
        return self._object(method, container, unquote(path), headers, body)

    def _signed(self, method: str, path: str, container: str, query: Mapping[str, str]) -> bool:
        expires, given = int(query.get("temp_url_expires", "0")), query["temp_url_sig"]
        digest = DIGESTS.get(len(given))
        if expires < self.now() or digest is None or (digest == "sha1") != self.gateway:
            return False
        account = self.accounts.get("/".join(container.split("/")[:3]), {})
        keys = [account.get(name, "") for name in ACCOUNT_KEYS]
        if not self.gateway:
            keys += [self.containers.get(container, {}).get(name, "") for name in KEYS]
        texts = [
            f"{each}\n{expires}\n{path}" for each in ((method, "GET") if method == "HEAD" else (method,))
        ]
        return any(
            hmac.compare_digest(hmac.new(key.encode(), text.encode(), digest).hexdigest(), given)
            for key in keys
            for text in texts
            if key
        )

    def _container(
        self, method: str, name: str, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        meta = {k: v for k, v in headers.items() if k.startswith("x-container-meta-")}
        if method in ("PUT", "POST"):
            if method == "POST" and name not in self.containers:
                return 404, {}, b""
            new = name not in self.containers
            self.containers.setdefault(name, {}).update(meta)
            return (201 if new else 202) if method == "PUT" else 204, {}, b""
        if name not in self.containers:
            return 404, {}, b""
        inside = sorted(key for key in self.objects if key.startswith(name + "/") and self._lives(key))
        if method == "DELETE":
            if inside:
                return 409, {}, b"not empty"
            del self.containers[name]
            return 204, {}, b""
        listed = [{"name": key.removeprefix(name + "/")} for key in inside]
        marker = query.get("marker", "")
        listed = [row for row in listed if row["name"] > marker]
        return 200, dict(self.containers[name]), json.dumps(listed).encode()

    def _object(
        self, method: str, container: str, name: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if container not in self.containers:
            return 404, {}, b""
        if method == "PUT":
            after = float(headers.get("x-delete-after", "inf"))
            self.objects[name] = (body, self.now() + after)
            return 201, {"Etag": hashlib.md5(body).hexdigest()}, b""
        if not self._lives(name):
            return 404, {}, b""
        if method == "DELETE":
            del self.objects[name]
            return 204, {}, b""
        return 200, {"Content-Type": "application/octet-stream"}, self.objects[name][0]

    def _lives(self, name: str) -> bool:
        return name in self.objects and self.objects[name][1] > self.now()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        objects = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                lower = {name.lower(): value for name, value in self.headers.items()}
                status, headers, answer = objects.answer(self.command, self.path, lower, body)
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do

            def log_message(self, format: str, *words: object) -> None:
                return

        return Handler
