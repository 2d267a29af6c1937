"""Resources by HTTP(S), as Ignition fetches them: a `fetch.Fetcher` for commands on this machine.

Headers, redirects, statuses, pauses and settings (`ignition.timeouts`, `proxy`, `security.tls`) follow Ignition
2.24. Two things differ. Ignition tries for ever where no answer or a 5xx comes; here each resource has a deadline.
And a body has a largest size, since it is kept in memory.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Iterable
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urljoin, urlsplit

import httpx2

from flatyard.ignition import fetch
from flatyard.ignition.fetch import FetchError, check_scheme, shown
from flatyard.ignition.types import HttpHeader, Ignition, Proxy, Resource

SIZE_LIMIT = 1 << 30
"""Bytes of one body."""
PATIENCE = 60.0
"""Seconds for one resource, all attempts together."""
HEADER_SECONDS = 10.0
REDIRECT_LIMIT = 10
_PAUSES = (0.1, 5.0)  # seconds after the first attempt; doubled up to the second
_REDIRECTS = (301, 302, 303, 307, 308)
_NOT_FOUND, _SERVER_ERROR = 404, 500
_ENVIRONMENT = "environment"  # the client that goes by HTTP_PROXY and its like
_PORTS = {"http": 80, "https": 443}
_FIRST = {"User-Agent": "flatyard (Ignition 2.24)", "Accept": "*/*", "Accept-Encoding": "identity"}


class _Again(Exception):
    """An attempt that Ignition would repeat."""


class HttpFetcher:
    """Fetches with the settings of the config that `settle` was last given.

    `seconds` is the deadline of one resource, 0 for none; `limit` the bytes of one body; `say` is told why there
    is another attempt. Use it in one event loop, and `close` it there.
    """

    def __init__(
        self,
        *,
        seconds: float = PATIENCE,
        limit: int = SIZE_LIMIT,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._seconds = seconds
        self._limit = limit
        self._say = say
        self._header_seconds: float | None = HEADER_SECONDS
        self._total_seconds: float | None = None
        self._proxy = Proxy()
        self._authorities: dict[Resource, str] = {}
        self._trusted: tuple[str, ...] = ()
        self._clients: dict[str | None, httpx2.AsyncClient] = {}

    async def settle(self, ignition: Ignition) -> None:
        """Takes over timeouts, proxies and authorities; the latter are fetched where they are elsewhere.

        Raises FetchError.
        """
        await self.close()
        given = ignition.timeouts.http_response_headers
        self._header_seconds = HEADER_SECONDS if given is None else _positive(given)
        self._total_seconds = _positive(ignition.timeouts.http_total)
        self._proxy = ignition.proxy
        authorities = ignition.security.tls.certificate_authorities
        self._trusted = tuple([await self._authority(resource) for resource in authorities])
        await self.close()

    async def close(self) -> None:
        """Closes the connections; the fetcher can be used again."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        """The body at a URL. Raises FetchError: 'resource not found: …' for 404, `is_final` false at the deadline."""
        check_scheme(url)
        tries = _Tries()
        try:
            async with asyncio.timeout(self._seconds or None):
                return await self._attempts(url, headers, tries)
        except TimeoutError:
            message = f"{shown(url)}: gave up after {self._seconds:g} s: {tries.last or 'no whole answer'}"
            raise FetchError(message, is_final=False) from None

    async def _attempts(self, url: str, headers: tuple[HttpHeader, ...], tries: _Tries) -> bytes:
        pause, longest = _PAUSES
        while True:
            try:
                async with asyncio.timeout(self._total_seconds):
                    return await self._attempt(url, headers)
            except TimeoutError:
                why = f"no whole answer within {self._total_seconds:g} s"
            except _Again as problem:
                why = str(problem)
            if why != tries.last:
                self._say(f"{shown(url)}: {why}; trying again")
            tries.last = why
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _attempt(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        for _ in range(REDIRECT_LIMIT + 1):
            response = await self._answer(url, headers)
            try:
                if response.status_code not in _REDIRECTS:
                    return await self._body(url, response)
                url, headers = _redirected(url, response), ()
            finally:
                await response.aclose()
        raise FetchError(f"{shown(url)}: stopped after {REDIRECT_LIMIT} redirects")

    async def _answer(self, url: str, headers: tuple[HttpHeader, ...]) -> httpx2.Response:
        """Status and headers; the body is still to come."""
        sent = [(name, value) for name, value in _FIRST.items() if not _has(headers, name)]
        sent += [(header.name, header.value or "") for header in headers]
        try:
            client = self._client(url)
            encoded = [(name.encode(), value.encode()) for name, value in sent]
            request = client.build_request("GET", url, headers=encoded, timeout=None)
            async with asyncio.timeout(self._header_seconds):
                return await client.send(request, stream=True, follow_redirects=False)
        except TimeoutError:
            raise _Again(f"no answer within {self._header_seconds:g} s") from None
        except httpx2.TransportError as problem:
            raise _judged(url, problem) from None
        except (httpx2.InvalidURL, ValueError) as problem:
            raise FetchError(f"{shown(url)}: {problem}") from None

    async def _body(self, url: str, response: httpx2.Response) -> bytes:
        status = response.status_code
        if status >= _SERVER_ERROR:
            raise _Again(f"the server says {status}")
        if status == _NOT_FOUND:
            raise FetchError(f"resource not found: {shown(url)}")
        if status not in (httpx2.codes.OK, httpx2.codes.NO_CONTENT):
            raise FetchError(f"failed to fetch resource: {shown(url)}: the server says {status}")
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._limit:
                    raise FetchError(f"{shown(url)}: larger than {self._limit} bytes")
        except httpx2.TransportError as problem:
            raise _Again(f"the answer was cut short after {len(body)} bytes ({problem})") from None
        return bytes(body)

    async def _authority(self, resource: Resource) -> str:
        """Certificates as PEM text."""
        if resource not in self._authorities:
            pem = (await fetch.fetch(resource, self)).decode("ascii", "replace")
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
            except (ssl.SSLError, ValueError):
                where = "inline" if fetch.is_inline(resource) else shown(resource.source or "")
                message = f"ignition.security.tls: unable to decode PEM block ({where})"
                raise FetchError(message) from None
            self._authorities[resource] = pem
        return self._authorities[resource]

    def _client(self, url: str) -> httpx2.AsyncClient:
        """The client for a URL: by the config's proxies where it has any, else by the environment's.

        Never by a proxy to this machine itself.
        """
        by_environment = self._proxy == Proxy() and not _is_here(url)
        proxy = _ENVIRONMENT if by_environment else proxy_for(url, self._proxy)
        if proxy not in self._clients:
            trust = httpx2.create_ssl_context()
            for pem in self._trusted:
                trust.load_verify_locations(cadata=pem)
            given = None if by_environment else proxy
            client = httpx2.AsyncClient(verify=trust, proxy=given, trust_env=by_environment)
            client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            self._clients[proxy] = client
        return self._clients[proxy]


class _Tries:
    """Why the last attempt failed."""

    last = ""


def proxy_for(url: str, proxy: Proxy) -> str | None:
    """The proxy for a URL by a config's settings; None where the connection is direct.

    As golang.org/x/net/http/httpproxy: never for this machine; `noProxy` has hosts, domains, addresses and networks.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme, 0)
    found = proxy.https_proxy if parts.scheme == "https" else proxy.http_proxy
    if not found or _is_here(url) or _is_direct(host, port, proxy.no_proxy):
        return None
    return found


def _is_here(url: str) -> bool:
    host = (urlsplit(url).hostname or "").rstrip(".")
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_direct(host: str, port: int, patterns: Iterable[str]) -> bool:
    address = _address(host)
    entries = [entry.strip().lower() for pattern in patterns for entry in pattern.split(",")]
    return any(_matches(entry, host, address, port) for entry in entries if entry)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _matches(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit() and _address(entry) is None:
        if int(wanted) != port:
            return False
        entry = name
    if address is not None:
        return _address(entry.strip("[]")) == address
    domain = entry.removeprefix("*").removeprefix(".")
    is_itself = host == domain and domain == entry
    return bool(domain) and (is_itself or host.endswith(f".{domain}"))


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _positive(seconds: int | None) -> float | None:
    return float(seconds) if seconds is not None and seconds > 0 else None


def _has(headers: Iterable[HttpHeader], name: str) -> bool:
    return any(header.name.lower() == name.lower() for header in headers)


def _redirected(url: str, response: httpx2.Response) -> str:
    location = response.headers.get("Location")
    if not location:
        raise FetchError(f"{shown(url)}: {response.status_code} response missing Location header")
    target = urljoin(url, location)
    if not target.lower().startswith(("http://", "https://")):
        raise FetchError(f"{shown(url)}: redirected to {shown(target)}, which is not http or https")
    return target


def _judged(url: str, problem: httpx2.TransportError) -> Exception:
    """A failed connection: what another attempt may mend, and what it cannot."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = "add its authority to ignition.security.tls.certificateAuthorities"
            return FetchError(
                f"{shown(url)}: the certificate is not trusted ({cause.verify_message}); {advice}"
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(problem, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return FetchError(f"{shown(url)}: {problem}")
    return _Again(str(problem) or type(problem).__name__)
