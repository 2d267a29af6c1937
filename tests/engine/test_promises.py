"""What the engine makes of a cloud's answers, on every twin: a chosen image stays, and strays go when they are old.

The conformance suite shows that each adapter lists images newest first and that its sweep tells when things were made.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from engine.twin import wanted as small
from flatyard.clouds.cloud import TAG_MACHINE, InstanceState
from flatyard.clouds.tags import cluster_tags, spelled
from flatyard.engine.commands import bring_up, scale
from flatyard.engine.labels import ATTEMPT
from flatyard.engine.record import load
from flatyard.engine.run import engine_of
from flatyard.kube.resources import EVENTS, MACHINES

DEADLINE = 3600.0
TWINS = ("aws", "azure", "gcp", "openstack", "vsphere")
GONE = "01JGFJJZ00ZZZZZZZZZZZZZZZZ"


def wanted(twin: str):
    machine = "{flavor: m3.small}" if twin == "openstack" else "{}"
    return small(machine, twin, machine)


def releases(life) -> set[str]:
    return {machine.hardware.image_version for machine in life.region.machines.machines.values()}


@pytest.mark.parametrize("twin", TWINS)
def test_the_image_that_was_chosen_is_recorded_and_a_newer_one_is_not_taken(simulate, twin):
    async def main(life):
        images = life.region.provider.images
        images.lag_days = 60
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        (first,) = releases(life)
        assert (await load(life.store, "prod")).images.flatcar == first
        images.lag_days = 0
        assert (await scale(life.seams(), "prod", "general", 3, DEADLINE)).done
        assert len(life.region.machines.machines) == 4 and releases(life) == {first}
        assert (await load(life.store, "prod")).images.flatcar == first

    simulate(main, wanted(twin))


def leak(life, name: str, machine_id: str = GONE) -> str:
    """An address as a create leaves it that died before its machine was there."""
    rule = life.region.provider.persona.facts.tags
    own = cluster_tags(life.record, rule) | spelled({TAG_MACHINE: machine_id}, rule)
    return life.region.provider.networks.create_address(name, "", "", own).id


def addresses(life) -> set[str]:
    return {row.id for row in life.region.provider.account.addresses}


@pytest.mark.parametrize("twin", TWINS)
def test_what_no_machine_has_goes_when_it_is_older_than_any_create(simulate, twin):
    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        life.record = (await load(life.store, "prod")).ref
        before = addresses(life)
        async with engine_of(life.seams(), "prod") as engine:
            old = leak(life, "old")
            limits = life.region.cloud.limits
            await asyncio.sleep(limits.create_timeout_seconds - 10)
            young = leak(life, "young")
            await asyncio.sleep(60)
            assert engine.reconciled["strays"] == 2
            assert addresses(life) == before | {young}, f"{old} was to go, {young} to stay"
            await asyncio.sleep(3700)
            assert addresses(life) == before

    simulate(main, wanted(twin))


def test_an_instance_that_no_machine_has_is_told_of_and_left_alone(simulate):
    """It may be a Machine's that an older backup of the cluster does not have."""

    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        api = life.region.kubernetes.client()
        (worker,) = [m for m in (await api.list(MACHINES)).items if m.name.startswith("general")]
        instance = next(row for row in life.region.provider.account.instances if row.name == worker.name)
        async with engine_of(life.seams(), "prod") as engine:
            await engine.until_done(DEADLINE)
            await api.merge_patch(MACHINES, "kube-system", worker.name, {"metadata": {"finalizers": None}})
            await api.delete(MACHINES, "kube-system", worker.name)
            await asyncio.sleep(5000)
        assert instance.id in [row.id for row in life.region.provider.account.instances]
        said = [
            event.raw["message"] for event in (await api.list(EVENTS)).items if event.raw["reason"] == "Stray"
        ]
        name = f"instance {instance.id} ({worker.name})"
        assert said == [f"{name} has this cluster's tags, and no Machine has it: it is left alone"]

    simulate(main, wanted("aws"))


def test_a_worker_whose_cloud_calls_it_broken_stays_while_its_node_is_ready(simulate):
    """Nova says so of a server after a resize that failed, Azure after a disk: its pods would have gone with it."""

    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        account, api = life.region.provider.account, life.region.kubernetes.client()
        (row,) = (row for row in account.instances if row.name.startswith("general-"))
        account.instances.put(replace(row, state=InstanceState.ERROR, fault="its resize failed"))
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done and account.instances.get(row.id) is not None, outcome.waits
        told = [
            e.raw["message"] for e in (await api.list(EVENTS)).items if e.raw["reason"] == "InstanceError"
        ]
        assert any("its resize failed" in words for words in told), told
        life.region.machines.cut(row.id)
        await asyncio.sleep(120)
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done and account.instances.get(row.id) is None, "its node is not ready any more"
        (machine,) = (m for m in (await api.list(MACHINES)).items if m.name.startswith("general-"))
        assert machine.annotations[ATTEMPT] == "2"

    simulate(main, wanted("openstack"))
