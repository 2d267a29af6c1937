"""A run that dies before, or after but with the reply lost, any call to the cloud leaves nothing double or orphaned."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.clouds.cloud import ClusterRef, CreateRequest, ImageQuery, InstanceState, Role
from flatyard.clouds.sim.cloud import SimCloud
from flatyard.clouds.sim.door import Call
from flatyard.clouds.sim.twin import Twin, twin
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import BY_CLOUD, MachineSpec, OpenstackMachine
from flatyard.model.meta import ObjectMeta
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import VirtualLoop, run

REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
TWINS = ("aws", "azure", "gcp", "openstack", "vsphere")
WANTED = 3


class Died(BaseException):
    """The process is gone."""


class DieAt:
    """Ends the run before, or after, the number-th call."""

    def __init__(self, number: int = 0, *, after: bool = False) -> None:
        self.number, self.late, self.calls = number, after, 0

    async def before(self, call: Call) -> None:
        self.calls += 1
        if call.number == self.number and not self.late:
            raise Died

    async def after(self, call: Call) -> None:
        if call.number == self.number and self.late:
            raise Died


def machine_of(name: str) -> MachineSpec:
    return OpenstackMachine(flavor=ConfigVar("m3.small")) if name == "openstack" else BY_CLOUD[name]()


def cluster_of(name: str) -> model.Cluster:
    cloud = model.CloudChoice(sim=model.SimCloud(as_=name))
    return model.Cluster(metadata=ObjectMeta(name="prod"), spec=model.ClusterSpec(cloud=cloud))


async def bring_up(
    made: Twin, cluster: model.Cluster, machine: MachineSpec, cloud: SimCloud | None = None
) -> None:
    """What an `up` asks of the cloud, as a level-triggered caller does it: look, then make what is missing."""
    acting = cloud or made.cloud
    network = await acting.ensure_network(REF, cluster)
    images = await acting.images(ImageQuery("stable", None, machine=machine))
    base = CreateRequest(
        cluster=REF, machine_id="", attempt=1, name="", role=Role.CONTROL_PLANE, pool="", zone="",
        image=images[0].reference, machine=machine, network=network, user_data=b"{}",
    )  # fmt: skip
    shown = {instance.machine_id: instance for instance in await acting.machines(REF)}
    ids = []
    for number in range(WANTED):
        machine_id = f"01JGFJJZ00{number:016d}"
        if machine_id not in shown:
            wanted = replace(base, machine_id=machine_id, name=f"prod-{number}")
            shown[machine_id] = await acting.create(wanted)
        ids.append(shown[machine_id].id)
    await acting.ensure_endpoint(REF, cluster, network, tuple(ids))


async def take_down(made: Twin) -> None:
    await asyncio.sleep(10)
    for instance in await made.cloud.machines(REF):
        await made.cloud.delete(REF, instance)
    await asyncio.sleep(300)
    await made.cloud.delete_endpoint(REF)
    await made.cloud.delete_network(REF)


def lives(name: str, hook: DieAt, disk: MemoryDisk, *, up: bool, hours: int = 0) -> int:
    """One process, `hours` after the first one: up, or down. Returns its number of calls; raises Died."""
    loop, cluster = VirtualLoop(), cluster_of(name)

    async def main() -> int:
        made = twin(
            cluster, SeededWorld(5, loop.time, SIMULATED_EPOCH + timedelta(hours=hours)), disk, hook=hook
        )
        made.open()
        if up:
            await bring_up(made, cluster, machine_of(name))
            await asyncio.sleep(120)
            instances = await made.cloud.machines(REF)
            assert len(instances) == WANTED
            assert {i.state for i in instances} == {InstanceState.RUNNING}
        else:
            await take_down(made)
            assert not await made.cloud.sweep(REF)
            assert not made.provider.left_over()
        return hook.calls

    return run(main(), loop=loop)


def counts(disk: MemoryDisk) -> dict[str, int]:
    """How many of each kind the account holds."""
    kinds: dict[str, int] = {}
    for key, _ in disk.items("cloud/"):
        kind = key.split("/")[1]
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


@pytest.mark.parametrize("name", TWINS)
def test_dying_at_any_call_of_up_changes_nothing_in_the_end(name: str) -> None:
    undisturbed = MemoryDisk()
    calls = lives(name, DieAt(), undisturbed, up=True) - 1
    assert calls >= WANTED + 2
    points = 0
    for number in range(1, calls + 1):
        for after in (False, True):
            disk = MemoryDisk()
            with pytest.raises(Died):
                lives(name, DieAt(number, after=after), disk, up=True)
            lives(name, DieAt(), disk, up=True, hours=1)
            assert counts(disk) == counts(undisturbed), f"call {number}, after={after}"
            points += 1
    assert points == 2 * calls


@pytest.mark.parametrize("name", TWINS)
def test_dying_at_any_call_of_down_leaves_nothing_after_the_next(name: str) -> None:
    first = MemoryDisk()
    lives(name, DieAt(), first, up=True)
    kept = list(first.items())
    calls = lives(name, DieAt(), first, up=False, hours=1) - 1
    for number in range(1, calls + 1):
        for after in (False, True):
            disk = MemoryDisk()
            for key, value in kept:
                disk.put(key, value)
            with pytest.raises(Died):
                lives(name, DieAt(number, after=after), disk, up=False, hours=1)
            lives(name, DieAt(), disk, up=False, hours=2)


class Careless(SimCloud):
    """Forgets the token: every call is a new create."""

    calls = 0

    def _key(self, request: CreateRequest) -> str:
        Careless.calls += 1
        return f"{request.machine_id}-{Careless.calls}"


@pytest.mark.parametrize("name", ["aws", "openstack"])
def test_a_planted_create_without_idempotency_is_found(name: str) -> None:
    loop, cluster = VirtualLoop(), cluster_of(name)

    async def main() -> int:
        made = twin(cluster, SeededWorld(5, loop.time), MemoryDisk())
        made.open()
        made.provider.account.list_lag = 6_000.0
        for _ in range(2):
            await bring_up(made, cluster, machine_of(name), Careless(made.provider))
        return made.provider.compute.alive

    assert run(main(), loop=loop) > WANTED
