"""One contract for every kube.Api: in memory, and over HTTP to the simulated API."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flatyard.base.world import RealWorld, SeededWorld
from flatyard.kube.api import ApiError, Unreachable
from flatyard.kube.client import Access, HttpApi
from flatyard.kube.memory import MemoryApi
from flatyard.kube.resources import NODES
from flatyard.pki.keys import Authority, new_authority
from flatyard.sim import loop
from flatyard.sim.apiserver.cluster import make_api
from flatyard.sim.apiserver.serve import serve
from kube.contract import CHECKS

every_check = pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])


@every_check
def test_in_memory(check) -> None:
    async def run() -> None:
        await check(MemoryApi(SeededWorld(1, asyncio.get_running_loop().time)))

    loop.run(run())


@every_check
def test_in_memory_with_controllers_that_take_their_time(check) -> None:
    async def run() -> None:
        await check(MemoryApi(SeededWorld(1, asyncio.get_running_loop().time), delay=0.1))

    loop.run(run())


@every_check
def test_durable(check) -> None:
    kept: dict[str, bytes | None] = {}

    async def persist(key: str, value: bytes | None) -> None:
        await asyncio.sleep(0.001)
        kept[key] = value

    async def run() -> None:
        world = SeededWorld(1, asyncio.get_running_loop().time)
        api = MemoryApi(world, persist=persist)
        await check(api)
        stored = {key: value for key, value in kept.items() if value is not None}
        again = MemoryApi(world, stored=stored.items())
        before = {key: o.raw for shelf in api.storage.shelves.values() for key, o in shelf.objects.items()}
        after = {key: o.raw for shelf in again.storage.shelves.values() for key, o in shelf.objects.items()}
        assert after == before or not stored

    loop.run(run())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return new_authority("kubernetes", RealWorld())


@pytest.fixture(scope="module")
def certificate(authority, tmp_path_factory) -> tuple[Path, Path]:
    """The files of a certificate for 127.0.0.1 and of its key."""
    pair = authority.server("kube-apiserver", ["127.0.0.1"], RealWorld())
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(pair.certificate)
    paths[1].write_bytes(pair.key)
    return paths


def over_http(check, authority: Authority, certificate: tuple[Path, Path], *, token: str = "secret") -> None:
    async def run() -> None:
        api = await make_api(RealWorld())
        server = await serve(api, certificate=certificate[0], key=certificate[1], token="secret")
        access = Access(f"https://127.0.0.1:{server.port}", authority.certificate.decode(), token)
        try:
            async with HttpApi(access) as client:
                await check(client)
        finally:
            await server.close()

    asyncio.run(run())


@every_check
def test_over_http(check, authority, certificate) -> None:
    over_http(check, authority, certificate)


def test_a_wrong_token_is_refused(authority, certificate) -> None:
    async def check(api) -> None:
        with pytest.raises(ApiError) as refused:
            await api.list(NODES)
        assert (refused.value.status, refused.value.reason) == (401, "Unauthorized")

    over_http(check, authority, certificate, token="wrong")


def test_long_lists_come_in_pages(authority, certificate) -> None:
    async def check(api) -> None:
        for number in range(503):
            await api.create(NODES, {"metadata": {"name": f"n{number:03}"}})
        listing = await api.list(NODES)
        assert [o.name for o in listing.items] == [f"n{number:03}" for number in range(503)]

    over_http(check, authority, certificate)


def test_nobody_there_is_unreachable(authority) -> None:
    async def run() -> None:
        async with HttpApi(Access("https://127.0.0.1:1", authority.certificate.decode())) as client:
            with pytest.raises(Unreachable):
                await client.list(NODES)
            with pytest.raises(Unreachable):
                await anext(client.watch(NODES, resource_version="1"))

    asyncio.run(run())


def test_a_client_certificate_is_loaded_and_leaves_no_file(authority) -> None:
    client = authority.client("flatyard", ["system:masters"], RealWorld())
    assert Access("https://127.0.0.1:1", authority.certificate.decode(), client=client).tls()
