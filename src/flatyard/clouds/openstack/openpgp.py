"""Whether a key signed a file, by OpenPGP: detached RSA signatures, the keys' own subkeys, nothing else.

Source: RFC 4880 (packets §4, keys and fingerprints §12, signatures §5.2); EMSA-PKCS1-v1_5 of RFC 8017 §9.2. What is
checked needs no clock: a signature must have been made while its key was valid.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from flatyard.base.errors import Failed

_SIGNATURE, _KEY, _SUBKEY = 2, 6, 14
_BINARY, _BINDING, _DIRECT, _REVOKED = 0x00, 0x18, 0x1F, 0x28
_CREATED, _KEY_EXPIRES, _ISSUER, _FINGERPRINT = 2, 9, 16, 33
_RSA = (1, 3)
_HASHES = {
    8: ("sha256", "3031300d060960864801650304020105000420"),
    10: ("sha512", "3051300d060960864801650304020305000440"),
}
"""Algorithm numbers with the DigestInfo that stands before the hash; weaker ones are not taken."""
_CHUNK = 1 << 20


class WrongSignature(Failed):
    """A file is not signed by the key that it should be signed by."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Public:
    """An RSA key: its packet's body, modulus and exponent, and for how long it is good."""

    body: bytes
    modulus: int
    exponent: int
    created: int
    expires: int = 0
    """Seconds after `created`; 0: never."""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha1(b"\x99" + len(self.body).to_bytes(2) + self.body).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class _Signed:
    """A version 4 signature."""

    kind: int
    algorithm: int
    hashed: bytes
    value: int
    packets: dict[int, bytes] = field(default_factory=dict)

    @property
    def trailer(self) -> bytes:
        return self.hashed + b"\x04\xff" + len(self.hashed).to_bytes(4)

    @property
    def created(self) -> int:
        return int.from_bytes(self.packets.get(_CREATED, b""))

    @property
    def issuer(self) -> str:
        """The last 16 digits of the fingerprint."""
        found = self.packets.get(_FINGERPRINT, b"")[1:] or self.packets.get(_ISSUER, b"")
        return found.hex().upper()[-16:]


def verify(name: str, file: BinaryIO, signature: bytes, key: str, fingerprint: str = "") -> str:
    """Check a detached signature over a file; the fingerprint of the key that made it.

    `key` is ASCII-armoured; `fingerprint` that of its primary key, where that is known beforehand. `name` is for the
    message. Raises WrongSignature.
    """
    try:
        keys = _keys(_unarmoured(key), fingerprint)
        found = next(_signature(body) for tag, body in _packets(signature) if tag == _SIGNATURE)
        signer = next((key for key in keys if key.fingerprint.endswith(found.issuer)), None)
    except (StopIteration, ValueError, IndexError, binascii.Error):
        raise _wrong(name, "what came as its signature or key cannot be read") from None
    if signer is None:
        raise _wrong(name, f"it is signed by {found.issuer}, which is no key of {keys[0].fingerprint}")
    if signer.expires and not signer.created <= found.created <= signer.created + signer.expires:
        raise _wrong(name, f"it was signed when {signer.fingerprint} was not valid")
    digest = _hasher(name, found)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    if found.kind != _BINARY or not _holds(found, digest, signer):
        raise _wrong(name, "its bytes are not the ones that were signed")
    return signer.fingerprint


def _wrong(name: str, why: str) -> WrongSignature:
    return WrongSignature(
        f"{name} is not signed as it should be", why=why, next="another mirror; nothing of it was uploaded"
    )


def _keys(data: bytes, fingerprint: str) -> list[_Public]:
    """The primary key, and those of its subkeys that it vouches for and has not revoked."""
    primary: _Public | None = None
    current: _Public | None = None
    bound: dict[str, _Public] = {}
    for tag, body in _packets(data):
        if tag == _KEY:
            primary = _public(body)
            if fingerprint and primary.fingerprint != fingerprint:
                raise ValueError(fingerprint)
        elif tag == _SUBKEY and primary is not None:
            current = _public(body)
        elif tag == _SIGNATURE and primary is not None and current is not None:
            signed = _signature(body)
            if signed.kind == _REVOKED:
                bound.pop(current.fingerprint, None)
                current = None
            elif signed.kind == _BINDING and _is_bound(signed, primary, current):
                expires = int.from_bytes(signed.packets.get(_KEY_EXPIRES, b""))
                bound[current.fingerprint] = _Public(
                    current.body, current.modulus, current.exponent, current.created, expires
                )
    if primary is None:
        raise ValueError("no key")
    return [primary, *bound.values()]


def _is_bound(signed: _Signed, primary: _Public, subkey: _Public) -> bool:
    if signed.algorithm not in _HASHES:
        return False
    digest = hashlib.new(_HASHES[signed.algorithm][0])
    for key in (primary, subkey):
        digest.update(b"\x99" + len(key.body).to_bytes(2) + key.body)
    return _holds(signed, digest, primary)


def _hasher(name: str, signed: _Signed) -> _Hash:
    if signed.algorithm not in _HASHES:
        raise _wrong(name, f"hash algorithm {signed.algorithm} is not taken")
    return hashlib.new(_HASHES[signed.algorithm][0])


def _holds(signed: _Signed, digest: _Hash, key: _Public) -> bool:
    """Whether the key made the signature over what was hashed so far, and the signature's own part."""
    digest.update(signed.trailer)
    size = (key.modulus.bit_length() + 7) // 8
    tail = bytes.fromhex(_HASHES[signed.algorithm][1]) + digest.digest()
    wanted = b"\x00\x01" + b"\xff" * (size - len(tail) - 3) + b"\x00" + tail
    return pow(signed.value, key.exponent, key.modulus).to_bytes(size) == wanted


# ---- packets


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each, in the old and the new format."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise ValueError("no packet")
        at += 1
        if head & 0x40:
            tag, (size, used) = head & 0x3F, _new_length(data, at)
        else:
            tag, used = (head >> 2) & 0x0F, 1 << (head & 3)
            size = int.from_bytes(data[at : at + used])
        at += used
        if at + size > len(data):
            raise ValueError("cut short")
        yield tag, data[at : at + size]
        at += size


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 192:
        return first, 1
    if first < 224:
        return ((first - 192) << 8) + data[at + 1] + 192, 2
    if first == 255:
        return int.from_bytes(data[at + 1 : at + 5]), 5
    raise ValueError("a length in parts")


def _public(body: bytes) -> _Public:
    if body[0] != 4 or body[5] not in _RSA:
        return _Public(body, 1, 1, 0)  # another algorithm: it verifies nothing
    modulus, rest = _number(body[6:])
    exponent, _ = _number(rest)
    return _Public(body, modulus, exponent, int.from_bytes(body[1:5]))


def _number(data: bytes) -> tuple[int, bytes]:
    size = (int.from_bytes(data[:2]) + 7) // 8
    return int.from_bytes(data[2 : 2 + size]), data[2 + size :]


def _signature(body: bytes) -> _Signed:
    if body[0] != 4 or body[2] not in _RSA:
        return _Signed(-1, 0, b"", 0)
    size = int.from_bytes(body[4:6])
    hashed = body[: 6 + size]
    rest = body[6 + size :]
    loose = int.from_bytes(rest[:2])
    packets = dict(_subpackets(rest[2 : 2 + loose])) | dict(_subpackets(hashed[6:]))
    value, _ = _number(rest[4 + loose :])
    return _Signed(body[1], body[3], hashed, value, packets)


def _subpackets(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        size, used = _new_length(data, at)
        at += used
        yield data[at] & 0x7F, data[at + 1 : at + size]
        at += size


def _unarmoured(text: str) -> bytes:
    lines = [line.strip() for line in text.strip().splitlines()]
    inside = lines[1:-1]
    body = inside[inside.index("") + 1 :] if "" in inside else inside
    return base64.b64decode("".join(line for line in body if not line.startswith("=")), validate=True)
