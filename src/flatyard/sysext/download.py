"""Files by HTTP(S), checked while nobody uses them yet: resumable, and put in their place only when they hash right.

A server may be slow, stop half-way, answer with a page of HTML, send other bytes, or send us elsewhere. The first two
are tried again, going on where they stopped; the others end with a sentence that says what came instead.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import httpx2

from flatyard.base.errors import Failed
from flatyard.sysext.squashfs import sha256_of

ATTEMPTS = 5
PAUSES = (0.5, 8.0)
"""Seconds after the first attempt that failed; doubled up to the second."""
SMALL = 1 << 16
"""Bytes of a checksum, signature or certificate at most."""
LARGEST = 1 << 30
SILENCE = 30.0
"""Seconds without a byte after which an attempt has failed."""
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 10
_OK, _PARTIAL, _NOT_FOUND, _TOO_FAR, _BUSY, _SERVER_ERROR = 200, 206, 404, 416, 429, 500
_Say = Callable[[str], None]
T = TypeVar("T")


class NotThere(Failed):
    """The server has no such file."""


class WrongBytes(Failed):
    """Other bytes came than the ones that were asked for."""


class _Again(Exception):
    """An attempt that another one may mend."""


@dataclass(frozen=True, slots=True)
class Download:
    """What to fetch: from where, to where, with which sha256."""

    url: str
    target: Path
    sha256: str


@contextmanager
def _own_part(target: Path) -> Iterator[Path]:
    """The unfinished file beside a target, ours alone: another run that works on it gets one that is not kept."""
    part = target.with_name(f".{target.name}.part")
    with part.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
            part.touch()
            try:
                yield part
            finally:
                part.unlink(missing_ok=True)
        else:
            yield part


async def together(work: Iterable[Coroutine[object, object, T]]) -> tuple[T, ...]:
    """Do things at once; the first failure ends the others, and is raised by itself."""
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(one) for one in work)
    except ExceptionGroup as several:
        raise _first(several) from None
    return tuple(task.result() for task in tasks)


def _first(problem: Exception) -> Exception:
    while isinstance(problem, ExceptionGroup):
        problem = problem.exceptions[0]
    return problem


class Downloader:
    """Fetches files; use it as an async context. `say` is told what is tried again; `pauses` is for tests."""

    def __init__(self, *, say: _Say = lambda _: None, pauses: tuple[float, float] | None = None) -> None:
        self._say = say
        self._pauses = pauses or PAUSES
        self._client: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Downloader:
        self._client = httpx2.AsyncClient(timeout=SILENCE, headers={"Accept-Encoding": "identity"})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def small(self, url: str) -> bytes:
        """A small file's bytes. Raises Failed; NotThere for 404."""
        return await self._tried(url, self._small)

    async def fetch(self, download: Download) -> bool:
        """Have a file at its place; whether it had to be fetched for that.

        What is there and hashes right is left alone. Raises WrongBytes and keeps nothing when other bytes came;
        another Failed when the server does not answer as it should, and goes on from there the next time.
        """
        target = download.target
        if target.is_file() and await asyncio.to_thread(sha256_of, target) == download.sha256:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with _own_part(target) as part:
            resumed = part.stat().st_size > 0
            try:
                await self._into(download, part)
            except WrongBytes:
                if not resumed:
                    raise
                # what an earlier run left may have been another file's beginning
                await self._into(download, part)
            part.chmod(0o644)
            part.replace(target)
        return True

    # ---- one file

    async def _into(self, download: Download, part: Path) -> None:
        async def attempt(url: str) -> None:
            await self._append(url, part)

        await self._tried(download.url, attempt)
        found = await asyncio.to_thread(sha256_of, part)
        if found != download.sha256:
            size, start = part.stat().st_size, _beginning(part)
            part.unlink()
            raise WrongBytes(
                f"{download.url} is not what it should be",
                why=f"{size} bytes with sha256 {found} came instead of {download.sha256}{start}",
                next="another mirror, or ask its keeper; nothing of it was kept",
            )

    async def _append(self, url: str, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        async with self._answer(url, headers) as response:
            if response.status_code == _TOO_FAR and have:
                return  # it is complete; the hash tells
            _check_status(url, response, (_OK, _PARTIAL))
            goes_on = response.status_code == _PARTIAL and _first_byte(response) == have
            if response.status_code == _PARTIAL and not goes_on:
                part.unlink(missing_ok=True)
                raise _Again("another part came than the one that was asked for")
            with part.open("ab" if goes_on else "wb") as file:
                await self._pour(response, file.write, LARGEST - (have if goes_on else 0), url)

    async def _small(self, url: str) -> bytes:
        async with self._answer(url, {}) as response:
            _check_status(url, response, (_OK,))
            body = bytearray()
            await self._pour(response, body.extend, SMALL, url)
            return bytes(body)

    async def _pour(
        self, response: httpx2.Response, write: Callable[[bytes], object], limit: int, url: str
    ) -> None:
        count = 0
        try:
            async for chunk in response.aiter_raw():
                count += len(chunk)
                if count > limit:
                    raise WrongBytes(
                        f"{url} is not what it should be", why=f"it is larger than {limit} bytes"
                    )
                write(chunk)
        except httpx2.TransportError as problem:
            raise _Again(f"cut short after {count} bytes ({_words(problem)})") from None
        wanted = response.headers.get("content-length", "")
        if wanted.isdigit() and count < int(wanted):
            raise _Again(f"cut short after {count} of {wanted} bytes")

    # ---- one answer

    async def _tried(self, url: str, attempt: Callable[[str], Awaitable[T]]) -> T:
        pause, longest = self._pauses
        why = ""
        for number in range(1, ATTEMPTS + 1):
            try:
                return await attempt(url)
            except _Again as problem:
                why = str(problem)
            if number < ATTEMPTS:
                self._say(f"{url}: {why}; trying again")
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        raise Failed(
            f"{url} cannot be fetched",
            why=f"{why}, {ATTEMPTS} times",
            next="run it again: it goes on where it stopped",
        )

    @asynccontextmanager
    async def _answer(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx2.Response]:
        """The answer at the end of the redirects; never from https to http."""
        assert self._client is not None
        first = url
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                request = self._client.build_request("GET", url, headers=headers)
                response = await self._client.send(request, stream=True, follow_redirects=False)
            except httpx2.TransportError as problem:
                raise _judged(url, problem) from None
            except (httpx2.InvalidURL, ValueError) as problem:
                raise Failed(f"{url} cannot be fetched", why=str(problem)) from None
            try:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                url = _redirected(url, response)
            finally:
                await response.aclose()
        raise Failed(f"{first} cannot be fetched", why=f"more than {_MOST_REDIRECTS} redirects")


def _judged(url: str, problem: httpx2.TransportError) -> Exception:
    """A connection that failed: what another attempt may mend, and what it cannot."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failed(
                f"{url} cannot be fetched",
                why=f"the server's certificate is not trusted ({cause.verify_message})",
                next="check the clock, the proxy and SSL_CERT_FILE",
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(problem, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return Failed(f"{url} cannot be fetched", why=_words(problem))
    return _Again(_words(problem))


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def _check_status(url: str, response: httpx2.Response, wanted: tuple[int, ...]) -> None:
    status = response.status_code
    if status in wanted:
        if "text/html" in response.headers.get("content-type", "").lower():
            raise WrongBytes(
                f"{url} is not what it should be",
                why="a page of HTML came: a login, a proxy's notice or an error page",
                next="open the address in a browser to see what it says",
            )
        return
    if status == _NOT_FOUND:
        raise NotThere(f"{url} is not there", why="the server says 404")
    if status >= _SERVER_ERROR or status == _BUSY:
        raise _Again(f"the server says {status}")
    raise Failed(f"{url} cannot be fetched", why=f"the server says {status}")


def _first_byte(response: httpx2.Response) -> int:
    """Where a part starts by its Content-Range; -1 where it does not say."""
    start = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdigit() else -1


def _redirected(url: str, response: httpx2.Response) -> str:
    target = urljoin(url, response.headers.get("location", ""))
    before, after = urlsplit(url).scheme, urlsplit(target).scheme
    if after not in ("http", "https") or (before, after) == ("https", "http"):
        raise Failed(
            f"{url} cannot be fetched",
            why=f"it leads to {target}, which is not safe to follow",
            next="another mirror, or ask its keeper",
        )
    return target


def _beginning(path: Path) -> str:
    """What came, where it is text: the first words of an error message."""
    with path.open("rb") as file:
        start = file.read(60)
    text = start.decode("ascii", "replace").strip().splitlines()
    readable = bool(text) and all(32 <= byte < 127 or byte in b"\r\n\t" for byte in start)
    return f"; it begins: {text[0]}" if readable else ""
