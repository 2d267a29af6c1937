"""The JSON that a node gets: Go's order, Go's escapes, nothing that is empty."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatyard import ignition
from flatyard.ignition import dataurl
from flatyard.ignition.encode import encode_pretty, encode_string


def test_smallest_config():
    assert ignition.encode(ignition.config()) == b'{"ignition":{"version":"3.4.0"}}'


def test_order_and_omissions_are_those_of_the_reference():
    config = ignition.config(
        files=[ignition.file("/etc/a", "x", mode=0o600, user="core", overwrite=True)],
        links=[ignition.link("/etc/l", "/etc/a")],
        units=[ignition.unit("a.service", enabled=False, dropins={"10-a.conf": "[Unit]\n"})],
        users=[ignition.user("core", keys=["ssh-ed25519 AAAA"])],
    )
    assert ignition.encode(config).decode() == (
        '{"ignition":{"version":"3.4.0"},'
        '"passwd":{"users":[{"name":"core","sshAuthorizedKeys":["ssh-ed25519 AAAA"]}]},'
        '"storage":{"files":[{"overwrite":true,"path":"/etc/a","user":{"name":"core"},'
        '"contents":{"compression":"","source":"data:,x"},"mode":384}],'
        '"links":[{"path":"/etc/l","hard":false,"target":"/etc/a"}]},'
        '"systemd":{"units":[{"dropins":[{"contents":"[Unit]\\n","name":"10-a.conf"}],'
        '"enabled":false,"name":"a.service"}]}}'
    )


def test_escapes_are_go_s():
    assert encode_string("<&>\u2028\x08\x0c\n\x7fé\\b") == (
        '"\\u003c\\u0026\\u003e\\u2028\\u0008\\u000c\\n\x7fé\\\\b"'
    )


def test_pretty_form_is_indented_by_two():
    assert encode_pretty(ignition.config()).decode() == (
        '{\n  "ignition": {\n    "version": "3.4.0"\n  }\n}\n'
    )


@given(st.binary(max_size=300))
def test_inline_bytes_come_back(data: bytes):
    resource = ignition.inline(data)
    assert resource.source is not None
    found = dataurl.decode(resource.source)
    if resource.compression == "gzip":
        found = dataurl.decompress(found)
    assert found == data


@given(st.binary(max_size=300))
def test_data_url_round_trip(data: bytes):
    assert dataurl.decode(dataurl.encode(data)) == data


@pytest.mark.parametrize("size", [1, 40, 511, 512, 1999, 2000, 2001])
def test_less_memory_for_short_bytes_costs_no_byte(size: int):
    for text in (
        bytes(range(256)) * 8,
        b"- name: app\n  image: registry.example/app:1\n" * 50,
        sha512_chain(),
    ):
        most = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
        body = most.compress(text[:size]) + most.flush()
        assert len(dataurl.compress(text[:size])) <= len(body) + 18


def sha512_chain() -> bytes:
    """2 KB in which nothing repeats."""
    pieces = [b""]
    for _ in range(32):
        pieces.append(hashlib.sha512(pieces[-1]).digest())
    return b"".join(pieces)
