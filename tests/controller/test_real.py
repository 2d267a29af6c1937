"""What background processes of real clusters need: the right program, a feed on the web, the way to the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flatyard.base.errors import Failed, Refused
from flatyard.base.serving import listener, start
from flatyard.base.world import RealWorld
from flatyard.clouds.cloud import Endpoint
from flatyard.controller import feeds, launch
from flatyard.controller.background import first_run
from flatyard.controller.clients import server_of
from flatyard.controller.documents import load
from flatyard.controller.launch import Start
from flatyard.controller.places import places_of
from flatyard.engine import record as records
from flatyard.store import open_store
from flatyard.sysext.layout import BAKERY

ROOT = Path(__file__).resolve().parent.parent.parent
PIN = "0123456789abcdef" * 4
SUMS = f"{PIN}  kubernetes-v1.34.3-x86-64.raw\n"


def wanted(name: str):
    return load([str(ROOT / f"examples/{name}.yaml")]).wanted


@pytest.mark.parametrize(
    ("example", "module"),
    [("quickstart", "simulated"), ("local", "local"), ("aws", "cloud"), ("gcp", "cloud")],
)
def test_each_cluster_has_the_process_of_its_cloud(example, module, tmp_path, monkeypatch):
    monkeypatch.setenv("FLATYARD_STATE", str(tmp_path))
    start = Start(wanted(example).cluster, 1.0)
    places = places_of("x")
    asyncio.run(launch.prepare(places, start))
    assert launch._module(launch._cloud(places)) == f"flatyard.controller.{module}"


@pytest.mark.parametrize(("example", "simulated"), [("quickstart", True), ("local", False), ("aws", False)])
def test_a_run_file_says_whether_its_cluster_is_simulated(example, simulated):
    run = first_run("x", Start(wanted(example).cluster, 1.0), RealWorld())
    assert run.simulated == simulated


def test_a_cluster_of_a_shared_store_is_taken_up_on_another_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("FLATYARD_STATE", str(tmp_path))
    web = wanted("aws")

    async def remember() -> Start | None:
        store = open_store(None, RealWorld())
        record = await records.create(store, RealWorld(), "web", "aws")
        applied = tuple(json.dumps(object) for object in web.objects().values())
        await records.save(store, replace(record, applied=applied))
        return await launch._remembered("web")

    found = asyncio.run(remember())
    assert found is not None and found.cluster.spec.cloud == web.cluster.spec.cloud


def test_a_real_cluster_is_reached_by_its_name_and_one_of_this_machine_by_its_address():
    endpoint = Endpoint("api.example", 6443, hairpin=True, address="10.0.0.9")
    assert server_of(endpoint, by_name=True) == "https://api.example:6443"
    assert server_of(endpoint) == "https://10.0.0.9:6443"


# ---- feeds


def served(answers: dict[str, bytes], act: Callable[[str], Awaitable[Any]]) -> Any:
    """What `act` makes of a web server with these paths."""

    async def app(scope, receive, send) -> None:
        body = answers.get(scope["path"])
        headers = [(b"content-length", str(len(body or b"")).encode())]
        await send(
            {"type": "http.response.start", "status": 404 if body is None else 200, "headers": headers}
        )
        await send({"type": "http.response.body", "body": body or b""})

    async def main() -> Any:
        server = await start(app, listener())
        try:
            return await act(f"http://127.0.0.1:{server.port}/extensions")
        finally:
            await server.close()

    return asyncio.run(main())


def test_a_feed_is_read_where_it_is_and_kept_for_a_while():
    answers = {"/extensions/kubernetes/SHA256SUMS": SUMS.encode()}

    async def twice(base: str) -> None:
        found = feeds.HttpFeeds(base)
        image = (await found.feed("")).image("v1.34.3")
        assert (image.url, image.sha256) == (f"{base}/kubernetes/kubernetes-v1.34.3-x86-64.raw", PIN)
        answers.clear()
        assert (await found.feed("")).image("v1.34.3") == image

    served(answers, twice)


def test_a_feed_that_is_not_there_is_told_with_what_helps():
    async def ask(base: str) -> None:
        await feeds.HttpFeeds(base).feed("")

    with pytest.raises(Failed, match="cannot be read") as told:
        served({}, ask)
    assert "it answers 404" in told.value.why
    assert "spec.kubernetes.feed, or FLATYARD_FEED, names a mirror" in told.value.next


def test_the_feed_of_a_clusters_file_counts_before_the_one_of_the_environment():
    answers = {"/mirror/kubernetes/SHA256SUMS": SUMS.encode()}

    async def ask(base: str) -> None:
        mirror = base.replace("/extensions", "/mirror")
        image = (await feeds.HttpFeeds(base).feed(mirror)).image("v1.34.3")
        assert image.url == f"{mirror}/kubernetes/kubernetes-v1.34.3-x86-64.raw"

    served(answers, ask)


def test_the_feed_is_the_bakery_or_what_the_environment_says(monkeypatch):
    monkeypatch.delenv("FLATYARD_FEED", raising=False)
    assert feeds.base_of_environment() == BAKERY
    monkeypatch.setenv("FLATYARD_FEED", "https://mirror.example/ext/")
    assert feeds.base_of_environment() == "https://mirror.example/ext"
    monkeypatch.setenv("FLATYARD_FEED", "/srv/feed")
    with pytest.raises(Refused, match="no address of a feed"):
        feeds.base_of_environment()
