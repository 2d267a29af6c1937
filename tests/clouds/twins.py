"""Benches of the simulated twins: for the conformance suite, and for adapters that fail it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from flatyard.base.world import CROCKFORD, SeededWorld
from flatyard.clouds import conformance
from flatyard.clouds.cloud import TAG_CLUSTER, Cloud, ClusterRef, Instance
from flatyard.clouds.conformance import Planted
from flatyard.clouds.facts import CloudFacts, Trouble
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.cloud import SimCloud
from flatyard.clouds.sim.door import Call, Lost, Op, refused
from flatyard.clouds.sim.images import ImageFilter
from flatyard.clouds.sim.orders import RunInstance
from flatyard.clouds.sim.persona import persona
from flatyard.clouds.tags import cluster_tags
from flatyard.decode.types import ConfigVar
from flatyard.ignition.fetch import FetchError
from flatyard.model import cluster as model
from flatyard.model.machines import (
    BY_CLOUD,
    AwsMachine,
    AzureMachine,
    GcpMachine,
    MachineSpec,
    OpenstackMachine,
)
from flatyard.model.meta import ObjectMeta
from flatyard.node.evidence import Report, format_report
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import VirtualLoop, run

TWINS = ("aws", "azure", "gcp", "openstack", "vsphere", "local")


def machine_of(twin: str) -> MachineSpec:
    if twin == "openstack":
        return OpenstackMachine(flavor=ConfigVar("m3.small"))
    return BY_CLOUD[twin]()


class CreateFaults:
    """What befalls the next creates: their replies are lost, or the cloud says no."""

    def __init__(self, facts: CloudFacts) -> None:
        self._facts = facts
        self.lost = 0
        self.refusals = 0
        self.trouble = Trouble.RATE

    async def before(self, call: Call) -> None:
        if call.op is Op.INSTANCE_RUN and self.refusals:
            self.refusals -= 1
            raise refused(self._facts, self.trouble, name=call.subject, retry_after=1.0)

    async def after(self, call: Call) -> None:
        if call.op is Op.INSTANCE_RUN and self.lost:
            self.lost -= 1
            raise Lost("the connection broke")


DEAREST = 2.0
"""Calls a second, as of EC2's RunInstances."""
NO_CREDENTIALS = "a simulated account takes no credentials"
OPEN_REGIONS = "installations of this cloud name their regions and zones themselves, and the simulation any"
NO_SIZES = "machines of this cloud have no sizes of its own, but CPUs and memory as they are given"
NO_ZONES = "this cloud has no zones"
CANNOT = {
    "openstack": {
        "preflight_finds_a_wrong_region": OPEN_REGIONS,
        "preflight_finds_a_wrong_zone": OPEN_REGIONS,
    },
    "vsphere": {
        "preflight_finds_a_wrong_region": OPEN_REGIONS,
        "preflight_finds_a_wrong_zone": NO_ZONES,
        "preflight_finds_a_wrong_size": NO_SIZES,
    },
    "local": {
        "preflight_finds_a_wrong_zone": NO_ZONES,
        "preflight_finds_a_wrong_size": NO_SIZES,
        "no_capacity_is_told": "this Linux machine has no capacity but its own",
    },
}


def cannot(twin: str) -> dict[str, str]:
    return {"preflight_finds_a_wrong_credential": NO_CREDENTIALS, **CANNOT.get(twin, {})}


def planted(right: model.Cluster, twin: str) -> tuple[Planted, ...]:
    """The right cluster, each time with one thing wrong."""
    machine = machine_of(twin)

    def spec(**changes: object) -> model.Cluster:
        return replace(right, spec=replace(right.spec, **changes))  # type: ignore[arg-type]

    def workers(machine: MachineSpec, replicas: int = 3) -> model.Cluster:
        return spec(workers=(model.WorkerPool(name="general", replicas=replicas, machine=machine),))

    nowhere = model.CloudChoice(sim=model.SimCloud(as_=twin, region="nowhere-1"))
    found = [
        Planted("region", spec(cloud=nowhere), "has no region 'nowhere-1'"),
        Planted("image", spec(flatcar=model.Flatcar(version="1000.0.0")), "no Flatcar image for 1000.0.0"),
        Planted("subnet", spec(network=model.Network(nodes="10.0.0.0/29")), "10.0.0.0/29 has room for"),
        Planted("quota", workers(machine, 1000), "the account may use 500 and uses 0"),
        Planted("name", replace(right, metadata=ObjectMeta(name="x" * 300)), "cannot be called so here"),
    ]
    if twin in WRONG_SIZES:
        found.append(Planted("size", workers(WRONG_SIZES[twin]), "has no size 'huge.9xl'"))
    if twin in WRONG_ZONES:
        found.append(Planted("zone", workers(WRONG_ZONES[twin]), "has no zone 'nowhere-1z'"))
    return tuple(found)


HUGE, NOWHERE = ConfigVar("huge.9xl"), ConfigVar("nowhere-1z")
WRONG_SIZES: dict[str, MachineSpec] = {
    "aws": AwsMachine(instance_type=HUGE),
    "azure": AzureMachine(vm_size=HUGE),
    "gcp": GcpMachine(machine_type=HUGE),
    "openstack": OpenstackMachine(flavor=HUGE),
}
WRONG_ZONES: dict[str, MachineSpec] = {
    "aws": AwsMachine(availability_zone=NOWHERE),
    "azure": AzureMachine(zones=("nowhere-1z",)),
    "gcp": GcpMachine(zone_name=NOWHERE),
}


class SimBench:
    """A simulated account in which time is simulated too."""

    beyond_a_page = 200

    def __init__(self, twin: str, loop: VirtualLoop, make: Callable[[Provider], SimCloud] = SimCloud) -> None:
        who = persona(twin)
        self._faults = CreateFaults(who.facts)
        self._make = make
        self.provider = Provider(who, SeededWorld(7, loop.time), MemoryDisk(), faults=self._faults)
        self.provider.account.set_quota("instances", 500)
        self.cloud: Cloud = make(self.provider)
        self.machine = machine_of(twin)
        self.ref = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
        self.other = ClusterRef("01JGFJJZ00BBBBBBBBBBBBBBBB", "test")
        self.cluster = model.Cluster(
            metadata=ObjectMeta(name="prod"),
            spec=model.ClusterSpec(
                cloud=model.CloudChoice(sim=model.SimCloud(as_=twin)),
                control_plane=model.ControlPlane(replicas=3, machine=self.machine),
                workers=(model.WorkerPool(name="general", replicas=3, machine=self.machine),),
            ),
        )

        self.cannot = cannot(twin)
        self.planted = planted(self.cluster, twin)

    def machine_id(self, number: int) -> str:
        return f"01JGFJJZ00CCCCCCCCCCCCCC{CROCKFORD[number // 32]}{CROCKFORD[number % 32]}"

    def restarted(self) -> Cloud:
        return self._make(self.provider)

    def lose_replies(self, count: int) -> None:
        self._faults.lost = count

    def trouble(self, what: Trouble, count: int) -> None:
        account = self.provider.account
        if account.facts.refusal(what).late:
            account.closed_zones = account.persona.region.zones if count else ()
        else:
            self._faults.trouble, self._faults.refusals = what, count

    def meter(self, on: bool) -> None:
        """At the rates of the cloud's facts always; when it is on, at those of the dearest of its actions."""
        behaviour = self.provider.persona.facts.behaviour
        self.provider.door.bucket.throttle(DEAREST if on else behaviour.calls_per_second)

    def lag(self, seconds: float) -> None:
        self.provider.account.list_lag = seconds

    def fail(self, instance: Instance) -> None:
        self.provider.compute.fail(instance.id, "NoValidHost: the host is gone")

    def end(self, instance: Instance) -> None:
        self.provider.compute.end(instance.id)

    def user_data(self, instance: Instance) -> bytes:
        return self.provider.compute.user_data(instance.id)

    def stray(self) -> str:
        own = cluster_tags(self.ref, self.provider.persona.facts.tags)
        return self.provider.networks.create_address("forgotten", "", "", own).id

    def borrowed(self) -> str:
        return self.provider.networks.create_address("foreign-address", "", "", {TAG_CLUSTER: self.ref.id}).id

    def remains(self, id: str) -> bool:
        return id in [row.id for row in self.provider.left_over()]

    def foreign(self, name: str) -> None:
        zone = self.provider.persona.region.zones[0]
        self.provider.networks.assume_network("theirs", {"theirs/nodes": zone}, "192.168.0.0/24")
        images = self.provider.images.list(ImageFilter(channel="stable", arch="amd64"))
        run_instance = RunInstance(
            name=f"foreign-{name}",
            token="",
            zone=zone,
            size=self.machine.size,
            image=images[0].id,
            subnet="theirs/nodes",
            groups=(),
            user_data=b"",
            vcpus=2,
            memory_mib=4096,
        )
        self.provider.compute.run(run_instance)

    def break_down(self, instance: Instance) -> None:
        report = Report("kubelet.service", "exit-code", ("kubelet: no such file or directory",))
        for line in format_report(report).splitlines():
            self.provider.consoles.write(instance.id, line)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def get(self, url: str) -> int:
        try:
            await self.provider.fetcher(1).fetch(url, ())
        except FetchError as no:
            return 403 if "403" in str(no) else 404
        return 200

    async def read(self, url: str) -> bytes:
        return await self.provider.fetcher(1).fetch(url, ())


def check(twin: str, named: conformance.Check, make: Callable[[Provider], SimCloud] = SimCloud) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        bench = SimBench(twin, loop, make)
        bench.provider.open()
        await named(bench)
        left = [row for row in bench.provider.left_over() if not row.name.startswith("foreign-")]
        assert not left, f"the check left {left}"

    run(main(), loop=loop)
