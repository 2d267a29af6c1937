"""Workers of a pool that names no zone are spread over the network's zones, and stay where they were put."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from flatyard.clouds.cloud import InstanceState
from flatyard.clouds.facts import Region
from flatyard.engine.commands import bring_up, scale
from flatyard.engine.labels import ZONE
from flatyard.engine.wanted import wanted_of
from flatyard.engine.zones import FULL_FOR
from flatyard.kube.resources import EVENTS, MACHINES
from flatyard.model.documents import read
from flatyard.model.machines import AzureMachine

DEADLINE = 3600.0
AWS = "{sim: {as: aws, region: eu-central-1}}"
ZONES = ("eu-central-1a", "eu-central-1b", "eu-central-1c")


def cluster(cloud: str, *pools: str, plane: str = "{}"):
    """A cluster of one control plane and these pools."""
    text = (
        "apiVersion: flatyard.dev/v1alpha1\nkind: Cluster\nmetadata: {name: spread}\nspec:\n"
        f"  cloud: {cloud}\n  kubernetes: {{version: v1.34.3}}\n"
        f"  controlPlane: {{replicas: 1, machine: {plane}}}\n  workers:\n"
    )
    found = read([("spread.yaml", text + "".join(f"    - {pool}\n" for pool in pools))], need_cluster=True)
    return wanted_of(found.cluster, found.machine_deployments)


async def placed(life, pool: str = "general") -> dict[str, str]:
    """By machine the zone that its instance is in; its Machine says the same."""
    rows = {
        i.name: i.zone for i in life.region.provider.account.instances if i.state is InstanceState.RUNNING
    }
    machines = (await life.region.kubernetes.client().list(MACHINES)).items
    found = {m.name: m.annotations.get(ZONE, "") for m in machines if m.name.startswith(f"{pool}-")}
    assert found == {name: rows[name] for name in found}
    return found


def even(zones, wanted=ZONES) -> bool:
    counts = Counter({zone: 0 for zone in wanted}) + Counter(zones)
    return set(zones) <= set(wanted) and max(counts[z] for z in wanted) - min(counts[z] for z in wanted) <= 1


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_pool_without_a_zone_is_spread_evenly(simulate, count):
    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        found = await placed(life)
        assert len(found) == count and even(found.values()), found

    simulate(main, cluster(AWS, f"{{name: general, replicas: {count}}}"))


def test_a_pool_with_a_zone_is_there_and_the_next_pool_goes_where_fewer_are(simulate):
    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        assert set((await placed(life, "fixed")).values()) == {"eu-central-1b"}
        assert sorted((await placed(life)).values()) == ["eu-central-1a", "eu-central-1c"]

    fixed = "{name: fixed, replicas: 3, machine: {instanceType: t3.medium, availabilityZone: eu-central-1b}}"
    simulate(main, cluster(AWS, fixed, "{name: general, replicas: 2}"))


def test_a_pool_that_names_several_zones_is_spread_over_these_alone(simulate):
    """All were in the first of them: Azure takes one zone for a machine, and its specs name several."""
    azure = "{sim: {as: azure, region: germanywestcentral}}"

    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        assert even((await placed(life)).values(), ("2", "3"))
        planes = [i.zone for i in life.region.provider.account.instances if "control-plane" in i.name]
        assert len(planes) == 3 and even(planes, ("1", "2"))

    some = cluster(azure, "{name: general, replicas: 4, machine: {vmSize: Standard_B2s, zones: ['2', '3']}}")
    plane = replace(some.cluster.spec.control_plane, replicas=3, machine=AzureMachine(zones=("1", "2")))
    spec = replace(some.cluster.spec, control_plane=plane)
    simulate(main, replace(some, cluster=replace(some.cluster, spec=spec)))


def test_pools_of_one_machine_are_not_all_in_the_first_zone(simulate):
    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        found = [zone for pool in ("a", "b", "c") for zone in (await placed(life, pool)).values()]
        assert sorted(found) == list(ZONES)

    simulate(main, cluster(AWS, *(f"{{name: {name}, replicas: 1}}" for name in "abc")))


def test_what_goes_is_of_the_fullest_zone_and_what_is_added_goes_where_fewest_are(simulate):
    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        before = await placed(life)
        await scale(life.seams(), "spread", "general", 2, DEADLINE)
        left = await placed(life)
        await scale(life.seams(), "spread", "general", 6, DEADLINE)
        after = await placed(life)
        assert left.items() <= before.items() and left.items() <= after.items()
        assert len(left) == 2 and even(left.values()), left
        assert len(after) == 6 and even(after.values()), (left, after)

    simulate(main, cluster(AWS, "{name: general, replicas: 7}"))


def test_another_attempt_stays_in_the_zone(simulate):
    """Its volumes may be there; a fuller zone gets no emptier by moving one machine."""

    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        before = await placed(life)
        for row in [i for i in life.region.provider.account.instances if i.name.startswith("general-")]:
            life.region.provider.compute.vanish(row.id)
        await asyncio.sleep(400)
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done and await placed(life) == before

    simulate(main, cluster(AWS, "{name: general, replicas: 3}"))


@pytest.mark.parametrize("die_at", range(40, 400, 40))
def test_a_run_that_dies_moves_no_machine(simulate, die_at):
    async def main(life):
        await life.survive(lambda seams: bring_up(seams, life.wanted, DEADLINE), die_at)
        found = await placed(life)
        assert len(found) == 6 and set(found.values()) == set(ZONES), found

    simulate(main, cluster(AWS, "{name: general, replicas: 6}"))


@pytest.mark.parametrize(
    ("cloud", "machine", "zones"),
    [
        ("{sim: {as: azure, region: germanywestcentral}}", "{}", ("1", "2", "3")),
        ("{sim: {as: azure, region: westus}}", "{}", ("",)),
        (
            "{sim: {as: gcp, region: europe-west3}}",
            "{}",
            ("europe-west3-a", "europe-west3-b", "europe-west3-c"),
        ),
    ],
)
def test_other_clouds_zones_and_clouds_without_any(simulate, cloud, machine, zones):
    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        found = await placed(life)
        assert len(found) == 4 and even(found.values(), zones), found

    simulate(main, cluster(cloud, "{name: general, replicas: 4}"))


# ---- zones without room


def objects(life):
    return {row.name for row in life.region.provider.account.objects}


async def told_of_capacity(life) -> list[str]:
    """What events say of zones without room."""
    found = (await life.region.kubernetes.client().list(EVENTS)).items
    return [event.raw["message"] for event in found if event.raw["reason"] == "NoCapacity"]


def test_a_worker_whose_zone_has_no_room_is_made_in_another_one(simulate):
    """It waited for its zone, with room in two others. What its first attempt had stashed is gone, too."""

    async def main(life):
        account = life.region.provider.account
        account.closed_zones = ("eu-central-1b",)
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        found = await placed(life)
        assert len(found) == 6 and even(found.values(), ("eu-central-1a", "eu-central-1c")), found
        assert not objects(life)

    simulate(main, cluster(AWS, "{name: general, replicas: 6}"))


def test_a_full_zone_is_told_and_used_again_once_it_has_room(simulate):
    async def main(life):
        account = life.region.provider.account
        await bring_up(life.seams(), life.wanted, DEADLINE)
        account.closed_zones = ("eu-central-1b",)
        await scale(life.seams(), "spread", "general", 5, DEADLINE)
        found = await placed(life)
        assert sorted(found.values()) == [ZONES[0], ZONES[0], ZONES[1], ZONES[2], ZONES[2]]
        (told,) = await told_of_capacity(life)
        assert "no t3.medium capacity in zone eu-central-1b" in told
        account.closed_zones = ()
        await asyncio.sleep(FULL_FOR)
        await scale(life.seams(), "spread", "general", 6, DEADLINE)
        assert even((await placed(life)).values())

    simulate(main, cluster(AWS, "{name: general, replicas: 3}"))


@pytest.mark.parametrize(
    ("pool", "closed"),
    [
        ("{name: general, replicas: 2}", ZONES),
        ("{name: general, replicas: 2, machine: {availabilityZone: eu-central-1b}}", ("eu-central-1b",)),
    ],
    ids=["none has room", "the pool names its zone"],
)
def test_without_another_zone_its_own_is_waited_for(simulate, pool, closed):
    async def main(life):
        account = life.region.provider.account
        _, outcome = await bring_up(life.seams(), replace(life.wanted, deployments=()), DEADLINE)
        assert outcome.done, outcome.waits
        account.closed_zones = closed
        _, outcome = await bring_up(life.seams(), life.wanted, 600)
        assert not outcome.done
        assert any("InsufficientInstanceCapacity" in wait.reason for wait in outcome.waits), outcome.waits
        account.closed_zones = ()
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done and len(await placed(life)) == 2

    simulate(main, cluster(AWS, pool))


def test_a_control_plane_waits_for_its_own_zone(simulate):
    """Two of three in one zone would take etcd's majority with it."""

    async def main(life):
        account = life.region.provider.account
        account.closed_zones = ("eu-central-1b",)
        _, outcome = await bring_up(life.seams(), life.wanted, 900)
        assert not outcome.done
        account.closed_zones = ()
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        assert sorted(i.zone for i in account.instances if "control-plane" in i.name) == list(ZONES)

    one = cluster(AWS, "{name: general, replicas: 1}")
    spec = replace(one.cluster.spec, control_plane=replace(one.cluster.spec.control_plane, replicas=3))
    simulate(main, replace(one, cluster=replace(one.cluster, spec=spec)))


def test_a_cloud_that_tells_it_late_has_the_next_attempt_elsewhere(simulate):
    """Nova takes the server, and its scheduler finds no host: the server goes to ERROR."""

    async def main(life):
        provider = life.region.provider
        provider.persona = replace(provider.persona, region=Region("RegionOne", ("a", "b", "c")))
        provider.account.persona = provider.persona
        provider.account.closed_zones = ("b",)
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        found = await placed(life)
        assert len(found) == 4 and even(found.values(), ("a", "c")), found

    openstack = cluster(
        "{sim: {as: openstack, region: RegionOne}}",
        "{name: general, replicas: 4, machine: {flavor: m3.small}}",
        plane="{flavor: m3.small}",
    )
    simulate(main, openstack)


@pytest.mark.parametrize("die_at", range(60, 420, 60))
def test_a_run_that_dies_while_a_zone_is_full_comes_to_the_same(simulate, die_at):
    async def main(life):
        life.region.provider.account.closed_zones = ("eu-central-1b",)
        await life.survive(lambda seams: bring_up(seams, life.wanted, DEADLINE), die_at)
        found = await placed(life)
        assert len(found) == 6 and set(found.values()) == {"eu-central-1a", "eu-central-1c"}, found
        assert not objects(life)

    simulate(main, cluster(AWS, "{name: general, replicas: 6}"))
