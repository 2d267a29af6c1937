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
from azure.mgmt.compute import models as vm
from azure.mgmt.network import models as net
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from emulators.azure.bench import FOREIGN, AzureBench, cluster
from emulators.azure.place import CLIENT, SUBSCRIPTION, Arm, start
from emulators.stage import Stage
from emulators.window_azure import devices
from flatyard.clouds import conformance
from flatyard.clouds.azure import machines
from flatyard.clouds.azure.cloud import AzureCloud, connect
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.azure.settings import ACCEPT_TERMS, IDENTITY
from flatyard.clouds.cloud import (
    CreateRequest,
    ImageQuery,
    Instance,
    InstanceState,
    Rejected,
    Role,
    Transient,
)
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


READER = {"Name": "Reader", "Actions": ["*/read"]}
CONTRIBUTOR = {"Name": "Contributor", "Actions": ["*"], "NotActions": ["Microsoft.Authorization/*/Write"]}


def test_who_may_read_the_subscription_and_change_a_group_can_use_that_group(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench._group()
        wanted = cluster(azure={"resource_group": FOREIGN})
        bench.arm.role(CLIENT, READER, f"/subscriptions/{SUBSCRIPTION}")
        (problem,) = await adapter(bench, wanted).preflight(wanted)
        assert f"on /subscriptions/{SUBSCRIPTION}/resourceGroups/{FOREIGN}" in problem.what
        bench.arm.role(
            CLIENT, CONTRIBUTOR, f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{FOREIGN}", more=True
        )
        cloud = adapter(bench, wanted)
        assert await cloud.preflight(wanted) == ()
        asked = await order(cloud, bench, wanted, AzureMachine())
        made = await cloud.create(asked)
        assert [one.id for one in await cloud.machines(bench.ref)] == [made.id]
        elsewhere = cluster(azure={"resource_group": "new"})
        (problem,) = await adapter(bench, elsewhere).preflight(elsewhere)
        assert "resourceGroups/write" in problem.what or "and" in problem.what

    play(scene)


def test_a_subscription_that_is_not_registered_for_networks_is_told(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench.arm.unregister("Microsoft.Network")
        (problem,) = await bench.cloud.preflight(bench.cluster)
        assert "not registered for Microsoft.Network" in problem.what
        assert problem.allowed == "az provider register --namespace Microsoft.Network --wait"

    play(scene)


# ---- what Azure failed to make


@pytest.mark.parametrize(
    "kind",
    ["virtualNetworks", "natGateways", "networkSecurityGroups", "publicIPAddresses", "loadBalancers"],
)
def test_what_azure_failed_to_make_is_written_again(play: Play, kind: str) -> None:
    """It is there then, and nothing can be put into it."""

    async def scene(bench: AzureBench) -> None:
        bench.arm.trouble("breaks", 1, match=rf"PUT .*/{kind}/[^/]+")
        with pytest.raises(Transient, match="InternalServerError"):
            network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
            await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())
        assert "Failed" in [row["state"] for row in bench.arm.resources()]
        await bench.wait(60)  # what was begun beside it; it may go on a little longer than it is shown to
        network = await conformance.bench.persistently(
            bench, lambda: bench.cloud.ensure_network(bench.ref, bench.cluster)
        )
        made = await bench.cloud.create(await conformance.request(bench, network=network))
        endpoint = await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, (made.id,))
        assert endpoint.backends == (made.id,) and len(network.subnets) == 2
        await bench.wait(60)
        assert "Failed" not in [row["state"] for row in bench.arm.resources()]

    play(scene)


def test_a_cluster_is_made_under_the_policies_of_azures_landing_zones(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        for name in ("Deny-IP-forwarding", "Deny-Subnet-Without-Nsg", "Enforce-Subnet-Private"):
            bench.arm.policy(name)
        made = await bench.cloud.create(await conformance.request(bench))
        await bench.wait(60)
        assert bench.arm.outbound(made.id) == "nat-gateway"
        assert bench.arm.inbound(made.id, 30_080, "VirtualNetwork")
        await conformance.emptied(bench)
        assert bench.arm.resources() == []

    play(scene)


def test_a_security_group_of_the_users_own_decides_alone(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench._group()
        rule = net.SecurityRule(
            name="web",
            properties=net.SecurityRulePropertiesFormat(
                protocol="Tcp",
                source_address_prefix="*",
                source_port_range="*",
                destination_address_prefix="*",
                destination_port_range="30080",
                access="Allow",
                priority=100,
                direction="Inbound",
            ),
        )
        inside = net.NetworkSecurityGroupPropertiesFormat(security_rules=[rule])
        body = net.NetworkSecurityGroup(location="germanywestcentral", properties=inside)
        bench.clients.network.network_security_groups.begin_create_or_update(FOREIGN, "own", body).result()
        machine = AzureMachine(security_group_name=ConfigVar("own"))
        wanted = cluster(azure={"resource_group": FOREIGN})
        pool = replace(wanted.spec.workers[0], machine=machine)
        plain = replace(wanted.spec.control_plane, machine=None)
        wanted = replace(wanted, spec=replace(wanted.spec, workers=(pool,), control_plane=plain))
        cloud = adapter(bench, wanted)
        made = await cloud.create(await order(cloud, bench, wanted, machine))
        await bench.wait(60)
        assert bench.arm.inbound(made.id, 30_080, "Internet") and not bench.arm.inbound(
            made.id, 30_081, "Internet"
        )
        (file,) = cloud.node_files(bench.ref, await cloud.ensure_network(bench.ref, wanted))
        assert json.loads(file.text)["securityGroupName"] == "own"

    play(scene)


def test_a_cluster_that_is_called_after_a_trademark_has_a_dns_name(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        wanted = cluster(name="windows-apps")
        ref = replace(bench.ref, name="windows-apps")
        network = await bench.cloud.ensure_network(ref, wanted)
        endpoint = await bench.cloud.ensure_endpoint(ref, wanted, network, ())
        assert endpoint.host == "flatyard-aaaaaaaa-api.germanywestcentral.cloudapp.azure.com"

    play(scene)


def test_what_the_controller_manager_made_goes_with_the_network(play: Play) -> None:
    """Load balancers of Services, when the API that could have them deleted is gone: by the tags of azure.json."""

    async def scene(bench: AzureBench) -> None:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        (file,) = bench.cloud.node_files(bench.ref, network)
        theirs = json.loads(file.text)
        tags = {**theirs["tagsMap"], "k8s-azure-service": "default/web"}
        address = net.PublicIPAddress(
            location=theirs["location"],
            tags=tags,
            sku=net.PublicIPAddressSku(name="Standard"),
            properties=net.PublicIPAddressPropertiesFormat(public_ip_allocation_method="Static"),
        )
        group, clients = theirs["resourceGroup"], bench.clients.network
        made = clients.public_ip_addresses.begin_create_or_update(group, "kubernetes-a1", address).result()
        front = net.FrontendIPConfiguration(
            name="a1",
            properties=net.FrontendIPConfigurationPropertiesFormat(
                public_ip_address=net.PublicIPAddress(id=made.id)
            ),
        )
        balancer = net.LoadBalancer(
            location=theirs["location"],
            tags=theirs["tagsMap"],
            sku=net.LoadBalancerSku(name="Standard"),
            properties=net.LoadBalancerPropertiesFormat(frontend_ip_configurations=[front]),
        )
        clients.load_balancers.begin_create_or_update(group, "kubernetes", balancer).result()
        await bench.cloud.delete_endpoint(bench.ref)
        await bench.cloud.delete_network(bench.ref)
        assert bench.arm.resources() == [] == list(await bench.cloud.sweep(bench.ref))

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


def test_a_machine_with_an_ultra_disk_is_said_to_have_one(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        machine = AzureMachine(data_disk_size=8, data_disk_sku="UltraSSD_LRS")
        assert isinstance(bench.cloud, AzureCloud)
        made = await bench.cloud.create(await order(bench.cloud, bench, bench.cluster, machine))
        assert shown(bench, made)["properties"]["additionalCapabilities"] == {"ultraSSDEnabled": True}

    play(scene)


def test_what_a_size_cannot_have_is_told(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        trusted = SecurityProfile(security_type="TrustedLaunch")
        machine = AzureMachine(vm_size=ConfigVar("Standard_B2ps_v2"), security_profile=trusted)
        problems = await bench.cloud.preflight(cluster(machine=machine))
        assert "Standard_B2ps_v2 has no trusted launch" in str(problems[0])
        bench.arm.plain("Standard_B2s")
        small = await bench.cloud.preflight(cluster(machine=AzureMachine(os_disk_size=8)))
        assert "osDiskSize: flatcar-container-linux-corevm-amd64 stable-gen2" in str(small[0])
        assert "has 9 GB, and the disk 8" in str(small[0])
        premium = cluster(machine=AzureMachine(data_disk_sku="Premium_LRS"))
        problems = await bench.restarted().preflight(premium)
        assert "spec.controlPlane.machine.dataDiskSKU: Standard_B2s takes no Premium disks" in str(
            problems[0]
        )

    play(scene)


def test_a_given_subnet_without_a_way_out_is_warned_of(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench._group()
        space = net.AddressSpace(address_prefixes=["192.168.0.0/24"])
        closed = net.SubnetPropertiesFormat(address_prefix="192.168.0.0/25", default_outbound_access=False)
        inside = net.VirtualNetworkPropertiesFormat(
            address_space=space, subnets=[net.Subnet(name="closed", properties=closed)]
        )
        body = net.VirtualNetwork(location="germanywestcentral", properties=inside)
        bench.clients.network.virtual_networks.begin_create_or_update(FOREIGN, "theirs", body).result()
        wanted = cluster(azure={"resource_group": FOREIGN, "vnet_name": "theirs"})
        (said,) = map(str, await adapter(bench, wanted).preflight(wanted))
        assert said.startswith("warning:") and "no way out by default" in said
        own = cluster(
            azure={"resource_group": FOREIGN, "vnet_name": "theirs"},
            machine=AzureMachine(assign_public_ip=ConfigVarBool(True)),
        )
        assert await adapter(bench, own).preflight(own) == ()

    play(scene)


def test_the_key_that_azure_demands_is_one_that_each_of_its_clouds_takes(play: Play) -> None:
    """Users' own keys are in the user data: this one opens nothing."""

    async def scene(bench: AzureBench) -> None:
        made = await bench.cloud.create(await conformance.request(bench))
        (key,) = shown(bench, made)["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"]
        public = load_ssh_public_key(key["keyData"].encode())
        assert isinstance(public, RSAPublicKey) and public.key_size == 2048

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


POOL_IN_ALL_ZONES = """
apiVersion: cluster.k8s.io/v1alpha1
kind: MachineDeployment
metadata: {name: arm, namespace: kube-system}
spec:
  replicas: 1
  selector: {matchLabels: {name: arm}}
  template:
    metadata: {labels: {name: arm}}
    spec:
      providerSpec:
        value:
          cloudProvider: azure
          cloudProviderSpec: {vmSize: Standard_D2ps_v5}
          operatingSystem: flatcar
      versions: {kubelet: v1.34.3}
"""


def test_a_size_that_one_of_the_clusters_zones_lacks_is_told_of_every_pool(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        (pool,) = read([("pool", POOL_IN_ALL_ZONES)]).machine_deployments
        problems = await bench.cloud.preflight(bench.cluster, (pool,))
        (said,) = (str(one) for one in problems if "zone" in str(one))
        assert "Standard_D2ps_v5 is not offered in zone 3 of germanywestcentral" in said
        assert "zones 1, 2, 3" in said
        bench.arm.withdraw("Standard_B2s", "germanywestcentral", "1")
        wanted = cluster()
        lacking = {
            "control_plane": replace(
                wanted.spec.control_plane, machine=AzureMachine(vm_size=ConfigVar("Standard_D2ps_v5"))
            )
        }
        apart = replace(wanted, spec=replace(wanted.spec, **lacking))
        assert (await adapter(bench, apart).ensure_network(bench.ref, apart)).zones == ("2",)
        assert await adapter(bench, apart).preflight(apart) == ()

    play(scene)


def test_zones_are_those_of_the_location_as_azure_tells_them(play: Play) -> None:
    """Also of a location that is newer than this release."""

    async def scene(bench: AzureBench) -> None:
        assert FACTS.region("qatarcentral") is None
        wanted = cluster(azure={"location": "qatarcentral", "zones": ("1", "3")})
        network = await adapter(bench, wanted).ensure_network(bench.ref, wanted)
        assert network.zones == ("1", "3")

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


def test_machines_may_join_a_given_network_of_another_group_to_load_balancers(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench._group()
        bench._interface("theirs-nic")
        machine = AzureMachine(vnet_resource_group=ConfigVar(FOREIGN), vnet_name=ConfigVar("theirs"))
        wanted = cluster(machine=machine)
        addon = model.Addon(name="cloud-provider-azure")
        wanted = replace(wanted, spec=replace(wanted.spec, addons=(addon,)))
        cloud = adapter(bench, wanted)
        network = await cloud.ensure_network(bench.ref, wanted)
        assert network.adopted
        roles = [row["id"] for row in bench.arm.resources() if "/roleAssignments/" in row["id"]]
        assert len(roles) == 3 and sum(row.startswith(network.id) for row in roles) == 1
        await cloud.delete_network(bench.ref)
        assert not [row["id"] for row in bench.arm.resources() if "/roleAssignments/" in row["id"]]

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
        assert await bench.cloud.sweep(bench.ref) == (), "what is somebody else's keeps down from ending"

    play(scene)


def volume(bench: AzureBench) -> None:
    """As the disk driver makes one for a claim."""
    claim = {"kubernetes.io-created-for-pvc-name": "data", "k8s-azure-created-by": "kubernetes-azure-dd"}
    data = vm.CreationData(create_option="Empty")
    body = vm.Disk(
        location="germanywestcentral",
        tags=claim,
        sku=vm.DiskSku(name="StandardSSD_LRS"),
        properties=vm.DiskProperties(creation_data=data, disk_size_gb=8),
    )
    api = bench.clients.compute.disks
    api.begin_create_or_update("flatyard-prod-aaaaaaaa", "pvc-e132d37f", body).result()


def test_volumes_of_claims_are_kept_with_their_group_and_go_when_that_is_said(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        await bench.cloud.ensure_network(bench.ref, bench.cluster)
        volume(bench)
        await bench.cloud.delete_network(bench.ref)
        found = await bench.cloud.sweep(bench.ref)
        assert [(one.kind, one.kept) for one in found] == [("volume", True), ("resource-group", True)]
        assert found[0].name == "pvc-e132d37f"
        for one in found:  # as `flatyard down --delete-volumes` does
            await bench.cloud.delete_owned(bench.ref, one)
        assert bench.arm.resources() == []

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


def test_no_machine_is_asked_for_where_its_interface_could_not_be_made(play: Play) -> None:
    """As when the controller manager writes the security group at that moment: it is the interface that is refused."""

    async def scene(bench: AzureBench) -> None:
        wanted = await conformance.request(bench)
        bench.arm.trouble("busy", 1, match="PUT .*/networkInterfaces/[^/]+")
        with pytest.raises(Transient, match="AnotherOperationInProgress"):
            await bench.cloud.create(wanted)
        assert (await bench.cloud.create(wanted)).machine_id == wanted.machine_id

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


def test_a_running_machine_stays_one_when_a_disk_could_not_be_attached_to_it(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure calls it Failed then, as it calls one that never started: nobody may replace it for that."""
    monkeypatch.setattr(machines, "POWER_SECONDS", 0.0)

    async def scene(bench: AzureBench) -> None:
        made = await bench.cloud.create(await conformance.request(bench))
        await bench.wait(60)
        for code in ("AttachDiskWhileBeingDetached", "OSProvisioningTimedOut"):
            bench.arm.fail(made.id, code, "Cannot attach data disk 'data', or not ready in time.")
            (found,) = await bench.cloud.machines(bench.ref)
            assert (found.state, found.error) == (InstanceState.RUNNING, "")
        bench.arm.stop(made.id)
        (found,) = await bench.cloud.machines(bench.ref)
        assert found.state is InstanceState.ERROR and "OSProvisioningTimedOut" in found.error
        bench.arm.fail(made.id)
        (found,) = await bench.cloud.machines(bench.ref)
        assert found.state is InstanceState.ERROR and found.error.startswith("VMStartTimedOut:")

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


def test_what_a_cluster_has_already_is_not_counted_against_its_quota_again(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        cloud = bench.cloud
        first = await conformance.request(bench)
        for number in range(5):
            name = f"general-{number:04d}"
            await cloud.create(replace(first, machine_id=bench.machine_id(number), name=name))
        await bench.wait(60)
        for name in ("cores", "standardBSFamily"):
            bench.arm.quota("germanywestcentral", name, 10)
        bench.arm.quota("germanywestcentral", "IPv4StandardSkuPublicIpAddresses", 2)
        await cloud.ensure_endpoint(bench.ref, bench.cluster, first.network, ())
        assert await bench.restarted().preflight(bench.cluster) == ()
        other = cluster(name="other")
        problems = await adapter(bench, other).preflight(other)
        said = "\n".join(problem.what for problem in problems)
        assert len(problems) == 3 and "the cluster needs 10 of" in said and "uses 10" in said
        assert "needs 2 of Public IPv4 Addresses - Standard" in said
        spec = bench.cluster.spec
        more = replace(bench.cluster, spec=replace(spec, workers=(replace(spec.workers[0], replicas=3),)))
        problems = await adapter(bench, more).preflight(more)
        assert ["needs 12 of" in problem.what and "uses 0" in problem.what for problem in problems] == [
            True
        ] * 2

    play(scene)


def test_a_size_that_is_closed_to_the_subscription_is_told(play: Play) -> None:
    async def scene(bench: AzureBench) -> None:
        bench.arm.withdraw("Standard_B2s", "germanywestcentral")
        problems = await bench.restarted().preflight(bench.cluster)
        assert "NotAvailableForSubscription" in str(problems[0]) and "Standard_B2ms" in problems[0].allowed

    play(scene)
