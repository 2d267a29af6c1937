"""What the Azure adapter makes of a Cluster's fields, and what it tells, against the emulated Resource Manager."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from azure.mgmt.network import models as net

from emulators.azure.bench import FOREIGN, AzureBench, cluster
from emulators.azure.place import CLIENT, SUBSCRIPTION, Arm, start
from emulators.stage import Stage
from emulators.window_azure import devices
from flatyard.clouds import conformance
from flatyard.clouds.azure import machines
from flatyard.clouds.azure.cloud import AzureCloud, connect
from flatyard.clouds.azure.settings import ACCEPT_TERMS, IDENTITY
from flatyard.clouds.cloud import CreateRequest, ImageQuery, Instance, InstanceState, Rejected, Role
from flatyard.decode.types import ConfigVar, ConfigVarBool
from flatyard.model import cluster as model
from flatyard.model.documents import read
from flatyard.model.machines import AzureMachine
from flatyard.model.machines.azure import ImageReference, SecurityProfile

pytestmark = pytest.mark.emulated
ROLE = json.loads(files("flatyard.clouds.azure").joinpath("role.json").read_text())
FREE = ImageReference(
    publisher="kinvolk", offer="flatcar-container-linux-free", sku="stable-gen2", version="latest"
)
Play = Callable[[Callable[[AzureBench], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def azure(new_stage: Callable[[str], Stage]) -> Iterator[tuple[Stage, Arm]]:
    stage = new_stage("azure-adapter")
    try:
        yield stage, start(stage, blobs=True)
    finally:
        stage.close()


@pytest.fixture
def play(azure: tuple[Stage, Arm]) -> Play:
    """Runs one scene with an empty subscription."""
    stage, arm = azure

    def run(scene: Callable[[AzureBench], Awaitable[None]]) -> None:
        async def main() -> None:
            arm.reset()
            arm.durations(retry_after=0)
            bench = AzureBench(arm)
            try:
                await scene(bench)
            finally:
                await bench.close()

        stage.run(main)

    return run


def adapter(bench: AzureBench, wanted: model.Cluster) -> AzureCloud:
    made = connect(wanted, bench.world, bench.arm.environment)
    assert isinstance(made, AzureCloud)
    made.account.clients.poll = 0.05
    bench._made.append(made)
    return made


async def order(
    cloud: AzureCloud, bench: AzureBench, wanted: model.Cluster, machine: AzureMachine, number: int = 1
) -> CreateRequest:
    network = await cloud.ensure_network(bench.ref, wanted)
    found = await cloud.images(ImageQuery("stable", None, machine=machine))
    first = await conformance.request(bench, number, network=network)
    return replace(first, machine=machine, image=found[0].reference)


def shown(bench: AzureBench, made: Instance) -> dict[str, Any]:
    """The machine as the API shows it."""
    group = made.id.split("/")[4]
    found: dict[str, Any] = bench.clients.compute.virtual_machines.get(group, made.name).as_dict()
    return found


# ---- permissions


def test_the_least_role_is_enough_for_the_whole_life(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench.arm.role(CLIENT, ROLE)
        cloud, machine = bench.cloud, AzureMachine(assign_public_ip=ConfigVarBool(True))
        assert await cloud.preflight(bench.cluster) == ()
        assert isinstance(cloud, AzureCloud)
        wanted = replace(await order(cloud, bench, bench.cluster, machine), role=Role.CONTROL_PLANE)
        made = await cloud.create(wanted)
        await bench.wait(60)
        await cloud.ensure_endpoint(bench.ref, bench.cluster, wanted.network, (made.id,))
        kept = await cloud.stash(bench.ref, "first-boot/x-1", b"secret", 900)
        assert await bench.get(kept.url) == 200
        await cloud.unstash(bench.ref, "first-boot/x-1")
        await cloud.restart(bench.ref, made)
        assert await cloud.evidence(bench.ref, made) is None
        bench.fail(made)
        assert (await conformance.living(bench))[0].error
        await conformance.emptied(bench)
        assert bench.arm.resources() == []
        assert not [call for call in bench.arm.calls() if call["status"] in (401, 403)]

    play(scene)


def test_every_action_of_the_least_role_is_missed_by_preflight(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        for action in ROLE["Actions"][5::13]:
            short = {**ROLE, "Actions": [one for one in ROLE["Actions"] if one != action]}
            bench.arm.role(CLIENT, short)
            said = "\n".join(map(str, await bench.restarted().preflight(bench.cluster)))
            assert action in said, f"without {action} preflight says {said!r}"
        assert bench.arm.resources() == []

    play(scene)


def test_a_denied_create_names_the_permission_and_the_resource(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        wanted = await conformance.request(bench)
        bench.arm.deny("Microsoft.Compute/virtualMachines/write")
        with pytest.raises(Rejected, match=r"Microsoft\.Compute/virtualMachines/write is missing on") as no:
            await bench.cloud.create(wanted)
        assert "flatyard-prod-aaaaaaaa" in no.value.what and no.value.next
        left = [thing.kind for thing in await bench.cloud.sweep(bench.ref)]
        assert "port" not in left, "the interface of a machine that is never made is left"

    play(scene)


# ---- images, terms, sizes


def test_terms_are_shown_and_accepted_only_with_consent(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        machine = AzureMachine(image_reference=FREE)
        wanted = cluster(machine=machine)
        said = "\n".join(map(str, await adapter(bench, wanted).preflight(wanted)))
        assert "nobody has accepted the terms of kinvolk:flatcar-container-linux-free:stable-gen2" in said
        assert "https://" in said and "az vm image terms accept --publisher kinvolk" in said
        cloud = adapter(bench, wanted)
        asked = await order(cloud, bench, wanted, machine)
        with pytest.raises(Rejected, match="nobody has accepted the terms"):
            await cloud.create(asked)
        consent = {ACCEPT_TERMS: "kinvolk:flatcar-container-linux-free:stable-gen2"}
        agreed = replace(wanted, metadata=replace(wanted.metadata, annotations=consent))
        cloud = adapter(bench, agreed)
        assert await cloud.preflight(agreed) == ()
        made = await cloud.create(asked)
        plan = shown(bench, made)["plan"]
        assert (plan["product"], plan["name"]) == ("flatcar-container-linux-free", "stable-gen2")

    play(scene)


@pytest.mark.parametrize(
    ("size", "arch", "generation", "offer"),
    [
        ("Standard_B2s", "amd64", "gen2", "flatcar-container-linux-corevm-amd64"),
        ("Standard_D2s_v6", "amd64", "gen2", "flatcar-container-linux-corevm-amd64"),
        ("Standard_D2ps_v5", "arm64", "gen2", "flatcar-container-linux-corevm-arm64"),
    ],
)
def test_generation_and_architecture_follow_the_size(
    play: Play, size: str, arch: str, generation: str, offer: str
) -> None:
    async def scene(bench: AzureBench) -> None:
        machine = AzureMachine(vm_size=ConfigVar(size))
        found = (await bench.cloud.images(ImageQuery("stable", None, machine=machine)))[0]
        assert (found.arch, found.generation) == (arch, generation)
        assert found.reference.split(":")[1] == offer and found.version == "4593.2.5"

    play(scene)


def test_a_size_with_nvme_disks_gets_them_and_its_config_the_disks_name_there(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        machine = AzureMachine(vm_size=ConfigVar("Standard_D2s_v6"))
        wanted = cluster(machine=machine)
        cloud = adapter(bench, wanted)
        assert await cloud.preflight(wanted) == ()
        asked = await order(cloud, bench, wanted, machine)
        made = await cloud.create(replace(asked, role=Role.CONTROL_PLANE))
        storage = shown(bench, made)["properties"]["storageProfile"]
        there = devices(storage["diskControllerType"], storage["dataDisks"])
        assert cloud.traits.for_size("standard_d2s_v6").etcd_device in there
        assert cloud.traits.for_size("Standard_D2s_v5").etcd_device not in there

    play(scene)


def test_an_image_that_boots_from_no_nvme_disk_is_told_before_anything_is_made(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        wanted = cluster(machine=AzureMachine(vm_size=ConfigVar("Standard_D2s_v6")))
        baked = replace(wanted.spec.kubernetes, version="v1.34.3", flavor="image")
        wanted = replace(wanted, spec=replace(wanted.spec, kubernetes=baked))
        found = [str(one) for one in await adapter(bench, wanted).preflight(wanted)]
        assert len(found) == 1 and found[0].startswith("warning:")
        assert "does not say that it boots from NVMe disks" in found[0] and "Standard_D2s_v5" in found[0]
        bench.arm.tag("4593.2.5", "SCSI")
        wanted = cluster(machine=AzureMachine(vm_size=ConfigVar("Standard_D2s_v6")))
        (said,) = map(str, await adapter(bench, wanted).preflight(wanted))
        assert said.startswith("error:") and "says that it boots from SCSI disks" in said
        assert bench.arm.resources() == []

    play(scene)


def test_a_size_whose_disks_are_others_than_its_name_says_is_refused(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench.arm.controllers("Standard_D2s_v5", "NVMe")
        bench.arm.controllers("Standard_D2s_v6", "SCSI")
        for size, words in (("Standard_D2s_v5", "has NVMe disks"), ("Standard_D2s_v6", "has SCSI disks")):
            wanted = cluster(machine=AzureMachine(vm_size=ConfigVar(size)))
            said = "\n".join(map(str, await adapter(bench, wanted).preflight(wanted)))
            assert f"error: spec.controlPlane.machine.vmSize: {size} {words}" in said
        assert bench.arm.resources() == []

    play(scene)


def test_the_newest_that_is_really_there_is_taken_in_each_location(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        wanted = cluster(azure={"location": "westus"})
        found = await adapter(bench, wanted).images(ImageQuery("stable", None, machine=AzureMachine()))
        assert found[0].version == "4593.2.4"
        lts = await bench.cloud.images(ImageQuery("lts", None, machine=AzureMachine()))
        assert lts[0].version == "4081.3.6"

    play(scene)


def test_baked_images_come_from_the_community_gallery(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        query = ImageQuery("stable", None, machine=AzureMachine(), kubernetes="v1.34.3")
        found = (await bench.cloud.images(query))[0]
        assert found.reference.startswith("/CommunityGalleries/flatcar4capi-742ef0cb")
        assert found.kubernetes == "v1.34.3" and "flatcar-stable-amd64-capi-v1.34.3" in found.reference
        asked = replace(await conformance.request(bench), image=found.reference)
        made = await bench.cloud.create(asked)
        assert (await conformance.living(bench))[0].image.lower() == found.reference.lower()
        assert made.name == asked.name
        none = replace(query, kubernetes="v1.9.0")
        assert await bench.cloud.images(none) == ()

    play(scene)


@pytest.mark.parametrize(("version", "flatcar"), [("4593.2.5", "4593.2.5"), ("1.0.0", ""), ("latest", "")])
def test_an_own_image_binds_others_to_its_release_only_where_it_is_named_after_one(
    play: Play, version: str, flatcar: str
) -> None:
    async def scene(bench: AzureBench) -> None:
        gallery = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Compute/galleries/own"
        image = f"{gallery}/images/flatcar/versions/{version}"
        machine = AzureMachine(image_id=ConfigVar(image))
        (found,) = await bench.cloud.images(ImageQuery("stable", None, machine=machine))
        assert (found.reference, found.version) == (image, flatcar)

    play(scene)


SEEDS = Path(__file__).resolve().parent.parent.parent / "seeds"


@pytest.mark.parametrize(
    ("flavor", "reference"),
    [
        ("azure-sysext", "kinvolk:flatcar-container-linux-corevm-amd64:stable-gen2:4593.2.5"),
        ("azure-image", "/CommunityGalleries/flatcar4capi-742ef0cb-dcaa-4ecb-9cb0-bfd2e43dccc0/Images/"),
    ],
)
def test_the_manifests_of_seed_000_pass_preflight(play: Play, flavor: str, reference: str) -> None:
    async def scene(bench: AzureBench) -> None:
        text = (SEEDS / f"000/{flavor}.yaml").read_text()
        subscription = "7d3c5a52-6a2f-4d1b-9b8e-0f4a1c2e6b90"
        wanted = read([(flavor, text.replace(subscription, SUBSCRIPTION))]).cluster
        assert wanted is not None
        cloud = adapter(bench, wanted)
        assert await cloud.preflight(wanted) == ()
        spec = wanted.spec
        baked = spec.kubernetes.version if spec.kubernetes.flavor == "image" else None
        query = ImageQuery(spec.flatcar.channel, None, machine=spec.control_plane.machine, kubernetes=baked)
        assert (await cloud.images(query))[0].reference.startswith(reference)
        assert cloud.account.place.group_for(bench.ref) == wanted.name

    play(scene)


# ---- fields of the machine spec


def test_fields_of_the_machine_spec_arrive(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        machine = AzureMachine(
            vm_size=ConfigVar("Standard_D2s_v5"),
            zones=("2",),
            os_disk_size=128,
            os_disk_sku="Premium_LRS",
            data_disk_size=256,
            data_disk_sku="Premium_LRS",
            assign_public_ip=ConfigVarBool(True),
            enable_accelerated_networking=True,
            security_profile=SecurityProfile(
                security_type="TrustedLaunch", secure_boot_enabled=False, v_tpm_enabled=True
            ),
            tags={"team": "größe"},
        )
        assert isinstance(bench.cloud, AzureCloud)
        asked = await order(bench.cloud, bench, bench.cluster, machine)
        made = await bench.cloud.create(replace(asked, role=Role.CONTROL_PLANE, zone="2"))
        found = shown(bench, made)
        storage, properties = found["properties"]["storageProfile"], found["properties"]
        assert found["zones"] == ["2"] and found["tags"]["team"] == "größe"
        assert storage["osDisk"]["diskSizeGB"] == 128
        assert storage["dataDisks"][0]["lun"] == 0 and storage["dataDisks"][0]["diskSizeGB"] == 256
        assert properties["securityProfile"]["securityType"] == "TrustedLaunch"
        assert properties["diagnosticsProfile"]["bootDiagnostics"]["enabled"] is True
        addresses = dict((await conformance.living(bench, bench.restarted()))[0].addresses)
        assert addresses["ExternalIP"].startswith("127.") and addresses["InternalIP"].startswith("10.0.")
        await conformance.emptied(bench)
        assert bench.arm.resources() == []

    play(scene)


def test_a_control_plane_has_an_etcd_disk_and_a_worker_has_none(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        first = await conformance.request(bench)
        worker = await bench.cloud.create(first)
        plane = await bench.cloud.create(
            replace(
                first, machine_id=bench.machine_id(2), name="prod-control-plane-1", role=Role.CONTROL_PLANE
            )
        )
        assert not shown(bench, worker)["properties"]["storageProfile"].get("dataDisks")
        (disk,) = shown(bench, plane)["properties"]["storageProfile"]["dataDisks"]
        assert (disk["lun"], disk["diskSizeGB"]) == (0, 32)

    play(scene)


def test_machines_are_spread_over_the_zones_that_offer_their_size(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        wanted = cluster(machine=AzureMachine(vm_size=ConfigVar("Standard_D2ps_v5")))
        network = await adapter(bench, wanted).ensure_network(bench.ref, wanted)
        assert network.zones == ("1", "2")

    play(scene)


def test_provider_id_and_node_name_are_the_controller_manager_s(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        made = await bench.cloud.create(await conformance.request(bench))
        assert made.node_name == made.name == "general-0001"
        assert made.provider_id == (
            "azure:///subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/flatyard-prod-aaaaaaaa"
            "/providers/Microsoft.Compute/virtualMachines/general-0001"
        )

    play(scene)


def test_machines_act_by_an_identity_where_the_controller_manager_runs(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        addon = model.Addon(name="cloud-provider-azure")
        wanted = replace(bench.cluster, spec=replace(bench.cluster.spec, addons=(addon,)))
        cloud = adapter(bench, wanted)
        assert cloud.traits.external_cloud_provider and await cloud.preflight(wanted) == ()
        asked = await order(cloud, bench, wanted, AzureMachine())
        made = await cloud.create(asked)
        (identity,) = shown(bench, made)["identity"]["userAssignedIdentities"]
        assert identity.endswith("/userAssignedIdentities/flatyard-prod-aaaaaaaa-machines")
        (file,) = cloud.node_files(bench.ref, asked.network)
        assert json.loads(file.text)["userAssignedIdentityID"] == identity
        again = adapter(bench, wanted)
        await again.ensure_network(bench.ref, wanted)
        await conformance.emptied(bench)
        assert bench.arm.resources() == []

    play(scene)


def test_without_the_right_to_give_roles_an_identity_is_asked_for(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench.arm.role(CLIENT, {**ROLE, "Actions": [*ROLE["Actions"], "Microsoft.ManagedIdentity/*"]})
        addon = model.Addon(name="cloud-provider-azure")
        wanted = replace(bench.cluster, spec=replace(bench.cluster.spec, addons=(addon,)))
        cloud = adapter(bench, wanted)
        said = "\n".join(map(str, await cloud.preflight(wanted)))
        assert "Microsoft.Authorization/roleAssignments/write" in said
        with pytest.raises(Rejected, match="roleAssignments/write is missing on") as no:
            await cloud.ensure_network(bench.ref, wanted)
        assert IDENTITY in no.value.next

    play(scene)


# ---- what is given stays


def test_a_given_group_and_network_are_used_and_stay(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench._group()
        bench._interface("theirs-nic")
        wanted = cluster(azure={"resource_group": FOREIGN, "vnet_name": "theirs", "subnet_name": "nodes"})
        before = {row["id"] for row in bench.arm.resources()}
        cloud = adapter(bench, wanted)
        assert await cloud.preflight(wanted) == ()
        asked = await order(cloud, bench, wanted, AzureMachine())
        assert asked.network.adopted and asked.network.cidr == "192.168.0.0/24"
        made = await cloud.create(asked)
        assert dict(made.addresses)["InternalIP"].startswith("192.168.0.")
        assert "natGateways" not in str(bench.arm.resources())
        await cloud.ensure_endpoint(bench.ref, wanted, asked.network, (made.id,))
        await cloud.delete(bench.ref, made)
        await bench.wait(60)
        await cloud.delete_endpoint(bench.ref)
        await cloud.delete_network(bench.ref)
        assert {row["id"] for row in bench.arm.resources()} == before

    play(scene)


def test_a_group_with_something_of_somebody_else_in_it_stays(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        await bench.cloud.ensure_network(bench.ref, bench.cluster)
        body = net.PublicIPAddress(
            location="germanywestcentral",
            sku=net.PublicIPAddressSku(name="Standard"),
            properties=net.PublicIPAddressPropertiesFormat(public_ip_allocation_method="Static"),
        )
        api = bench.clients.network.public_ip_addresses
        api.begin_create_or_update("flatyard-prod-aaaaaaaa", "theirs", body).result()
        await bench.cloud.delete_network(bench.ref)
        names = [row["id"].rpartition("/")[2] for row in bench.arm.resources()]
        assert sorted(names) == ["flatyard-prod-aaaaaaaa", "theirs"]
        (left,) = await bench.cloud.sweep(bench.ref)
        assert left.kind == "resource-group"

    play(scene)


# ---- calls


def test_listing_is_one_call_and_a_create_two(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        first = await conformance.request(bench)
        bench.arm.forget()
        wanted = [replace(first, machine_id=bench.machine_id(n), name=f"general-{n:04d}") for n in (1, 2, 3)]
        await asyncio.gather(*map(bench.cloud.create, wanted))
        assert len(bench.arm.calls()) == 6
        bench.arm.forget()
        assert len(await bench.cloud.machines(bench.ref)) == 3
        assert len(bench.arm.calls()) == 1

    play(scene)


def test_a_machine_that_is_switched_off_is_shown_so(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "POWER_SECONDS", 0.0)

    async def scene(bench: AzureBench) -> None:
        made = await bench.cloud.create(await conformance.request(bench))
        await bench.wait(60)
        bench.arm.stop(made.id)
        (found,) = await bench.cloud.machines(bench.ref)
        assert found.state is InstanceState.STOPPED

    play(scene)


def test_wrong_locations_are_told_with_the_nearest(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        (problem,) = await bench.cloud.preflight(cluster(azure={"location": "germanywestcentra"}))
        assert problem.path == "spec.cloud.azure.location"
        assert problem.suggestion == "germanywestcentral"
        assert problem.allowed.startswith("germanywestcentral (zones 1, 2, 3), germanynorth (")

    play(scene)


def test_a_basic_address_is_a_standard_one_with_a_warning(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        machine = AzureMachine(assign_public_ip=ConfigVarBool(True), public_ip_sku="Basic")
        problems = await bench.cloud.preflight(cluster(machine=machine))
        assert {problem.severity.value for problem in problems} == {"warning"}
        assert isinstance(bench.cloud, AzureCloud)
        made = await bench.cloud.create(await order(bench.cloud, bench, bench.cluster, machine))
        assert any(kind == "ExternalIP" for kind, _ in made.addresses)

    play(scene)


def test_an_availability_set_that_is_not_there_is_told(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench._group()
        machine = AzureMachine(availability_set=ConfigVar("nowhere"))
        wanted = cluster(azure={"resource_group": FOREIGN}, machine=machine)
        problems = await bench.cloud.preflight(wanted)
        assert "no availability set 'nowhere'" in str(problems[0])

    play(scene)


def test_a_quota_of_a_family_is_told(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench.arm.quota("germanywestcentral", "standardBSFamily", 8)
        (problem,) = await bench.cloud.preflight(bench.cluster)
        assert "the cluster needs 10 of" in problem.what and "(standardBSFamily)" in problem.what
        assert "may use 8 and uses 0" in problem.what and "Usage + quotas" in problem.allowed

    play(scene)


def test_a_size_that_is_closed_to_the_subscription_is_told(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench.arm.withdraw("Standard_B2s", "germanywestcentral")
        problems = await bench.restarted().preflight(bench.cluster)
        assert "NotAvailableForSubscription" in str(problems[0]) and "Standard_B2ms" in problems[0].allowed

    play(scene)
