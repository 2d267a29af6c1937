"""The approver at work on simulated clusters, whose kubelets ask and wait as real ones do."""

from __future__ import annotations

import asyncio
import base64
import re
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from flatyard.engine import tokens
from flatyard.engine.commands import bring_up, scale, write_intent
from flatyard.engine.run import engine_of
from flatyard.kube.api import Conflict, EventType, Object
from flatyard.kube.approval import decision
from flatyard.kube.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    EVENTS,
    MACHINES,
    NODES,
    SECRETS,
)
from flatyard.model.annotations import MACHINE_ID
from flatyard.pki import groups
from flatyard.pki.requests import new_request

DEADLINE = 3600.0
CLIENT, SERVING = "kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"
POOL = "flatcar-workers"


class Watched:
    """When each certificate request was made and decided, in the loop's time."""

    def __init__(self, life) -> None:
        self.loop = asyncio.get_running_loop()
        self.made: dict[str, float] = {}
        self.decided: dict[str, float] = {}
        self.requests: dict[str, Object] = {}
        life.region.kubernetes.api.storage.observers.append(self.observe)

    def observe(self, change) -> None:
        if change.kind.resource != CERTIFICATE_SIGNING_REQUESTS or change.type is EventType.DELETED:
            return
        name = change.object.name
        self.requests[name] = change.object
        self.made.setdefault(name, self.loop.time())
        if decision(change.object):
            self.decided.setdefault(name, self.loop.time())

    def of(self, signer: str) -> list[Object]:
        return [o for o in self.requests.values() if o.spec["signerName"] == signer]

    def wait(self, name: str) -> float:
        return self.decided[name] - self.made[name]


@asynccontextmanager
async def running(life):
    """A finished cluster whose engine goes on."""
    await write_intent(life.seams(), life.wanted)
    async with engine_of(life.seams(), life.wanted.name) as engine:
        outcome = await engine.until_done(DEADLINE)
        assert outcome.done, outcome.waits
        yield engine


async def ask(life, name, *, signer=CLIENT, subject, user, of, hosts=()) -> None:
    """A request as the API server stores it: who asks is its own finding."""
    pem = new_request(f"system:node:{subject}", ("system:nodes",), hosts, life.world)
    usage = "client auth" if signer == CLIENT else "server auth"
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": signer,
        "usages": ["digital signature", usage],
        "username": user,
        "groups": [*of, "system:authenticated"],
    }
    raw = {"metadata": {"name": name}, "spec": spec}
    await life.region.kubernetes.client().create(CERTIFICATE_SIGNING_REQUESTS, raw)


async def decided(life, name) -> str:
    return decision(await life.region.kubernetes.client().get(CERTIFICATE_SIGNING_REQUESTS, "", name))


async def told(life, name) -> list[str]:
    events = (await life.region.kubernetes.client().list(EVENTS)).items
    return [e.raw["message"] for e in events if e.raw["involvedObject"]["name"] == name]


@pytest.mark.parametrize(("name", "machines"), [("quickstart.yaml", 4), ("aws.yaml", 7), ("vsphere.yaml", 6)])
def test_every_node_gets_both_certificates_and_each_is_its_own(simulate, example, name, machines):
    async def main(life):
        watched = Watched(life)
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        nodes = {n.name for n in (await life.region.kubernetes.client().list(NODES)).items}
        assert len(nodes) == machines
        assert [decision(o) for o in watched.requests.values()] == ["Approved"] * (2 * machines - 1)
        servers = {o.spec["username"] for o in watched.of(SERVING)}
        assert servers == {f"system:node:{n}" for n in nodes}
        assert len(watched.of(CLIENT)) == machines - 1, "kubeadm init gives the first machine its own"

    simulate(main, example(name))


def test_a_request_is_answered_within_a_second_however_many_machines_there_are(simulate, example):
    """And with one read of a token and one write each."""

    async def main(life):
        watched = Watched(life)
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done
        joined = [o.name for o in watched.of(CLIENT)]
        assert len(joined) == 60
        assert max(watched.wait(name) for name in joined) < 1.0
        calls = life.mortal.calls
        assert calls["kubernetes approve CertificateSigningRequest"] == len(watched.requests) == 121

    simulate(main, example("quickstart.yaml", 60))


def test_the_calls_for_certificates_grow_with_the_machines(simulate, example):
    def calls(workers: int) -> int:
        async def main(life):
            async with running(life) as engine:
                return engine.reconciled["certificatesigningrequest"]

        return simulate(main, example("quickstart.yaml", workers))

    assert calls(20) - calls(10) == 2 * 10


def test_a_machine_that_comes_later_joins_too(simulate, example):
    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        watched = Watched(life)
        outcome = await scale(life.seams(), "quickstart", POOL, 5, DEADLINE)
        assert outcome.done and len(watched.of(CLIENT)) == 2
        assert {decision(o) for o in watched.requests.values()} == {"Approved"}

    simulate(main, example("quickstart.yaml"))


def test_nobody_joins_while_nobody_approves(simulate, example):
    """The other tests would not notice if simulated kubelets did not wait."""

    async def main(life):
        blind = life.seams()
        connect = blind.clients.connect

        class Beaten:
            def connect(self, endpoint, secrets):
                api = connect(endpoint, secrets)
                inner = api.approve

                async def refuse(request, verdict):
                    if request.spec["signerName"] == CLIENT:
                        raise Conflict("somebody else is always faster")
                    return await inner(request, verdict)

                api.approve = refuse
                return api

        blind.clients = Beaten()
        _, outcome = await bring_up(blind, life.wanted, 2 * DEADLINE)
        [reason] = [w.reason for w in outcome.waits if w.key.kind == "machine"]
        assert re.search(r"certificate signing request csr-\w+ is not approved: context deadline", reason)
        assert len((await life.region.kubernetes.client().list(NODES)).items) == 1
        async with engine_of(life.seams(), life.wanted.name) as engine:
            await asyncio.sleep(1800)
            assert (await engine.until_done(60)).done, "kubeadm's unit tries again"

    simulate(main, example("quickstart.yaml", 1))


def test_a_conflict_is_decided_again(simulate, example):
    async def main(life):
        seams = life.seams()
        connect, times = seams.clients.connect, Counter()

        class Contended:
            def connect(self, endpoint, secrets):
                api = connect(endpoint, secrets)
                inner = api.approve

                async def late(request, verdict):
                    times[request.name] += 1
                    if times[request.name] == 1:
                        patch = {"metadata": {"labels": {"seen": "yes"}}}
                        await api.merge_patch(CERTIFICATE_SIGNING_REQUESTS, "", request.name, patch)
                    return await inner(request, verdict)

                api.approve = late
                return api

        seams.clients = Contended()
        watched = Watched(life)
        _, outcome = await bring_up(seams, life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        assert {decision(o) for o in watched.requests.values()} == {"Approved"}
        assert set(times.values()) == {2}

    simulate(main, example("quickstart.yaml", 1))


async def machines_of(life) -> list[Object]:
    return list((await life.region.kubernetes.client().list(MACHINES)).items)


async def token_of(life, machine) -> tuple[str, tuple[str, ...]]:
    """A living token of a machine that has joined, as if its deletion had failed: its user and its groups."""
    machine_id = machine.annotations[MACHINE_ID]
    data = {"token-id": "stolen", "token-secret": "0" * 16, "expiration": "2030-01-01T00:00:00Z"}
    raw = {
        "metadata": {"name": "bootstrap-token-stolen", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
    }
    await life.region.kubernetes.client().create(SECRETS, raw)
    return "system:bootstrap:stolen", groups(machine_id)


def test_a_workers_token_does_not_become_a_control_plane(simulate, example):
    async def main(life):
        async with running(life) as engine:
            machines = await machines_of(life)
            worker = next(m for m in machines if "worker" in m.name)
            plane = next(m for m in machines if "control-plane" in m.name)
            user, of = await token_of(life, worker)
            target = plane.status["nodeRef"]["name"]
            await ask(life, "theft", subject=target, user=user, of=of)
            await asyncio.sleep(1)
            assert await decided(life, "theft") == "Denied"
            assert [f"asks for {target}" in t for t in await told(life, "theft")] == [True]
            assert (await engine.until_done(60)).done

    simulate(main, example("quickstart.yaml"))


def test_a_joined_machine_does_not_join_again_and_the_reason_is_told_once(simulate, example):
    async def main(life):
        async with running(life) as engine:
            worker = next(m for m in await machines_of(life) if "worker" in m.name)
            user, of = await token_of(life, worker)
            await ask(life, "again", subject=worker.status["nodeRef"]["name"], user=user, of=of)
            await asyncio.sleep(600)
            assert await decided(life, "again") == ""
            [said] = await told(life, "again")
            assert said == f"not approved: machine {worker.name} has no bootstrap token"
            assert f"certificate request again {said}" in await told(life, worker.name)
            assert (await engine.until_done(60)).done, "a request that is left pending holds nothing up"

    simulate(main, example("quickstart.yaml"))


def test_a_node_does_not_serve_as_the_api_server(simulate, example):
    """What a node writes into its own status proves nothing."""

    async def main(life):
        async with running(life):
            api = life.region.kubernetes.client()
            worker = next(m for m in await machines_of(life) if "worker" in m.name)
            name = worker.status["nodeRef"]["name"]
            node = await api.get(NODES, "", name)
            lie = [*node.status["addresses"], {"type": "InternalIP", "address": "10.96.0.1"}]
            await api.replace_status(NODES, {**node.edit(), "status": {**node.status, "addresses": lie}})
            user, of = f"system:node:{name}", ("system:nodes",)
            await ask(life, "api", signer=SERVING, subject=name, user=user, of=of, hosts=(name, "10.96.0.1"))
            await ask(life, "own", signer=SERVING, subject=name, user=user, of=of, hosts=(name,))
            await asyncio.sleep(60)
            assert (await decided(life, "api"), await decided(life, "own")) == ("", "Approved")
            assert ["10.96.0.1" in t for t in await told(life, "api")] == [True]

    simulate(main, example("quickstart.yaml"))


def test_renewals_and_other_signers_are_left_alone(simulate, example):
    async def main(life):
        async with running(life):
            worker = next(m for m in await machines_of(life) if "worker" in m.name)
            name = worker.status["nodeRef"]["name"]
            await ask(life, "renewal", subject=name, user=f"system:node:{name}", of=("system:nodes",))
            await ask(life, "other", signer="example.org/x", subject=name, user="me", of=())
            await asyncio.sleep(120)
            for request in ("renewal", "other"):
                assert (await decided(life, request), await told(life, request)) == ("", [])

    simulate(main, example("quickstart.yaml"))


def test_a_token_that_was_spoilt_by_hand_stops_nothing(simulate, example):
    async def main(life):
        async with running(life) as engine:
            worker = next(m for m in await machines_of(life) if "worker" in m.name)
            user, of = await token_of(life, worker)
            api = life.region.kubernetes.client()
            made = await tokens.ensure(api, life.world, worker.annotations[MACHINE_ID])
            spoilt = ({"expiration": "bm90IGEgc3RhbXA="}, {"expiration": None}, {"token-secret": "%"})
            for number, data in enumerate(spoilt):
                await api.merge_patch(SECRETS, "kube-system", made.secret_name, {"data": data})
                name = f"spoilt-{number}"
                await ask(life, name, subject=worker.status["nodeRef"]["name"], user=user, of=of)
                await asyncio.sleep(60)
                assert await decided(life, name) == ""
            assert (await engine.until_done(60)).done

    simulate(main, example("quickstart.yaml"))
