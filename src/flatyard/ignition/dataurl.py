"""`data:` URLs (RFC 2397) with the rules of the reference implementation.

Reading is as strict as its `dataurl` library: a media type needs a slash, raw blanks and non-ASCII are
refused, base64 must be padded. Writing picks the shortest of percent escapes, base64 and gzip exactly as
Butane does, so that what flatyard renders equals what a Butane user would get.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from urllib.parse import quote_from_bytes, unquote_to_bytes

from flatyard.ignition.types import Resource

_GZIP_PENALTY = len("gzip")
_NEVER_COMPRESSIBLE = 40  # an empty gzip member alone takes 20 bytes, 28 in base64, 36 with the prefix
_TOKEN = r"[!#-'*+.0-9A-Z^-~-]"
_DATA_CHARACTERS = re.compile(r"[A-Za-z0-9\-_.!~*'();/?:@&=+$,%\[\]]*")


class DataUrlError(ValueError):
    """A `data:` URL that the reference would refuse; the text is its message."""


def escape(data: bytes) -> str:
    """Percent escapes: everything but ASCII letters, digits and ``-_.!~*'()``."""
    return quote_from_bytes(data, safe="!*'()")


def encode(data: bytes) -> str:
    """The shorter of the percent-escaped and the base64 form; escapes win a tie."""
    return "data:" + _shortest_plain(data)


def inline(data: bytes | str) -> Resource:
    """Bytes as a resource: gzip where that makes the URL shorter (by more than the word costs).

    `compression` is always set, because a child config that leaves it out would inherit its parent's.
    """
    raw = data.encode() if isinstance(data, str) else data
    plain = _shortest_plain(raw)
    if len(plain) > _NEVER_COMPRESSIBLE:
        packed = _base64_form(compress(raw))
        if len(packed) + _GZIP_PENALTY < len(plain):
            return Resource(compression="gzip", source="data:" + packed)
    return Resource(compression="", source="data:" + plain)


def compress(data: bytes) -> bytes:
    """gzip at the best level with a fixed header: no time, no name, unknown system."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    body = packer.compress(data) + packer.flush()
    trailer = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + body + trailer


def decode(url: str) -> bytes:
    """The bytes of a `data:` URL.

    Raises DataUrlError with the reference's words when the URL is malformed.
    """
    if not url.startswith("data:"):
        raise DataUrlError("missing data prefix")
    header, comma, payload = _split(url[len("data:") :])
    if not comma:
        raise DataUrlError("missing comma before data")
    is_base64 = _check_header(header)
    _check_payload(payload)
    if is_base64:
        return _decode_base64(payload)
    return unquote_to_bytes(payload)


def _shortest_plain(data: bytes) -> str:
    escaped = "," + escape(data)
    encoded_length = len(";base64,") + (len(data) + 2) // 3 * 4
    return _base64_form(data) if encoded_length < len(escaped) else escaped


def _base64_form(data: bytes) -> str:
    return ";base64," + base64.b64encode(data).decode()


_QUOTED_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,')


def _split(rest: str) -> tuple[str, str, str]:
    if '"' not in rest:
        return rest.partition(",")
    for match in _QUOTED_OR_COMMA.finditer(rest):
        if match[0] == ",":
            return rest[: match.start()], ",", rest[match.end() :]
    return rest, "", ""


_PARAMETER = re.compile(rf';({_TOKEN}+)=({_TOKEN}+|%[0-9A-Fa-f]{{2}}|"(?:[^"\\]|\\.)*")+')
_MEDIA_TYPE = re.compile(rf"({_TOKEN}+)/({_TOKEN}+)")


def _check_header(header: str) -> bool:
    media, semicolon, _ = header.partition(";")
    if media and "/" not in media:
        raise DataUrlError("missing media type slash")
    if media and not _MEDIA_TYPE.fullmatch(media):
        raise DataUrlError("invalid character for media subtype")
    rest = header[len(media) :] if semicolon else ""
    is_base64 = rest.endswith(";base64")
    rest = rest.removesuffix(";base64")
    position = 0
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None:
            raise DataUrlError("invalid parameter in data URL")
        position = match.end()
    return is_base64


_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})(.{0,2})", re.DOTALL)


def _check_payload(payload: str) -> None:
    if not _DATA_CHARACTERS.fullmatch(payload):
        raise DataUrlError("invalid data character")
    bad = _BAD_ESCAPE.search(payload)
    if bad:
        raise DataUrlError(f'invalid URL escape "%{bad[1]}"')


def _decode_base64(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error:
        raise DataUrlError(f"illegal base64 data at input byte {_bad_base64_offset(payload)}") from None


_BASE64_BODY = re.compile(r"[A-Za-z0-9+/]*")


def _bad_base64_offset(payload: str) -> int:
    body = _BASE64_BODY.match(payload)
    end = body.end() if body else 0
    return end if end < len(payload) and payload[end] != "=" else end - end % 4
