"""A config as user data of a limited size: inline, compressed, or a stub that points at the rest.

Limits are those of the platform on the bytes before any base64 of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from flatyard.base.values import dataclass, replace
from flatyard.ignition.dataurl import compress
from flatyard.ignition.encode import encode, encode_entry
from flatyard.ignition.types import Config, ConfigRefs, Ignition, Resource, Verification

LARGEST_SHOWN = 10

Stash = Callable[[bytes, str], Awaitable[str]]
"""Puts a payload (with its SHA-512 in hex) where the machine can fetch it; gives the URL."""


@dataclass(frozen=True, slots=True)
class UserData:
    """What the platform is handed. With a stub, also the payload it points at, its SHA-512 (hex) and URL."""

    data: bytes
    payload: bytes | None = None
    sha512: str = ""
    url: str = ""

    @property
    def is_stub(self) -> bool:
        """Whether the machine must fetch the rest."""
        return self.payload is not None


@dataclass(frozen=True, slots=True)
class Share:
    """One entry's part of the config's bytes."""

    entry: str
    size: int


class TooLarge(Exception):
    """A config that does not fit and cannot be stashed; `shares` are its largest entries."""

    def __init__(self, size: int, limit: int, shares: tuple[Share, ...]) -> None:
        lines = [
            f"the config takes {size} bytes, {size - limit} more than the {limit} allowed; largest entries:"
        ]
        lines += [f"  {share.size:>8}  {share.entry}" for share in shares]
        super().__init__("\n".join(lines))
        self.size = size
        self.limit = limit
        self.shares = shares


def inline(config: Config, limit: int | None, *, gzip_allowed: bool = False) -> bytes | None:
    """The config itself as user data, plain where that fits, gzip where the platform takes it; else None."""
    data = encode(config)
    if limit is None or len(data) <= limit:
        return data
    packed = compress(data) if gzip_allowed else None
    return packed if packed is not None and len(packed) <= limit else None


async def fit(
    config: Config, limit: int | None, *, gzip_allowed: bool = False, stash: Stash | None = None
) -> UserData:
    """User data of at most `limit` bytes (None: any size).

    What does not fit is stashed whole, and the user data becomes a stub that replaces itself by it, with
    its SHA-512. Raises TooLarge, with the largest entries, where there is no stash or the stub is too large.
    """
    data = inline(config, limit, gzip_allowed=gzip_allowed)
    if data is not None:
        return UserData(data)
    assert limit is not None
    payload = encode(config)
    if stash is None:
        raise TooLarge(len(payload), limit, budget(config))
    digest = hashlib.sha512(payload).hexdigest()
    url = await stash(payload, digest)
    small = encode(stub(config, url, digest))
    if len(small) > limit:
        raise TooLarge(len(small), limit, budget(config))
    return UserData(small, payload, digest, url)


def stub(config: Config, url: str, sha512: str) -> Config:
    """A config that only says where the real one is; it keeps how to fetch (proxies, CAs, timeouts)."""
    reference = Resource(source=url, verification=Verification(f"sha512-{sha512}"))
    about = replace(config.ignition, config=ConfigRefs(replace=reference))
    return Config(ignition=about)


def budget(config: Config, count: int = LARGEST_SHOWN) -> tuple[Share, ...]:
    """The entries that take most of a config, largest first, in bytes of the encoded form."""
    shares = [
        *(Share(f"file {file.path}", _size(file)) for file in config.storage.files),
        *(Share(f"directory {item.path}", _size(item)) for item in config.storage.directories),
        *(Share(f"link {link.path}", _size(link)) for link in config.storage.links),
        *(Share(f"unit {unit.name}", _size(unit)) for unit in config.systemd.units),
        *(Share(f"user {user.name}", _size(user)) for user in config.passwd.users),
        Share("ignition (references, proxies, certificate authorities)", _about(config.ignition)),
    ]
    return tuple(sorted(shares, key=lambda share: (-share.size, share.entry))[:count])


def _about(ignition: Ignition) -> int:
    return len(encode(Config(ignition=ignition)))


def _size(entry: object) -> int:
    return len(encode_entry(entry))
