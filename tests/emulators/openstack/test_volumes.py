"""Volumes, on the real Cinder: machines that boot from one, etcd's own disk, quotas, what `down` keeps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from emulators.openstack.bench import REFUSALS, OpenstackBench, held
from emulators.openstack.proxy import is_create
from emulators.openstack.services import Services
from emulators.stage import Stage
from flatyard.base.world import parse_stamp
from flatyard.clouds import conformance
from flatyard.clouds.cloud import Instance, InstanceState, QuotaExceeded, Role, Transient
from flatyard.clouds.facts import Trouble
from flatyard.decode.types import ConfigVar
from flatyard.model.cluster import Cluster
from flatyard.model.machines import OpenstackMachine

pytestmark = pytest.mark.emulated
RULES = Path(__file__).resolve().parents[3] / "src/flatyard/clouds/openstack/access_rules.json"


@pytest.fixture(scope="module")
def services(new_stage: Callable[[str], Stage]) -> Iterator[Services]:
    stage = new_stage("openstack-volumes")  # beside the one that other files of this process have
    made = Services(stage, volumes=True)
    try:
        made.start()
        yield made
    finally:
        made.close()
        stage.close()


def on_a_volume(bench: OpenstackBench, gib: int) -> OpenstackMachine:
    assert isinstance(bench.machine, OpenstackMachine)
    return replace(bench.machine, root_disk_size_gb=gib)


def volumes(bench: OpenstackBench) -> list[tuple[int, str, bool]]:
    """Size, state and whether one boots from it."""
    found = bench.user.block_storage.volumes()
    return sorted((int(v.size), str(v.status), bool(v.is_bootable)) for v in found)


async def all_gone(bench: OpenstackBench) -> bool:
    """Cinder deletes after it said that it will."""
    await bench.wait(60)
    async with asyncio.timeout(60):
        while volumes(bench):
            await asyncio.sleep(0.1)
    return True


async def settled(bench: OpenstackBench, made: Instance) -> Instance:
    await bench.wait(60)
    return next(i for i in await bench.cloud.machines(bench.ref) if i.id == made.id)


def test_a_machine_boots_from_a_volume_that_ends_with_it(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        first = await conformance.request(bench)
        made = await bench.cloud.create(replace(first, machine=on_a_volume(bench, 30)))
        assert (await settled(bench, made)).state is InstanceState.RUNNING
        assert volumes(bench) == [(30, "in-use", True)]
        await bench.cloud.delete(bench.ref, made)
        assert await all_gone(bench)

    held(services, project, body)


@pytest.mark.parametrize("root", (0, 25))
def test_etcd_has_a_volume_of_its_own(services: Services, project: str, root: int) -> None:
    async def body(bench: OpenstackBench) -> None:
        first = await conformance.request(bench)
        assert bench.cloud.traits.etcd_device == "/dev/vdb"
        machine = on_a_volume(bench, root) if root else bench.machine
        plane = replace(first, role=Role.CONTROL_PLANE, machine=machine)
        made = await bench.cloud.create(plane)
        assert (await settled(bench, made)).state is InstanceState.RUNNING
        assert volumes(bench) == [(20, "in-use", False), *([(25, "in-use", True)] if root else [])]
        await bench.cloud.delete(bench.ref, made)
        assert await all_gone(bench)

    held(services, project, body)


def test_the_access_rules_of_the_docs_suffice(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        bench.held_to(json.loads(RULES.read_text()))
        assert await told(bench, bench.cluster) == ""
        first = await conformance.request(bench)
        made = await bench.cloud.create(replace(first, role=Role.CONTROL_PLANE))
        assert (await settled(bench, made)).state is InstanceState.RUNNING
        mark = {"cinder.csi.openstack.org/cluster": bench.ref.id}
        claim = bench.user.block_storage.create_volume(size=1, name="pvc-1", metadata=mark)
        bench.user.block_storage.wait_for_status(claim, "available", ["error"], interval=0.1, wait=30)
        await bench.cloud.delete(bench.ref, made)
        for thing in await bench.cloud.sweep(bench.ref):
            if thing.kind == "volume":
                await bench.cloud.delete_owned(bench.ref, thing)
        bench.user.block_storage.wait_for_delete(claim, interval=0.1, wait=30)

    held(services, project, body)


def test_quotas_of_volumes_are_asked_before_anything_is_made(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        services.volume_quota(bench.account.project_id, volumes=5, gigabytes=200)
        pool = replace(bench.cluster.spec.workers[0], machine=on_a_volume(bench, 60))
        wanted = replace(bench.cluster, spec=replace(bench.cluster.spec, workers=(pool,)))
        said = await told(bench, wanted)
        assert "the cluster needs 6 volumes; the project may use 5 and uses 0" in said
        assert "the cluster needs 240 GiB of volumes; the project may use 200 and uses 0" in said
        assert "volumes" not in await told(bench, bench.cluster)

    held(services, project, body)


async def told(bench: OpenstackBench, cluster: Cluster) -> str:
    return "\n".join(problem.what for problem in await bench.cloud.preflight(cluster))


def test_a_volume_that_cannot_be_made_is_told_in_words(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        services.volume_quota(bench.account.project_id, volumes=1)
        first = replace(await conformance.request(bench), role=Role.CONTROL_PLANE)
        with pytest.raises(QuotaExceeded, match=r"Maximum number of volumes allowed \(1\)"):
            await bench.cloud.create(replace(first, machine=on_a_volume(bench, 30)))
        assert await all_gone(bench), "the one that had room is left"
        assert list(bench.user.network.ports(project_id=bench.account.project_id, device_id="")) == []

    held(services, project, body)


def test_a_quota_of_no_volumes_is_found_before_anything_is_made(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        services.volume_quota(bench.account.project_id, volumes=0)
        assert "the cluster needs 3 volumes; the project may use 0 and uses 0" in await told(
            bench, bench.cluster
        )

    held(services, project, body)


def test_volumes_have_the_clusters_marks_and_outlive_no_sweep(services: Services, project: str) -> None:
    """Those that Nova made had none: one that was left over was nobody's, and was paid for."""

    async def body(bench: OpenstackBench) -> None:
        plane = replace(await conformance.request(bench), role=Role.CONTROL_PLANE)
        services.proxy.add(is_create, 1, REFUSALS[Trouble.INTERNAL])
        with pytest.raises(Transient):
            await bench.cloud.create(replace(plane, machine=on_a_volume(bench, 25)))
        found = [thing for thing in await bench.cloud.sweep(bench.ref) if thing.kind == "volume"]
        assert [thing.machine_id for thing in found] == [plane.machine_id] * 2
        assert not any(thing.kept for thing in found) and all(parse_stamp(thing.created) for thing in found)
        for thing in found:
            await bench.cloud.delete_owned(bench.ref, thing)
        assert await all_gone(bench)

    held(services, project, body)


def test_a_create_after_a_crash_takes_the_volumes_that_are_there(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        first = await conformance.request(bench)
        plane = replace(first, role=Role.CONTROL_PLANE, machine=on_a_volume(bench, 25))
        services.proxy.add(is_create, 1, REFUSALS[Trouble.INTERNAL])
        with pytest.raises(Transient):
            await bench.cloud.create(plane)
        made = await bench.restarted().create(plane)
        shown = await settled(bench, made)
        assert (shown.state, shown.image) == (InstanceState.RUNNING, plane.image)
        assert volumes(bench) == [(20, "in-use", False), (25, "in-use", True)]
        assert (await bench.restarted().create(plane)).id == made.id
        await bench.cloud.delete(bench.ref, made)
        assert await all_gone(bench)

    held(services, project, body)


def test_a_server_that_is_refused_leaves_no_volume(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        first = await conformance.request(bench)
        services.proxy.add(is_create, 1, REFUSALS[Trouble.QUOTA_VCPUS])
        with pytest.raises(QuotaExceeded):
            await bench.cloud.create(replace(first, machine=on_a_volume(bench, 25)))
        assert await all_gone(bench)

    held(services, project, body)


def test_a_server_that_no_host_takes_leaves_no_volume(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        first = replace(await conformance.request(bench), machine=on_a_volume(bench, 25))
        bench.trouble(Trouble.CAPACITY, 1)
        made = await bench.cloud.create(first)
        shown = await settled(bench, made)
        assert shown.state is InstanceState.ERROR and shown.no_capacity
        await bench.cloud.delete(bench.ref, shown)
        again = await bench.cloud.create(replace(first, attempt=2))
        assert (await settled(bench, again)).state is InstanceState.RUNNING
        assert volumes(bench) == [(25, "in-use", True)]
        await bench.cloud.delete(bench.ref, again)
        assert await all_gone(bench)

    held(services, project, body)


def test_a_wrong_volume_type_and_a_flavor_with_more_disks_are_found_by_plan(
    services: Services, project: str
) -> None:
    """Nova's further disks come before volumes, so etcd's would not be /dev/vdb."""

    async def body(bench: OpenstackBench) -> None:
        admin = services.admin()
        roomy = admin.compute.create_flavor(name="m3.scratch", ram=6144, vcpus=2, disk=20, ephemeral=5)
        try:
            machine = replace(on_a_volume(bench, 30), root_disk_volume_type=ConfigVar("fast"))
            plane = replace(bench.cluster.spec.control_plane, machine=machine)
            said = await told(
                bench, replace(bench.cluster, spec=replace(bench.cluster.spec, control_plane=plane))
            )
            assert "there is no volume type 'fast'" in said
            machine = replace(on_a_volume(bench, 30), flavor=ConfigVar("m3.scratch"))
            plane = replace(plane, machine=machine)
            said = await told(
                bench, replace(bench.cluster, spec=replace(bench.cluster.spec, control_plane=plane))
            )
            assert "flavor m3.scratch has a disk of its own besides" in said
        finally:
            admin.compute.delete_flavor(roomy)

    held(services, project, body)


def test_volumes_of_the_clusters_claims_are_found_and_kept(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        theirs = {"cinder.csi.openstack.org/cluster": bench.other.id}
        mine = {"cinder.csi.openstack.org/cluster": bench.ref.id}
        bench.user.block_storage.create_volume(size=1, name="pvc-other", metadata=theirs)
        made = bench.user.block_storage.create_volume(size=2, name="pvc-1", metadata=mine)
        bench.user.block_storage.wait_for_status(made, "available", ["error"], interval=0.1, wait=30)
        (found,) = await bench.cloud.sweep(bench.ref)
        assert (found.kind, found.id, found.name, found.kept) == ("volume", made.id, "pvc-1", True)
        await bench.cloud.delete_network(bench.ref)
        assert [thing.id for thing in await bench.cloud.sweep(bench.ref)] == [made.id]
        await bench.cloud.delete_owned(bench.ref, found)
        bench.user.block_storage.wait_for_delete(made, interval=0.1, wait=30)
        assert await bench.cloud.sweep(bench.ref) == ()
        assert [thing.name for thing in await bench.cloud.sweep(bench.other)] == ["pvc-other"]

    held(services, project, body)
