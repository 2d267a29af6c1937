"""The simulated provider behaves as the cloud that it stands for: lifecycle, refusals, limits, and its memory."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.world import SeededWorld
from flatyard.clouds.cloud import (
    TAG_CLUSTER,
    TAG_MACHINE,
    ClusterRef,
    CreateRequest,
    ImageQuery,
    Instance,
    InstanceState,
    QuotaExceeded,
    Rejected,
    Role,
    Transient,
)
from flatyard.clouds.facts import Quotas
from flatyard.clouds.sim.account import UNLIMITED
from flatyard.clouds.sim.api import Provider
from flatyard.clouds.sim.cloud import SimCloud
from flatyard.clouds.sim.consoles import CHUNK, CHUNKS, Consoles
from flatyard.clouds.sim.door import Op, Refused
from flatyard.clouds.sim.images import ImageFilter
from flatyard.clouds.sim.orders import RunInstance
from flatyard.clouds.sim.persona import persona
from flatyard.clouds.sim.power import Power
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import (
    AwsMachine,
    AzureMachine,
    GcpMachine,
    MachineSpec,
    OpenstackMachine,
    VsphereMachine,
)
from flatyard.model.machines.azure import ImageReference
from flatyard.model.meta import ObjectMeta
from flatyard.sim.disk import Disk, MemoryDisk, SqliteDisk
from flatyard.sim.loop import VirtualLoop, run

REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")


class Machines:
    """Notes what is on."""

    def __init__(self) -> None:
        self.on: dict[str, Power] = {}
        self.restarted: list[str] = []

    def start(self, power: Power) -> None:
        self.on[power.instance_id] = power

    def stop(self, instance_id: str) -> None:
        self.on.pop(instance_id, None)

    def cut(self, instance_id: str) -> None:
        self.on.pop(instance_id, None)

    def restart(self, instance_id: str) -> None:
        self.restarted.append(instance_id)


class Rig:
    def __init__(
        self,
        loop: VirtualLoop,
        twin: str,
        region: str = "",
        disk: Disk | None = None,
        quotas: Quotas = UNLIMITED,
    ) -> None:
        self.machines = Machines()
        self.disk = disk if disk is not None else MemoryDisk()
        self.provider = Provider(
            persona(twin, region), SeededWorld(3, loop.time), self.disk, machines=self.machines, quotas=quotas
        )
        self.cloud = SimCloud(self.provider)
        self.provider.open()
        self.cluster = model.Cluster(
            metadata=ObjectMeta(name="prod"),
            spec=model.ClusterSpec(cloud=model.CloudChoice(sim=model.SimCloud(as_=twin))),
        )

    async def request(self, machine: MachineSpec, number: int = 1, **changes: object) -> CreateRequest:
        images = await self.cloud.images(ImageQuery("stable", None, machine=machine))
        made = CreateRequest(
            cluster=REF,
            machine_id=f"01JGFJJZ00{number:016d}",
            attempt=1,
            name=f"prod-general-{number}",
            role=Role.WORKER,
            pool="general",
            zone="",
            image=images[0].reference if images else "none",
            machine=machine,
            network=await self.cloud.ensure_network(REF, self.cluster),
            user_data=b"{}",
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    async def running(self, machine: MachineSpec, number: int = 1, **changes: object) -> Instance:
        made = await self.cloud.create(await self.request(machine, number, **changes))
        await asyncio.sleep(120)
        return next(i for i in await self.cloud.machines(REF) if i.id == made.id)


def on(
    twin: str, script: Callable[[Rig], Awaitable[None]], region: str = "", quotas: Quotas = UNLIMITED
) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        await script(Rig(loop, twin, region, quotas=quotas))

    run(main(), loop=loop)


# ---- names and ids


@pytest.mark.parametrize(
    ("twin", "region", "machine", "node", "provider_id"),
    [
        (
            "aws",
            "us-east-1",
            AwsMachine(),
            r"ip-10-0-\d+-\d+\.ec2\.internal",
            r"aws:///us-east-1[abc]/i-0[0-9a-f]{16}",
        ),
        ("aws", "eu-central-1", AwsMachine(), r"ip-[-\d]+\.eu-central-1\.compute\.internal", r"aws:///eu-.*"),
        (
            "azure",
            "germanywestcentral",
            AzureMachine(),
            "prod-general-1",
            "azure:///subscriptions/[-0]+/resourceGroups/flatyard-prod/providers/Microsoft.Compute/"
            "virtualMachines/prod-general-1",
        ),
        (
            "gcp",
            "europe-west3",
            GcpMachine(),
            "prod-general-1",
            "gce://simulated-project/europe-west3-[abc]/prod-general-1",
        ),
        (
            "openstack",
            "IU",
            OpenstackMachine(flavor=ConfigVar("m3.small")),
            "prod-general-1",
            "openstack:///[-0-9a-f]{36}",
        ),
        ("vsphere", "DC0", VsphereMachine(), "prod-general-1", "vsphere://[-0-9a-f]{36}"),
    ],
)
def test_node_name_and_provider_id_are_the_clouds_own(
    twin: str, region: str, machine: MachineSpec, node: str, provider_id: str
) -> None:
    async def script(rig: Rig) -> None:
        shown = await rig.running(machine)
        assert re_full(node, shown.node_name), shown.node_name
        assert re_full(provider_id, shown.provider_id), shown.provider_id
        power = rig.machines.on[shown.id]
        assert (power.node_name, power.provider_id) == (shown.node_name, shown.provider_id)
        assert power.machine_id == shown.machine_id == "01JGFJJZ000000000000000001"

    on(twin, script, region)


def re_full(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


# ---- lifecycle


def test_an_instance_is_pending_runs_is_deleted_and_stays_listed_for_a_while_on_aws() -> None:
    async def script(rig: Rig) -> None:
        made = await rig.cloud.create(await rig.request(AwsMachine()))
        assert made.state is InstanceState.PENDING and not rig.machines.on
        await asyncio.sleep(30)
        (shown,) = await rig.cloud.machines(REF)
        assert shown.state is InstanceState.RUNNING and list(rig.machines.on) == [made.id]
        await rig.cloud.delete(REF, shown)
        assert not rig.machines.on
        (shown,) = await rig.cloud.machines(REF)
        assert shown.state is InstanceState.DELETING
        await asyncio.sleep(100)
        (shown,) = await rig.cloud.machines(REF)
        assert shown.state is InstanceState.TERMINATED
        assert "instance" not in {owned.kind for owned in await rig.cloud.sweep(REF)}
        await asyncio.sleep(3600)
        assert await rig.cloud.machines(REF) == ()

    on("aws", script)


def test_restart_keeps_the_machine() -> None:
    async def script(rig: Rig) -> None:
        shown = await rig.running(AwsMachine())
        await rig.cloud.restart(REF, shown)
        await asyncio.sleep(30)
        assert rig.machines.restarted == [shown.id]
        assert (await rig.cloud.machines(REF))[0].state is InstanceState.RUNNING

    on("aws", script)


def test_a_control_plane_gets_an_etcd_disk_that_ends_with_it_and_other_volumes_are_kept() -> None:
    async def script(rig: Rig) -> None:
        shown = await rig.running(AwsMachine(), role=Role.CONTROL_PLANE)
        assert rig.machines.on[shown.id].devices == ("/dev/xvda", "/dev/xvdf")
        tags = {TAG_CLUSTER: REF.id, "flatyard-owned": "true"}
        await rig.provider.create_volume("pvc-1", "us-east-1a", 10, tags)
        volumes = [owned for owned in await rig.cloud.sweep(REF) if owned.kind == "volume"]
        assert {owned.name: owned.kept for owned in volumes} == {"pvc-1": True, "prod-general-1-etcd": False}
        await rig.cloud.delete(REF, shown)
        await asyncio.sleep(120)
        assert [owned.name for owned in await rig.cloud.sweep(REF) if owned.kind == "volume"] == ["pvc-1"]

    on("aws", script)


# ---- refusals


@pytest.mark.parametrize(
    ("twin", "machine", "code"),
    [
        ("aws", AwsMachine(instance_type=ConfigVar("t3.enormous")), "InvalidParameterValue"),
        ("azure", AzureMachine(vm_size=ConfigVar("Standard_X9")), "InvalidParameter"),
        ("openstack", OpenstackMachine(flavor=ConfigVar("m9.huge")), "badRequest"),
    ],
)
def test_an_unknown_size_is_rejected_with_the_clouds_code(twin: str, machine: MachineSpec, code: str) -> None:
    async def script(rig: Rig) -> None:
        with pytest.raises(Rejected) as caught:
            await rig.cloud.create(await rig.request(machine))
        assert caught.value.code == code

    on(twin, script)


def test_user_data_over_the_limit_is_rejected_and_at_the_limit_is_not() -> None:
    async def script(rig: Rig) -> None:
        wanted = await rig.request(AwsMachine())
        with pytest.raises(Rejected, match="user data has 16385 bytes, at most 16384 are taken"):
            await rig.cloud.create(replace(wanted, user_data=b"x" * 16_385))
        await rig.cloud.create(replace(wanted, user_data=b"x" * 16_384))

    on("aws", script)


def test_the_same_token_with_other_parameters_is_rejected() -> None:
    async def script(rig: Rig) -> None:
        wanted = await rig.request(AwsMachine())
        await rig.cloud.create(wanted)
        with pytest.raises(Rejected, match="IdempotentParameterMismatch"):
            await rig.cloud.create(replace(wanted, user_data=b"{ }"))

    on("aws", script)


@pytest.mark.parametrize(
    ("twin", "machine"), [("azure", AzureMachine()), ("gcp", GcpMachine()), ("vsphere", VsphereMachine())]
)
def test_a_name_that_another_machine_has_is_rejected(twin: str, machine: MachineSpec) -> None:
    async def script(rig: Rig) -> None:
        await rig.cloud.create(await rig.request(machine))
        with pytest.raises(Rejected):
            await rig.cloud.create(await rig.request(machine, machine_id="01JGFJJZ009999999999999999"))

    on(twin, script)


@pytest.mark.parametrize(
    ("twin", "machine"), [("azure", AzureMachine()), ("gcp", GcpMachine()), ("vsphere", VsphereMachine())]
)
def test_a_name_that_is_being_deleted_will_be_free(twin: str, machine: MachineSpec) -> None:
    async def script(rig: Rig) -> None:
        shown = await rig.running(machine)
        await rig.cloud.delete(REF, shown)
        with pytest.raises(Transient):
            await rig.cloud.create(await rig.request(machine, attempt=2))
        await asyncio.sleep(200)
        assert (await rig.cloud.create(await rig.request(machine, attempt=2))).attempt == 2

    on(twin, script)


def test_no_valid_host_comes_late_on_openstack() -> None:
    async def script(rig: Rig) -> None:
        rig.provider.account.closed_zones = ("nova",)
        shown = await rig.running(OpenstackMachine(flavor=ConfigVar("m3.small")))
        assert shown.state is InstanceState.ERROR
        assert shown.error == "NoValidHost: no valid host was found for m3.small in zone nova"
        await rig.cloud.delete(REF, shown)
        await asyncio.sleep(60)
        assert await rig.cloud.machines(REF) == ()

    on("openstack", script)


def test_quotas_count_what_lives() -> None:
    async def script(rig: Rig) -> None:
        first = await rig.running(AwsMachine(), 1)
        await rig.cloud.create(await rig.request(AwsMachine(), 2))
        with pytest.raises(QuotaExceeded) as caught:
            await rig.cloud.create(await rig.request(AwsMachine(), 3))
        assert caught.value.code == "VcpuLimitExceeded" and caught.value.retry
        await rig.cloud.delete(REF, first)
        await rig.cloud.create(await rig.request(AwsMachine(), 3))

    on("aws", script, quotas=Quotas(vcpus=5))


def test_a_network_in_use_is_not_deleted() -> None:
    async def script(rig: Rig) -> None:
        await rig.running(AwsMachine())
        with pytest.raises(Transient, match="DependencyViolation"):
            await rig.cloud.delete_network(REF)

    on("aws", script)


def test_an_address_is_never_given_twice_and_comes_back() -> None:
    async def script(rig: Rig) -> None:
        tags = {TAG_CLUSTER: REF.id, TAG_MACHINE: "x"}
        rig.provider.networks.assume_network("small", {"small/a": "us-east-1a"}, "10.9.0.0/28")
        image = rig.provider.images.list(ImageFilter(channel="stable", arch="amd64"))[0].id
        order = RunInstance(
            name="n", token="", zone="us-east-1a", size="t3.medium", image=image, subnet="small/a", groups=(),
            user_data=b"", tags=tags,
        )  # fmt: skip
        rows = [rig.provider.compute.run(order) for _ in range(11)]
        assert len({row.address for row in rows}) == 11
        with pytest.raises(Refused):
            rig.provider.compute.run(order)
        rig.provider.compute.delete(rows[4].id)
        await asyncio.sleep(100)
        assert rig.provider.compute.run(order).address == rows[4].address

    on("aws", script)


# ---- images


def test_a_region_has_the_newest_release_of_the_channel_for_the_sizes_architecture() -> None:
    async def script(rig: Rig) -> None:
        arm = AwsMachine(instance_type=ConfigVar("m6g.large"))
        (intel, *_), (graviton, *_) = (
            await rig.cloud.images(ImageQuery("stable", None, machine=AwsMachine())),
            await rig.cloud.images(ImageQuery("stable", None, machine=arm)),
        )
        assert (intel.version, intel.arch, graviton.arch) == ("4593.2.5", "amd64", "arm64")
        assert intel.reference != graviton.reference and re_full("ami-0[0-9a-f]{16}", intel.reference)
        (pinned,) = await rig.cloud.images(ImageQuery("stable", "4459.2.3", machine=AwsMachine()))
        assert pinned.version == "4459.2.3"
        (alpha, *_) = await rig.cloud.images(ImageQuery("alpha", None))
        assert alpha.version == "4790.0.0"
        assert (await rig.running(arm)).state is InstanceState.RUNNING

    on("aws", script)


@pytest.mark.parametrize(
    ("size", "sku"),
    [("Standard_B2s", "stable-gen2"), ("Standard_D4s_v6", "stable-gen2"), ("Standard_D4ps_v5", "stable")],
)
def test_azure_images_suit_the_sizes_generation(size: str, sku: str) -> None:
    async def script(rig: Rig) -> None:
        machine = AzureMachine(vm_size=ConfigVar(size))
        image = (await rig.cloud.images(ImageQuery("stable", None, machine=machine)))[0]
        assert image.reference.split(":")[2:] == [sku, "4593.2.5"]
        assert (await rig.running(machine)).state is InstanceState.RUNNING

    on("azure", script)


def test_the_old_azure_offer_of_the_guides_means_the_channel() -> None:
    async def script(rig: Rig) -> None:
        old = ImageReference(
            publisher="kinvolk", offer="flatcar-container-linux", sku="stable", version="latest"
        )
        found = await rig.cloud.images(ImageQuery("alpha", None, machine=AzureMachine(image_reference=old)))
        assert found[0].version == "4593.2.5" and found[0].generation == "gen1"

    on("azure", script)


def test_a_gen1_image_on_a_gen2_size_is_rejected() -> None:
    async def script(rig: Rig) -> None:
        (first,) = (
            i for i in await rig.cloud.images(ImageQuery("stable", "4593.2.5")) if i.generation == "gen1"
        )
        wanted = await rig.request(AzureMachine(vm_size=ConfigVar("Standard_D4s_v6")), image=first.reference)
        with pytest.raises(Rejected, match="hypervisor generation does not suit"):
            await rig.cloud.create(wanted)

    on("azure", script)


def test_the_full_gce_path_of_the_guides_means_the_channel() -> None:
    async def script(rig: Rig) -> None:
        path = ConfigVar("projects/kinvolk-public/global/images/family/flatcar-stable")
        found = await rig.cloud.images(ImageQuery("stable", None, machine=GcpMachine(custom_image=path)))
        assert found[0].reference == "projects/kinvolk-public/global/images/flatcar-stable-4593-2-5"

    on("gcp", script)


def test_an_image_that_the_user_named_is_taken_to_exist_and_a_placeholder_is_not() -> None:
    async def script(rig: Rig) -> None:
        named = AwsMachine(ami=ConfigVar("ami-0123456789abcdef0"))
        (found,) = await rig.cloud.images(ImageQuery("stable", None, machine=named))
        assert (found.reference, found.version) == ("ami-0123456789abcdef0", "4593.2.5")
        assert (await rig.running(named)).image == "ami-0123456789abcdef0"
        placeholder = AwsMachine(ami=ConfigVar("ami-xxxxx"))
        found = (await rig.cloud.images(ImageQuery("stable", None, machine=placeholder)))[0]
        assert found.reference != "ami-xxxxx"
        with pytest.raises(Rejected, match=r"InvalidAMIID\.NotFound"):
            await rig.cloud.create(await rig.request(AwsMachine(), 2, image="ami-00000000000000000"))

    on("aws", script)


def test_an_image_with_kubernetes_in_it_tells_the_machine_so() -> None:
    async def script(rig: Rig) -> None:
        query = ImageQuery("stable", None, machine=AzureMachine(), kubernetes="v1.34.3")
        (image,) = await rig.cloud.images(query)
        assert image.kubernetes == "v1.34.3"
        shown = await rig.running(AzureMachine(), image=image.reference)
        power = rig.machines.on[shown.id]
        assert (power.kubernetes, power.image_version) == ("v1.34.3", "4593.2.5")

    on("azure", script)


# ---- the way in


@pytest.mark.parametrize(
    ("twin", "machine", "hairpin"),
    [("aws", AwsMachine(), False), ("azure", AzureMachine(), False), ("gcp", GcpMachine(), True)],
)
def test_a_load_balancer_forwards_once_it_is_ready(twin: str, machine: MachineSpec, hairpin: bool) -> None:
    async def script(rig: Rig) -> None:
        shown = await rig.running(machine, role=Role.CONTROL_PLANE)
        network = await rig.cloud.ensure_network(REF, rig.cluster)
        made = await rig.cloud.ensure_endpoint(REF, rig.cluster, network, (shown.id,))
        assert (made.port, made.hairpin) == (6443, hairpin)
        assert rig.provider.networks.backends(made.host) == ()
        await asyncio.sleep(200)
        assert rig.provider.networks.backends(made.host) == (shown.id,)
        await rig.cloud.delete(REF, shown)
        assert rig.provider.networks.backends(made.host) == ()

    on(twin, script)


def test_a_virtual_address_is_held_by_running_control_planes() -> None:
    async def script(rig: Rig) -> None:
        plane = await rig.running(VsphereMachine(), 1, role=Role.CONTROL_PLANE)
        await rig.running(VsphereMachine(), 2)
        network = await rig.cloud.ensure_network(REF, rig.cluster)
        spec = replace(rig.cluster.spec, endpoint=model.Endpoint(kind="vip", address="10.0.200.1"))
        made = await rig.cloud.ensure_endpoint(REF, replace(rig.cluster, spec=spec), network, (plane.id,))
        assert (made.host, made.hairpin) == ("10.0.200.1", True)
        assert rig.provider.networks.backends("10.0.200.1") == (plane.id,)

    on("vsphere", script)


def test_a_name_endpoint_answers_with_its_backends() -> None:
    async def script(rig: Rig) -> None:
        plane = await rig.running(AwsMachine(), role=Role.CONTROL_PLANE)
        network = await rig.cloud.ensure_network(REF, rig.cluster)
        spec = replace(rig.cluster.spec, endpoint=model.Endpoint(kind="dns", host="api.example.org"))
        made = await rig.cloud.ensure_endpoint(REF, replace(rig.cluster, spec=spec), network, (plane.id,))
        assert made.host == "api.example.org"
        assert rig.provider.networks.backends("api.example.org") == (plane.id,)
        await rig.cloud.delete_endpoint(REF)
        assert rig.provider.networks.backends("api.example.org") == ()

    on("aws", script)


def test_the_users_own_network_is_used_and_never_deleted() -> None:
    async def script(rig: Rig) -> None:
        own = model.AwsCloud(
            region="us-east-1", vpc_id="vpc-0aa", subnet_ids=("subnet-1", "subnet-2", "subnet-3")
        )
        spec = replace(rig.cluster.spec, cloud=model.CloudChoice(aws=own))
        network = await rig.cloud.ensure_network(REF, replace(rig.cluster, spec=spec))
        assert network.adopted and network.id == "vpc-0aa"
        assert network.subnets == ("subnet-1", "subnet-2", "subnet-3")
        assert await rig.cloud.sweep(REF) == ()
        await rig.cloud.delete_network(REF)
        assert rig.provider.account.networks.get("vpc-0aa")

    on("aws", script)


# ---- memory


def test_a_console_keeps_its_last_lines_across_a_restart() -> None:
    disk = MemoryDisk()
    console = Consoles(disk)
    console.write("i-1", "first")
    for number in range(5 * CHUNK):
        console.write("i-2", f"line {number}")
    console.write("i-2", "two\nlines")
    again = Consoles(disk)
    assert again.read("i-1") == ("first",)
    assert again.read("i-2") == console.read("i-2")
    assert again.read("i-2")[-3:] == (f"line {5 * CHUNK - 1}", "two", "lines")
    for number in range(100 * CHUNK):
        again.write("i-2", f"more {number}")
    assert len(again.read("i-2")) <= CHUNK * CHUNKS
    again.forget("i-2")
    assert len(list(disk.items())) == 1


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_another_process_finds_the_cloud_as_it_was(kind: str, tmp_path: Path) -> None:
    disk: Disk = MemoryDisk() if kind == "memory" else SqliteDisk(tmp_path / "cloud.db")
    first, second = VirtualLoop(), VirtualLoop()
    before: list[Instance] = []

    async def one() -> None:
        rig = Rig(first, "aws", disk=disk)
        before.append(await rig.running(AwsMachine(), 1))
        before.append(await rig.cloud.create(await rig.request(AwsMachine(), 2)))
        rig.provider.consoles.write(before[0].id, "login: ")
        await rig.cloud.stash(REF, "key", b"secret", 900)

    async def two() -> None:
        rig = Rig(second, "aws", disk=disk)
        assert list(rig.machines.on) == [before[0].id]
        assert rig.machines.on[before[0].id].user_data == b"{}"
        assert await rig.provider.console(before[0].id) == ("login: ",)
        await asyncio.sleep(200)
        shown = await rig.cloud.machines(REF)
        assert [i.id for i in shown] == [i.id for i in before]
        assert {i.state for i in shown} == {InstanceState.RUNNING}
        again = await rig.cloud.create(await rig.request(AwsMachine(), 2))
        assert again.id == before[1].id
        third = await rig.cloud.create(await rig.request(AwsMachine(), 3))
        assert third.addresses[0] not in [i.addresses[0] for i in before]
        assert "bucket" in {owned.kind for owned in await rig.cloud.sweep(REF)}

    run(one(), loop=first)
    run(two(), loop=second)


def test_a_thousand_machines_take_few_calls_and_pages() -> None:
    async def script(rig: Rig) -> None:
        base = await rig.request(AzureMachine())
        gate = asyncio.Semaphore(8)

        async def create(number: int) -> None:
            async with gate:
                name, machine_id = f"prod-general-{number}", f"01JGFJJZ00{number:016d}"
                await rig.cloud.create(replace(base, name=name, machine_id=machine_id))

        await asyncio.gather(*(create(number) for number in range(1000)))
        await asyncio.sleep(100)
        before = rig.provider.door.counts[Op.INSTANCE_LIST]
        assert len(await rig.cloud.machines(REF)) == 1000
        assert rig.provider.door.counts[Op.INSTANCE_LIST] - before == 20
        assert rig.provider.door.counts[Op.INSTANCE_RUN] == 1000

    on("azure", script)


_SCRIPT = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[2])
from flatyard.model.machines import AwsMachine
from test_provider import REF, Rig
from flatyard.sim.loop import VirtualLoop, run
from flatyard.base.world import SeededWorld

loop = VirtualLoop()

async def main():
    rig = Rig(loop, "aws")
    rig.provider.world.random().seed(int(sys.argv[1]))
    requests = [await rig.request(AwsMachine(), n) for n in range(20)]
    await asyncio.gather(*(rig.cloud.create(r) for r in requests))
    await asyncio.sleep(60)
    shown = await rig.cloud.machines(REF)
    print(json.dumps([[i.id, i.node_name, i.zone, i.state] for i in shown] + [loop.time()]))

run(main(), loop=loop)
"""


def test_a_seed_gives_the_same_cloud_under_any_hash_seed() -> None:
    here = Path(__file__).parent

    def once(seed: str, hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", _SCRIPT, seed, str(here)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    first = once("1", "1")
    assert len(json.loads(first)) == 21
    assert first == once("1", "2") != once("2", "1")
