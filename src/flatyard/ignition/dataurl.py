"""`data:` URLs (RFC 2397) with the rules of the reference implementation.

Reading is as strict as its `dataurl` library: a media type needs a slash, raw blanks and non-ASCII are
refused, base64 must be padded. Writing picks the shortest of percent escapes, base64 and gzip exactly as
Butane does, so that what flatyard renders equals what a Butane user would get.
"""

from __future__ import annotations

import binascii
import zlib

from flatyard.base.patterns import pattern
from flatyard.ignition.types import Resource

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()"
_ESCAPED = tuple(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256))
_GZIP_PENALTY = len("gzip")
_GZIP_FRAME = 10 + 8  # bytes of header and trailer
_NEVER_COMPRESSIBLE = 40  # an empty gzip member alone takes 20 bytes, 28 in base64, 36 with the prefix
_SHORT = 640  # bytes; below, zlib alone was larger than the reference on 2 of 4,600 samples of configuration
_LONG = (
    2000  # bytes; from here on more is tried, because shorter text is not larger than the reference's without
)
_SMALL = 2000  # bytes; for so many, zlib's memory level 5 has room for every symbol, so nothing gets larger
_BASE64_PREFIX = "data:;base64,"
_FIRST_PIECE, _LARGEST_PIECE = 1 << 10, 1 << 20
_TOKEN = r"[!#-'*+\-.0-9A-Z^-~]"
_DATA = pattern(r"[!$-;=?-Z_a-z~]*")
_BASE64 = pattern(r"[A-Za-z0-9+/=\n]*")
_TYPES = "text|image|audio|video|application|message|multipart"
_MEDIA = pattern(rf"(?:(?:{_TYPES}){_TOKEN}*|[xX]-{_TOKEN}*)/{_TOKEN}*")
_TOKENS = pattern(f"{_TOKEN}+")
_PARAMETER = pattern(rf'(?s){_TOKEN}+=(?:"(?:[^"\\]++|\\.)*+"|{_TOKEN}+)')
_ESCAPE_TAIL = pattern(r"(?s)%(?![0-9A-Fa-f]{2})([0-9A-Fa-f]?)(.?)")


class DataUrlError(ValueError):
    """A `data:` URL that the reference would refuse; the text is its message."""


def escape(data: bytes) -> str:
    """Percent escapes: everything but ASCII letters, digits and ``-_.!~*'()``."""
    if len(data) <= _LARGEST_PIECE:
        return "".join(map(_ESCAPED.__getitem__, data))
    starts = range(0, len(data), _LARGEST_PIECE)  # what is joined is a list first, of eight bytes for each
    return "".join(escape(data[start : start + _LARGEST_PIECE]) for start in starts)


def encode(data: bytes) -> str:
    """The shorter of the percent-escaped and the base64 form; escapes win a tie."""
    return "data:" + _shortest_plain(data)


def inline(data: bytes | str) -> Resource:
    """Bytes as a resource: gzip where that makes the URL shorter (by more than the word costs).

    `compression` is always set, because a child config that leaves it out would inherit its parent's.
    """
    raw = data.encode() if isinstance(data, str) else data
    escaped, encoded = _escaped_length(raw), _encoded_length(len(raw))
    plain = min(escaped, encoded)
    if plain > _NEVER_COMPRESSIBLE:
        usual = _zlib(raw, zlib.Z_DEFAULT_STRATEGY)
        if _encoded_length(len(usual) + _GZIP_FRAME) + _GZIP_PENALTY < plain:
            return Resource("gzip", (), "data:" + _base64_form(_gzip(raw, _smallest(raw, usual))))
    return Resource("", (), "data:" + (_base64_form(raw) if encoded < escaped else "," + escape(raw)))


def compress(data: bytes) -> bytes:
    """gzip with a fixed header: no time, no name, unknown system.

    The smallest of what zlib and libdeflate make of it, at levels that take no longer than zlib's best: either
    alone is larger than Go's best now and then, both together almost never.
    """
    return _gzip(data, _smallest(data, _zlib(data, zlib.Z_DEFAULT_STRATEGY)))


def _smallest(data: bytes, usual: bytes) -> bytes:
    """A deflate stream; `usual` is zlib's."""
    if len(data) < _SHORT:
        return usual
    from deflate import deflate_compress  # many a short command compresses little

    if len(data) < _LONG:
        return min(usual, bytes(deflate_compress(data, 9)), key=len)
    tries = (usual, bytes(deflate_compress(data, 10)), _zlib(data, zlib.Z_FILTERED))
    return min(tries, key=len)


def _gzip(data: bytes, body: bytes) -> bytes:
    trailer = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + body + trailer


def _zlib(data: bytes, strategy: int) -> bytes:
    memory = 9 if len(data) > _SMALL else 5
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, memory, strategy)
    return packer.compress(data) + packer.flush()


class GzipError(ValueError):
    """Bytes that should be gzip and are not; the text is the reference's message."""


def decompress(data: bytes, *, limit: int = 1 << 30) -> bytes:
    """All members of a gzip stream, joined. `limit` is in bytes and guards against bombs.

    Raises GzipError where the stream is empty, cut short, damaged or larger than the limit.
    """
    if not data:
        raise GzipError("EOF")
    rest, pieces = memoryview(data), []
    while rest:
        if bytes(rest[:2]) != b"\x1f\x8b":
            raise GzipError("gzip: invalid header")
        size, piece = _decompress_member(rest, limit)
        rest = rest[size:]
        limit -= len(piece)
        pieces.append(piece)
    return b"".join(pieces)


def _decompress_member(data: memoryview, limit: int) -> tuple[int, bytes]:
    """The first member: how many bytes of `data` it takes, and what is in it.

    Fed by pieces that grow, because what a piece has beyond the member is copied: a million empty members in
    one piece would be copied a million times.
    """
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    found, position, size = bytearray(), 0, _FIRST_PIECE
    while not unpacker.eof and position < len(data):
        try:
            found += unpacker.decompress(data[position : position + size], limit + 1 - len(found))
        except zlib.error as problem:
            raise GzipError(f"gzip: invalid data ({problem})") from None
        if len(found) > limit:
            raise GzipError("gzip: more data than allowed")
        position += size
        size = min(2 * size, _LARGEST_PIECE)
    if not unpacker.eof:
        raise GzipError("unexpected EOF")
    return min(position, len(data)) - len(unpacker.unused_data), bytes(found)


def decode(url: str) -> bytes:
    """The bytes of a `data:` URL.

    Raises DataUrlError with the reference's words when the URL is malformed.
    """
    if url.startswith("data:,"):
        return _decode_escapes(url[len("data:,") :])
    if url.startswith(_BASE64_PREFIX):
        return _decode_base64(url[len(_BASE64_PREFIX) :])
    if not url.startswith("data:"):
        raise DataUrlError("missing data prefix")
    return _decode_with_header(url, len("data:"))


def _shortest_plain(data: bytes) -> str:
    return _base64_form(data) if _encoded_length(len(data)) < _escaped_length(data) else "," + escape(data)


def is_base64(url: str) -> bool:
    """Whether this is a `data:` URL as we write most of them: base64 without type or line breaks, and decodable."""
    if not url.startswith(_BASE64_PREFIX):
        return False
    try:
        binascii.a2b_base64(url[len(_BASE64_PREFIX) :], strict_mode=True)
    except ValueError:
        return False
    return True


def _escaped_length(data: bytes) -> int:
    return len(",") + len(data) + 2 * len(data.translate(None, _UNRESERVED))


def _encoded_length(size: int) -> int:
    """Of the base64 form of so many bytes."""
    return len(";base64,") + (size + 2) // 3 * 4


def _base64_form(data: bytes) -> str:
    return ";base64," + binascii.b2a_base64(data, newline=False).decode()


def _decode_with_header(url: str, position: int) -> bytes:
    position = _skip_media_type(url, position)
    while url.startswith(";", position):
        if url.startswith("base64,", position + 1):
            return _decode_base64(url[position + len(";base64,") :])
        parameter = _PARAMETER.match(url, position + 1)
        if parameter is None:
            raise DataUrlError("unterminated parameter sequence")
        position = parameter.end()
    if not url.startswith(",", position):
        raise DataUrlError("missing comma before data")
    return _decode_escapes(url[position + 1 :])


def _skip_media_type(url: str, position: int) -> int:
    if position == len(url):
        raise DataUrlError("missing comma before data")
    if url[position] in ",;":
        return position
    media = _MEDIA.match(url, position)
    if media is not None:
        return media.end()
    before_comma = url[position:].partition(",")[0]
    if "/" not in before_comma:
        complete = _TOKENS.fullmatch(url, position)
        raise DataUrlError("missing media type slash" if complete else "invalid character for media type")
    raise DataUrlError("invalid media type")


def _decode_escapes(payload: str) -> bytes:
    if not _DATA.fullmatch(payload):
        raise DataUrlError("invalid data character")
    if "%" not in payload:
        return payload.encode()
    bad = _ESCAPE_TAIL.search(payload)
    if bad:
        cut_short = bad.end() == len(payload) and not bad[2]
        reason = "unexpected end of" if cut_short else "invalid char 0x25 in"
        raise DataUrlError(f"rfc2396: {reason} unescape sequence")
    return _unescape(payload)


def _unescape(payload: str) -> bytes:
    head, *rest = payload.encode().split(b"%")
    return head + b"".join(bytes((int(part[:2], 16),)) + part[2:] for part in rest)


def _decode_base64(payload: str) -> bytes:
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except ValueError:  # line breaks are fine, though, and the reference has two words for what is not
        pass
    if not _BASE64.fullmatch(payload):
        raise DataUrlError("invalid data character")
    packed = payload.replace("\n", "")
    try:
        return binascii.a2b_base64(packed, strict_mode=True)
    except binascii.Error:
        raise DataUrlError(f"illegal base64 data at input byte {_bad_offset(packed)}") from None


def _bad_offset(payload: str) -> int:
    body = len(payload.rstrip("="))
    padding = payload.find("=")
    end = padding if 0 <= padding < body else body
    return end - end % 4
