"""Microsoft.Compute: virtual machines, their disks and availability sets."""

from __future__ import annotations

import re
import uuid
from typing import Any

from .catalogue import PLACES, SIZES, ZONES, Size
from .errors import ArmError, invalid
from .ids import parse
from .kinds import Kind, register
from .login import profile
from .market import Market
from .network import owner_of
from .world import Body, Resource, World

VM = "Microsoft.Compute/virtualMachines"
DISK = "Microsoft.Compute/disks"
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?")
FIXED = (
    "osProfile.computerName",
    "osProfile.adminUsername",
    "osProfile.customData",
    "storageProfile.imageReference",
)
"""What a second PUT may not change (rules: vm-immutable)."""


def check_vm(world: World, new: Resource, old: Resource | None) -> None:
    if not NAME.fullmatch(new.name):
        raise invalid("InvalidParameter", f"The entity name '{new.name}' is invalid.", "vmName")
    if old is not None:
        keep(new, old)
    size = offered(world, new)
    image(world, new, size, old)
    profile(new)
    zones(new, size)
    interfaces(world, new)
    others(world, new)
    disks(world, new, old, size)
    if old is None:
        cores(world, new, size)
    elif old.properties["hardwareProfile"]["vmSize"] != new.properties["hardwareProfile"]["vmSize"]:
        cores(world, new, size, SIZES[old.properties["hardwareProfile"]["vmSize"].lower()].cores)
    new.hidden.setdefault("vmId", str(uuid.uuid4()))
    new.hidden.setdefault("power", "starting")
    new.hidden.setdefault("console", "")


def at(body: Body, path: str) -> Any:
    for word in path.split("."):
        body = body.get(word) if isinstance(body, dict) else None  # type: ignore[assignment]
    return body


def keep(new: Resource, old: Resource) -> None:
    """What was said once stays; saying something else is refused."""
    if old.location != new.location:
        raise ArmError(
            409,
            "InvalidResourceLocation",
            f"The resource '{new.name}' already exists in location '{old.location}' in resource group "
            f"'{parse(new.id).group}'. A resource with the same name cannot be created in location '{new.location}'.",
        )
    was = old.hidden["said"]
    for path in FIXED:
        wanted = at(new.properties, path)
        if wanted is not None and wanted != at(was, path):
            name = path.partition(".")[2]
            raise ArmError(
                409, "PropertyChangeNotAllowed", f"Changing property '{name}' is not allowed.", target=name
            )
    if new.body.get("zones") not in (None, old.body.get("zones")):
        raise ArmError(
            409, "PropertyChangeNotAllowed", "Changing property 'zones' is not allowed.", target="zones"
        )
    new.hidden = old.hidden
    for word in ("osProfile", "storageProfile", "networkProfile", "hardwareProfile"):
        new.properties.setdefault(word, was.get(word))
    for word in ("computerName", "adminUsername", "customData", "linuxConfiguration"):
        if was.get("osProfile", {}).get(word) is not None:
            new.properties["osProfile"].setdefault(word, was["osProfile"][word])
    new.properties["storageProfile"].setdefault("imageReference", was["storageProfile"].get("imageReference"))
    new.properties["storageProfile"].setdefault("osDisk", was["storageProfile"].get("osDisk"))


# ---- size
def offered(world: World, new: Resource) -> Size:
    name = at(new.properties, "hardwareProfile.vmSize") or "Standard_A1_v2"
    size = SIZES.get(str(name).lower())
    if size is None:
        raise invalid(
            "InvalidParameter",
            f"The value {name} provided for the VM size is not valid. The valid sizes in the current region are: "
            f"{','.join(s.name for s in SIZES.values())}.",
            "vmSize",
        )
    if new.location not in PLACES:
        raise no_location(new)
    zone = (new.body.get("zones") or [""])[0]
    if withdrawn(size, new.location, zone, market(world)):
        raise sku_not_available(size.name, new.location)
    return size


def no_location(new: Resource) -> ArmError:
    return invalid(
        "LocationNotAvailableForResourceType",
        f"The provided location '{new.location}' is not available for resource type '{new.kind}'. List of available "
        f"regions for the resource type is '{','.join(PLACES)}'.",
    )


def withdrawn(size: Size, location: str, zone: str, shop: Market) -> bool:
    if location in size.not_in or (size.name.lower(), location, "") in shop.withdrawn:
        return True
    return bool(zone) and (
        (location, zone) in size.no_zone or (size.name.lower(), location, zone) in shop.withdrawn
    )


def sku_not_available(name: str, location: str) -> ArmError:
    return ArmError(
        409,
        "SkuNotAvailable",
        f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {name}' is "
        f"currently not available in location '{location}'. Please try another size or deploy to a different "
        "location or different zone. See https://aka.ms/azureskunotavailable for details.",
    )


def zones(new: Resource, size: Size) -> None:
    for zone in new.body.get("zones") or []:
        if not PLACES[new.location][3]:
            raise invalid(
                "LocationNotSupportAvailabilityZones",
                f"The resource '{new.name}' does not support availability zones at location '{new.location}'.",
            )
        if zone not in ZONES:
            raise invalid(
                "InvalidAvailabilityZone",
                f"The zone(s) '{zone}' for resource '{new.kind}/{new.name}' is not supported. The supported zones for "
                f"location '{new.location}' are '{','.join(ZONES)}'",
            )


# ---- quota
def cores(world: World, new: Resource, size: Size, had: int = 0) -> None:
    shop = market(world)
    usage = used(world, new.location)
    for name, title in (("cores", "Total Regional Cores"), (size.family, f"{size.family} Cores")):
        limit, now = shop.limit(new.location, name), usage.get(name, 0)
        if now + size.cores - had > limit:
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Operation could not be completed as it results in exceeding approved {title} quota. Additional "
                f"details - Deployment Model: Resource Manager, Location: {new.location}, Current Limit: {limit}, "
                f"Current Usage: {now}, Additional Required: {size.cores - had}, (Minimum) New Limit Required: "
                f"{now + size.cores - had}.",
            )


def used(world: World, location: str) -> dict[str, int]:
    """Usages of compute in a region, by the name of the quota."""
    usage = {"cores": 0, "virtualMachines": 0}
    for vm in world.of_kind(VM):
        if vm.location == location:
            size = SIZES[vm.properties["hardwareProfile"]["vmSize"].lower()]
            usage["virtualMachines"] += 1
            usage["cores"] += size.cores
            usage[size.family] = usage.get(size.family, 0) + size.cores
    return usage


# ---- image
def image(world: World, new: Resource, size: Size, old: Resource | None) -> None:
    reference = at(new.properties, "storageProfile.imageReference")
    if reference is None:
        raise invalid(
            "InvalidParameter", "Required parameter 'imageReference' is missing (null).", "imageReference"
        )
    arch, generation = market(world).resolve(world, new, reference)
    if arch != size.arch:
        raise invalid(
            "BadRequest",
            f"Cannot create a VM of size '{size.name}' because this VM size only supports a CPU Architecture of "
            f"'{size.arch}', but an image or disk with CPU Architecture '{arch}' was given. Please check that the "
            "CPU Architecture of the image or disk is compatible with that of the VM size.",
        )
    if generation not in size.generations.split(","):
        raise invalid(
            "BadRequest",
            f"The selected VM size '{size.name}' cannot boot Hypervisor Generation '{generation[1]}'. If this was a "
            "Create operation please check that the Hypervisor Generation of the Image matches the Hypervisor "
            "Generation of the selected VM Size.",
        )
    controller(new, size, market(world).controllers(size), generation)
    trusted = at(new.properties, "securityProfile.securityType") == "TrustedLaunch"
    if trusted and (generation != "V2" or not size.trusted):
        raise invalid(
            "BadRequest", "Use of TrustedLaunch setting is not supported for the provided image or VM size."
        )


def controller(new: Resource, size: Size, told: str, generation: str) -> None:
    """The one asked for or the size's own, and one that the image boots from (rules: disk-controller)."""
    asked = at(new.properties, "storageProfile.diskControllerType")
    if asked and generation != "V2":
        raise invalid(
            "InvalidParameter",
            "Disk Controller Type is only supported for VMs that are created from a Generation 2 Image or OS disk and "
            "VM Size that supports the same.",
            "storageProfile.diskControllerType",
        )
    offered = told.split(", ")
    if asked and asked not in offered:
        raise invalid(
            "InvalidParameter",
            f"The VM size '{size.name}' cannot boot with DiskControllerType '{asked}'. Please check that the disk "
            f"controller type provided is one of the supported disk controller types for the VM size '{size.name}'. "
            "Please query sku api at https://aka.ms/azure-compute-skus to determine supported disk controller types "
            "for the VM size.",
            "storageProfile.diskControllerType",
        )
    chosen = asked or offered[0]
    if chosen not in new.hidden["controllers"].split(", "):
        raise invalid(
            "InvalidParameter",
            f"The VM size '{size.name}' cannot boot with OS image or disk. Please check that disk controller types "
            "supported by the OS image or disk is one of the supported disk controller types for the VM size "
            f"'{size.name}'. Please query sku api at https://aka.ms/azure-compute-skus to determine supported disk "
            "controller types for the VM size.",
            "vmSize",
        )
    if generation == "V2":
        new.properties["storageProfile"]["diskControllerType"] = chosen


def market(world: World) -> Market:
    found: Market = world.market
    return found


# ---- what it is attached to
def interfaces(world: World, new: Resource) -> None:
    wanted = at(new.properties, "networkProfile.networkInterfaces") or []
    if not wanted:
        raise invalid(
            "InvalidParameter",
            "Virtual machine must have at least one network interface.",
            "networkInterfaces",
        )
    for item in wanted:
        nic = world.find(str(item.get("id")))
        if nic is None or nic.state == "Deleting":
            raise missing(str(item.get("id")), new)
        if nic.location != new.location:
            raise invalid(
                "InvalidParameter",
                f"{nic.id} is in {nic.location}, the machine in {new.location}.",
                "networkInterfaces",
            )
        others = [user for user in world.users(nic.id) if user.lower() != new.key]
        if others:
            raise invalid(
                "NicInUse",
                f"Network Interface {nic.id} is used by existing resource {others[0]}.",
                "networkInterfaces",
            )


def missing(raw: str, new: Resource) -> ArmError:
    return ArmError(
        404, "NotFound", f"Resource {raw} referenced by {new.id} was not found.", target="networkProfile"
    )


def others(world: World, new: Resource) -> None:
    group = at(new.properties, "availabilitySet.id")
    if group and world.find(group) is None:
        raise missing(group, new)
    if group and new.body.get("zones"):
        raise invalid(
            "BadRequest", "Virtual Machine cannot be in both an Availability Zone and an Availability Set."
        )
    for raw in (new.body.get("identity") or {}).get("userAssignedIdentities") or {}:
        if world.find(raw) is None:
            raise invalid(
                "FailedIdentityOperation",
                f"Identity operation for resource '{new.id}' failed with error 'Failed to perform resource identity "
                f"operation. Status: 'BadRequest'. The resource '{raw}' was not found.'",
            )


# ---- disks
def disks(world: World, new: Resource, old: Resource | None, size: Size) -> None:
    storage = new.properties["storageProfile"]
    if old is not None:
        storage["osDisk"] = {**old.properties["storageProfile"]["osDisk"], **(storage.get("osDisk") or {})}
        return
    system = storage.setdefault("osDisk", {}) or {}
    storage["osDisk"] = system
    system.setdefault("createOption", "FromImage")
    system.setdefault("name", f"{new.name}_OsDisk_1_{uuid.uuid4().hex}")
    system.setdefault("diskSizeGB", 30)
    system.setdefault("osType", "Linux")
    system.setdefault("deleteOption", "Detach")
    system.setdefault("caching", "ReadWrite")
    listed = storage.setdefault("dataDisks", []) or []
    storage["dataDisks"] = listed
    if len(listed) > size.disks:
        raise ArmError(
            409,
            "OperationNotAllowed",
            f"The maximum number of data disks allowed to be attached to a VM of this size is {size.disks}.",
            target="dataDisks",
        )
    luns = [item.get("lun") for item in listed]
    if len(set(luns)) < len(luns):
        raise invalid("InvalidParameter", "A disk at this lun already exists.", "dataDisks.lun")
    for item in listed:
        item.setdefault("name", f"{new.name}_disk_{item['lun']}_{uuid.uuid4().hex}")
        item.setdefault("deleteOption", "Detach")
    for item in (system, *listed):
        kind = (item.get("managedDisk") or {}).get("storageAccountType") or "Standard_LRS"
        if kind.startswith("Premium") and not market(world).premium(size):
            raise invalid(
                "InvalidParameter",
                f"Requested operation cannot be performed because the VM size {size.name}"
                " does not support the storage account type Premium_LRS.",
            )
        if kind.startswith("UltraSSD") and not at(new.properties, "additionalCapabilities.ultraSSDEnabled"):
            raise invalid(
                "InvalidParameter",
                f"StorageAccountType '{kind}' can be used only when additionalCapabilities.ultraSSDEnabled is set.",
                "dataDisk.managedDisk.storageAccountType",
            )
        item["managedDisk"] = {**(item.get("managedDisk") or {}), "storageAccountType": kind}


def begun(world: World, new: Resource, old: Resource | None) -> None:
    """The disks are there with the machine, with its tags and in its zone (rules: implicit-disks)."""
    if old is None:
        new.hidden["said"] = {**new.properties}
        storage = new.properties["storageProfile"]
        for item in (storage["osDisk"], *storage["dataDisks"]):
            item["managedDisk"]["id"] = attach(world, new, item).id
    else:
        new.hidden["said"] = {**old.hidden["said"], **new.properties}
        new.hidden["power"] = old.hidden["power"]
    world.index(new)


def attach(world: World, vm: Resource, item: Body) -> Resource:
    given = item["managedDisk"].get("id")
    found = world.find(given) if given else None
    if found is None:
        group = vm.id.rsplit("/providers/", 1)[0]
        body: Body = {
            "location": vm.location,
            "tags": dict(vm.body.get("tags") or {}),
            "sku": {"name": item["managedDisk"]["storageAccountType"]},
            "properties": {
                "diskSizeGB": item.get("diskSizeGB", 30),
                "creationData": {"createOption": "Empty"},
            },
        }
        if vm.body.get("zones"):
            body["zones"] = list(vm.body["zones"])
        raw = f"{group}/providers/{DISK}/{item['name']}"
        found = world.add(Resource(raw, DISK, body, world.now(), state="Succeeded"))
    found.hidden["by"] = vm.id
    return found


def done(world: World, vm: Resource) -> None:
    if vm.hidden["power"] == "starting":
        vm.hidden["power"] = "running"


def gone(world: World, vm: Resource) -> None:
    """What has deleteOption Delete goes with the machine, the rest is let go (rules: delete-option)."""
    storage = vm.properties["storageProfile"]
    world.remove(vm)
    for item in (storage["osDisk"], *storage["dataDisks"]):
        disk = world.find(item["managedDisk"].get("id", ""))
        if disk is not None:
            disk.hidden.pop("by", None)
            if str(item.get("deleteOption")).lower() == "delete":
                world.remove(disk)
    for item in at(vm.properties, "networkProfile.networkInterfaces") or []:
        nic = world.find(item["id"])
        if nic is not None and str((item.get("properties") or {}).get("deleteOption")).lower() == "delete":
            nic_gone(world, nic)


def nic_gone(world: World, nic: Resource) -> None:
    world.remove(nic)
    for item in nic.properties.get("ipConfigurations", []):
        address = item["properties"].get("publicIPAddress") or {}
        option = (address.get("properties") or {}).get("deleteOption")
        found = world.find(address.get("id", ""))
        if found is not None and str(option).lower() == "delete":
            world.remove(found)


def marked(vm: Resource, operation: str) -> ArmError:
    return ArmError(
        409,
        "OperationNotAllowed",
        f"Operation '{operation}' is not allowed on VM '{vm.name}' since the VM is marked for deletion. You can only "
        "retry the Delete operation (or wait for an ongoing one to complete).",
    )


def disk_may_go(world: World, disk: Resource) -> None:
    if "by" in disk.hidden:
        raise ArmError(
            409,
            "OperationNotAllowed",
            f"Disk {disk.name} is attached to VM {disk.hidden['by']}.",
            target="Disk",
        )


def view_disk(world: World, disk: Resource, body: Body) -> None:
    by = disk.hidden.get("by")
    body["properties"]["diskState"] = "Attached" if by else "Unattached"
    body["properties"]["timeCreated"] = world.text(disk.created)
    if by:
        body["managedBy"] = by


def set_may_go(world: World, group: Resource) -> None:
    for user in world.users(group.id):
        raise ArmError(409, "OperationNotAllowed", f"Availability set {group.name} is in use by {user}.")


# ---- what it shows
def view_vm(world: World, vm: Resource, body: Body) -> None:
    properties = body["properties"]
    properties["vmId"] = vm.hidden["vmId"]
    properties["timeCreated"] = world.text(vm.created)
    for word in ("customData", "adminPassword"):
        properties["osProfile"].pop(word, None)
    properties.pop("userData", None)
    reference = properties["storageProfile"]["imageReference"]
    if reference.get("version"):
        reference["exactVersion"] = vm.hidden["version"]
    if body.get("identity"):
        view_identities(world, vm, body["identity"])


def view_identities(world: World, vm: Resource, identity: Body) -> None:
    if "SystemAssigned" in str(identity.get("type")):
        identity["principalId"] = system_principal(vm)
        identity["tenantId"] = "22222222-2222-2222-2222-222222222222"
    for raw in identity.get("userAssignedIdentities") or {}:
        found = owner_of(world, raw)
        if found is not None:
            identity["userAssignedIdentities"][raw] = {
                "principalId": found.hidden["principalId"],
                "clientId": found.hidden["clientId"],
            }


def system_principal(vm: Resource) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "system" + vm.hidden["vmId"]))


POWER = {
    "starting": "VM starting",
    "running": "VM running",
    "stopping": "VM stopping",
    "stopped": "VM stopped",
    "deallocating": "VM deallocating",
    "deallocated": "VM deallocated",
}


def instance_view(world: World, vm: Resource) -> Body:
    state = {
        "code": f"ProvisioningState/{vm.state.lower()}",
        "level": "Info",
        "time": world.text(world.now()),
    }
    state["displayStatus"] = f"Provisioning {vm.state.lower()}"
    if vm.state == "Failed" and vm.hidden.get("failure"):
        failure = vm.hidden["failure"]
        state |= {
            "code": f"ProvisioningState/failed/{failure.code}",
            "level": "Error",
            "message": failure.message,
        }
    power = vm.hidden["power"]
    statuses = [state]
    if not vm.hidden.get("never"):
        statuses.append({"code": f"PowerState/{power}", "level": "Info", "displayStatus": POWER[power]})
    view: Body = {
        "computerName": vm.properties["osProfile"]["computerName"],
        "disks": [
            {"name": item["name"], "statuses": [state]}
            for item in (
                vm.properties["storageProfile"]["osDisk"],
                *vm.properties["storageProfile"]["dataDisks"],
            )
        ],
        "hyperVGeneration": vm.hidden["generation"],
        "statuses": statuses,
    }
    if at(vm.properties, "diagnosticsProfile.bootDiagnostics.enabled"):
        view["bootDiagnostics"] = {}
    return view


register(
    Kind(
        VM,
        "compute.models.VirtualMachine",
        "compute.models.VirtualMachineUpdate",
        takes="vm",
        check=check_vm,
        view=view_vm,
        begun=begun,
        done=done,
        gone=gone,
    ),
    Kind(
        DISK,
        "compute.models.Disk",
        "compute.models.DiskUpdate",
        made=202,
        view=view_disk,
        may_go=disk_may_go,
    ),
    Kind("Microsoft.Compute/images", "compute.models.Image"),
    Kind("Microsoft.Compute/galleries", "compute.models.Gallery"),
    Kind("Microsoft.Compute/galleries/images", "compute.models.GalleryImage"),
    Kind("Microsoft.Compute/galleries/images/versions", "compute.models.GalleryImageVersion"),
    Kind(
        "Microsoft.Compute/availabilitySets",
        "compute.models.AvailabilitySet",
        "compute.models.AvailabilitySetUpdate",
        takes="",
        delete_takes="",
        may_go=set_may_go,
    ),
)
