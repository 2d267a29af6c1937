"""What the emulator does of Microsoft.Compute and the marketplace, asked by the real SDK: a test for each rule."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from emulators.azure.arm.catalogue import GALLERY
from emulators.azure.clients import COMPUTE, HERE, Azure, Json, inside, interface, machine, refusal

pytestmark = pytest.mark.emulated

VM = f"{COMPUTE}/virtualMachines/vm"


def changed(change: Callable[[Json], object], **more: Any) -> Json:
    body = machine(**more)
    change(body["properties"])
    return body


def code(azure: Azure, body: Json) -> str:
    return refusal(lambda: azure.vm(body=body))[1]


@inside
def test_sizes_are_data(azure: Azure) -> None:
    azure.ready()
    assert code(azure, machine(size="Standard_Z9")) == "InvalidParameter"
    found = {
        row.name: row for row in azure.compute.resource_skus.list(filter="location eq 'germanywestcentral'")
    }
    able = {item.name: item.value for item in found["Standard_D2ps_v5"].capabilities}
    assert (able["CpuArchitectureType"], able["HyperVGenerations"], able["vCPUs"]) == ("Arm64", "V2", "2")
    assert found["Standard_D2ps_v5"].location_info[0].zones == ["1", "2"]
    west = {row.name: row for row in azure.compute.resource_skus.list(filter="location eq 'westus'")}
    assert west["Standard_E2s_v5"].restrictions[0].reason_code == "NotAvailableForSubscription"
    assert west["Standard_B2s"].location_info[0].zones == []


@inside
def test_sku_not_available(azure: Azure) -> None:
    azure.ready()
    azure.arm.withdraw("Standard_B2s", HERE, "2")
    assert code(azure, machine(zones=["2"])) == "SkuNotAvailable"
    azure.arm.withdraw("Standard_B2s", HERE)
    status, found, message = refusal(azure.vm)
    assert (status, found) == (409, "SkuNotAvailable")
    assert "Standard_B2s" in message


@inside
def test_zones(azure: Azure) -> None:
    azure.ready()
    assert code(azure, machine(zones=["4"])) == "InvalidAvailabilityZone"
    assert azure.vm(body=machine(zones=["2"])).zones == ["2"]


@inside
def test_quota(azure: Azure) -> None:
    azure.ready()
    azure.arm.quota(HERE, "cores", 3)
    azure.vm()
    azure.nic("second")
    status, found, message = refusal(lambda: azure.vm("second", machine("second")))
    assert (status, found) == (409, "OperationNotAllowed")
    assert "Current Limit: 3, Current Usage: 2, Additional Required: 2" in message
    usage = {row.name.value: (row.current_value, row.limit) for row in azure.compute.usage.list(HERE)}
    assert usage["cores"] == (2, 3)
    assert usage["standardBSFamily"][0] == 2
    azure.arm.quota(HERE, "cores", 100)
    azure.arm.quota(HERE, "standardBSFamily", 3)
    assert "standardBSFamily" in refusal(lambda: azure.vm("second", machine("second")))[2]


@inside
def test_image(azure: Azure) -> None:
    azure.ready()
    assert azure.vm().storage_profile.image_reference.exact_version == "4593.2.5"
    offer = ("kinvolk", "flatcar-container-linux-corevm-amd64")
    found = azure.compute.virtual_machine_images
    assert [sku.name for sku in found.list_skus(HERE, *offer)][:2] == ["alpha", "alpha-gen2"]
    assert [v.name for v in found.list("westus", *offer, "stable")][-1] == "4593.2.4"
    shown = found.get(HERE, *offer, "stable-gen2", "4593.2.5")
    assert (shown.hyper_v_generation, shown.architecture, shown.plan) == ("V2", "x64", None)
    with pytest.raises(ResourceNotFoundError):
        found.get(HERE, *offer, "stable", "1.0.0")
    old = changed(lambda p: p["storageProfile"]["imageReference"].update(version="1.2.3"))
    azure.compute.virtual_machines.begin_delete("rg", "vm").result()
    azure.nic()
    assert refusal(lambda: azure.vm(body=old))[:2] == (404, "PlatformImageNotFound")


@inside
def test_plan(azure: Azure) -> None:
    azure.ready()
    offer = "flatcar-container-linux-free"
    body = changed(lambda p: p["storageProfile"]["imageReference"].update(offer=offer))
    assert code(azure, body) == "VMMarketplaceInvalidInput"
    body["plan"] = {"name": "stable-gen2", "publisher": "kinvolk", "product": offer}
    assert code(azure, body) == "MarketplacePurchaseEligibilityFailed"
    agreements = azure.terms.marketplace_agreements
    terms = agreements.get("virtualmachine", "kinvolk", offer, "stable-gen2")
    assert terms.accepted is False
    terms.accepted = True
    agreements.create("virtualmachine", "kinvolk", offer, "stable-gen2", terms)
    azure.vm(body=body)
    assert code(azure, machine(plan=body["plan"])) in (
        "VMMarketplaceInvalidInput",
        "PropertyChangeNotAllowed",
    )


@inside
def test_gallery(azure: Azure) -> None:
    azure.ready()
    versions = azure.compute.community_gallery_image_versions
    name = "flatcar-stable-amd64-capi-v1.34.3"
    found = [row.name for row in versions.list(HERE, GALLERY, name)]
    assert found == ["4459.2.3", "4593.2.5"]
    image = f"/CommunityGalleries/{GALLERY}/Images/{name}/Versions/4593.2.5"
    reference = {"communityGalleryImageId": image}
    assert azure.vm(body=changed(lambda p: p["storageProfile"].update(imageReference=reference)))
    azure.nic("second")
    wrong = {"communityGalleryImageId": image + "0"}
    body = changed(lambda p: p["storageProfile"].update(imageReference=wrong), nic="second")
    assert refusal(lambda: azure.vm("second", body))[:2] == (404, "GalleryImageNotFound")
    with pytest.raises(ResourceNotFoundError):
        list(versions.list(HERE, "another-gallery", name))


@inside
def test_architecture(azure: Azure) -> None:
    azure.ready()
    status, found, message = refusal(lambda: azure.vm(body=machine(size="Standard_D2ps_v5")))
    assert (status, found) == (400, "BadRequest")
    assert "Arm64" in message


@inside
def test_generation(azure: Azure) -> None:
    azure.ready()
    _, found, message = refusal(lambda: azure.vm(body=machine(size="Standard_D2s_v6", sku="stable")))
    assert (found, "Hypervisor Generation '1'" in message) == ("BadRequest", True)


@inside
def test_disk_controller(azure: Azure) -> None:
    azure.ready()
    rows = {s.name: s for s in azure.compute.resource_skus.list(filter=f"location eq '{HERE}'")}
    told = {name: {c.name: c.value for c in rows[name].capabilities} for name in rows}
    kinds = {
        name: told[name]["DiskControllerTypes"]
        for name in ("Standard_B2s", "Standard_D2s_v6", "Standard_E2bs_v5")
    }
    assert list(kinds.values()) == ["SCSI", "NVMe", "SCSI, NVMe"]
    version = azure.compute.virtual_machine_images.get(
        HERE, "kinvolk", "flatcar-container-linux-corevm-amd64", "stable-gen2", "4593.2.5"
    )
    assert ("DiskControllerTypes", "SCSI, NVMe") in [(f.name, f.value) for f in version.properties.features]

    def asks(kind: str, size: str, **more: Any) -> Any:
        return changed(lambda p: p["storageProfile"].update(diskControllerType=kind), size=size, **more)

    image = f"/CommunityGalleries/{GALLERY}/Images/flatcar-stable-amd64-capi-v1.34.3/Versions/4593.2.5"
    baked = {"communityGalleryImageId": image}
    untagged = changed(lambda p: p["storageProfile"].update(imageReference=baked), size="Standard_D2s_v6")
    for body, words in (
        (untagged, "cannot boot with OS image or disk"),
        (asks("SCSI", "Standard_D2s_v6"), "cannot boot with DiskControllerType 'SCSI'"),
        (asks("NVMe", "Standard_B2s"), "cannot boot with DiskControllerType 'NVMe'"),
        (asks("SCSI", "Standard_B2s", sku="stable"), "created from a Generation 2 Image"),
    ):
        status, found, message = refusal(lambda body=body: azure.vm(body=body))  # type: ignore[misc]
        assert (status, found) == (400, "InvalidParameter") and words in message
    made = azure.vm(body=machine(size="Standard_D2s_v6"))
    assert made.storage_profile.disk_controller_type == "NVMe"
    azure.nic("second")
    other = azure.vm("second", machine(size="Standard_E2bs_v5", nic="second"))
    assert other.storage_profile.disk_controller_type == "SCSI"


@inside
def test_trusted_launch(azure: Azure) -> None:
    azure.ready()
    trusted = {
        "securityType": "TrustedLaunch",
        "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True},
    }
    assert code(azure, changed(lambda p: p.update(securityProfile=trusted), sku="stable")) == "BadRequest"
    azure.vm(body=changed(lambda p: p.update(securityProfile=trusted)))


@inside
def test_ultra_disk(azure: Azure) -> None:
    azure.ready()
    body = machine()
    disk = {
        "lun": 0,
        "createOption": "Empty",
        "diskSizeGB": 8,
        "managedDisk": {"storageAccountType": "UltraSSD_LRS"},
    }
    body["properties"]["storageProfile"]["dataDisks"] = [disk]
    assert refusal(lambda: azure.vm(body=body))[1] == "InvalidParameter"
    body["properties"]["additionalCapabilities"] = {"ultraSSDEnabled": True}
    azure.vm(body=body)


@inside
def test_custom_data(azure: Azure) -> None:
    azure.ready()
    largest = base64.b64encode(b"x" * 65_535).decode()
    for text in (base64.b64encode(b"x" * 65_536).decode(), "no base64!"):
        body = changed(lambda p, text=text: p["osProfile"].update(customData=text))  # type: ignore[misc]
        status, found, message = refusal(lambda body=body: azure.vm(body=body))  # type: ignore[misc]
        assert (status, found) == (400, "InvalidParameter")
        assert "87380" in message
    azure.vm(body=changed(lambda p: p["osProfile"].update(customData=largest)))
    assert azure.compute.virtual_machines.get("rg", "vm", expand="userData").os_profile.custom_data is None
    assert azure.arm.user_data(VM) == b"x" * 65_535


@inside
def test_login(azure: Azure) -> None:
    azure.ready()
    nobody = changed(lambda p: p["osProfile"].pop("linuxConfiguration"))
    assert code(azure, nobody) == "InvalidParameter"
    assert code(azure, changed(lambda p: p["osProfile"].update(adminUsername="root"))) == "InvalidParameter"
    keys = [{"path": "/root/.ssh/authorized_keys", "keyData": "ssh-rsa AAAA"}]
    elsewhere = changed(lambda p: p["osProfile"]["linuxConfiguration"].update(ssh={"publicKeys": keys}))
    assert "default value" in refusal(lambda: azure.vm(body=elsewhere))[2]


@inside
def test_vm_immutable(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    other = changed(lambda p: p["osProfile"].update(customData="b3RoZXI="))
    status, found, message = refusal(lambda: azure.vm(body=other))
    assert (status, found) == (409, "PropertyChangeNotAllowed")
    assert "'customData'" in message
    assert code(azure, machine(zones=["1"])) == "PropertyChangeNotAllowed"
    assert code(azure, machine(sku="stable")) == "PropertyChangeNotAllowed"


@inside
def test_vm_again(azure: Azure) -> None:
    azure.ready()
    azure.arm.durations(vm=30)
    first = azure.compute.virtual_machines.begin_create_or_update(
        "rg", "vm", machine(), polling=False
    ).result()
    again = azure.compute.virtual_machines.begin_create_or_update(
        "rg", "vm", machine(), polling=False
    ).result()
    assert first.vm_id == again.vm_id
    azure.arm.speed(100_000)
    assert azure.vm().vm_id == first.vm_id
    assert len(list(azure.compute.virtual_machines.list("rg"))) == 1
    assert len(list(azure.compute.disks.list_by_resource_group("rg"))) == 1


@inside
def test_delete_option(azure: Azure) -> None:
    azure.group()
    azure.net()
    address = azure.address()
    azure.nic(publicIPAddress={"id": address.id, "properties": {"deleteOption": "Delete"}})
    data = [{"lun": 0, "createOption": "Empty", "diskSizeGB": 8, "deleteOption": "Detach", "name": "etcd"}]
    azure.vm(body=changed(lambda p: p["storageProfile"].update(dataDisks=data)))
    azure.compute.virtual_machines.begin_delete("rg", "vm").result()
    left = {row["id"].rsplit("/", 1)[-1] for row in azure.arm.resources()}
    assert left == {"rg", "net", "etcd"}


@inside
def test_implicit_disks(azure: Azure) -> None:
    azure.ready()
    vm = azure.vm(body=machine(tags={"cluster": "1"}, zones=["1"]))
    disk = next(iter(azure.compute.disks.list_by_resource_group("rg")))
    assert (disk.tags, disk.zones, disk.managed_by) == ({"cluster": "1"}, ["1"], vm.id)
    assert vm.storage_profile.os_disk.managed_disk.id == disk.id


@inside
def test_disk_in_use(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    disk = next(iter(azure.compute.disks.list_by_resource_group("rg")))
    status, found, _ = refusal(lambda: azure.compute.disks.begin_delete("rg", disk.name))
    assert (status, found) == (409, "OperationNotAllowed")


def statuses(azure: Azure) -> list[str]:
    return [status.code for status in azure.compute.virtual_machines.instance_view("rg", "vm").statuses]


@inside
def test_instance_view(azure: Azure) -> None:
    azure.ready()
    azure.arm.durations(vm=30)
    azure.compute.virtual_machines.begin_create_or_update("rg", "vm", machine(), polling=False)
    assert statuses(azure) == ["ProvisioningState/creating", "PowerState/starting"]
    azure.arm.speed(100_000)
    assert statuses(azure) == ["ProvisioningState/succeeded", "PowerState/running"]
    shown = next(iter(azure.compute.virtual_machines.list("rg", expand="instanceView")))
    assert shown.instance_view.statuses[1].display_status == "VM running"
    azure.arm.fail(VM)
    assert statuses(azure)[0] == "ProvisioningState/failed/VMStartTimedOut"


@inside
def test_failed_update(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    azure.arm.fail(VM, "AttachDiskWhileBeingDetached", "Cannot attach data disk 'data' to VM 'vm'.")
    assert azure.compute.virtual_machines.get("rg", "vm").provisioning_state == "Failed"
    assert statuses(azure) == ["ProvisioningState/failed/AttachDiskWhileBeingDetached", "PowerState/running"]


@inside
def test_power(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    machines = azure.compute.virtual_machines
    machines.begin_restart("rg", "vm").result()
    assert azure.arm.boots(VM) == 2
    machines.begin_deallocate("rg", "vm").result()
    assert statuses(azure)[1] == "PowerState/deallocated"
    assert refusal(lambda: machines.begin_restart("rg", "vm"))[1] == "OperationNotAllowed"
    machines.begin_start("rg", "vm").result()
    assert statuses(azure)[1] == "PowerState/running"


@inside
def test_boot_diagnostics(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    azure.arm.say(VM, "ignition[1]: failed\n")
    retrieve = azure.compute.virtual_machines.retrieve_boot_diagnostics_data
    address = retrieve("rg", "vm").serial_console_log_blob_uri
    context = ssl.create_default_context(cafile=str(azure.arm.ca))
    with urllib.request.urlopen(address, context=context) as answer:
        assert answer.read() == b"ignition[1]: failed\n"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.replace("sig=", "sig=0"), context=context)
    azure.nic("second")
    azure.vm("dark", changed(lambda p: p.pop("diagnosticsProfile"), nic="second"))
    assert refusal(lambda: retrieve("rg", "dark"))[0] == 409


@inside
def test_capacity(azure: Azure) -> None:
    azure.ready()
    azure.arm.trouble("CAPACITY", 1)
    with pytest.raises(HttpResponseError, match="AllocationFailed"):
        azure.vm()
    assert azure.compute.virtual_machines.get("rg", "vm").provisioning_state == "Failed"
    assert statuses(azure) == ["ProvisioningState/failed/AllocationFailed"]
    azure.compute.virtual_machines.begin_delete("rg", "vm").result()
    azure.nic()
    azure.arm.trouble("CAPACITY_NOW", 1)
    assert refusal(lambda: azure.vm(body=machine(zones=["1"])))[:2] == (409, "ZonalAllocationFailed")
    for kind, wanted in (("QUOTA_VCPUS", "OperationNotAllowed"), ("SKU", "SkuNotAvailable")):
        azure.arm.trouble(kind, 1)
        assert refusal(azure.vm)[1] == wanted


@inside
def test_marked(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    azure.arm.durations(delete=30)
    azure.compute.virtual_machines.begin_delete("rg", "vm", polling=False)
    for call in (azure.vm, lambda: azure.compute.virtual_machines.begin_restart("rg", "vm")):
        status, found, message = refusal(call)
        assert (status, found) == (409, "OperationNotAllowed")
        assert "marked for deletion" in message


@inside
def test_a_machine_that_is_being_made_can_be_deleted(azure: Azure) -> None:
    azure.ready()
    azure.arm.durations(vm=30)
    azure.compute.virtual_machines.begin_create_or_update("rg", "vm", machine(), polling=False)
    azure.compute.virtual_machines.begin_delete("rg", "vm").result()
    azure.arm.speed(100_000)
    assert list(azure.compute.virtual_machines.list("rg")) == []


@inside
def test_an_evicted_machine_is_gone(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    azure.arm.end(VM)
    assert list(azure.compute.virtual_machines.list_all()) == []
    assert list(azure.network.network_interfaces.list("rg")) == []


@inside
def test_two_hundred_machines(azure: Azure) -> None:
    azure.group()
    azure.net()
    pending = {"polling": False}
    for number in range(200):
        name = f"m{number}"
        azure.network.network_interfaces.begin_create_or_update("rg", name, interface(), **pending)
        azure.compute.virtual_machines.begin_create_or_update("rg", name, machine(name), **pending)
    assert len(list(azure.compute.virtual_machines.list("rg"))) == 200


@inside
def test_patch(azure: Azure) -> None:
    azure.ready()
    azure.vm(body=machine(tags={"a": "1", "b": "2"}))
    changed_to = azure.compute.virtual_machines.begin_update("rg", "vm", {"tags": {"c": "3"}}).result()
    assert changed_to.tags == {"c": "3"}
    bigger = {"properties": {"hardwareProfile": {"vmSize": "Standard_B4ms"}}}
    shown = azure.compute.virtual_machines.begin_update("rg", "vm", bigger).result()
    assert (shown.hardware_profile.vm_size, shown.tags) == ("Standard_B4ms", {"c": "3"})
    unknown = {"properties": {"colour": "red"}}
    update = azure.compute.virtual_machines.begin_update
    assert refusal(lambda: update("rg", "vm", unknown))[1] == "InvalidRequestContent"


@inside
def test_a_machine_has_an_identity_of_its_own(azure: Azure) -> None:
    azure.ready()
    made = azure.vm(body=machine(identity={"type": "SystemAssigned"}))
    assert made.identity.principal_id == azure.compute.virtual_machines.get("rg", "vm").identity.principal_id
