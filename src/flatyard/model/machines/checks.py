"""What the fields of one machine spec must satisfy together, as machine-controller's Validate has it."""

from __future__ import annotations

from collections.abc import Iterator

from flatyard.base.errors import Problem
from flatyard.decode.context import At
from flatyard.decode.types import ConfigVar
from flatyard.model.machines import (
    AwsMachine,
    AzureMachine,
    GcpMachine,
    MachineSpec,
    OpenstackMachine,
    VsphereMachine,
)

_AWS_DISKS = ("standard", "io1", "io2", "gp2", "gp3", "sc1", "st1")
_AWS_IOPS = {"io1": (100, 64000), "io2": (100, 64000), "gp3": (3000, 64000)}
_GCP_DISKS = ("pd-standard", "pd-balanced", "pd-ssd")


def check_machine(machine: MachineSpec, at: At) -> Iterator[Problem]:
    """Problems within one machine spec, wherever it stands."""
    match machine:
        case AwsMachine():
            yield from _check_aws(machine, at)
        case AzureMachine():
            yield from _check_azure(machine, at)
        case GcpMachine():
            yield from _one_of(machine.disk_type, _GCP_DISKS, at("diskType"))
        case OpenstackMachine():
            yield from _check_openstack(machine, at)
        case VsphereMachine():
            yield from _check_vsphere(machine, at)
        case _:
            pass


def check_size(machine: MachineSpec, at: At) -> Iterator[Problem]:
    """A MachineDeployment says how large its machines are; nothing is assumed."""
    match machine:
        case AwsMachine(instance_type=size):
            field = "instanceType"
        case AzureMachine(vm_size=size):
            field = "vmSize"
        case GcpMachine(machine_type=size):
            field = "machineType"
        case OpenstackMachine(flavor=size):
            field = "flavor"
        case _:
            return
    if not size:
        yield at(field).error(f"{field} is missing")


def _check_aws(machine: AwsMachine, at: At) -> Iterator[Problem]:
    yield from _one_of(machine.disk_type, _AWS_DISKS, at("diskType"))
    limits = _AWS_IOPS.get(machine.disk_type.value)
    iops = machine.disk_iops
    if limits and iops is not None and not limits[0] <= iops <= limits[1]:
        yield at("diskIops").error(
            f"{iops} does not suit {machine.disk_type.value}", f"{limits[0]} to {limits[1]}"
        )
    if limits is None and iops is not None:
        yield at("diskIops").warning(
            f"diskIops has no effect on {machine.disk_type.value}", ", ".join(_AWS_IOPS)
        )
    if iops is None and machine.disk_type.value in ("io1", "io2"):
        yield at("diskIops").error(f"{machine.disk_type.value} needs diskIops", "100 to 64000")
    if (machine.metadata_hop_limit or 1) > 1:
        yield at("metadataHopLimit").warning(
            "with more than one hop pods reach the metadata service and the instance's role", "1"
        )
    if machine.spot_instance_config is not None and not machine.is_spot_instance:
        yield at("spotInstanceConfig").warning(
            "spotInstanceConfig has no effect without isSpotInstance: true"
        )


def _check_azure(machine: AzureMachine, at: At) -> Iterator[Problem]:
    if machine.data_disk_sku == "UltraSSD_LRS" and machine.availability_set:
        yield at("dataDiskSKU").error("UltraSSD_LRS cannot be used with an availability set")
    if machine.zones and machine.availability_set:
        yield at("availabilitySet").error("a machine is in zones or in an availability set, not in both")
    if machine.os_disk_sku and not machine.os_disk_size:
        yield at("osDiskSKU").warning("osDiskSKU has no effect without osDiskSize")
    if machine.data_disk_sku and not machine.data_disk_size:
        yield at("dataDiskSKU").warning("dataDiskSKU has no effect without dataDiskSize")


def _check_openstack(machine: OpenstackMachine, at: At) -> Iterator[Problem]:
    if "machine-uid" in machine.tags:
        yield at("tags", "machine-uid").error("the tag machine-uid is reserved")
    if machine.network and machine.networks:
        yield at("network").error("network and networks exclude each other", "networks")
    elif machine.network:
        yield at("network").warning("network is deprecated", "networks", "networks")
    if machine.root_disk_volume_type and machine.root_disk_size_gb is None:
        yield at("rootDiskVolumeType").warning("rootDiskVolumeType has no effect without rootDiskSizeGB")


def _check_vsphere(machine: VsphereMachine, at: At) -> Iterator[Problem]:
    if machine.datastore and machine.datastore_cluster:
        yield at("datastoreCluster").error("datastore and datastoreCluster exclude each other")
    if machine.vm_net_name and machine.networks:
        yield at("vmNetName").error("vmNetName and networks exclude each other", "networks")
    elif machine.vm_net_name:
        yield at("vmNetName").warning("vmNetName is deprecated", "networks", "networks")
    if machine.vm_anti_affinity.value and not machine.cluster:
        yield at("vmAntiAffinity").error("vmAntiAffinity needs cluster")


def _one_of(value: ConfigVar, allowed: tuple[str, ...], at: At) -> Iterator[Problem]:
    if value.value and value.value not in allowed:
        yield at.error(f"{value.value} is not allowed here", ", ".join(allowed))
