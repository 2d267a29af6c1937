"""One machine spec per cloud: machine-controller's ``cloudProviderSpec``, all of its fields."""

from __future__ import annotations

from typing import TypeAlias

from flatyard.model.machines.aws import AwsMachine
from flatyard.model.machines.azure import AzureMachine
from flatyard.model.machines.gcp import GcpMachine
from flatyard.model.machines.local import LocalMachine
from flatyard.model.machines.openstack import OpenstackMachine
from flatyard.model.machines.vsphere import VsphereMachine

MachineSpec: TypeAlias = (
    AwsMachine | AzureMachine | GcpMachine | OpenstackMachine | VsphereMachine | LocalMachine
)

BY_CLOUD: dict[str, type[MachineSpec]] = {
    "aws": AwsMachine,
    "azure": AzureMachine,
    "gcp": GcpMachine,
    "openstack": OpenstackMachine,
    "vsphere": VsphereMachine,
    "local": LocalMachine,
}
"""The machine spec of each cloud, by the cloud's name in a Cluster."""

CLOUD_OF_PROVIDER = {
    "aws": "aws",
    "azure": "azure",
    "gce": "gcp",
    "openstack": "openstack",
    "vsphere": "vsphere",
    "local": "local",
}
"""machine-controller's ``cloudProvider`` to the cloud's name in a Cluster."""

BY_PROVIDER: dict[str, type[MachineSpec]] = {p: BY_CLOUD[cloud] for p, cloud in CLOUD_OF_PROVIDER.items()}
"""The machine spec of each ``cloudProvider``."""

PROVIDER_OF_CLOUD = {cloud: provider for provider, cloud in CLOUD_OF_PROVIDER.items()}


def named_zones(machine: MachineSpec) -> tuple[str, ...]:
    """The zones that a machine may be in by its spec, one of them for each machine; empty: any."""
    if isinstance(machine, AzureMachine):
        return machine.zones
    return (machine.zone,) if machine.zone else ()


__all__ = [
    "BY_CLOUD",
    "BY_PROVIDER",
    "CLOUD_OF_PROVIDER",
    "PROVIDER_OF_CLOUD",
    "AwsMachine",
    "AzureMachine",
    "GcpMachine",
    "LocalMachine",
    "MachineSpec",
    "OpenstackMachine",
    "VsphereMachine",
    "named_zones",
]
