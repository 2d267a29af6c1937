"""A server that can lie, and an authority that can sign for anybody."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flatyard.sysext.signature import KUBERNETES_IDENTITY, KUBERNETES_ISSUER, Signer

_FROM = datetime(2025, 1, 1, tzinfo=UTC)
_YEARS = timedelta(days=3650)
_ISSUER_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")


@dataclass
class Web:
    """Files by path, and what is wrong with them. `asked` has every request: path, and its Range."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    html: set[str] = field(default_factory=set)
    cut: dict[str, list[int]] = field(default_factory=dict)
    """How many bytes to send before hanging up, answer by answer."""
    failing: dict[str, list[int]] = field(default_factory=dict)
    """Statuses to answer with first."""
    ignores_ranges: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # whoever gives up hangs up
            super().handle()

    def do_GET(self) -> None:
        web, path = self.web, self.path
        given = self.headers.get("Range", "")
        web.asked.append((path, given))
        if web.failing.get(path):
            self._end(web.failing[path].pop(0), b"")
        elif path in web.redirects:
            self._end(302, b"", {"Location": web.redirects[path]})
        elif path in web.html:
            self._end(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
        elif path not in web.files:
            self._end(404, b"no such file")
        else:
            self._file(web.files[path], given)

    def _file(self, whole: bytes, given: str) -> None:
        start = 0 if self.web.ignores_ranges or not given else int(given[6:].partition("-")[0])
        if start >= len(whole) > 0:
            self._end(416, b"")
            return
        headers = {"Content-Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}"} if start else {}
        cuts = self.web.cut.get(self.path)
        self._end(206 if start else 200, whole[start:], headers, cuts.pop(0) if cuts else None)

    def _end(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def webs() -> Iterator[Callable[[], Web]]:
    """Makes servers on loopback."""
    servers: list[ThreadingHTTPServer] = []

    def make() -> Web:
        web = Web()
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
        servers.append(server)
        web.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return web

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def web(webs: Callable[[], Web]) -> Web:
    return webs()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FLATYARD_CACHE", str(folder))
    return folder


class Signing:
    """An authority like Sigstore's: a root, an issuer, and certificates for ten minutes."""

    def __init__(self) -> None:
        self._root_key, self._key = _new_key(), _new_key()
        self._root = _issued("root", self._root_key, "root", self._root_key, _FROM, _YEARS, authority=True)
        self._issuer = _issued("issuer", self._key, "root", self._root_key, _FROM, _YEARS, authority=True)
        chain = (self._root, self._issuer)
        pem = "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in chain)
        self.signer = Signer(authority=pem)

    def sign(
        self,
        body: bytes,
        *,
        identity: str = KUBERNETES_IDENTITY,
        also: str = "",
        issuer: str = KUBERNETES_ISSUER,
        begins: datetime = _FROM + timedelta(days=30),
        for_code: bool = True,
        self_issued: bool = False,
        mixed: bool = False,
    ) -> tuple[bytes, bytes]:
        """A signature and its certificate, as cosign writes them."""
        key = _new_key()
        extensions: list[x509.ExtensionType] = [
            x509.SubjectAlternativeName([x509.RFC822Name(name) for name in (identity, also) if name])
        ]
        if issuer:
            extensions.append(x509.UnrecognizedExtension(_ISSUER_OID, issuer.encode()))
        if for_code:
            extensions.append(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]))
        by = key if self_issued else self._key
        leaf = _issued("signer", key, "issuer", by, begins, timedelta(minutes=10), extensions=extensions)
        signature = (_new_key() if mixed else key).sign(body, ec.ECDSA(hashes.SHA256()))
        pem = leaf.public_bytes(serialization.Encoding.PEM)
        return base64.b64encode(signature), base64.b64encode(pem)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _issued(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: str,
    by_key: ec.EllipticCurvePrivateKey,
    begins: datetime,
    length: timedelta,
    *,
    authority: bool = False,
    extensions: list[x509.ExtensionType] | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + length)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    for extension in extensions or ():
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(by_key, hashes.SHA256())


@pytest.fixture(scope="session")
def signing() -> Signing:
    return Signing()
