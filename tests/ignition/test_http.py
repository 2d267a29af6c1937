"""Fetching over HTTP(S), from a server on this machine that does not always tell the truth."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flatyard import ignition
from flatyard.base.world import RealWorld
from flatyard.ignition import dataurl
from flatyard.ignition.fetch import FetchError, check_scheme, shown
from flatyard.ignition.fetch import fetch as fetched
from flatyard.ignition.http import HttpFetcher, proxy_for
from flatyard.ignition.resolve import resolve
from flatyard.ignition.types import (
    HttpHeader,
    Ignition,
    Proxy,
    Resource,
    Security,
    Timeouts,
    Tls,
    Verification,
)
from flatyard.pki import new_authority

Handler = Callable[["Server", str, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Answers by path; `seen` has the head of every request."""

    pages: dict[str, bytes | Handler]
    seen: list[str] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.seen.append(head)
        path = head.split()[1].partition("?")[0]
        page = self.pages.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        if isinstance(page, bytes):
            writer.write(page)
        else:
            await page(self, path, writer)
        writer.close()


def page(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


@asynccontextmanager
async def server(tls: ssl.SSLContext | None = None, /, **pages: bytes | Handler) -> AsyncIterator[Server]:
    served = Server({f"/{name}": page for name, page in pages.items()}, scheme="https" if tls else "http")
    listening = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=tls)
    served.port = listening.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        listening.close()


@asynccontextmanager
async def fetcher(**options: object) -> AsyncIterator[HttpFetcher]:
    made = HttpFetcher(**options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


def get(
    path: str, headers: tuple[HttpHeader, ...] = (), /, **pages: bytes | Handler
) -> tuple[bytes, list[str]]:
    """What comes back for a path of a server with these pages, and the requests that it took."""

    async def run() -> tuple[bytes, list[str]]:
        async with server(**pages) as served, fetcher(seconds=5, limit=100_000) as web:
            return await web.fetch(served.url(path), headers), served.seen

    return asyncio.run(run())


def test_a_body_comes_back_as_it_was_sent():
    packed = dataurl.compress(b"hello" * 100)
    body, seen = get("/x", x=page(packed, "200 OK", "Content-Encoding: gzip"))
    assert body == packed
    assert "Accept-Encoding: identity" in seen[0]


def test_headers_of_the_config_are_sent_and_dropped_at_a_redirect():
    headers = (HttpHeader("X-Token", "secret"), HttpHeader("user-agent", "mine"))
    body, seen = get("/a", headers, a=page(b"", "302 Found", "Location: /b"), b=page(b"there"))
    assert body == b"there"
    assert "X-Token: secret" in seen[0] and "user-agent: mine" in seen[0] and "flatyard" not in seen[0]
    assert "X-Token" not in seen[1] and "User-Agent: flatyard" in seen[1]


def test_cookies_are_not_kept():
    _, seen = get("/a", a=page(b"", "302 Found", "Location: /b", "Set-Cookie: id=1"), b=page(b""))
    assert "Cookie" not in seen[1]


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ({}, "resource not found: http://127.0.0.1:"),
        ({"x": page(b"", "403 Forbidden")}, "the server says 403"),
        ({"x": page(b"", "206 Partial Content")}, "the server says 206"),
        ({"x": page(b"", "302 Found", "Location: /x")}, "stopped after 10 redirects"),
        ({"x": page(b"", "302 Found")}, "302 response missing Location header"),
        ({"x": page(b"", "302 Found", "Location: file:///etc/passwd")}, "which is not http or https"),
        ({"x": page(b"y" * 100_001)}, "larger than 100000 bytes"),
    ],
)
def test_some_answers_are_final(pages, message):
    with pytest.raises(FetchError, match=message) as refused:
        get("/x", **pages)
    assert refused.value.is_final


async def endless(_: Server, __: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"z" * 10_000)
        await writer.drain()


def test_an_endless_body_ends_at_the_limit():
    with pytest.raises(FetchError, match="larger than 100000 bytes"):
        get("/x", x=endless)


def failing_first(first: bytes, then: bytes) -> Handler:
    async def handler(served: Server, _: str, writer: asyncio.StreamWriter) -> None:
        writer.write(first if len(served.seen) == 1 else then)

    return handler


@pytest.mark.parametrize(
    "first",
    [
        page(b"", "503 Service Unavailable"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal",
        b"",
        b"SMTP?\r\n\r\n",
    ],
)
def test_what_may_pass_is_tried_again(first):
    body, seen = get("/x", x=failing_first(first, page(b"whole")))
    assert (body, len(seen)) == (b"whole", 2)


async def silent(_: Server, __: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def trickling(_: Server, __: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"z")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (page(b"", "500 Oh"), "the server says 500"),
        (silent, "no whole answer"),
        (trickling, "no whole answer"),
    ],
)
def test_trying_ends_with_the_last_reason(handler, reason):
    async def run() -> list[str]:
        said: list[str] = []
        async with server(x=handler) as served, fetcher(seconds=0.4, say=said.append) as web:
            with pytest.raises(FetchError, match=f"gave up after 0.4 s: {reason}") as refused:
                await web.fetch(served.url("/x?signature=secret"), ())
        assert not refused.value.is_final
        assert "secret" not in str(refused.value) + "".join(said)
        return said

    said = asyncio.run(run())
    assert [line.split(": ", 1)[1] for line in said] == (
        [f"{reason}; trying again"] if "500" in reason else []
    )


def test_nobody_listens():
    async def run() -> None:
        async with server() as served:
            pass
        async with fetcher(seconds=0.3) as web:
            with pytest.raises(FetchError, match=r"gave up after 0\.3 s: "):
                await web.fetch(served.url("/x"), ())

    asyncio.run(run())


@pytest.mark.parametrize(
    ("timeouts", "reason"),
    [
        (Timeouts(http_response_headers=1), "no answer within 1 s"),
        (Timeouts(http_total=1), "no whole answer within 1 s"),
    ],
)
def test_the_config_s_timeouts_end_an_attempt(timeouts, reason):
    async def run() -> list[str]:
        said: list[str] = []
        async with server(x=silent) as served, fetcher(seconds=1.3, say=said.append) as web:
            await web.settle(Ignition(timeouts=timeouts))
            with pytest.raises(FetchError, match=reason):
                await web.fetch(served.url("/x"), ())
        return said

    assert reason in asyncio.run(run())[0]


def test_hash_and_compression_are_those_of_the_resource():
    text = b"kubernetes\n" * 50
    digest = hashlib.sha512(text).hexdigest()

    async def run(wanted: str, served_bytes: bytes) -> bytes:
        async with server(x=page(served_bytes)) as served, fetcher(seconds=5) as web:
            verification = Verification(f"sha512-{wanted}")
            source = served.url("/x")
            return await fetched(Resource(compression="gzip", source=source, verification=verification), web)

    assert asyncio.run(run(digest, dataurl.compress(text))) == text
    with pytest.raises(FetchError, match=f"hash verification failed .calculated {digest} but expected 00"):
        asyncio.run(run("00" * 64, dataurl.compress(text)))
    with pytest.raises(FetchError, match="gzip: invalid header"):
        asyncio.run(run(digest, text))


# ---- TLS and proxies


def certificates(folder: Path) -> tuple[str, ssl.SSLContext]:
    """A new authority, and what a server on 127.0.0.1 needs that it vouches for."""
    world = RealWorld()
    authority = new_authority("ca", world)
    pair = authority.server("server", ["127.0.0.1"], world)
    (folder / "server.pem").write_bytes(pair.key + pair.certificate)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    return authority.certificate.decode(), tls


def trusting(*pems: str) -> Ignition:
    return Ignition(security=Security(Tls(tuple(dataurl.inline(pem) for pem in pems))))


def test_authorities_of_the_config_are_trusted_and_no_others(tmp_path):
    authority, tls = certificates(tmp_path)

    async def run() -> None:
        async with server(tls, x=page(b"safe")) as served, fetcher(seconds=5) as web:
            with pytest.raises(FetchError, match=r"the certificate is not trusted .*certificateAuthorities"):
                await web.fetch(served.url("/x"), ())
            await web.settle(trusting(authority))
            assert await web.fetch(served.url("/x"), ()) == b"safe"
            with pytest.raises(FetchError, match=r"unable to decode PEM block \(inline\)"):
                await web.settle(trusting("no certificate"))

    asyncio.run(run())


def test_a_merged_config_s_settings_count_for_what_it_refers_to(tmp_path):
    authority, tls = certificates(tmp_path)

    async def run() -> bytes:
        last = b'{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/last"}]}}'
        async with server(tls, last=page(last)) as safe, fetcher(seconds=5) as web:
            child = ignition.Config(ignition=trusting(authority))
            text = ignition.encode(with_merge(child, safe.url("/last")))
            async with server(child=page(text)) as plain:
                parent = ignition.encode(with_merge(ignition.Config(), plain.url("/child")))
                config = (await resolve(parent, web, settle=web.settle)).config
        return config.storage.files[0].path.encode()

    assert asyncio.run(run()) == b"/last"


def with_merge(config: ignition.Config, url: str) -> ignition.Config:
    head = config.ignition
    refs = ignition.ConfigRefs(merge=(Resource(source=url),))
    return ignition.Config(
        ignition=Ignition(refs, head.proxy, head.security, head.timeouts, ignition.SPEC_VERSION),
    )


def test_a_proxy_of_the_config_is_asked():
    async def run() -> tuple[bytes, str]:
        async with server(**{}) as proxy, fetcher(seconds=5) as web:
            proxy.pages["http://a.example/x"] = page(b"by proxy")
            await web.settle(Ignition(proxy=Proxy(http_proxy=proxy.url(""))))
            return await web.fetch("http://a.example/x", ()), proxy.seen[0]

    body, head = asyncio.run(run())
    assert (body, head.split("\r\n")[0]) == (b"by proxy", "GET http://a.example/x HTTP/1.1")


def test_without_proxies_in_the_config_the_environment_s_are_asked_but_not_for_this_machine(monkeypatch):
    async def run() -> tuple[bytes, bytes, int]:
        async with server(here=page(b"direct")) as proxy, fetcher(seconds=5) as web:
            proxy.pages["http://a.example/x"] = page(b"by proxy")
            monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            there = await web.fetch("http://a.example/x", ())
            return there, await web.fetch(proxy.url("/here"), ()), len(proxy.seen)

    assert asyncio.run(run()) == (b"by proxy", b"direct", 2)


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("http://a.example/", (), False),
        ("http://localhost:8/", (), True),
        ("http://127.0.0.9/", (), True),
        ("http://[::1]/", (), True),
        ("http://a.example/", ("*",), True),
        ("http://a.example/", ("example",), True),
        ("http://example/", (".example",), False),
        ("http://a.example/", ("b.example, a.example",), True),
        ("http://ba.example/", ("a.example",), False),
        ("http://a.example:81/", ("a.example:80",), False),
        ("http://a.example/", ("a.example:80",), True),
        ("http://10.1.2.3/", ("10.0.0.0/8",), True),
        ("http://10.1.2.3/", ("10.1.2.4", "nonsense/8"), False),
        ("http://[fd00::1]/", ("fd00::1",), True),
        ("https://a.example/", (), True),
    ],
)
def test_what_goes_by_the_proxy(url, no_proxy, is_direct):
    found = proxy_for(url, Proxy(http_proxy="http://p:3128", no_proxy=no_proxy))
    assert (found is None) == is_direct


@pytest.mark.parametrize(
    "url", ["s3://b/k", "gs://b/k", "tftp://h/f", "arn:aws:s3:::b/k", "ftp://x/", "http://[/"]
)
def test_other_schemes_are_refused_with_a_sentence(url):
    with pytest.raises(FetchError, match=r"sources are read by a booting machine only|unable to parse url"):
        check_scheme(url)


def test_secrets_of_a_url_are_not_shown():
    assert shown("https://user:word@h:1/p/q?X-Signature=1") == "https://h:1/p/q?…"
    assert shown("s3://bucket/key") == "s3://bucket/key"
