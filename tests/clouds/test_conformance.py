"""Every cloud that can be simulated passes the conformance suite; an adapter that breaks a promise does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from flatyard.base.world import CROCKFORD, SeededWorld
from flatyard.clouds import conformance
from flatyard.clouds.cloud import Cloud, ClusterRef, CreateRequest, Instance
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.cloud import SimCloud
from flatyard.clouds.sim.door import Call, Lost, Op
from flatyard.clouds.sim.images import ImageFilter
from flatyard.clouds.sim.orders import RunInstance
from flatyard.clouds.sim.persona import persona
from flatyard.decode.types import ConfigVar
from flatyard.ignition.fetch import FetchError
from flatyard.model import cluster as model
from flatyard.model.machines import BY_CLOUD, MachineSpec, OpenstackMachine
from flatyard.model.meta import ObjectMeta
from flatyard.node.evidence import Report, format_report
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import VirtualLoop, run

TWINS = ("aws", "azure", "gcp", "openstack", "vsphere", "local")


def machine_of(twin: str) -> MachineSpec:
    if twin == "openstack":
        return OpenstackMachine(flavor=ConfigVar("m3.small"))
    return BY_CLOUD[twin]()


class LosingFaults:
    """Loses the replies of the next creates."""

    def __init__(self) -> None:
        self.left = 0

    async def before(self, call: Call) -> None:
        return

    async def after(self, call: Call) -> None:
        if call.op is Op.INSTANCE_RUN and self.left:
            self.left -= 1
            raise Lost("the connection broke")


class SimBench:
    """A simulated account in which time is simulated too."""

    beyond_a_page = 60

    def __init__(self, twin: str, loop: VirtualLoop, make: Callable[[Provider], SimCloud] = SimCloud) -> None:
        self._faults = LosingFaults()
        self._make = make
        self.provider = Provider(persona(twin), SeededWorld(7, loop.time), MemoryDisk(), faults=self._faults)
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

    def machine_id(self, number: int) -> str:
        return f"01JGFJJZ00CCCCCCCCCCCCCC{CROCKFORD[number // 32]}{CROCKFORD[number % 32]}"

    def restarted(self) -> Cloud:
        return self._make(self.provider)

    def lose_replies(self, count: int) -> None:
        self._faults.left = count

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


def check(twin: str, named: conformance.Check, make: Callable[[Provider], SimCloud] = SimCloud) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        bench = SimBench(twin, loop, make)
        bench.provider.open()
        await named(bench)
        left = [row for row in bench.provider.left_over() if not row.name.startswith("foreign-")]
        assert not left, f"the check left {left}"

    run(main(), loop=loop)


@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("twin", TWINS)
def test_the_simulated_twin_conforms(twin: str, named: conformance.Check) -> None:
    check(twin, named)


class Careless(SimCloud):
    """An adapter that forgets the idempotency token: each call is a new create."""

    calls = 0

    def _key(self, request: CreateRequest) -> str:
        Careless.calls += 1
        return f"{request.machine_id}-{Careless.calls}"


@pytest.mark.parametrize("twin", ("aws", "openstack"))
def test_a_create_without_its_token_fails_the_suite(twin: str) -> None:
    with pytest.raises(AssertionError, match="same request made"):
        check(twin, conformance.create_twice_makes_one, Careless)


def test_a_sweep_that_forgets_something_fails_the_suite() -> None:
    class Forgetful(SimCloud):
        async def delete_endpoint(self, ref: ClusterRef) -> None:
            return

        async def delete_network(self, ref: ClusterRef) -> None:
            return

    with pytest.raises(AssertionError, match="left over"):
        check("aws", conformance.sweep_is_empty_after_deleting, Forgetful)
