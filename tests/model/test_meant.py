"""What the documents of old guides mean, for whoever acts on them."""

from __future__ import annotations

import pytest

from flatyard.decode import JSON, encode, from_json
from flatyard.model.machine import ProviderSpec
from flatyard.model.machines import AwsMachine, AzureMachine
from flatyard.model.machines.azure import ImagePlan
from flatyard.model.meant import as_meant, is_placeholder, kubelet_version


def provider(cloud: str, machine: dict[str, JSON], **more: JSON) -> ProviderSpec:
    return from_json(
        ProviderSpec,
        {"cloudProvider": cloud, "operatingSystem": "flatcar", "cloudProviderSpec": machine, **more},
    )


def test_ssh_keys_below_the_machine_count_as_if_one_level_up() -> None:
    written = provider("aws", {"sshPublicKeys": ["ssh-rsa b", "ssh-rsa a"]}, sshPublicKeys=["ssh-rsa a"])
    meant = as_meant(written)
    assert meant.ssh_public_keys == ("ssh-rsa a", "ssh-rsa b")
    assert isinstance(meant.cloud_provider_spec, AwsMachine) and not meant.cloud_provider_spec.extra


def test_the_stored_document_stays_as_it_was_written() -> None:
    tree: dict[str, JSON] = {"sshPublicKeys": ["ssh-rsa b"], "region": "us-east-1"}
    assert encode(provider("aws", tree))["cloudProviderSpec"] == tree


def test_the_old_azure_offer_gets_its_plan() -> None:
    reference: dict[str, JSON] = {"publisher": "kinvolk", "offer": "flatcar-container-linux", "sku": "stable"}
    machine = as_meant(provider("azure", {"imageReference": reference})).cloud_provider_spec
    assert isinstance(machine, AzureMachine)
    assert machine.image_plan == ImagePlan(
        name="stable", publisher="kinvolk", product="flatcar-container-linux"
    )


def test_a_plan_that_is_written_stays() -> None:
    reference: dict[str, JSON] = {"publisher": "kinvolk", "offer": "flatcar-container-linux", "sku": "stable"}
    plan: dict[str, JSON] = {"name": "mine"}
    machine = as_meant(
        provider("azure", {"imageReference": reference, "imagePlan": plan})
    ).cloud_provider_spec
    assert isinstance(machine, AzureMachine) and machine.image_plan == ImagePlan(name="mine")


def test_cloud_init_means_ignition_here() -> None:
    meant = as_meant(provider("aws", {}, operatingSystemSpec={"provisioningUtility": "cloud-init"}))
    assert meant.operating_system_spec.provisioning_utility == "ignition"


def test_reading_twice_changes_nothing_more() -> None:
    once = as_meant(provider("aws", {"sshPublicKeys": ["ssh-rsa b"]}))
    assert as_meant(once) == once


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("", "v1.34.3"),
        ("<YOUR-KUBERNETES-VERSION>", "v1.34.3"),
        ("v1.33.6", "v1.33.6"),
        ("1.33.6", "v1.33.6"),
    ],
)
def test_the_kubelet_version_of_a_machine(written: str, wanted: str) -> None:
    assert kubelet_version(written, "v1.34.3") == wanted


@pytest.mark.parametrize(
    "text",
    ["<YOUR-KUBERNETES-VERSION>", "<ami>", "vpc-xxxxx", "subnet-xxxxx", "ami-xxx", "sg-xxxxxxxx", "CHANGE_ME",
     "YOUR-PROJECT", "ssh-rsa AAAAB3NzaC1yc2E..."],
)  # fmt: skip
def test_placeholders(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize(
    "text", ["", "vpc-0a1b2c3d", "xxxxx", "a < b > c", "v1.34.3", "ssh-rsa AAAA me", "ami-xx"]
)
def test_what_is_no_placeholder(text: str) -> None:
    assert not is_placeholder(text)
