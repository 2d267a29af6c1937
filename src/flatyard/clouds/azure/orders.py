"""What is asked of Azure for one machine: an interface, an address where it shall have one, and the machine itself.

Fields follow machine-controller's Azure provider; whatever comes with a machine goes with it (deleteOption).
"""

from __future__ import annotations

import base64

from azure.mgmt.compute import models as vm
from azure.mgmt.network import models as net

from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.facts import FACTS, nvme
from flatyard.clouds.azure.identities import identity_of
from flatyard.clouds.azure.settings import IDENTITY
from flatyard.clouds.azure.terms import plan_of
from flatyard.clouds.cloud import CreateRequest, Rejected, Role
from flatyard.clouds.facts import Trouble
from flatyard.clouds.naming import token_of
from flatyard.clouds.tags import machine_tags
from flatyard.model.machines import AzureMachine

ADMIN = "core"
ETCD_GIB = 32
"""Of a control plane's etcd disk, unless dataDiskSize says otherwise; small Premium disks have few IOPS."""
DELETE = "Delete"
ULTRA = "UltraSSD_LRS"
INTERFACES = "Microsoft.Network/networkInterfaces"
_GALLERY, _SHARED, _OWN = "/communitygalleries/", "/sharedgalleries/", "/subscriptions/"
_URN_PARTS = 4


def check(request: CreateRequest) -> None:
    """Raises Rejected, before anything is made, for what Azure would refuse after the interface was made."""
    azure_machine(request)
    image_reference(request.image)
    rule, used = FACTS.user_data, FACTS.user_data.size(request.user_data)
    if used > rule.limit:
        refusal = FACTS.refusal(Trouble.USER_DATA_TOO_LARGE)
        said = refusal.message.format(used=used, limit=rule.limit)
        raise Rejected(f"creating {request.name}: {said}", code=refusal.code)
    if not FACTS.instance_name.fits(request.name):
        refusal = FACTS.refusal(Trouble.INVALID_NAME)
        allowed = FACTS.instance_name.allowed
        raise Rejected(
            f"creating {request.name}: {refusal.message.format(name=request.name)}; {allowed}",
            code=refusal.code,
        )


def azure_machine(request: CreateRequest) -> AzureMachine:
    """The request's machine spec. Raises Rejected for another cloud's."""
    if not isinstance(request.machine, AzureMachine):
        raise Rejected(f"creating {request.name}: its machine spec is not Azure's", code="InvalidParameter")
    return request.machine


def tags_of(request: CreateRequest) -> dict[str, str]:
    """The user's tags and ours."""
    return {**azure_machine(request).tags, **machine_tags(request, FACTS.tags)}


def interface_name(request: CreateRequest) -> str:
    """One for each attempt, so that what one attempt left never serves another."""
    return f"{token_of(request).lower()}-nic"


def zone_of(request: CreateRequest) -> str:
    """The zone asked for, or one of the network's by the machine's id; empty in an availability set."""
    if availability_set(request):
        return ""
    zones = request.network.zones
    return request.zone or (zones[sum(request.machine_id.encode()) % len(zones)] if zones else "")


def availability_set(request: CreateRequest) -> str:
    """The name of the set that the machine shall be in; assignAvailabilitySet: false takes it out, as upstream."""
    machine = azure_machine(request)
    return "" if machine.assign_availability_set is False else machine.availability_set.value


def wants_address(request: CreateRequest) -> bool:
    return azure_machine(request).assign_public_ip.value is True


def address(account: Account, request: CreateRequest) -> net.PublicIPAddress:
    zone = zone_of(request)
    return net.PublicIPAddress(
        location=account.place.location,
        tags=tags_of(request),
        zones=[zone] if zone else None,
        sku=net.PublicIPAddressSku(name="Standard"),
        properties=net.PublicIPAddressPropertiesFormat(
            public_ip_allocation_method="Static", public_ip_address_version="IPv4", delete_option=DELETE
        ),
    )


def interface(account: Account, request: CreateRequest, public: str) -> net.NetworkInterface:
    machine, subnets = azure_machine(request), request.network.subnets
    guard = request.network.security_groups.get(request.role.value, "")
    if machine.security_group_name.value:
        group = machine.vnet_resource_group.value or account.place.group_for(request.cluster)
        kind = "Microsoft.Network/networkSecurityGroups"
        guard = account.place.id(group, kind, machine.security_group_name.value)
    return net.NetworkInterface(
        location=account.place.location,
        tags=tags_of(request),
        properties=net.NetworkInterfacePropertiesFormat(
            network_security_group=net.NetworkSecurityGroup(id=guard) if guard else None,
            enable_accelerated_networking=machine.enable_accelerated_networking,
            # pods' packets are wrapped in the machine's own; only a route table of the user's sends it bare ones.
            # Where it is not needed it is often forbidden: a policy of Azure's landing zones
            enable_ip_forwarding=bool(machine.route_table_name.value) or None,
            ip_configurations=[
                net.NetworkInterfaceIPConfiguration(
                    name="node",
                    properties=net.NetworkInterfaceIPConfigurationPropertiesFormat(
                        primary=True,
                        private_ip_allocation_method="Dynamic",
                        subnet=net.Subnet(id=subnets[0 if request.role is Role.CONTROL_PLANE else -1]),
                        public_ip_address=_public(public),
                    ),
                )
            ],
        ),
    )


def _public(resource_id: str) -> net.PublicIPAddress | None:
    if not resource_id:
        return None
    return net.PublicIPAddress(
        id=resource_id, properties=net.PublicIPAddressPropertiesFormat(delete_option=DELETE)
    )


def machine(account: Account, request: CreateRequest, nic: str, login_key: str) -> vm.VirtualMachine:
    """`login_key`: a public key whose private part nobody has; Azure demands one, users' keys are in the user data."""
    spec, zone, place = azure_machine(request), zone_of(request), account.place
    availability = availability_set(request)
    group = place.group_for(request.cluster)
    kind = "Microsoft.Compute/availabilitySets"
    return vm.VirtualMachine(
        location=place.location,
        tags=tags_of(request),
        zones=[zone] if zone else None,
        plan=_plan(request),
        identity=_identity(account, request),
        properties=vm.VirtualMachineProperties(
            hardware_profile=vm.HardwareProfile(vm_size=spec.size),
            storage_profile=_storage(request),
            os_profile=_os(request, login_key),
            network_profile=vm.NetworkProfile(
                network_interfaces=[
                    vm.NetworkInterfaceReference(
                        id=nic,
                        properties=vm.NetworkInterfaceReferenceProperties(primary=True, delete_option=DELETE),
                    )
                ]
            ),
            availability_set=vm.SubResource(id=place.id(group, kind, availability)) if availability else None,
            additional_capabilities=_capabilities(spec),
            security_profile=_security(spec),
            diagnostics_profile=vm.DiagnosticsProfile(
                boot_diagnostics=vm.BootDiagnostics(enabled=spec.enable_boot_diagnostics is not False)
            ),
        ),
    )


def _storage(request: CreateRequest) -> vm.StorageProfile:
    spec = azure_machine(request)
    base = token_of(request).lower()
    size = spec.data_disk_size or (ETCD_GIB if request.role is Role.CONTROL_PLANE else 0)
    data = vm.DataDisk(
        lun=0,
        name=f"{base}-data",
        create_option="Empty",
        delete_option=DELETE,
        disk_size_gb=size,
        managed_disk=vm.ManagedDiskParameters(storage_account_type=spec.data_disk_sku or "StandardSSD_LRS"),
    )
    return vm.StorageProfile(
        image_reference=image_reference(request.image),
        os_disk=vm.OSDisk(
            name=f"{base}-os",
            create_option="FromImage",
            delete_option=DELETE,
            disk_size_gb=spec.os_disk_size or None,
            managed_disk=vm.ManagedDiskParameters(storage_account_type=spec.os_disk_sku or "StandardSSD_LRS"),
        ),
        data_disks=[data] if size else [],
        disk_controller_type="NVMe" if nvme(spec.size) else None,
    )


def _os(request: CreateRequest, login_key: str) -> vm.OSProfile:
    return vm.OSProfile(
        computer_name=request.name,
        admin_username=ADMIN,
        custom_data=base64.b64encode(request.user_data).decode(),
        linux_configuration=vm.LinuxConfiguration(
            disable_password_authentication=True,
            provision_vm_agent=True,
            ssh=vm.SshConfiguration(
                public_keys=[vm.SshPublicKey(path=f"/home/{ADMIN}/.ssh/authorized_keys", key_data=login_key)]
            ),
        ),
    )


def _security(spec: AzureMachine) -> vm.SecurityProfile | None:
    wanted = spec.security_profile
    if wanted is None or wanted.security_type in ("", "Standard"):
        return None
    return vm.SecurityProfile(
        security_type=wanted.security_type,
        uefi_settings=vm.UefiSettings(
            secure_boot_enabled=bool(wanted.secure_boot_enabled),
            v_tpm_enabled=wanted.v_tpm_enabled is not False,
        ),
    )


def _capabilities(spec: AzureMachine) -> vm.AdditionalCapabilities | None:
    """An Ultra disk is refused on a machine that is not said to have some."""
    return vm.AdditionalCapabilities(ultra_ssd_enabled=True) if spec.data_disk_sku == ULTRA else None


def _identity(account: Account, request: CreateRequest) -> vm.VirtualMachineIdentity | None:
    wanted = identity_of(account, request.cluster)
    if not wanted:
        return None
    if not wanted.lower().startswith(_OWN):
        raise Rejected(f"{IDENTITY} is not a resource id", code="InvalidParameter")
    return vm.VirtualMachineIdentity(
        type="UserAssigned", user_assigned_identities={wanted: vm.UserAssignedIdentitiesValue()}
    )


def image_reference(reference: str) -> vm.ImageReference:
    """From `publisher:offer:sku:version` or an id. Raises Rejected for anything else."""
    folded = reference.lower()
    if folded.startswith(_GALLERY):
        return vm.ImageReference(community_gallery_image_id=reference)
    if folded.startswith(_SHARED):
        return vm.ImageReference(shared_gallery_image_id=reference)
    if folded.startswith(_OWN):
        return vm.ImageReference(id=reference)
    parts = reference.split(":")
    if len(parts) != _URN_PARTS:
        raise Rejected(
            f"image {reference!r} is neither publisher:offer:sku:version nor an id", code="InvalidParameter"
        )
    return vm.ImageReference(publisher=parts[0], offer=parts[1], sku=parts[2], version=parts[3])


def _plan(request: CreateRequest) -> vm.Plan | None:
    """The purchase plan, where the image's offer has one."""
    plan = plan_of(azure_machine(request), request.image)
    return vm.Plan(publisher=plan[0], product=plan[1], name=plan[2]) if plan else None
