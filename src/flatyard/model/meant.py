"""What documents mean that put things where machine-controller does not look (DESIGN §5).

Documents are stored as they were written; whoever acts on one reads it through ``as_meant``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from flatyard.base.errors import Problem
from flatyard.decode.context import At
from flatyard.decode.types import JSON
from flatyard.model.machine import OperatingSystemSpec, ProviderSpec
from flatyard.model.machines import AwsMachine, AzureMachine, GcpMachine, MachineSpec
from flatyard.model.machines.azure import ImagePlan

PLACEHOLDER = re.compile(
    r"<[^<>\n]{1,60}>|(?:vpc|subnet|ami|sg|i|eni|rtb|igw)-x{3,}|CHANGE_?ME|YOUR[-_][A-Z_-]+|ssh-[a-z0-9-]+ \S*\.\.\."
)
OLD_AZURE_OFFERS = ("flatcar-container-linux", "flatcar-container-linux-free")
_FULL_IMAGE_PATH = re.compile(r"(?:https://.*/)?projects/[^/]+/global/images/.+")


def is_placeholder(text: str) -> bool:
    """Whether a text stands for something that the reader was to fill in."""
    return PLACEHOLDER.fullmatch(text) is not None


def kubelet_version(written: str, current: str) -> str:
    """The kubelet version that a machine gets: what is written, or the cluster's for nothing and placeholders."""
    if not written or is_placeholder(written):
        return current
    return written if written.startswith("v") else f"v{written}"


def as_meant(provider: ProviderSpec) -> ProviderSpec:
    """The provider spec with everything in its place."""
    system = provider.operating_system_spec
    if system.provisioning_utility == "cloud-init":
        system = replace(system, provisioning_utility="ignition")
    machine = provider.cloud_provider_spec
    keys = provider.ssh_public_keys
    if machine is not None:
        keys = (*keys, *(key for key in _misplaced_keys(machine) if key not in keys))
        machine = _machine_as_meant(machine)
    return replace(provider, operating_system_spec=system, cloud_provider_spec=machine, ssh_public_keys=keys)


def _machine_as_meant(machine: MachineSpec) -> MachineSpec:
    if "sshPublicKeys" in machine.extra:
        rest: dict[str, JSON] = {key: value for key, value in machine.extra.items() if key != "sshPublicKeys"}
        machine = replace(machine, extra=rest)
    if isinstance(machine, AzureMachine) and machine.image_plan is None and _old_offer(machine):
        reference = machine.image_reference
        assert reference
        plan = ImagePlan(name=reference.sku, publisher=reference.publisher, product=reference.offer)
        machine = replace(machine, image_plan=plan)
    return machine


def _misplaced_keys(machine: MachineSpec) -> tuple[str, ...]:
    found = machine.extra.get("sshPublicKeys")
    return tuple(key for key in found if isinstance(key, str)) if isinstance(found, list) else ()


def _old_offer(machine: AzureMachine) -> bool:
    return machine.image_reference is not None and machine.image_reference.offer in OLD_AZURE_OFFERS


def spellings(provider: ProviderSpec, at: At) -> Iterator[Problem]:
    """A warning for each thing that is understood and has a modern spelling; ``at`` is ``providerSpec.value``."""
    yield from _system_spellings(provider.operating_system_spec, at("operatingSystemSpec"))
    machine = provider.cloud_provider_spec
    if machine is None:
        return
    place = at("cloudProviderSpec")
    if "sshPublicKeys" in machine.extra:
        yield place("sshPublicKeys").warning(
            "sshPublicKeys belongs one level up and is read as if it stood there",
            "providerSpec.value.sshPublicKeys",
        )
    if isinstance(machine, AwsMachine):
        yield from _aws_spellings(machine, place)
    elif isinstance(machine, AzureMachine) and _old_offer(machine):
        yield place("imageReference", "offer").warning(
            "this offer is retired and needs a purchase plan, which is filled in",
            "offer flatcar-container-linux-corevm-amd64, sku stable-gen2, no plan; or no imageReference at all",
            "flatcar-container-linux-corevm-amd64",
        )
    elif isinstance(machine, GcpMachine) and _FULL_IMAGE_PATH.fullmatch(machine.custom_image.value):
        yield place("customImage").warning(
            "machine-controller cannot use an image's full path; flatyard does",
            "an image's bare name, or no customImage for the newest of the channel",
        )


def _system_spellings(system: OperatingSystemSpec, at: At) -> Iterator[Problem]:
    if system.provisioning_utility == "cloud-init":
        yield at("provisioningUtility").warning(
            "Flatcar is provisioned by Ignition, also here", "ignition", "ignition"
        )
    if system.cloud_init:
        yield at("cloudInit").warning(
            "machine-controller drops cloudInit; flatyard merges it after the generated config",
            "spec.ignition.workers of the Cluster",
        )


def _aws_spellings(machine: AwsMachine, at: At) -> Iterator[Problem]:
    if not machine.security_group_ids:
        yield at.warning("no securityGroupIDs: the cluster's own security group is used")
    if not machine.instance_profile:
        yield at.warning("no instanceProfile: the cluster's own instance profile is used")
