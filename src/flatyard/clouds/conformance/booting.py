"""A simulated machine boots from the user data that the cloud hands out, and joins: from render to node.

The config is the real one, rendered with the cloud's traits for the network, the endpoint and the image that the
adapter tells, and delivered as the engine does it. What stands in the machine's place is `flatyard.sim`: no kubelet
runs. Its hardware is what the adapter's own instance and traits say, so it shows that these agree with the config and
not what the cloud's real metadata service or devices are called.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from flatyard.base.errors import Failed
from flatyard.base.world import SeededWorld
from flatyard.clouds.cloud import CreateRequest, Endpoint, Instance, Network, Role
from flatyard.clouds.conformance.bench import Bench, Check, emptied, persistently, request, shown
from flatyard.clouds.delivery import deliver, raw_limit
from flatyard.ignition import Config
from flatyard.ignition.build import config, file
from flatyard.ignition.dataurl import inline
from flatyard.ignition.encode import encode
from flatyard.ignition.fetch import FetchError
from flatyard.ignition.types import HttpHeader
from flatyard.kube.api import Conflict, Verdict
from flatyard.kube.resources import CERTIFICATE_SIGNING_REQUESTS, NODES
from flatyard.model.traits import NodeTraits, StashScheme
from flatyard.node.inputs import (
    Bootstrap,
    ClusterSettings,
    Init,
    JoinWorker,
    MachineIdentity,
    MachineToken,
    NodeRole,
    PoolSettings,
    Vip,
)
from flatyard.node.render import render
from flatyard.pki import BootstrapToken, new_secrets
from flatyard.sim.hardware import Hardware
from flatyard.sim.kubernetes import SimKubernetes
from flatyard.sim.machine import Phase, SimMachine
from flatyard.sim.timings import at_once
from flatyard.sysext.simulated import simulated_feed, simulated_image

KUBERNETES = "v1.34.3"
PLANE, WORKER = 1, 2
"""Which machines they are, by number."""
SECONDS = 600.0
"""How long a machine may take to boot and join; simulated ones are through in less than one."""
TOKEN = BootstrapToken("conf01", "c0nf0rmancet0ken")


@dataclass(frozen=True, slots=True)
class Sent:
    """A machine that was made, what it was made with, and the key of what is stashed for it."""

    request: CreateRequest
    instance: Instance
    user_data: bytes
    key: str


class Room:
    """Simulated machines in a bench's instances, and the one simulated cluster that they make."""

    def __init__(self, bench: Bench, network: Network, endpoint: Endpoint) -> None:
        self._bench, self._network, self._endpoint = bench, network, endpoint
        self._world = SeededWorld(1, asyncio.get_running_loop().time)
        self._timings = replace(at_once(), retry=0.1, status_delay=0.1)
        self.kubernetes = SimKubernetes(self._world, timings=self._timings)
        self.secrets = new_secrets(self._world)
        self._feed = simulated_feed()
        self._made: list[SimMachine] = []

    @property
    def secret(self) -> bytes:
        """The key of the cluster's authority, as a config has it."""
        return (inline(self.secrets.kubernetes.key).source or "").encode()

    # ---- what is sent

    async def send(self, number: int, role: Role, *extras: Config) -> Sent:
        """Make the number-th machine of the cluster, as the engine does it."""
        wanted = await request(self._bench, number, network=self._network)
        name = f"{role}-{number:04d}"
        rendered = self._render(wanted.machine_id, name, role, extras)
        cloud, key = self._bench.cloud, f"first-boot/{wanted.machine_id}-1"
        user_data, stashed = await deliver(cloud, self._bench.ref, name, role, rendered, key)
        wanted = replace(
            wanted, name=name, role=role, pool=role.value, user_data=user_data, stash_key=stashed
        )
        made = await persistently(self._bench, lambda: cloud.create(wanted))
        await self._bench.wait(300)
        return Sent(wanted, await shown(self._bench, made), self._bench.user_data(made), stashed)

    def _render(self, machine_id: str, name: str, role: Role, extras: tuple[Config, ...]) -> Config:
        pool = PoolSettings(
            role=NodeRole(role.value),
            name=role.value,
            kubelet=KUBERNETES,
            image=self._feed.image(KUBERNETES),
            extras=extras,
        )
        identity = MachineIdentity(id=machine_id, name=name)
        return render(self._cluster(), pool, identity, self._traits, self._bootstrap(role))

    @property
    def _traits(self) -> NodeTraits:
        return self._bench.cloud.traits.for_size(self._bench.machine.size)

    def _cluster(self) -> ClusterSettings:
        spec, endpoint = self._bench.cluster.spec, self._endpoint
        held = endpoint.held or spec.endpoint.kind == "vip"
        return ClusterSettings(
            name=self._bench.ref.name,
            id=self._bench.ref.id,
            kubernetes=KUBERNETES,
            endpoint_host=endpoint.host,
            endpoint_port=endpoint.port,
            endpoint_address=endpoint.address if held else "",
            files=self._bench.cloud.node_files(self._bench.ref, self._network),
            vip=Vip(spec.endpoint.address or endpoint.address) if held else None,
        )

    def _bootstrap(self, role: Role) -> Bootstrap:
        if role is Role.WORKER:
            return JoinWorker(TOKEN, self.secrets.pin)
        return Init(self.secrets, (MachineToken(TOKEN, self._bench.machine_id(WORKER)),))

    # ---- what boots

    async def boots(self, sent: Sent) -> None:
        """Power goes on, and the machine becomes the node that its cloud says."""
        machine = self._machine(sent)
        await self._until_it_is_what_it_will_be(machine)
        why = machine.evidence
        assert machine.phase is Phase.JOINED, f"{sent.request.name} has not joined: {why}"
        nodes = await self._nodes()
        name, expected = sent.instance.node_name, self._provider_ids(sent.instance)
        assert name in nodes, (
            f"{sent.request.name} is shown as node {name}, and it has joined as {list(nodes)}"
        )
        assert nodes[name] in expected, f"{name} is shown as {expected[0]}, and says {nodes[name]!r}"

    async def _nodes(self) -> dict[str, str]:
        """Each node's providerID, once as many have registered as machines have joined."""
        joined = sum(machine.phase is Phase.JOINED for machine in self._made)
        async with asyncio.timeout(SECONDS):
            while len(found := (await self.kubernetes.client().list(NODES)).items) < joined:
                await asyncio.sleep(0.05)
        return {node.name: node.spec.get("providerID", "") for node in found}

    async def has_a_control_plane(self) -> None:
        """One that is in no cloud: for checks that are not about it."""
        traits = self._traits
        config = self._render(self._bench.machine_id(PLANE), "control-plane", Role.CONTROL_PLANE, ())
        hardware = Hardware(
            instance_id="control-plane",
            node_name="control-plane",
            addresses=(("InternalIP", "192.0.2.1"),),
            devices=_devices(traits),
            platform=traits.ignition_platform,
            user_data=encode(config),
        )
        machine = self._power(hardware)
        await self._until_it_is_what_it_will_be(machine)
        assert machine.phase is Phase.JOINED, f"the suite's own control plane says {machine.evidence}"

    async def does_not_boot(self, sent: Sent) -> str:
        """Power goes on, and Ignition gives up; its last words."""
        machine = self._machine(sent)
        await self._until_it_is_what_it_will_be(machine)
        assert machine.phase is Phase.EMERGENCY, f"{sent.request.name} has come as far as {machine.phase}"
        return "\n".join(machine.evidence.lines if machine.evidence else ())

    def _provider_ids(self, instance: Instance) -> tuple[str, ...]:
        """What the node may say; nothing, where the cloud's controller manager fills it in."""
        filled_in = self._bench.cloud.traits.external_cloud_provider
        return (instance.provider_id, "") if filled_in else (instance.provider_id,)

    def _machine(self, sent: Sent) -> SimMachine:
        traits, shown = self._traits, sent.instance
        hardware = Hardware(
            instance_id=shown.id,
            machine_id=shown.machine_id,
            name=shown.name,
            hostname=shown.name,
            node_name=shown.node_name,
            provider_id=shown.provider_id,
            zone=shown.zone,
            addresses=shown.addresses,
            devices=_devices(traits),
            platform=traits.ignition_platform,
            user_data=sent.user_data,
        )
        return self._power(hardware)

    def _power(self, hardware: Hardware) -> SimMachine:
        machine = SimMachine(
            hardware,
            kubernetes=self.kubernetes,
            fetch=self,
            reach=self._reach,
            world=self._world,
            timings=self._timings,
            console=lambda _: None,
        )
        self._made.append(machine)
        return machine

    async def _until_it_is_what_it_will_be(self, machine: SimMachine) -> None:
        machine.power_on()
        async with asyncio.timeout(SECONDS):
            while machine.phase is Phase.NEW and machine.evidence is None:
                await self._approve()
                await asyncio.sleep(0.05)

    async def _approve(self) -> None:
        """As the engine does for the machines that it knows; here every machine is one."""
        api = self.kubernetes.client()
        if not self.kubernetes.available:
            return
        for asked in (await api.list(CERTIFICATE_SIGNING_REQUESTS)).items:
            if not asked.status.get("conditions"):
                with suppress(Conflict):
                    await api.approve(asked, Verdict(True, "Conformance", "the suite made the machine"))

    def _reach(self, host: str, port: int) -> str:
        """The network: the endpoint, once a control plane serves behind it."""
        mine = host in (self._endpoint.host, self._endpoint.address) and port == self._endpoint.port
        return "" if mine and self.kubernetes.up else f"dial tcp {host}:{port}: connect: connection refused"

    async def fetch(self, url: str, headers: tuple[HttpHeader, ...]) -> bytes:
        """The Kubernetes extension, which is a simulated one; everything else from the cloud."""
        if url == self._feed.image(KUBERNETES).url:
            return simulated_image(KUBERNETES)
        try:
            return await self._bench.read(url)
        except FetchError as no:
            raise FetchError(str(no)) from None  # whatever is wrong, waiting would not show it here

    async def __aenter__(self) -> Room:
        await self.kubernetes.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for machine in self._made:
            machine.close()
        await self.kubernetes.stop()


def _devices(traits: NodeTraits) -> tuple[str, ...]:
    return tuple(device for device in (traits.root_device, traits.etcd_device) if device)


@asynccontextmanager
async def _room(bench: Bench, *, endpoint: bool = False) -> AsyncIterator[Room]:
    """With the network of the bench's cluster, and its endpoint where one is asked for; all is deleted again."""
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    made = Endpoint("api.conformance.test", bench.cluster.spec.endpoint.port, hairpin=True)
    if endpoint:
        made = await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())
    async with Room(bench, network, made) as room:
        yield room
    await emptied(bench)


async def machines_boot_from_their_user_data_and_join(bench: Bench) -> None:
    async with _room(bench, endpoint=True) as room:
        await room.boots(await room.send(PLANE, Role.CONTROL_PLANE))
        await room.boots(await room.send(WORKER, Role.WORKER))


async def a_config_beyond_the_limit_is_fetched_or_refused(bench: Bench) -> None:
    noise = SeededWorld(1, lambda: 0.0).random_bytes(raw_limit(bench.cloud.limits))
    large = config(files=[file("/opt/large", noise)])
    async with _room(bench) as room:
        if bench.cloud.traits.stash is StashScheme.NONE:
            await _refuses(room, large)
            return
        await room.has_a_control_plane()
        sent = await room.send(WORKER, Role.WORKER, large)
        assert sent.key and len(sent.user_data) <= raw_limit(bench.cloud.limits), "it was sent as it is"
        await room.boots(sent)


async def _refuses(room: Room, large: Config) -> None:
    """There is no object store: the refusal names what takes the room."""
    try:
        await room.send(WORKER, Role.WORKER, large)
    except Failed as no:
        assert "/opt/large" in str(no), f"the refusal does not name the largest entry: {no}"
    else:
        raise AssertionError("a config beyond the limit was sent")


async def first_boot_secrets_are_gone_after_the_join(bench: Bench) -> None:
    """A control plane's keys: whoever finds its user data later finds no key with it."""
    async with _room(bench) as room:
        sent = await room.send(PLANE, Role.CONTROL_PLANE)
        await room.boots(sent)
        if not sent.key:
            assert bench.cloud.traits.user_data_vanishes, "the keys are in user data that stays"
            return
        assert room.secret not in sent.user_data, "the keys are in the user data, which stays"
        await bench.restarted().unstash(bench.ref, sent.key)
        said = await room.does_not_boot(sent)
        assert "failed to fetch" in said, f"the keys are gone, and Ignition says {said}"


CHECKS: tuple[Check, ...] = (
    machines_boot_from_their_user_data_and_join,
    a_config_beyond_the_limit_is_fetched_or_refused,
    first_boot_secrets_are_gone_after_the_join,
)
