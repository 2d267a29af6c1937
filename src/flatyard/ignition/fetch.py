"""Resources → bytes: `data:` URLs directly, everything else through an injected fetcher; then gunzip and hash.

The hash is over the decompressed bytes, as in the reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from flatyard.base.values import dataclass
from flatyard.ignition import dataurl
from flatyard.ignition.types import Config, HttpHeader, Resource
from flatyard.ignition.urls import UrlError, scheme

FETCHED_LIMIT, INLINE_LIMIT = 1 << 30, 256 << 20
"""Bytes that a compressed resource may hold, from elsewhere and in the config itself."""

Blobs = Callable[[Resource], bytes]
"""Final bytes of a resource, decompressed and verified. Raises FetchError."""


class FetchError(Exception):
    """A resource that cannot be had; the text is the reference's where it has one.

    `is_final` is false where Ignition would go on trying for ever (timeouts, 5xx, no network).
    """

    def __init__(self, message: str, *, is_final: bool = True) -> None:
        super().__init__(message)
        self.is_final = is_final


class Fetcher(Protocol):
    """Gets bytes from elsewhere: HTTP(S), TFTP, S3, GCS. It follows redirects without custom headers."""

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        """The body at a URL. Raises FetchError: 'resource not found' for 404, and so on."""


def is_inline(resource: Resource) -> bool:
    """Whether the bytes are in the config itself."""
    return not resource.source or resource.source.startswith("data:")


def inline_bytes(resource: Resource) -> bytes:
    """The final bytes of an inline resource; an absent or empty source is empty.

    Raises FetchError when the URL, the compression or the hash is wrong, and for sources elsewhere.
    """
    if not resource.source:
        return b""
    if not is_inline(resource):
        raise FetchError(f"resource requires networking: {resource.source}", is_final=False)
    try:
        raw = dataurl.decode(resource.source)
    except dataurl.DataUrlError as problem:
        raise FetchError(str(problem)) from None
    return unpack(resource, raw, limit=INLINE_LIMIT)


def unpack(resource: Resource, raw: bytes, *, limit: int = FETCHED_LIMIT) -> bytes:
    """Fetched bytes, decompressed (to at most `limit` bytes) and verified. Raises FetchError."""
    if resource.compression == "gzip":
        try:
            raw = dataurl.decompress(raw, limit=limit)
        except dataurl.GzipError as problem:
            raise FetchError(str(problem)) from None
    _verify(resource, raw)
    return raw


def _verify(resource: Resource, data: bytes) -> None:
    wanted = resource.verification.hash
    if wanted is None:
        return
    function, _, digits = wanted.partition("-")
    if function not in ("sha512", "sha256"):
        raise FetchError("unrecognized hash function")
    found = hashlib.new(function, data).hexdigest()
    if found != digits.lower():
        raise FetchError(f"hash verification failed (calculated {found} but expected {digits})")


async def fetch(resource: Resource, fetcher: Fetcher) -> bytes:
    """The final bytes of any resource. Raises FetchError."""
    if is_inline(resource):
        return inline_bytes(resource)
    source = resource.source or ""
    try:
        scheme(source)
    except UrlError as problem:
        raise FetchError(str(problem)) from None
    for header in resource.http_headers:
        if not header.value:
            raise FetchError("unable to parse HTTP header")
    return unpack(resource, await fetcher.fetch(source, resource.http_headers))


def check_scheme(url: str) -> None:
    """Raises FetchError for what Ignition reads on a machine, and what cannot be fetched from a desk."""
    try:
        name = scheme(url)
    except UrlError as problem:
        raise FetchError(f"{shown(url)}: {problem}") from None
    if name not in ("http", "https"):
        raise FetchError(
            f"{shown(url)}: {name} sources are read by a booting machine only; here http and https are"
        )


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password and the values of a query."""
    start, question, _ = url.partition("?")
    before, slashes, rest = start.partition("//")
    host, slash, path = rest.partition("/")
    return f"{before}{slashes}{host.rpartition('@')[2]}{slash}{path}{'?…' if question else ''}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """Resources from elsewhere, fetched before a config is applied; callable as `Blobs`.

    A failure is kept and raised where the resource is used, so that what comes before it still happens.
    """

    found: Mapping[Resource, bytes | FetchError]

    def __call__(self, resource: Resource) -> bytes:
        if is_inline(resource):
            return inline_bytes(resource)
        result = self.found.get(resource)
        if result is None:
            raise FetchError(f"resource was not fetched: {resource.source}")
        if isinstance(result, FetchError):
            raise result
        return result


def remote_resources(config: Config) -> tuple[Resource, ...]:
    """What applying a config to a machine needs from elsewhere, in config order, each once."""
    keys = (volume.key_file for volume in config.storage.luks)
    return tuple(dict.fromkeys((*remote_files(config), *(key for key in keys if not is_inline(key)))))


def remote_files(config: Config) -> tuple[Resource, ...]:
    """What the files stage alone needs from elsewhere, in config order, each once."""
    contents = (resource for file in config.storage.files for resource in (file.contents, *file.append))
    return tuple(dict.fromkeys(resource for resource in contents if not is_inline(resource)))


async def fetch_all(resources: Iterable[Resource], fetcher: Fetcher) -> Fetched:
    """Every resource, one after another, failures kept."""
    found: dict[Resource, bytes | FetchError] = {}
    for resource in resources:
        try:
            found[resource] = await fetch(resource, fetcher)
        except FetchError as problem:
            found[resource] = problem
    return Fetched(found)
