"""Which sources Ignition takes, and what it says about the others."""

from __future__ import annotations

import gzip
import zlib

import pytest

from flatyard.ignition import dataurl
from flatyard.ignition.urls import UrlError, check_source, scheme


@pytest.mark.parametrize(
    "url",
    [
        "http://example.net",
        "HTTPS://user:pw@[::1]:8443/a%20b?x=%zz#f",
        "tftp://10.0.0.1/x",
        "s3://bucket/key?versionId=1",
        "gs://bucket/o",
        "arn:aws:s3:::bucket/key",
        "data:,",
    ],
)
def test_taken(url: str):
    check_source(url, 4)


@pytest.mark.parametrize(
    ("url", "minor", "message"),
    [
        ("file:///x", 4, "invalid url scheme"),
        ("x", 4, "invalid url scheme"),
        ("gs://b/o", 1, "invalid url scheme"),
        ("arn:aws:s3:::bucket/key", 3, "invalid url scheme"),
        ("arn:aws:ec2:::bucket/key", 4, "invalid S3 ARN format"),
        ("arn:aws:s3:::bucket", 4, "invalid S3 ARN format"),
        ("s3://b/k?versionId=", 3, "invalid S3 object VersionId"),
        ("http://a b/", 4, "unable to parse url"),
        ("http://a:port/", 4, "unable to parse url"),
        ("http://[::1/", 4, "unable to parse url"),
        ("http://e/%zz", 4, "unable to parse url"),
        ("https://e/\x7f", 4, "unable to parse url"),
        (":x", 4, "unable to parse url"),
        ("a b:c", 4, "unable to parse url"),
    ],
)
def test_refused(url: str, minor: int, message: str):
    with pytest.raises(UrlError) as caught:
        check_source(url, minor)
    assert str(caught.value) == message


def test_a_scheme_is_read_without_regard_to_case():
    assert scheme("DATA:,x") == "data"


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:,a+b%20c", b"a+b c"),
        ("data:text/plain;charset=utf-8;base64,aGk=", b"hi"),
        ('data:text/plain;x="a,b";base64,aGk=', b"hi"),
        ("data:;base64,", b""),
        ("data:;base64,aG\nk=", b"hi"),
    ],
)
def test_data_urls_as_the_reference_reads_them(url: str, data: bytes):
    assert dataurl.decode(url) == data


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("DATA:,x", "missing data prefix"),
        ("data:hello", "missing media type slash"),
        ("data:hello/x,y", "invalid media type"),
        ("data:text/plain", "missing comma before data"),
        ("data:,a b", "invalid data character"),
        ("data:,ü", "invalid data character"),
        ("data:,%4", "rfc2396: unexpected end of unescape sequence"),
        ("data:,%4x", "rfc2396: invalid char 0x25 in unescape sequence"),
        ("data:;base64,aGk", "illegal base64 data at input byte 0"),
        ("data:;base64,aGk-", "invalid data character"),
    ],
)
def test_data_urls_that_the_reference_refuses(url: str, message: str):
    with pytest.raises(dataurl.DataUrlError) as caught:
        dataurl.decode(url)
    assert str(caught.value) == message


def test_a_gzip_bomb_stops_at_the_limit():
    packed = dataurl.compress(b"\0" * 1_000_000)
    with pytest.raises(dataurl.GzipError, match="more data than allowed"):
        dataurl.decompress(packed, limit=1000)


def test_a_million_empty_gzip_members_are_read_in_time(monkeypatch):
    """Found by its extrapolation: each member's end copied all that followed it, minutes for 16 MB."""
    fed = 0
    real = zlib.decompressobj

    class Counting:
        def __init__(self, bits):
            self.inner = real(bits)

        def decompress(self, data, most):
            nonlocal fed
            fed += len(data)
            return self.inner.decompress(data, most)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    packed = gzip.compress(b"") * 20_000
    assert dataurl.decompress(packed) == b""
    assert fed <= 20_000 * 1024
    big = bytes(range(256)) * 4096
    assert dataurl.decompress(gzip.compress(big) + packed[:20] + gzip.compress(big)) == big * 2
