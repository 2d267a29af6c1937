"""How a config gets into a platform's user data."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from flatyard import ignition
from flatyard.ignition import dataurl
from flatyard.ignition.fit import TooLarge, UserData, fit
from flatyard.ignition.parse import read
from flatyard.ignition.resolve import resolve
from flatyard.ignition.types import HttpHeader

BIG = ignition.config(
    files=[ignition.file(f"/etc/f{n}", bytes(range(256)) * (n + 1)) for n in range(12)],
    units=[ignition.unit("a.service", "[Unit]\n" * 100)],
)
SIZE = len(ignition.encode(BIG))


class Bucket:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def stash(self, payload: bytes, sha512: str) -> str:
        self.objects["s3://bucket/key"] = payload
        return "s3://bucket/key"

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        return self.objects[url]


def fitted(limit: int | None, *, gzip_allowed: bool = False, bucket: Bucket | None = None) -> UserData:
    return asyncio.run(fit(BIG, limit, gzip_allowed=gzip_allowed, stash=bucket.stash if bucket else None))


def test_what_fits_stays_inline_to_the_byte():
    assert fitted(SIZE) == UserData(ignition.encode(BIG))
    assert fitted(None).data == ignition.encode(BIG)


def test_gzip_where_the_platform_takes_it():
    data = fitted(SIZE - 1, gzip_allowed=True).data
    assert dataurl.decompress(data) == ignition.encode(BIG)


def test_a_stub_points_at_the_rest_with_its_hash_and_the_machine_ends_up_with_the_same_config():
    bucket = Bucket()
    user_data = fitted(1000, bucket=bucket)
    assert user_data.is_stub and len(user_data.data) <= 1000
    assert user_data.sha512 == hashlib.sha512(ignition.encode(BIG)).hexdigest()
    assert read(user_data.data).report == ()
    assert json.loads(user_data.data)["ignition"]["config"]["replace"] == {
        "source": "s3://bucket/key",
        "verification": {"hash": f"sha512-{user_data.sha512}"},
    }
    final = asyncio.run(resolve(user_data.data, bucket)).config
    assert final.storage == BIG.storage and final.systemd == BIG.systemd


def test_without_a_stash_the_ten_largest_entries_are_named():
    with pytest.raises(TooLarge) as caught:
        fitted(1000)
    assert len(caught.value.shares) == 10
    assert caught.value.shares[0].entry == "unit a.service"
    assert f"the config takes {SIZE} bytes, {SIZE - 1000} more than the 1000 allowed" in str(caught.value)


def test_a_limit_below_any_stub_is_too_small():
    with pytest.raises(TooLarge):
        fitted(50, bucket=Bucket())
