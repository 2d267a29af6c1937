"""The keeper in simulated time: commands between two runs of the engine, rounds, outcomes, and the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flatyard.base.errors import Failed, Refused
from flatyard.base.world import SeededWorld
from flatyard.clouds.sim.region import Region
from flatyard.controller.control import Control
from flatyard.controller.documents import load
from flatyard.controller.events import Event, EventKind
from flatyard.controller.health import view
from flatyard.controller.keeper import Keeper
from flatyard.controller.runfile import Run
from flatyard.controller.state import State
from flatyard.engine.context import Seams
from flatyard.engine.plan import Observed, plan
from flatyard.engine.wanted import cluster_object, deployment_object
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import VirtualLoop, run
from flatyard.store import MemoryBucket, open_memory

ROOT = Path(__file__).resolve().parent.parent.parent
WANTED = load([str(ROOT / "examples/quickstart.yaml")]).wanted
INTENT = {
    "cluster": cluster_object(WANTED.cluster),
    "deployments": [deployment_object(d, WANTED.name) for d in WANTED.deployments],
}
RUN = Run("quickstart", "aws", "us-east-1", 1.0, token="secret")


class Stage:
    """A region and its keeper; `again` is a new process on the same disk."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.world = SeededWorld(7, loop.time)
        self.disk, self.bucket = MemoryDisk(), MemoryBucket()

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Keeper]:
        import asyncio

        self.region = region = Region(WANTED.cluster, self.world, self.disk)
        await region.start()
        kubernetes = region.kubernetes
        seams = Seams(
            world=self.world,
            cloud=region.cloud,
            store=open_memory(self.world, self.bucket),
            clients=region.clients,
            feeds=region.feeds,
            holder="test",
        )
        keeper = Keeper(
            "quickstart", RUN, seams, lambda: "" if kubernetes.available else kubernetes.why_unavailable()
        )
        seams.on_step = keeper.on_step
        task = asyncio.create_task(keeper.until_gone())
        try:
            yield keeper
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await region.stop()


def played(act: Callable[[Stage], Awaitable[None]]) -> None:
    loop = VirtualLoop()

    async def perform() -> None:
        await act(Stage(loop))

    run(perform(), loop=loop)


async def asked(keeper: Keeper, method: str, path: str, body: dict | None = None, **query: str) -> dict:
    return json.loads(await keeper.answer(method, path, query, body or {}))


async def ended(keeper: Keeper, round: int) -> tuple[list[Event], Event]:
    steps = []
    async for event in keeper.follow(round):
        if event.kind is not EventKind.STEP:
            return steps, event
        steps.append(event)
    raise AssertionError


async def done(keeper: Keeper, path: str, body: dict) -> Event:
    round = (await asked(keeper, "POST", path, body))["round"]
    return (await ended(keeper, round))[1]


def test_up_scale_and_down_are_rounds_with_outcomes():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            assert (await done(keeper, "intent", INTENT)).done
            assert (await done(keeper, "scale", {"pool": "flatcar-workers", "replicas": 5})).done
            assert len((await asked(keeper, "GET", "objects", kind="nodes"))["items"]) == 6
            kinds = [
                r["spec"]["kind"] for r in (await asked(keeper, "GET", "objects", kind="resources"))["items"]
            ]
            assert kinds.count("instance") == 6
            gone = await done(keeper, "down", {})
            assert (gone.kind, gone.left, gone.round) == (EventKind.GONE, 0, 3)
            assert keeper.gone

    played(act)


def test_credentials_of_another_account_change_nothing_and_say_whose_are_wanted():
    """There nothing has the cluster's tags: it would be made anew by a mere `status`, and `down` would forget it."""

    async def owner_a() -> str:
        return "AWS account 111"

    async def owner_b() -> str:
        return "AWS account 222"

    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            keeper.owner = owner_a
            assert (await done(keeper, "intent", INTENT)).done
            left = {row.id for row in keeper.seams.cloud.provider.left_over()}
        async with stage.process() as keeper:
            keeper.owner = owner_b
            what = "cluster quickstart is in AWS account 111, and the credentials here are those of AWS account 222"
            for path, body in (
                ("down", {}),
                ("intent", INTENT),
                ("scale", {"pool": "flatcar-workers", "replicas": 5}),
            ):
                with pytest.raises(Refused, match=what) as no:
                    await asked(keeper, "POST", path, body)
                assert no.value.next == "set those of AWS account 111, then the same command again"
            (wait,) = (await keeper.state()).waits
            assert wait.reason == what
            assert {row.id for row in stage.region.provider.left_over()} == left
        async with stage.process() as keeper:
            keeper.owner = owner_a
            assert (await done(keeper, "down", {})).kind is EventKind.GONE

    played(act)


def test_a_second_intent_has_no_changes_and_ends_at_once():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            await done(keeper, "intent", INTENT)
            seen = Observed(**await asked(keeper, "GET", "observed"))
            assert plan(WANTED, seen).changes == ()
            assert (await done(keeper, "intent", INTENT)).done

    played(act)


def test_before_the_first_intent_there_is_nothing():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            assert not (await asked(keeper, "GET", "observed"))["exists"]
            assert keeper.why_no_api() == "no control plane has been initialised"
            assert await keeper.answer("GET", "nonsense", {}, {}) is None

    played(act)


def test_the_state_is_healthy_when_done_and_not_before():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            round = (await asked(keeper, "POST", "intent", INTENT))["round"]
            early = view(State.decode(await keeper.answer("GET", "state", {}, {})))
            assert not early.healthy
            await ended(keeper, round)
            assert view(State.decode(await keeper.answer("GET", "state", {}, {}))).healthy

    played(act)


def test_an_order_that_cannot_be_carried_out_is_an_answer_and_no_round():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            await done(keeper, "intent", INTENT)
            with pytest.raises(Failed, match="has no pool 'nope'"):
                await asked(keeper, "POST", "scale", {"pool": "nope", "replicas": 1})
            assert keeper.round == 1
            assert view(State.decode(await keeper.answer("GET", "state", {}, {}))).healthy

    played(act)


def test_a_new_process_goes_on_where_the_last_one_stopped():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            await asked(keeper, "POST", "intent", INTENT)
        async with stage.process() as keeper:
            assert (await done(keeper, "intent", INTENT)).done
        async with stage.process() as keeper:
            assert view(State.decode(await keeper.answer("GET", "state", {}, {}))).healthy

    played(act)


def test_down_of_a_cluster_that_was_forgotten_meanwhile_ends_the_process():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            assert (await done(keeper, "down", {})).kind is EventKind.GONE
            assert keeper.gone

    played(act)


# ---- the routes as a client meets them


async def called(app: Control, path: str, token: str = "secret", body: bytes = b"") -> tuple[int, dict]:
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": body}

    async def send(message: dict) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    headers = [(b"authorization", f"Bearer {token}".encode())]
    method = "POST" if body else "GET"
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": headers,
    }
    await app(scope, receive, send)
    text = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(text)


async def kubernetes(scope: dict, receive: object, send: Callable[[dict], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b'{"kind": "NodeList"}'})


def test_the_routes_stand_before_the_kubernetes_api_and_want_the_token():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            app = Control(keeper, "secret", kubernetes)
            assert (await called(app, "/flatyard/v1/healthz"))[0] == 200
            assert (await called(app, "/flatyard/v1/healthz", token="wrong"))[0] == 401
            assert (await called(app, "/flatyard/v1/nonsense"))[0] == 404
            status, found = await called(app, "/api/v1/nodes")
            assert (status, found["kind"], found["reason"]) == (503, "Status", "ServiceUnavailable")
            await done(keeper, "intent", INTENT)
            assert (await called(app, "/api/v1/nodes"))[1] == {"kind": "NodeList"}

    played(act)


def test_an_error_keeps_its_sentences_over_the_wire():
    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            app = Control(keeper, "secret", kubernetes)
            body = json.dumps({"pool": "general", "replicas": 1}).encode()
            status, found = await called(app, "/flatyard/v1/scale", body=body)
            assert status == 409
            assert found["error"] == {
                "kind": "Failed",
                "what": "there is no cluster 'quickstart'",
                "why": "known: none",
                "next": "flatyard up FILE",
            }

    played(act)


class Deaf:
    """A Kubernetes client of an API that, from some time on, keeps everybody waiting: its etcd is gone."""

    def __init__(self, inner) -> None:
        self._inner, self.deaf = inner, False

    def connect(self, endpoint, secrets):
        return DeafApi(self._inner.connect(endpoint, secrets), self)

    def etcd(self, endpoint, hosts, secrets):
        return self._inner.etcd(endpoint, hosts, secrets)


class DeafApi:
    def __init__(self, inner, clients: Deaf) -> None:
        self._inner, self._clients = inner, clients

    def __getattr__(self, verb: str):
        inner = getattr(self._inner, verb)
        if verb == "watch":
            return inner

        async def call(*args, **more):
            while self._clients.deaf:
                await asyncio.sleep(60)
            return await inner(*args, **more)

        return call


def test_an_api_that_keeps_everybody_waiting_does_not_keep_who_asks_for_the_state():
    """An API without etcd answered after a minute, four times in a row: `status` said that its process was dead."""

    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            keeper.seams.clients = clients = Deaf(keeper.seams.clients)
            assert (await done(keeper, "intent", INTENT)).done
            before = await keeper.state()
            assert before.api
            clients.deaf = True
            started = asyncio.get_running_loop().time()
            after = await keeper.state()
            assert asyncio.get_running_loop().time() - started < 6
            assert not after.api
            assert not view(after).healthy
            assert [node.name for node in after.nodes] == [node.name for node in before.nodes]

    played(act)


def test_what_was_seen_of_a_cluster_is_told_after_its_reconcilers_started_again():
    """They start again when they cannot renew their Lease, and have seen nothing then."""

    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            keeper.seams.clients = clients = Deaf(keeper.seams.clients)
            await done(keeper, "intent", INTENT)
            before = await keeper.state()
            clients.deaf = True
            await asyncio.sleep(300)
            after = await keeper.state()
            assert not after.api
            assert [m.name for m in after.machines] == [m.name for m in before.machines]

    played(act)


def test_an_order_to_a_cluster_whose_api_never_comes_back_is_refused_with_what_helps():
    """`up` waited for minutes, and then said that its process did not answer."""

    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            await done(keeper, "intent", INTENT)
            compute = stage.region.provider.compute
            planes = [i for i in stage.region.provider.account.instances if "control-plane" in i.name]
            for lost in planes:
                compute.vanish(lost.id)
            await asyncio.sleep(600)
            started = asyncio.get_running_loop().time()
            with pytest.raises(Failed, match="takes no orders: none of its control plane machines") as caught:
                await keeper.answer("GET", "observed", {}, {})
            assert "flatyard down quickstart" in caught.value.next
            assert asyncio.get_running_loop().time() - started < 60
            found = view(await keeper.state())
            assert not found.api
            assert {m.why for m in found.control_plane.machines} == {"its instance is gone"}

    played(act)


def test_whoever_asks_again_while_the_api_is_silent_hears_what_the_cloud_says():
    """It took until the Lease was over, 40 s, before anybody looked at the machines."""

    async def act(stage: Stage) -> None:
        async with stage.process() as keeper:
            keeper.seams.clients = clients = Deaf(keeper.seams.clients)
            assert (await done(keeper, "intent", INTENT)).done
            machines = (await keeper.state()).machines
            worker = next(m for m in machines if "control-plane" not in m.name)
            (row,) = [i for i in stage.region.provider.account.instances if i.name == worker.name]
            stage.region.provider.compute.vanish(row.id)
            clients.deaf = True
            started = asyncio.get_running_loop().time()
            await keeper.state()
            await asyncio.sleep(5)
            said = {wait.object: wait.reason for wait in (await keeper.state()).waits}
            assert f"machine/{worker.name}" in said
            assert asyncio.get_running_loop().time() - started < 30

    played(act)
