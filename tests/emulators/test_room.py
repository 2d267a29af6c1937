"""The machine room: what is in an instance's user data becomes a node of a cluster that is reached as a real one is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from emulators.room import FEED, Message, NoOther, Room, Seen, Send, reply
from emulators.stage import Stage
from flatyard.base.errors import Problem
from flatyard.base.serving import listener, start
from flatyard.base.world import RealWorld
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.cloud import (
    ClusterRef,
    CreateRequest,
    Endpoint,
    Evidence,
    Image,
    ImageQuery,
    Instance,
    InstanceState,
    Network,
    Owned,
    Rejected,
    Stashed,
)
from flatyard.clouds.facts import limits, traits
from flatyard.controller.clients import HttpClients
from flatyard.controller.documents import load
from flatyard.controller.feeds import HttpFeeds
from flatyard.engine import commands
from flatyard.engine import record as records
from flatyard.engine.context import Seams, Step
from flatyard.engine.wanted import Wanted
from flatyard.kube.resources import NODES
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.traits import Limits, NodeTraits
from flatyard.node.inputs import NodeFile
from flatyard.sim.hardware import Hardware
from flatyard.store import open_memory

pytestmark = pytest.mark.emulated
ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 60.0
STASH_PORT = 8098
HOST = "api.desk.invalid"


class Desk:
    """The least cloud there can be, and the window into it: instances in a table, a name for what is behind it."""

    name = "aws"

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Instance, bytes]] = {}
        self.backends: tuple[str, ...] | None = None
        self.consoles: dict[str, str] = {}
        self.stashed: dict[str, bytes] = {}
        self.network = False

    # ---- the window

    async def instances(self) -> tuple[Seen, ...]:
        return tuple(Seen(_hardware(i, data), running=True) for i, data in self.rows.values())

    async def endpoints(self) -> Mapping[str, tuple[str, ...]]:
        return {} if self.backends is None else {HOST: self.backends, "10.77.0.9": self.backends}

    async def console(self, instance_id: str, more: str) -> None:
        self.consoles[instance_id] = self.consoles.get(instance_id, "") + more

    read = NoOther().read

    # ---- the cloud

    @property
    def traits(self) -> NodeTraits:
        return traits(FACTS)

    @property
    def limits(self) -> Limits:
        return replace(limits(FACTS), user_data_bytes=1 << 20, list_lag_seconds=0)

    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        return ()

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        return (Image("ami-1", "Flatcar-stable-4593.2.5-hvm", "4593.2.5", query.arch),)

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        self.network = True
        return Network("vpc-1", ("subnet-1",), {}, ("eu-central-1a",), "10.77.0.0/16")

    async def delete_network(self, ref: ClusterRef) -> None:
        self.network = False

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        self.backends = backends
        return Endpoint(HOST, 6443, hairpin=False, address="10.77.0.9", backends=backends)

    async def delete_endpoint(self, ref: ClusterRef) -> None:
        self.backends = None

    def node_files(self, ref: ClusterRef, network: Network) -> tuple[NodeFile, ...]:
        return ()

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(instance for instance, _ in self.rows.values())

    async def create(self, request: CreateRequest) -> Instance:
        id = f"i-{request.token.lower()}"
        number = len(self.rows) + 10
        made = Instance(
            id=id,
            machine_id=request.machine_id,
            attempt=request.attempt,
            name=request.name,
            role=request.role,
            state=InstanceState.RUNNING,
            provider_id=f"aws:///eu-central-1a/{id}",
            node_name=f"ip-10-77-0-{number}.eu-central-1.compute.internal",
            zone="eu-central-1a",
            addresses=(("InternalIP", f"10.77.0.{number}"),),
        )
        return self.rows.setdefault(id, (made, request.user_data))[0]

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        self.rows.pop(instance.id, None)

    async def restart(self, ref: ClusterRef, instance: Instance) -> None:
        raise Rejected("nobody restarts here")

    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        return None

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        self.stashed[key] = blob
        return Stashed(key, f"http://127.0.0.1:{STASH_PORT}/{key}")

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """What is stashed, over HTTP."""
        body = self.stashed.get(str(scope["path"]).removeprefix("/"))
        await reply(send, 403 if body is None else 200, body or b"")

    async def unstash(self, ref: ClusterRef, key: str) -> None:
        self.stashed.pop(key, None)

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return tuple(Owned("instance", id, "") for id in self.rows)

    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        self.rows.pop(owned.id, None)


def _hardware(instance: Instance, user_data: bytes) -> Hardware:
    return Hardware(
        instance_id=instance.id,
        machine_id=instance.machine_id,
        name=instance.name,
        hostname=instance.node_name,
        node_name=instance.node_name,
        provider_id=instance.provider_id,
        zone=instance.zone,
        addresses=instance.addresses,
        devices=("/dev/xvda", "/dev/xvdf"),
        platform="aws",
        user_data=user_data,
    )


def test_machines_boot_from_their_user_data_and_the_cluster_is_reached_by_its_certificates(
    stage: Stage, tmp_path: Path
):
    wanted = load([str(ROOT / "examples/aws.yaml")]).wanted

    async def play() -> None:
        desk, steps = Desk(), list[Step]()
        clients, world = HttpClients(RealWorld()), RealWorld()
        seams = Seams(
            world=world,
            cloud=desk,
            store=open_memory(world),
            clients=clients,
            feeds=HttpFeeds(FEED),
            holder="test",
            on_step=steps.append,
        )
        room = Room(desk, tmp_path, speed=60)
        stash = await start(desk, listener(port=STASH_PORT))
        living = asyncio.create_task(room.run())
        try:
            await _life(seams, desk, wanted)
        except BaseException:
            print(*steps[-20:], *desk.consoles.values(), sep="\n")
            raise
        finally:
            living.cancel()
            with suppress(asyncio.CancelledError):
                await living
            await stash.close()
            await clients.close()

    stage.run(play)


async def _life(seams: Seams, desk: Desk, wanted: Wanted) -> None:
    _, outcome = await commands.bring_up(seams, wanted, SECONDS)
    assert outcome.done, outcome
    record = await records.load(seams.store, "web")
    assert record is not None and record.endpoint is not None
    api = await commands.connect(seams, record)
    assert len((await api.list(NODES)).items) == 7
    with pytest.raises((httpx2.TransportError, ssl.SSLError)):
        await _as_nobody()
    outcome = await commands.scale(seams, "web", "general-a", 1, SECONDS)
    assert outcome.done, outcome
    assert len((await api.list(NODES)).items) == 6
    outcome = await commands.take_down(seams, "web", SECONDS)
    assert outcome.gone, outcome
    assert not desk.rows and desk.backends is None and not desk.network


async def _as_nobody() -> None:
    """Somebody without a client certificate."""
    async with httpx2.AsyncClient(verify=False, trust_env=False) as client:
        await client.get("https://10.77.0.9:6443/api/v1/nodes")
