"""`rehearse --fault`: the language, its errors, and that each fault does what its line in the list says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from flatyard.base.errors import InvalidInput
from flatyard.base.world import SeededWorld
from flatyard.clouds.cloud import (
    CloudError,
    ClusterRef,
    CreateRequest,
    ImageQuery,
    QuotaExceeded,
    RateLimited,
    Rejected,
    Role,
    Transient,
)
from flatyard.clouds.sim.faults import CALLS, FAULTS, Kind, describe, parse_faults
from flatyard.clouds.sim.power import Power
from flatyard.clouds.sim.twin import Twin, twin
from flatyard.ignition.fetch import FetchError
from flatyard.model import cluster as model
from flatyard.model.machines import AwsMachine
from flatyard.model.meta import ObjectMeta
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import VirtualLoop, run
from flatyard.sysext.simulated import read_simulated

REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
CLUSTER = model.Cluster(
    metadata=ObjectMeta(name="prod"),
    spec=model.ClusterSpec(cloud=model.CloudChoice(sim=model.SimCloud(as_="aws", region="us-east-1"))),
)
SYSEXT = "https://extensions.flatcar.org/extensions/kubernetes/kubernetes-v1.34.3-x86-64.raw"


class Switchboard:
    """Machines that only note their power."""

    def __init__(self) -> None:
        self.on: dict[str, Power] = {}
        self.log: list[tuple[str, int]] = []

    def start(self, power: Power) -> None:
        self.on[power.instance_id] = power
        self.log.append(("start", power.number))

    def stop(self, instance_id: str) -> None:
        power = self.on.pop(instance_id, None)
        self.log.append(("stop", power.number if power else 0))

    def cut(self, instance_id: str) -> None:
        self.log.append(("cut", self.on.pop(instance_id).number))

    def restart(self, instance_id: str) -> None:
        self.log.append(("restart", self.on[instance_id].number))


class Rig:
    """A twin with faults, and shorthand for what a cluster does to it."""

    def __init__(self, loop: VirtualLoop, faults: tuple[str, ...], seed: int = 1) -> None:
        self.machines = Switchboard()
        world = SeededWorld(seed, loop.time)
        self.twin: Twin = twin(
            CLUSTER, world, MemoryDisk(), machines=self.machines, faults=parse_faults(faults)
        )
        self.cloud = self.twin.cloud
        self._base: CreateRequest | None = None

    async def create(self, number: int, zone: str = "us-east-1a") -> str:
        if self._base is None:
            images = await self.cloud.images(ImageQuery("stable", None))
            self._base = CreateRequest(
                cluster=REF,
                machine_id="",
                attempt=1,
                name="",
                role=Role.WORKER,
                pool="general",
                zone=zone,
                image=images[0].reference,
                machine=AwsMachine(),
                network=await self.cloud.ensure_network(REF, CLUSTER),
                user_data=b"{}",
            )
        wanted = replace(self._base, machine_id=f"M{number}", name=f"m-{number}", zone=zone)
        return (await self.cloud.create(wanted)).id


def rig(*faults: str, seed: int = 1) -> Callable[[Callable[[Rig], Awaitable[None]]], Rig]:
    def go(script: Callable[[Rig], Awaitable[None]]) -> Rig:
        loop = VirtualLoop()
        made = Rig(loop, faults, seed)

        async def main() -> None:
            made.twin.open()
            await script(made)

        run(main(), loop=loop)
        return made

    return go


def example(kind: Kind) -> str:
    values = {"seconds": "30", "days": "5", "count": "5", "factor": "3", "number": "2", "down|full": "down"}
    value = f"={values[kind.value]}" if kind.value else ""
    conditions = {"p": "p=0.5", "n": "n=2", "t": "t=60", "for": "for=30", "machine": "machine=1"}
    keys = ",".join(conditions[key] for key in kind.keys)
    return f"{kind.what}:{kind.name or 'us-east-1a'}{value}" + (f"@{keys}" if keys else "")


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: f"{kind.what}:{kind.name}")
def test_every_listed_fault_is_read_and_says_its_conditions(kind: Kind) -> None:
    (fault,) = parse_faults([example(kind)])
    assert (fault.what, fault.text) == (kind.what, example(kind))
    assert (fault.probability == 0.5) is ("p" in kind.keys)
    assert (fault.nth, fault.at, fault.lasts, fault.machine) == (
        2 * ("n" in kind.keys),
        60 * ("t" in kind.keys),
        30 * ("for" in kind.keys),
        1 * ("machine" in kind.keys),
    )


def test_the_list_for_help_names_every_fault_once() -> None:
    text = describe()
    for kind in FAULTS:
        assert kind.says in text
    assert all(call in text for call in CALLS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "nonsense",
            "--fault:1:1: error: 'nonsense' is not a fault; allowed: WHAT:KIND[=VALUE][@KEY=VALUE,…]",
        ),
        ("creat:transient", "--fault:1:1: error: 'creat' cannot fail"),
        ("create:transiet", "--fault:1:8: error: create has no fault 'transiet'"),
        ("create:transient=3", "--fault:1:18: error: create:transient takes no value"),
        ("create:transient@p=2", "--fault:1:20: error: p is '2'; allowed: a probability from 0 to 1"),
        (
            "create:transient@q=2",
            "--fault:1:18: error: create:transient has no condition 'q'; allowed: p, n, t, for",
        ),
        (
            "quota:instances",
            "--fault:1:16: error: quota:instances needs a value; allowed: a whole number from 1",
        ),
        ("quota:instances=0", "--fault:1:17: error: '0' is not allowed; allowed: a whole number from 1"),
        ("zone:us-east-1a=up", "--fault:1:17: error: 'up' is not allowed; allowed: down, full"),
        ("rate:rps=0", "--fault:1:10: error: '0' is not allowed; allowed: a number above 0"),
        ("image:lag=5@t=3", "--fault:1:13: error: image:lag has no condition 't'; allowed: none"),
        (
            "instance:vanish",
            "--fault:1:16: error: instance:vanish needs @machine=; allowed: a whole number from 1",
        ),
        ("list:lag=30@t=x", "--fault:1:15: error: t is 'x'; allowed: a number of seconds"),
    ],
)
def test_a_wrong_fault_is_located(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_faults([text])
    assert str(caught.value).startswith(said)


def test_all_wrong_faults_are_told_at_once_with_the_nearest_word() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_faults(["creat:transient", "create:lost-reply@n=3", "boot:hangs@machine=0"])
    problems = caught.value.problems
    assert [(p.position and p.position.line, p.suggestion) for p in problems] == [(1, "create"), (3, "hang")]


def test_a_zone_that_the_region_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="us-east-1 has no zone 'us-east-1z'"):
        Rig(VirtualLoop(), ("zone:us-east-1z=down",))


def test_transient_happens_before_the_act() -> None:
    async def script(at: Rig) -> None:
        with pytest.raises(Transient, match="InternalError"):
            await at.create(1)
        await at.create(1)
        assert at.twin.provider.compute.alive == 1

    assert rig("create:transient@n=1")(script).twin.troubles.struck == {"create:transient@n=1": 1}


def test_lost_reply_happens_after_the_act() -> None:
    async def script(at: Rig) -> None:
        await at.create(1)
        with pytest.raises(Transient, match="the reply was lost"):
            await at.create(2)
        assert at.twin.provider.compute.alive == 2
        await at.create(2)
        assert at.twin.provider.compute.alive == 2

    rig("create:lost-reply@n=2")(script)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("create:rate", RateLimited), ("create:forbidden", Rejected), ("create:capacity", Transient)],
)
def test_refusals_at_the_door(fault: str, error: type[CloudError]) -> None:
    async def script(at: Rig) -> None:
        with pytest.raises(error):
            await at.create(1)

    rig(fault)(script)


def test_probability_hits_about_that_often_and_the_same_for_a_seed() -> None:
    async def script(at: Rig) -> None:
        for number in range(100):
            try:
                await at.create(number)
            except Transient:
                continue

    counts = [
        rig("create:transient@p=0.3", seed=seed)(script).twin.provider.compute.alive for seed in (1, 1, 2)
    ]
    assert counts[0] == counts[1] and 55 <= counts[0] <= 85 and counts[2] != counts[0]


def test_a_fault_has_its_time() -> None:
    async def script(at: Rig) -> None:
        await at.create(1)
        await asyncio.sleep(60)
        with pytest.raises(Transient):
            await at.create(2)
        await asyncio.sleep(30)
        await at.create(2)

    rig("create:transient@t=60,for=30")(script)


def test_quota_of_instances() -> None:
    async def script(at: Rig) -> None:
        for number in range(2):
            await at.create(number)
        with pytest.raises(QuotaExceeded, match="InstanceLimitExceeded"):
            await at.create(3)

    rig("quota:instances=2")(script)


def test_quota_of_vcpus_from_a_time_on() -> None:
    async def script(at: Rig) -> None:
        await at.create(1)
        await at.create(2)
        await asyncio.sleep(60)
        with pytest.raises(QuotaExceeded, match="VcpuLimitExceeded"):
            await at.create(3)

    rig("quota:vcpus=4@t=60")(script)


def test_a_zone_that_is_down_takes_its_machines_with_it_and_gives_them_back() -> None:
    async def script(at: Rig) -> None:
        lost = await at.create(1, "us-east-1a")
        kept = await at.create(2, "us-east-1b")
        await asyncio.sleep(60)
        assert sorted(at.machines.on) == [kept]
        with pytest.raises(Transient, match="InsufficientInstanceCapacity"):
            await at.create(3, "us-east-1a")
        await asyncio.sleep(60)
        assert sorted(at.machines.on) == sorted([kept, lost])
        assert at.machines.log[-2:] == [("cut", 1), ("start", 1)], "its disk is not thrown away"

    rig("zone:us-east-1a=down@t=50,for=50")(script)


def test_a_full_zone_takes_no_new_machine() -> None:
    async def script(at: Rig) -> None:
        await at.create(1, "us-east-1b")
        with pytest.raises(Transient, match=r"no t3\.medium capacity in zone us-east-1a"):
            await at.create(2, "us-east-1a")

    rig("zone:us-east-1a=full")(script)


def test_list_lag() -> None:
    async def script(at: Rig) -> None:
        for number in range(20):
            await at.create(number)
        await asyncio.sleep(10)
        assert len(await at.cloud.machines(REF)) < 20
        await asyncio.sleep(30)
        assert len(await at.cloud.machines(REF)) == 20

    rig("list:lag=30")(script)


def test_list_lag_is_what_the_cloud_says_then() -> None:
    assert Rig(VirtualLoop(), ()).cloud.limits.list_lag_seconds == 30
    assert Rig(VirtualLoop(), ("list:lag=60",)).cloud.limits.list_lag_seconds == 60


def test_a_throttled_account_still_gets_on() -> None:
    async def script(at: Rig) -> None:
        pools = tuple(_pool(number) for number in range(20))
        plane = model.ControlPlane(machine=AwsMachine())
        wanted = replace(CLUSTER, spec=replace(CLUSTER.spec, control_plane=plane, workers=pools))
        assert not await at.cloud.preflight(wanted)
        assert at.twin.provider.door.total == 2, "equal pools are looked up once"

    rig("rate:rps=1")(script)


def _pool(number: int) -> model.WorkerPool:
    return model.WorkerPool(name=f"pool-{number}", machine=AwsMachine())


def test_image_lag_hides_what_is_new() -> None:
    async def script(at: Rig) -> None:
        images = await at.cloud.images(ImageQuery("stable", None))
        assert images[0].version == "4593.2.2"
        assert not await at.cloud.images(ImageQuery("stable", "4593.2.5"))

    rig("image:lag=40")(script)


def test_latency_and_rate() -> None:
    async def slow(at: Rig) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await at.cloud.machines(REF)
        assert loop.time() - start > 3

    async def throttled(at: Rig) -> None:
        await at.create(1)
        with pytest.raises(RateLimited) as caught:
            await asyncio.gather(*(at.cloud.machines(REF) for _ in range(30)))
        assert 0 < caught.value.retry_after <= 0.5

    rig("latency:times=100")(slow)
    rig("rate:rps=2@t=10")(lambda at: _after(20, throttled, at))


async def _after(seconds: float, script: Callable[[Rig], Awaitable[None]], at: Rig) -> None:
    await at.create(0)
    await asyncio.sleep(seconds)
    await script(at)


def test_a_hanging_boot_and_a_slow_one() -> None:
    async def script(at: Rig) -> None:
        for number in range(3):
            await at.create(number)
        await asyncio.sleep(60)
        assert sorted(power.number for power in at.machines.on.values()) == [1]
        await asyncio.sleep(60)
        assert sorted(power.number for power in at.machines.on.values()) == [1, 3]

    rig("boot:hang@machine=2", "boot:slow=80@machine=3")(script)


def test_an_instance_vanishes_behind_our_back() -> None:
    async def script(at: Rig) -> None:
        await at.create(1)
        kept = await at.create(2)
        await asyncio.sleep(60)
        assert [instance.id for instance in await at.cloud.machines(REF)] == [kept]
        assert list(at.machines.on) == [kept]

    rig("instance:vanish@machine=1,t=30")(script)


def test_one_machine_gets_a_corrupt_extension_and_another_none() -> None:
    async def script(at: Rig) -> None:
        for number in range(3):
            await at.create(number)
        await asyncio.sleep(60)
        first, second, third = sorted(at.machines.on.values(), key=lambda power: power.number)
        good = await third.fetcher.fetch(SYSEXT, ())
        bad = await first.fetcher.fetch(SYSEXT, ())
        assert read_simulated(good) and len(good) == len(bad)
        assert sum(a != b for a, b in zip(good, bad, strict=True)) == 1
        with pytest.raises(FetchError, match="resource not found"):
            await second.fetcher.fetch(SYSEXT, ())

    rig("sysext:corrupt@machine=1", "sysext:missing@machine=2")(script)
