"""A whole simulated region at work: the provider, the machines in its instances, and the cluster they make.

This is the wiring that the background process, rehearsals and tests share. What happens in it is on one disk, so
a region on the same disk goes on where the last one was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from flatyard.base.world import World
from flatyard.clouds.cloud import Endpoint
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.door import Faults
from flatyard.clouds.sim.faults import Fault
from flatyard.clouds.sim.power import Power
from flatyard.clouds.sim.twin import twin
from flatyard.kube import crds
from flatyard.kube.api import Api
from flatyard.kube.etcd import EtcdHost, EtcdMembers
from flatyard.kube.kinds import BUILT_IN
from flatyard.model.cluster import Cluster
from flatyard.node.milestones import Milestone
from flatyard.pki import ClusterSecrets
from flatyard.sim.apiserver.admission import SchemaAdmission
from flatyard.sim.apiserver.definitions import Definitions
from flatyard.sim.disk import Disk
from flatyard.sim.hardware import Hardware
from flatyard.sim.kubernetes import SimKubernetes
from flatyard.sim.machine import Memory, Phase, SimMachine
from flatyard.sim.timings import Timings
from flatyard.sysext.feed import Feed
from flatyard.sysext.layout import BAKERY
from flatyard.sysext.simulated import simulated_feed

_MEMORIES = "machines/"

Tamper = Callable[[Power], bytes]
"""What a machine finds as its user data instead of what was sent: for tests of what then happens."""


class SimulatedMachines:
    """What runs in the instances: one simulated machine each, which joins the one simulated cluster."""

    def __init__(
        self,
        world: World,
        disk: Disk,
        kubernetes: SimKubernetes,
        timings: Timings,
        tamper: Tamper | None,
    ) -> None:
        self._world = world
        self._disk = disk
        self._kubernetes = kubernetes
        self._timings = timings
        self._tamper = tamper
        self._provider: Provider | None = None
        self.machines: dict[str, SimMachine] = {}

    def attach(self, provider: Provider) -> None:
        """The provider whose network and objects the machines reach."""
        self._provider = provider

    def start(self, power: Power) -> None:
        machine = self.machines.get(power.instance_id) or self._make(power)
        self.machines[power.instance_id] = machine
        machine.power_on()

    def stop(self, instance_id: str) -> None:
        machine = self.machines.pop(instance_id, None)
        if machine is not None:
            machine.power_off()
        self._disk.delete(_MEMORIES + instance_id)

    def cut(self, instance_id: str) -> None:
        machine = self.machines.get(instance_id)
        if machine is not None:
            machine.power_off()

    def restart(self, instance_id: str) -> None:
        machine = self.machines.get(instance_id)
        if machine is not None:
            machine.restart()

    def milestones(self, instance_id: str) -> Mapping[Milestone, str]:
        """When a machine's first boot reached what, as the machine itself stamped it."""
        machine = self.machines.get(instance_id)
        stamps = machine.memory.stamps if machine else {}
        return {Milestone(name): stamp for name, stamp in stamps.items()}

    def close(self) -> None:
        for machine in self.machines.values():
            machine.close()

    def _make(self, power: Power) -> SimMachine:
        assert self._provider is not None
        key = _MEMORIES + power.instance_id
        kept = next((value for name, value in self._disk.items(key) if name == key), None)
        found = replace(power, user_data=self._tamper(power)) if self._tamper else power
        return SimMachine(
            Hardware.of(found),
            kubernetes=self._kubernetes,
            fetch=power.fetcher,
            reach=self._reach,
            world=self._world,
            timings=self._timings,
            console=power.console,
            memory=Memory.decode(kept) if kept else Memory(),
            remember=lambda memory: self._remember(power.instance_id, memory),
        )

    def _remember(self, instance_id: str, memory: Memory) -> None:
        assert self._provider is not None
        self._disk.put(_MEMORIES + instance_id, memory.encode())
        if memory.phase is Phase.JOINED and self._provider.persona.facts.user_data.vanishes:
            self._provider.compute.forget_user_data(instance_id)

    def _reach(self, host: str, port: int) -> str:
        """A TCP connection through the network: to an endpoint's healthy backends, or to a machine's address."""
        assert self._provider is not None
        backends = [self.machines.get(i) for i in self._provider.networks.backends(host)]
        direct = [m for m in self.machines.values() if m.hardware.address == host] if not backends else []
        if any(m is not None and self._kubernetes.serving(m.node_name) for m in (*backends, *direct)):
            return ""
        return f"dial tcp {host}:{port}: connect: connection refused"


class SimulatedClients:
    """Clients of the simulated cluster; they trust its CA only."""

    def __init__(self, kubernetes: SimKubernetes) -> None:
        self._kubernetes = kubernetes

    def connect(self, endpoint: Endpoint, secrets: ClusterSecrets) -> Api:
        return self._kubernetes.client()

    def etcd(
        self, endpoint: Endpoint | None, hosts: tuple[EtcdHost, ...], secrets: ClusterSecrets
    ) -> EtcdMembers:
        return self._kubernetes.etcd()


class SimulatedFeeds:
    """The hashes of the simulated Kubernetes extensions, which the simulated machines fetch."""

    async def feed(self, base: str) -> Feed:
        return simulated_feed(base=base or BAKERY)


class Region:
    """One account in one region of a cloud's twin. `start` it in the running loop, `stop` it at the end.

    `faults` stands at the provider's door (tests), `troubles` are those of `rehearse --fault`.
    """

    def __init__(
        self,
        cluster: Cluster,
        world: World,
        disk: Disk,
        *,
        faults: Faults | None = None,
        troubles: Sequence[Fault] = (),
        timings: Timings = Timings(),  # noqa: B008 - frozen
        tamper: Tamper | None = None,
    ) -> None:
        admission = SchemaAdmission()
        kinds = (*BUILT_IN, *crds.kinds())
        self.kubernetes = SimKubernetes(world, disk, kinds=kinds, timings=timings, admission=admission)
        admission.storage = self.kubernetes.api.storage
        self.kubernetes.api.add(Definitions(self.kubernetes.api))
        self.machines = SimulatedMachines(world, disk, self.kubernetes, timings, tamper)
        self._twin = twin(cluster, world, disk, machines=self.machines, faults=troubles, hook=faults)
        self.provider = self._twin.provider
        self.machines.attach(self.provider)
        self.cloud = self._twin.cloud
        self.clients = SimulatedClients(self.kubernetes)
        self.feeds = SimulatedFeeds()

    async def start(self) -> None:
        """Take up, in the running loop, where the disk says it was left."""
        await self.kubernetes.start()
        self._twin.open()

    async def stop(self) -> None:
        """Stop every timer and task; nothing on the disk changes."""
        self._twin.close()
        self.machines.close()
        await self.kubernetes.stop()

    def left_over(self) -> tuple[str, ...]:
        """What the account still holds, as `kind id`: empty after `down`."""
        return tuple(
            f"{type(row).__name__.removesuffix('Row').lower()} {row.id}" for row in self.provider.left_over()
        )
