"""A small laboratory: one cluster, machines with their real rendered Ignition, and a network without surprises."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from flatyard.base.world import SeededWorld
from flatyard.ignition import Config, encode
from flatyard.ignition.fetch import FetchError
from flatyard.ignition.types import HttpHeader
from flatyard.kube import resources as r
from flatyard.kube.api import EventType, Json, Object, Verdict
from flatyard.kube.shelf import Change
from flatyard.model.traits import MetadataBlock, NodeTraits, ProviderIdSource
from flatyard.node.evidence import Report, parse_console
from flatyard.node.inputs import (
    Bootstrap,
    ClusterSettings,
    Init,
    JoinControlPlane,
    JoinWorker,
    MachineIdentity,
    MachineToken,
    NodeRole,
    PoolSettings,
)
from flatyard.node.render import prepare, render
from flatyard.pki import BootstrapToken
from flatyard.pki.secrets import ClusterSecrets, new_secrets
from flatyard.sim.disk import Disk, MemoryDisk
from flatyard.sim.hardware import Hardware
from flatyard.sim.kubernetes import SimKubernetes
from flatyard.sim.loop import VirtualLoop, run
from flatyard.sim.machine import Memory, SimMachine
from flatyard.sim.timings import Timings
from flatyard.sysext.feed import SysextImage
from flatyard.sysext.simulated import simulated_image

T = TypeVar("T")
VERSION = "v1.34.3"
ENDPOINT = "api.prod.test"
IMAGE_URL = "https://extensions.flatcar.org/extensions/kubernetes/kubernetes-v1.34.3-x86-64.raw"
TRAITS = NodeTraits(
    cloud="aws",
    provider_id=ProviderIdSource.METADATA,
    provider_id_format="aws:///{zone}/{id}",
    metadata_block=MetadataBlock.HOP_LIMIT,
    etcd_device="/dev/xvdf",
)
FLANNEL: Json = {
    "metadata": {"name": "kube-flannel-ds", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"app": "flannel"}},
        "template": {
            "metadata": {"labels": {"app": "flannel"}},
            "spec": {
                "hostNetwork": True,
                "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
                "containers": [{"name": "kube-flannel", "image": "ghcr.io/flannel-io/flannel:v0.27.4"}],
                "volumes": [{"name": "cni", "hostPath": {"path": "/etc/cni/net.d"}}],
            },
        },
    },
}


@dataclass
class Internet:
    """What machines can fetch; `refusals` maps an address to the error it gives."""

    pages: dict[str, bytes] = field(default_factory=lambda: {IMAGE_URL: simulated_image(VERSION)})
    refusals: dict[str, FetchError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        self.asked.append(url)
        if url in self.refusals:
            raise self.refusals[url]
        if url not in self.pages:
            raise FetchError("resource not found")
        return self.pages[url]


class Lab:
    """One simulated cluster in the running loop, and whatever machines a test puts into it."""

    def __init__(self, seed: int = 1, *, timings: Timings | None = None, disk: Disk | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.world = SeededWorld(seed, self.loop.time)
        self.timings = timings or Timings()
        self.disk = disk or MemoryDisk()
        self.internet = Internet()
        self.kubernetes = SimKubernetes(self.world, self.disk, timings=self.timings)
        self.secrets: ClusterSecrets = new_secrets(self.world)
        self.tokens: dict[str, BootstrapToken] = {}
        self.machines: dict[str, SimMachine] = {}
        self.consoles: dict[str, list[str]] = {}
        self.memories: dict[str, Memory] = {}
        self.hairpin = True
        self.given: dict[str, Any] = {}
        self.api = self.kubernetes.client()
        self.approvals: list[asyncio.Task[Object]] = []
        self.approve_requests()

    def approve_requests(self) -> None:
        """What the engine does for the machines that it knows, here for every machine."""

        def observe(change: Change) -> None:
            if change.kind.resource == r.CERTIFICATE_SIGNING_REQUESTS and change.type is EventType.ADDED:
                approving = self.api.approve(
                    change.object, Verdict(True, "InTheLab", "every machine is known")
                )
                self.approvals.append(self.loop.create_task(approving))

        self.kubernetes.api.storage.observers.append(observe)

    # ---- configs

    def token(self, name: str) -> BootstrapToken:
        if name not in self.tokens:
            number = len(self.tokens)
            self.tokens[name] = BootstrapToken(f"t{number:05}", f"{number:016}")
        return self.tokens[name]

    def settings(self) -> ClusterSettings:
        given: dict[str, Any] = {"name": "prod", "id": "c1", "kubernetes": VERSION, "endpoint_host": ENDPOINT}
        return ClusterSettings(**{**given, **self.given})

    def pool(self, role: NodeRole, **changes: Any) -> PoolSettings:
        digest = hashlib.sha256(simulated_image(VERSION)).hexdigest()
        image = SysextImage(VERSION, "amd64", IMAGE_URL, digest)
        return replace(PoolSettings(role=role, name=role.value, kubelet=VERSION, image=image), **changes)

    def config(self, name: str, bootstrap: Bootstrap, role: NodeRole, traits: NodeTraits = TRAITS) -> Config:
        machine = MachineIdentity(id=f"m-{name}", name=name)
        return render(self.settings(), self.pool(role), machine, traits, bootstrap)

    control_plane_role = NodeRole.CONTROL_PLANE

    def init(self, *joining: str) -> Init:
        return Init(self.secrets, tuple(MachineToken(self.token(other), f"m-{other}") for other in joining))

    def first(self, name: str = "cp-0") -> Config:
        return self.config(name, self.init("worker-1", "cp-1"), NodeRole.CONTROL_PLANE)

    async def give_token(self, name: str) -> None:
        """What the engine does for a machine that comes later: a token of its own, as a Secret."""
        token = self.token(name)
        data = token.secret_data(f"m-{name}", self.world.later(1800))
        found = [s.name for s in (await self.api.list(r.SECRETS, "kube-system")).items]
        if token.secret_name not in found:
            metadata = {"name": token.secret_name, "namespace": "kube-system"}
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
            await self.api.create(
                r.SECRETS, {"metadata": metadata, "type": "bootstrap.kubernetes.io/token", "data": encoded}
            )

    def worker_data(self) -> Callable[[str], bytes]:
        """User data of many workers that share one token, from one template as the engine makes it."""
        template = prepare(self.settings(), self.pool(NodeRole.WORKER), TRAITS)
        join = JoinWorker(self.token("worker-1"), self.secrets.pin)
        return lambda name: encode(template.render(MachineIdentity(id=f"m-{name}", name=name), join))

    def control_plane(self, name: str, peer: str = "", traits: NodeTraits = TRAITS) -> Config:
        bootstrap = JoinControlPlane(self.secrets, self.token(name), peer)
        return self.config(name, bootstrap, NodeRole.CONTROL_PLANE, traits)

    def worker(self, name: str, **changes: Any) -> Config:
        bootstrap = replace(JoinWorker(self.token(name), self.secrets.pin), **changes)
        return self.config(name, bootstrap, NodeRole.WORKER)

    # ---- machines

    def hardware(self, name: str, user_data: bytes, **changes: Any) -> Hardware:
        number = len(self.machines) + 10
        given: dict[str, Any] = {
            "instance_id": f"i-{name}",
            "machine_id": f"m-{name}",
            "name": name,
            "hostname": name,
            "node_name": name,
            "provider_id": f"aws:///eu-central-1a/i-{name}",
            "zone": "eu-central-1a",
            "addresses": (("InternalIP", f"172.16.0.{number}"), ("InternalDNS", f"{name}.internal")),
            "devices": ("/dev/xvda", "/dev/xvdf"),
            "user_data": user_data,
        }
        return Hardware(**{**given, **changes})

    def boot(self, name: str, config: Config | bytes, **changes: Any) -> SimMachine:
        """Power a machine on."""
        data = config if isinstance(config, bytes) else encode(config)
        return self.power_on(self.hardware(name, data, **changes))

    def power_on(self, hardware: Hardware) -> SimMachine:
        name = hardware.name
        console = self.consoles.setdefault(name, [])

        def remember(memory: Memory) -> None:
            self.memories[name] = Memory.decode(memory.encode())

        machine = SimMachine(
            hardware,
            kubernetes=self.kubernetes,
            fetch=self.internet,
            reach=lambda host, port: self.reach(name, host),
            world=self.world,
            timings=self.timings,
            console=console.append,
            memory=self.memories.get(name, Memory()),
            remember=remember,
        )
        self.machines[name] = machine
        machine.power_on()
        return machine

    def reach(self, source: str, host: str) -> str:
        """The endpoint leads to every serving control plane; addresses lead to their machines."""
        if host == ENDPOINT:
            names = [name for name in self.kubernetes.state.members if self.hairpin or name != source]
        else:
            names = [m.node_name for m in self.machines.values() if host == m.hardware.address]
        if any(self.kubernetes.serving(name) for name in names):
            return ""
        return f"dial tcp {host}: connect: connection refused"

    # ---- looking

    def console(self, name: str) -> str:
        return "\n".join(self.consoles[name]) + "\n"

    def report(self, name: str) -> Report | None:
        """What the console tells, read as the engine reads it."""
        return parse_console(self.console(name))

    async def nodes(self) -> dict[str, Object]:
        return {node.name: node for node in (await self.api.list(r.NODES)).items}

    async def ready(self) -> dict[str, str]:
        return {
            name: next((c["status"] for c in node.status.get("conditions", ()) if c["type"] == "Ready"), "")
            for name, node in (await self.nodes()).items()
        }

    async def cluster(self, **settings: Any) -> None:
        """A first control plane and its network, ready."""
        self.given = settings
        self.boot("cp-0", self.first())
        await asyncio.sleep(300)
        await self.api.create(r.DAEMON_SETS, FLANNEL)
        await asyncio.sleep(60)


Story = Callable[[Lab], Coroutine[Any, Any, T]]


@pytest.fixture
def play() -> Callable[..., Any]:
    """Run a story in simulated time, with a laboratory of its own."""

    def player(story: Story[T], *, seed: int = 1, until: float = 86_400.0, **given: Any) -> T:
        async def main() -> T:
            lab = Lab(seed, **given)
            await lab.kubernetes.start()
            try:
                return await story(lab)
            finally:
                await lab.kubernetes.stop()

        return run(main(), until=until, loop=VirtualLoop())

    return player
