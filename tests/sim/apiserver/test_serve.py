"""The simulated API on a loop whose seconds are shorter than the wall clock's, and kubectl against it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from flatyard.base.serving import Server
from flatyard.base.world import RealWorld
from flatyard.kube.api import EventType
from flatyard.kube.client import Access, HttpApi
from flatyard.kube.memory import MemoryApi
from flatyard.kube.reflector import Reflector
from flatyard.kube.resources import CERTIFICATE_SIGNING_REQUESTS, CONFIGMAPS, NODES
from flatyard.pki.keys import new_authority
from flatyard.pki.kubeconfig import Kubeconfig
from flatyard.sim.apiserver.cluster import make_api
from flatyard.sim.apiserver.serve import serve
from flatyard.sim.loop import ScaledLoop

SPEED = 50.0
FIXTURES = Path(__file__).parent / "golden/fixtures"


def config_map(name: str) -> dict:
    return {"metadata": {"name": name, "namespace": "default"}, "data": {}}


def signing_request(name: str) -> dict:
    spec = {
        "request": "bm90IHJlYWQgaGVyZQ==",
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["digital signature", "client auth"],
        "username": "system:bootstrap:abcdef",
        "groups": ["system:bootstrappers"],
    }
    return {"metadata": {"name": name}, "spec": spec}


def served(
    folder: Path, scenario: Callable[[MemoryApi, Server, Access], Awaitable[None]], speed: float = SPEED
) -> None:
    """Run a scenario beside a server on a scaled loop."""

    async def run() -> None:
        world = RealWorld(speed)
        authority = new_authority("kubernetes", world)
        pair = authority.server("kube-apiserver", ["127.0.0.1"], world)
        certificate, key = folder / "cert.pem", folder / "key.pem"
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        api = await make_api(world)
        server = await serve(api, certificate=certificate, key=key, token="secret", speed=speed)
        address = f"https://127.0.0.1:{server.port}"
        config = Kubeconfig("sim", address, authority.certificate, token="secret")
        (folder / "kubeconfig").write_bytes(config.render())
        try:
            await scenario(api, server, Access(address, authority.certificate.decode(), "secret"))
        finally:
            await server.close()

    scaled = ScaledLoop(speed)
    try:
        scaled.run_until_complete(run())
    finally:
        scaled.run_until_complete(scaled.shutdown_default_executor())
        scaled.close()


def test_a_watch_outlives_what_a_scaled_clock_would_allow(tmp_path) -> None:
    """A minute of the loop is about a second on the wall: no idle watch and no connection may end by that."""

    async def scenario(api, server, access) -> None:
        async with HttpApi(access, seconds=30 * SPEED, quiet=300 * SPEED) as client:
            listing = await client.list(CONFIGMAPS, "default")
            events = client.watch(CONFIGMAPS, "default", resource_version=listing.resource_version)
            following = asyncio.ensure_future(anext(events))
            await asyncio.sleep(60)
            assert not following.done()
            await api.create(CONFIGMAPS, config_map("late"))
            event = await following
            assert (event.type, event.object.name) == (EventType.ADDED, "late")
            await events.aclose()

    served(tmp_path, scenario)


def test_closing_ends_watches_at_once(tmp_path) -> None:
    async def scenario(api, server, access) -> None:
        async with HttpApi(access, seconds=30 * SPEED) as client:
            reflector = Reflector(client, NODES)
            task = asyncio.create_task(reflector.run())
            await reflector.synced.wait()
            started = asyncio.get_running_loop().time()
            await server.close()
            assert asyncio.get_running_loop().time() - started < 2 * SPEED
            task.cancel()

    served(tmp_path, scenario)


def test_a_watcher_that_left_is_forgotten(tmp_path) -> None:
    async def scenario(api, server, access) -> None:
        shelf = api.storage.shelves[api.kind(CONFIGMAPS)]
        async with HttpApi(access, seconds=30 * SPEED) as client:
            listing = await client.list(CONFIGMAPS)
            events = client.watch(CONFIGMAPS, resource_version=listing.resource_version)
            following = asyncio.ensure_future(anext(events))
            while not shelf.feeds:
                await asyncio.sleep(0.1)
            following.cancel()
            await asyncio.wait([following])
            await events.aclose()
        for _ in range(600):
            if not shelf.feeds:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("the server still feeds a watcher that is gone")

    served(tmp_path, scenario)


def test_who_asks_for_a_certificate_is_the_servers_finding(tmp_path) -> None:
    """A request sent by hand in a kubelet's name must not be taken for the kubelet's."""

    async def scenario(api, server, access) -> None:
        async with HttpApi(access, seconds=30 * SPEED) as client:
            made = await client.create(CERTIFICATE_SIGNING_REQUESTS, signing_request("by-hand"))
        assert made.spec["username"] == "flatyard-admin"
        assert made.spec["groups"] == ["system:masters", "system:authenticated"]
        inside = await api.create(CERTIFICATE_SIGNING_REQUESTS, signing_request("by-a-kubelet"))
        assert inside.spec["username"] == "system:bootstrap:abcdef"

    served(tmp_path, scenario)


APPROVAL = CERTIFICATE_SIGNING_REQUESTS.path(name="csr-1") + "/approval"
KUBECTL = (
    ("get nodes -o wide", "Flatcar"),
    (f"apply -f {FIXTURES}/flatcar-workers.yaml", "flatcar-workers created"),
    (f"apply -f {FIXTURES}/flatcar-workers-5.yaml", "flatcar-workers configured"),
    (f"apply -f {FIXTURES}/flatcar-workers-5.yaml", "flatcar-workers unchanged"),
    (f"apply -f {FIXTURES}/core.yaml", "deployment.apps/web created"),
    (f"apply -f {FIXTURES}/core-2.yaml", "deployment.apps/web configured"),
    ("get machinedeployments -n kube-system", "flatcar-workers"),
    ("describe node w1", "Flatcar Container Linux (simulated)"),
    ("cordon w1", "node/w1 cordoned"),
    ("get node w1", "SchedulingDisabled"),
    ("drain w1 --ignore-daemonsets --timeout=20s", "node/w1 drained"),
    ("uncordon w1", "node/w1 uncordoned"),
    ("scale -n kube-system machinedeployment/flatcar-workers --replicas=7", "scaled"),
    ("get md -n kube-system flatcar-workers -o jsonpath={.spec.replicas}", "7"),
    ("taint node w1 a=b:NoSchedule", "node/w1 tainted"),
    ("explain machinedeployment.spec.strategy", "How machines are replaced."),
    ("delete md -n kube-system flatcar-workers", "deleted"),
    ("logs nobody", "not found"),
    ("get csr", "system:bootstrap:abcdef"),
    # `kubectl certificate approve` speaks protobuf only
    (f"replace --raw {APPROVAL} -f {Path(__file__).parent}/approval.json", '"ByHand"'),
    ("get csr csr-1 --no-headers", "Approved"),
    ("get csr csr-2 --no-headers", "Pending"),
)


@pytest.mark.emulated
def test_kubectl_finds_what_it_expects(tmp_path, kubectl_path) -> None:
    async def scenario(api, server, access) -> None:
        info = {"osImage": "Flatcar Container Linux (simulated)", "kubeletVersion": "v1.34.3"}
        ready = [{"type": "Ready", "status": "True"}]
        status = {"nodeInfo": info, "conditions": ready, "capacity": {"cpu": "2"}}
        await api.create(NODES, {"metadata": {"name": "w1"}, "status": status})
        for name in ("csr-1", "csr-2"):
            await api.create(CERTIFICATE_SIGNING_REQUESTS, signing_request(name))
        environment = {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path)}
        for command, expected in KUBECTL:
            ran = await asyncio.to_thread(
                subprocess.run,
                [kubectl_path, *command.split()],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert expected in ran.stdout + ran.stderr, f"kubectl {command}\n{ran.stdout}{ran.stderr}"

    served(tmp_path, scenario, speed=1.0)
