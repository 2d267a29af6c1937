"""The machine room beside an emulator: what runs in the instances that the emulator only keeps books of.

It asks the emulator itself, through a `Window`, which instances there are, and boots a simulated machine for each from
the user data that the emulator hands out. The machines make one simulated Kubernetes cluster, which is served as a real
one is: TLS with the cluster's own certificates on port 6443, client certificates asked for, etcd's membership on port
2379 of each control plane's address. Ignition fetches over real HTTP in the namespace. No kubelet runs anywhere.

    python -m emulators.room emulators.window_aws FOLDER     in the namespace of a Stage, with tests/ on the path

Steered by the environment: ROOM_EVERY, ROOM_SPEED, ROOM_SHOWS.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from flatyard.base.serving import Server, Tls, listener, start
from flatyard.base.world import RealWorld
from flatyard.flatcar import releases
from flatyard.ignition.fetch import FetchError
from flatyard.ignition.http import HttpFetcher
from flatyard.ignition.types import HttpHeader
from flatyard.kube import crds
from flatyard.kube.etcd import EtcdError, EtcdRefused, EtcdSilent
from flatyard.kube.kinds import BUILT_IN
from flatyard.node import layout
from flatyard.pki.keys import Authority
from flatyard.sim.apiserver.admission import SchemaAdmission
from flatyard.sim.apiserver.definitions import Definitions
from flatyard.sim.apiserver.server import ApiServer
from flatyard.sim.hardware import Hardware
from flatyard.sim.kubernetes import SimKubernetes, read_init
from flatyard.sim.kubernetes.kubeadm import KubeadmError
from flatyard.sim.machine import SimMachine
from flatyard.sim.timings import Spread, Timings
from flatyard.sysext.layout import NOOP_CONF, transfer_conf
from flatyard.sysext.simulated import simulated_feed, simulated_image

EVERY = float(os.environ.get("ROOM_EVERY", "0.5"))
"""Seconds between two looks; emulators that share two processors with everything else want fewer."""
API_PORT, ETCD_PORT, FEED_PORT = 6443, 2379, 8099
FEED = f"http://127.0.0.1:{FEED_PORT}"
HOSTS = Path("/etc/hosts")
SHOWN = tuple(os.environ.get("ROOM_SHOWS", "").split())
"""Paths on machines that tests ask for: each machine's files there are in FOLDER/MACHINE.files, with their modes."""
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance as the emulator shows it. `hardware` has its user data exactly as the machine would read it.

    `boots` counts the restarts that were asked for, where the emulator tells of them.
    """

    hardware: Hardware = field(repr=False)
    running: bool
    boots: int = 1

    @property
    def id(self) -> str:
        return self.hardware.instance_id


class Window(Protocol):
    """How the room looks into one emulator: by its API, with none of the code that is tested."""

    async def instances(self) -> tuple[Seen, ...]:
        """Every instance that exists: those that are gone for good are not among them."""
        ...

    async def endpoints(self) -> Mapping[str, tuple[str, ...]]:
        """The load balancers' names or addresses, each with the ids of the instances behind it."""
        ...

    async def console(self, instance_id: str, more: str) -> None:
        """What an instance's console says, after what it said before."""
        ...

    async def read(self, url: str) -> bytes:
        """What a machine reads with its own role, such as s3://. Raises FetchError."""
        ...


def timings(speed: float) -> Timings:
    """Durations of machines that are so many times faster; deadlines stay."""
    found = Timings()
    spreads = {f.name: getattr(found, f.name) for f in fields(Timings) if f.type == "Spread"}
    faster = {name: Spread(s.low / speed, s.high / speed) for name, s in spreads.items()}
    return replace(found, **faster, retry=found.retry / speed, node_grace=max(2.0, found.node_grace / speed))


class Room:
    """The machines of one emulator. `folder` keeps the servers' keys."""

    def __init__(self, window: Window, folder: Path, *, speed: float = 20.0) -> None:
        self._window = window
        self._folder = folder
        self._world = RealWorld()
        self._timings = timings(speed)
        admission = SchemaAdmission()
        self.kubernetes = SimKubernetes(
            self._world, kinds=(*BUILT_IN, *crds.kinds()), timings=self._timings, admission=admission
        )
        admission.storage = self.kubernetes.api.storage
        self.kubernetes.api.add(Definitions(self.kubernetes.api))
        self.machines: dict[str, SimMachine] = {}
        self._boots: dict[str, int] = {}
        self._consoles: dict[str, list[str]] = {}
        self._written: dict[str, int] = {}
        self._endpoints: Mapping[str, tuple[str, ...]] = {}
        self._fetcher = HttpFetcher(seconds=20)
        self._own: dict[str, None] = {}
        self._api: tuple[str, Server] | None = None
        self._etcd: dict[str, Server] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        await self.kubernetes.start()
        feed = await start(feed_application, listener(port=FEED_PORT))
        try:
            while True:
                await self._look()
                await self._serve()
                await asyncio.sleep(EVERY)
        finally:
            for machine in self.machines.values():
                machine.close()
            await self.kubernetes.stop()
            await feed.close()
            await self._fetcher.close()
            for server in (*self._etcd.values(), *([self._api[1]] if self._api else [])):
                await server.close()

    # ---- machines

    async def _look(self) -> None:
        seen = {instance.id: instance for instance in await self._window.instances()}
        endpoints = await self._window.endpoints()
        if endpoints != self._endpoints:
            print(f"endpoints: {dict(endpoints)}", flush=True)
        self._endpoints = endpoints
        for name in self._endpoints:
            await self._resolve(name)
        for gone in [id for id in self.machines if id not in seen]:
            self.machines.pop(gone).power_off()
            print(f"{gone} is gone", flush=True)
        for instance in seen.values():
            await self._power(instance)
        for id, machine in self.machines.items():
            self._show(id, machine)
        for id, lines in self._consoles.items():
            (self._folder / f"{id.rpartition('/')[2]}.console").write_text("\n".join(lines))
            if id in seen and self._written.get(id, 0) < len(lines):
                more, self._written[id] = lines[self._written.get(id, 0) :], len(lines)
                await self._window.console(id, "\n".join(more) + "\n")

    def _show(self, id: str, machine: SimMachine) -> None:
        path = self._folder / f"{id.rpartition('/')[2]}.files"
        if not SHOWN or machine.boot is None or path.exists():
            return
        nodes = ((where, machine.boot.tree.get(where)) for where in SHOWN)
        found = {
            where: [node.mode & 0o7777, node.content.decode()] for where, node in nodes if node is not None
        }
        path.write_text(json.dumps(found))

    async def _power(self, seen: Seen) -> None:
        machine = self.machines.get(seen.id)
        if machine is None and seen.running:
            for _, address in seen.hardware.addresses:
                await self._own_address(address)
            machine = self.machines[seen.id] = self._make(seen)
            self._boots[seen.id] = seen.boots
            print(f"{seen.id} is switched on", flush=True)
            machine.power_on()
        elif machine is not None and machine.memory.on != seen.running:
            if seen.running:
                machine.power_on()
            else:
                machine.power_off()
        elif machine is not None and self._boots[seen.id] < seen.boots:
            self._boots[seen.id] = seen.boots
            machine.restart()

    def _make(self, seen: Seen) -> SimMachine:
        lines = self._consoles.setdefault(seen.id, [])
        return SimMachine(
            seen.hardware,
            kubernetes=self.kubernetes,
            fetch=self,
            reach=self._reach,
            world=self._world,
            timings=self._timings,
            console=lines.append,
            remember=lambda memory: print(f"{seen.id} {memory.phase} {memory.evidence or ''}", flush=True),
        )

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        """The network as Ignition sees it."""
        if url.startswith(("http://", "https://")):
            return await self._fetcher.fetch(url, headers)
        return await self._window.read(url)

    def _reach(self, host: str, port: int) -> str:
        """A TCP connection: to what is behind an endpoint, or to a machine's own address."""
        behind = [self.machines[id] for id in self._endpoints.get(host, ()) if id in self.machines]
        direct = [m for m in self.machines.values() if host in dict(m.hardware.addresses).values()]
        if any(self.kubernetes.serving(machine.node_name) for machine in (*behind, *direct)):
            return ""
        return f"dial tcp {host}:{port}: connect: connection refused"

    # ---- names and addresses of the namespace

    async def _own_address(self, address: str) -> None:
        if address.replace(".", "").isdigit() and address not in self._own:
            self._own[address] = None
            command = ("ip", "route", "replace", "local", f"{address}/32", "dev", "lo")
            process = await asyncio.create_subprocess_exec(*command)
            assert await process.wait() == 0, address

    async def _resolve(self, name: str) -> None:
        """An endpoint is where the API is served: its name is this machine's, or its address."""
        if name.replace(".", "").isdigit():
            await self._own_address(name)
        elif name and name not in self._own:
            self._own[name] = None
            with HOSTS.open("a") as hosts:  # in place: the file is mounted
                hosts.write(f"127.0.0.1 {name}\n")

    # ---- servers

    async def _serve(self) -> None:
        """Serve the API while it is available, and each control plane's etcd while its machine runs."""
        state = self.kubernetes.state
        wanted = state.origin if self.kubernetes.available else ""
        if self._api is not None and self._api[0] != wanted:
            await self._api[1].close()
            self._api = None
        planes = {m.node_name: m for m in self.machines.values() if m.node_name in self.kubernetes.up}
        if wanted and self._api is None and planes:
            self._api = wanted, await self._serve_api(next(iter(planes.values())))
        for name in [name for name in self._etcd if name not in planes]:
            await self._etcd.pop(name).close()
        for name, machine in planes.items():
            if name not in self._etcd:
                self._etcd[name] = await self._serve_etcd(machine)

    async def _serve_api(self, machine: SimMachine) -> Server:
        tls = self._tls("api", _authority(machine, ""), machine, _sans(machine))
        app = ApiServer(self.kubernetes.api, version=self.kubernetes.state.version)
        return await start(app, listener("0.0.0.0", API_PORT), tls=tls)

    async def _serve_etcd(self, machine: SimMachine) -> Server:
        tls = self._tls(f"etcd-{machine.node_name}", _authority(machine, "etcd/"), machine, ())
        return await start(
            EtcdGateway(self.kubernetes), listener(machine.hardware.address, ETCD_PORT), tls=tls
        )

    def _tls(self, name: str, authority: Authority, machine: SimMachine, names: tuple[str, ...]) -> Tls:
        """A server certificate as kubeadm makes it, and the authority that clients must have theirs from."""
        hosts = dict.fromkeys((machine.node_name, machine.hardware.address, "127.0.0.1", "localhost", *names))
        pair = authority.server(name, [host for host in hosts if host], self._world)
        made = Tls(*(self._folder / f"{name}.{end}" for end in ("crt", "key", "ca")))
        assert made.clients is not None
        for path, text in (
            (made.certificate, pair.certificate),
            (made.key, pair.key),
            (made.clients, authority.certificate),
        ):
            path.write_bytes(text)
        return made


def _authority(machine: SimMachine, folder: str) -> Authority:
    """An authority as it lies on a control plane's disk, where its user data or its stash has put it."""
    assert machine.boot is not None
    files = [machine.boot.tree.text(f"{layout.PKI_FOLDER}/{folder}ca.{end}") for end in ("crt", "key")]
    assert all(files), f"{machine.node_name} has no {folder}ca"
    return Authority(*((text or "").encode() for text in files))


def _sans(machine: SimMachine) -> tuple[str, ...]:
    """The names that the kubeadm file of a control plane asks for, and its endpoint."""
    assert machine.boot is not None
    for path in (layout.KUBEADM_READY_CONFIG, layout.KUBEADM_CONFIG):
        with suppress(KubeadmError):
            cluster = read_init(machine.boot.tree.text(path) or "").cluster
            asked = (cluster.raw.get("apiServer") or {}).get("certSANs") or ()
            return (cluster.endpoint.rpartition(":")[0], *map(str, asked))
    return ()


Send = Callable[[Message], Awaitable[None]]


async def feed_application(scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
    """A feed of simulated extensions, laid out as the bakery does."""
    if scope["type"] == "http":
        body = feed_file(str(scope["path"]).rpartition("/")[2])
        await reply(send, 404 if body is None else 200, body or b"")


def feed_file(name: str) -> bytes | None:
    """A file of the feed; None for what it has not."""
    arches = {"x86-64": "amd64", "arm64": "arm64"}
    shown = {arch: name for name, arch in arches.items()}
    if name == "SHA256SUMS":
        pins = simulated_feed().pins
        return "".join(f"{p.sha256}  kubernetes-{p.version}-{shown[p.arch]}.raw\n" for p in pins).encode()
    if name == "noop.conf":
        return NOOP_CONF.encode()
    if name.endswith(".conf"):
        return transfer_conf(name.removeprefix("kubernetes-").removesuffix(".conf") + ".0", FEED).encode()
    _, version, arch = (*name.removesuffix(".raw").split("-", 2), "", "")[:3]
    return simulated_image(version, arches[arch]) if arch in arches else None


@dataclass(frozen=True, slots=True)
class EtcdGateway:
    """etcd's JSON gateway as far as membership goes."""

    kubernetes: SimKubernetes

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        if scope["type"] != "http":
            return
        sent = json.loads((await receive()).get("body") or b"{}")
        try:
            found = await _etcd(self.kubernetes, str(scope["path"]), sent)
            await reply(send, 200, json.dumps(found).encode())
        except EtcdError as error:
            code, status = (9, 400) if isinstance(error, EtcdRefused) else (14, 503)
            await reply(send, status, json.dumps({"code": code, "message": error.what}).encode())


async def _etcd(kubernetes: SimKubernetes, path: str, sent: Message) -> Message:
    etcd = kubernetes.etcd()
    if path == "/v3/cluster/member/list":
        members = await etcd.list(agreed=bool(sent.get("linearizable", True)))
        return {
            "members": [
                {"ID": m.id, "name": m.name, "peerURLs": list(m.peer_urls), "isLearner": m.learner}
                for m in members
            ]
        }
    if path == "/v3/cluster/member/remove":
        await etcd.remove(str(sent["ID"]))
        return {}
    raise EtcdSilent(f"there is no {path}")


async def reply(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class NoOther:
    """A window's reader for clouds whose machines fetch by HTTP alone."""

    async def read(self, url: str) -> bytes:
        raise FetchError(f"{url}: there is no such scheme here")


def version_in(name: str) -> str:
    """The Flatcar version in an image's name (`Flatcar-stable-4593.2.5-hvm`); the newest stable where there is none."""
    words = name.replace("-", " ").replace("_", " ").split()
    named = (w for w in words if w.count(".") == 2 and w.replace(".", "").isdigit())
    return next(named, "") or releases.newest_release("stable").version


def main(window: str, folder: str) -> None:
    """The room of a window's module, which has `window() -> Window`."""
    made: Window = importlib.import_module(window).window()
    speed = float(os.environ.get("ROOM_SPEED", "20"))
    asyncio.run(Room(made, Path(folder), speed=speed).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
