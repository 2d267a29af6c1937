"""Encryption at rest: AES-256-GCM, the key's source and id in the header, the record's path authenticated.

A sealed blob is `FYS1`, the header's length (2 bytes, big-endian), the header as JSON, a 12-byte nonce, and
the ciphertext with its tag. Each path has its own key (HMAC-SHA-256 of the path under the master key), so
that a nonce can never repeat under one key, not even where a seeded world repeats its bytes: a path is only
written once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from flatyard.base.errors import Refused
from flatyard.base.world import World
from flatyard.store.api import Damaged, KeyMissing
from flatyard.store.bucket import Exists
from flatyard.store.directory import DirectoryBucket

_MAGIC = b"FYS1"
_NONCE = 12
_KEY = 32
_KEYFILE = "key"
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**15, 8, 1


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key and the id that headers name it by; `salt` is public and only a passphrase's."""

    id: str
    secret: bytes = field(repr=False)
    salt: bytes = b""


class KeySource(Protocol):
    """Where master keys come from."""

    @property
    def name(self) -> str:
        """As written into headers: `keyfile`, `passphrase`, `memory`."""
        ...

    def current(self) -> MasterKey:
        """The key that seals new records; made at first use."""
        ...

    def find(self, id: str, salt: bytes) -> MasterKey | None:
        """The key of an older record."""
        ...


def key_id(secret: bytes) -> str:
    """A short public name of a key: 16 hexadecimal digits of its hash."""
    return hashlib.sha256(b"flatyard key id\0" + secret).hexdigest()[:16]


class MemoryKey:
    """A constant key for stores in memory: nothing is at rest there, only the code path is the same."""

    name = "memory"

    def __init__(self) -> None:
        secret = hashlib.sha256(b"flatyard: memory, not at rest").digest()
        self._key = MasterKey(key_id(secret), secret)

    def current(self) -> MasterKey:
        return self._key

    def find(self, id: str, salt: bytes) -> MasterKey | None:
        return self._key if id == self._key.id else None


class KeyFile:
    """A random key in a file of mode 0600, made at first use; `folder` is where it lies, named `key`."""

    name = "keyfile"

    def __init__(self, folder: DirectoryBucket, world: World) -> None:
        self._folder = folder
        self._world = world
        self._key: MasterKey | None = None

    def current(self) -> MasterKey:
        self._key = self._key or self._load() or self._make()
        return self._key

    def find(self, id: str, salt: bytes) -> MasterKey | None:
        self._key = self._key or self._load()
        return self._key if self._key and self._key.id == id else None

    def _load(self) -> MasterKey | None:
        text = self._folder.get_now(_KEYFILE)
        if text is None:
            return None
        try:
            secret = bytes.fromhex(text.decode().strip())
        except ValueError:
            secret = b""
        if len(secret) != _KEY:
            raise Damaged(
                f"{self._folder.place}/{_KEYFILE} is not a key: 64 hexadecimal digits were expected"
            )
        return MasterKey(key_id(secret), secret)

    def _make(self) -> MasterKey:
        secret = self._world.random_bytes(_KEY)
        try:
            self._folder.create_now(_KEYFILE, secret.hex().encode() + b"\n")
        except Exists:
            made = self._load()
            assert made is not None
            return made
        return MasterKey(key_id(secret), secret)


class Passphrase:
    """A key from a passphrase by scrypt (N=2^15, r=8, p=1), with a salt per process in the header."""

    name = "passphrase"

    def __init__(self, passphrase: str, world: World) -> None:
        if not passphrase:
            raise Refused("the passphrase is empty", next="set FLATYARD_PASSPHRASE to a long one")
        self._passphrase = passphrase.encode()
        self._world = world
        self._keys: dict[bytes, MasterKey] = {}
        self._current: MasterKey | None = None

    def current(self) -> MasterKey:
        self._current = self._current or self._derive(self._world.random_bytes(16))
        return self._current

    def find(self, id: str, salt: bytes) -> MasterKey | None:
        key = self._keys.get(salt) or self._derive(salt)
        return key if key.id == id else None

    def _derive(self, salt: bytes) -> MasterKey:
        scrypt = Scrypt(salt=salt, length=_KEY, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
        secret = scrypt.derive(self._passphrase)
        self._keys[salt] = MasterKey(key_id(secret), secret, salt)
        return self._keys[salt]


def seal(value: bytes, path: str, source: KeySource, random_bytes: Callable[[int], bytes]) -> bytes:
    """Encrypt a value for one path."""
    key = source.current()
    header = _header(source.name, key)
    nonce = random_bytes(_NONCE)
    return header + nonce + _cipher(key, path).encrypt(nonce, value, header + path.encode())


def unseal(blob: bytes, path: str, source: KeySource) -> bytes:
    """Decrypt what `seal` made for the same path; raises Damaged or KeyMissing."""
    header, named, id, salt = _parse_header(blob, path)
    key = source.find(id, salt) if named == source.name else None
    if key is None:
        raise KeyMissing(
            f"{path!r} is sealed with key {id} from the source {named!r}, which is not at hand",
            next="give the key source with which this state was made, or restore its key file from a backup",
        )
    nonce = blob[len(header) : len(header) + _NONCE]
    try:
        return _cipher(key, path).decrypt(nonce, blob[len(header) + _NONCE :], header + path.encode())
    except (InvalidTag, ValueError):
        raise Damaged(f"{path!r} was changed or cut short: its seal does not hold") from None


def _cipher(key: MasterKey, path: str) -> AESGCM:
    return AESGCM(hmac.digest(key.secret, path.encode(), "sha256"))


def _header(source: str, key: MasterKey) -> bytes:
    fields = {"key": key.id, "salt": key.salt.hex(), "source": source}
    text = json.dumps({k: v for k, v in fields.items() if v}, separators=(",", ":")).encode()
    return _MAGIC + len(text).to_bytes(2, "big") + text


def _parse_header(blob: bytes, path: str) -> tuple[bytes, str, str, bytes]:
    end = 6 + int.from_bytes(blob[4:6], "big")
    try:
        if blob[:4] != _MAGIC:
            raise ValueError
        fields = json.loads(blob[6:end])
        return blob[:end], str(fields["source"]), str(fields["key"]), bytes.fromhex(fields.get("salt", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"{path!r} is not a sealed record") from None
