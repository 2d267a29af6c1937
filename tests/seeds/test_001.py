"""Seed 001: machine-controller's page on Flatcar. Every fragment of it works, or is refused with the reason."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
import yaml

from flatyard.flatcar import IMAGE_RULES
from flatyard.node import layout

FRAGMENTS = Path(__file__).parent / "001"
AMD64 = "kinvolk:flatcar-container-linux-corevm-amd64"


def test_every_fragment_of_the_page_has_a_test_here():
    tests = Path(__file__).read_text()
    assert [path.name for path in sorted(FRAGMENTS.iterdir()) if f'"001/{path.name}"' not in tests] == []


# ---- operatingSystem


def test_operating_system_flatcar(paste, reads, twin):
    text = paste("001/os.yaml", "aws")
    assert reads(text) == []
    up = twin(text)
    assert up.target("/etc/systemd/system/update-engine.service") != "/dev/null", "updates stay on"


def test_provisioning_utility_ignition(paste, reads, twin):
    text = paste("001/ignition.yaml", "aws")
    assert reads(text) == []
    assert len(twin(text).workers) == 1


def test_provisioning_utility_cloud_init_is_ignition_here_and_said_so(paste, reads, twin):
    text = paste("001/ignition.yaml", "aws").replace(
        "provisioningUtility: ignition", "provisioningUtility: cloud-init"
    )
    assert reads(text) == [
        "warning: …operatingSystemSpec.provisioningUtility: Flatcar is provisioned by Ignition, also here; "
        "allowed: ignition"
    ]
    assert len(twin(text).workers) == 1


# ---- images, cloud by cloud


def test_aws_ami_placeholder_means_the_channels_newest_on_the_twin_and_an_error_on_real_aws(
    paste, reads, twin
):
    text = paste("001/aws.yaml", "aws")
    assert reads(text) == ["warning: …cloudProviderSpec.ami: ami-xxxxx is a placeholder"]
    up = twin(text)
    assert up.workers[0].hardware.image_version == "4593.2.5"
    real = text.replace("sim:\n      as: aws\n      region", "aws:\n      region")
    assert real != text
    (line,) = reads(real)
    assert line == "error: …cloudProviderSpec.ami: ami-xxxxx is a placeholder; allowed: the real value"


def test_aws_describe_images_finds_what_our_rule_finds():
    """`--owners 075585003325 --filters Name=name,Values=Flatcar-stable-*`"""
    rule = IMAGE_RULES["aws"]
    assert rule.owner == "075585003325"
    assert fnmatch.fnmatch(rule.name.format(channel="stable", version="4593.2.5"), "Flatcar-stable-*")


def test_azure_image_reference_of_the_old_offer_gets_its_plan_and_the_modern_spelling_is_said(
    paste, reads, twin
):
    text = paste("001/azure.yaml", "azure")
    (line,) = reads(text)
    assert line == (
        "warning: …cloudProviderSpec.imageReference.offer: this offer is retired and needs a purchase plan, which "
        "is filled in; allowed: offer flatcar-container-linux-corevm-amd64, sku stable-gen2, no plan; or no "
        "imageReference at all"
    )
    assert twin(text).workers[0].hardware.image_version == "4593.2.5"


def test_google_cloud_image_family_by_its_full_path(paste, reads, twin):
    text = paste("001/gce.yaml", "gce")
    assert reads(text) == [
        "warning: …cloudProviderSpec.customImage: machine-controller cannot use an image's full path; flatyard "
        "does; allowed: an image's bare name, or no customImage for the newest of the channel"
    ]
    assert twin(text).images == ("projects/kinvolk-public/global/images/flatcar-stable-4593-2-5",)


def test_openstack_image_by_name(paste, reads, twin):
    text = paste("001/openstack.yaml", "openstack")
    assert reads(text) == []
    assert twin(text).images == ("flatcar-stable",)


def test_openstack_image_create_uploads_the_file_that_our_rule_downloads():
    """`openstack image create --disk-format qcow2 --file flatcar_production_openstack_image.img`"""
    url = IMAGE_RULES["openstack"].download.format(channel="stable", arch="amd64", version="4593.2.5")
    assert url.endswith("/4593.2.5/flatcar_production_openstack_image.img.gz")


def test_vsphere_template_by_name(paste, reads, twin):
    text = paste("001/vsphere.yaml", "vsphere")
    assert reads(text) == []
    assert twin(text).images == ("flatcar-stable-template",)


# ---- updates, containerd, SSH, custom Ignition


def test_disable_auto_update_stops_both_who_would(paste, reads, twin):
    text = paste("001/no-updates.yaml", "aws")
    assert reads(text) == []
    up = twin(text)
    units = ("update-engine", "locksmithd")
    assert [up.target(f"/etc/systemd/system/{unit}.service") for unit in units] == ["/dev/null"] * 2


def test_containerd_is_configured_where_the_page_looks_for_it(paste, twin):
    """`cat /etc/containerd/config.toml`, `systemctl status containerd`"""
    up = twin(paste("001/os.yaml", "aws"))
    assert "SystemdCgroup = true" in (up.text("/etc/containerd/config.toml") or "")
    assert layout.CONTAINERD_CONFIG == "/etc/containerd/config.toml"


def test_ssh_public_keys_below_the_machine_reach_user_core(paste, reads, twin):
    text = paste("001/ssh.yaml", "aws")
    assert reads(text) == [
        "warning: …cloudProviderSpec.sshPublicKeys: sshPublicKeys belongs one level up and is read as if it stood "
        "there; allowed: providerSpec.value.sshPublicKeys",
        "warning: …cloudProviderSpec.sshPublicKeys[0]: ssh-rsa AAAAB3NzaC1yc2E... is a placeholder",
    ]
    assert twin(text).text("/home/core/.ssh/authorized_keys.d/ignition") == "ssh-rsa AAAAB3NzaC1yc2E...\n"


def test_custom_ignition_in_cloud_init_is_merged_after_ours(paste, reads, twin):
    text = paste("001/custom-ignition.yaml", "aws")
    assert reads(text) == [
        "warning: …operatingSystemSpec.cloudInit: machine-controller drops cloudInit; flatyard merges it after the "
        "generated config; allowed: spec.ignition.workers of the Cluster"
    ]
    assert twin(text).text("/etc/custom-config") == "custom content"


# ---- the whole example, and the way from Ubuntu


CLUSTER = """\
apiVersion: flatyard.dev/v1alpha1
kind: Cluster
metadata: {name: seed}
spec:
  cloud: {sim: {as: aws, region: us-east-1}}
---
"""


def test_the_whole_machine_deployment_unchanged(document, reads, twin):
    text = CLUSTER + document("001/flatcar-workers.yaml")
    assert reads(text) == [
        "warning: …cloudProviderSpec: no instanceProfile: the cluster's own instance profile is used",
        "warning: …cloudProviderSpec: no securityGroupIDs: the cluster's own security group is used",
        "warning: …cloudProviderSpec.vpcId: vpc-xxxxx is a placeholder",
        "warning: …cloudProviderSpec.subnetId: subnet-xxxxx is a placeholder",
        "warning: …cloudProviderSpec.ami: ami-xxxxx is a placeholder",
        "warning: spec.template.spec.versions.kubelet: <YOUR-KUBERNETES-VERSION> is a placeholder; the cluster's "
        "version v1.34.3 is used; allowed: a version like v1.34.3",
    ]
    up = twin(text)
    assert len(up.workers) == 3
    assert {worker.hardware.image_version for worker in up.workers} == {"4593.2.5"}


def test_migration_names_the_deployment_as_kubectl_scale_does(document):
    """`kubectl scale machinedeployment flatcar-workers --replicas=3 -n kube-system`"""
    written = yaml.safe_load(document("001/flatcar-workers.yaml"))
    assert (written["metadata"]["name"], written["metadata"]["namespace"]) == (
        "flatcar-workers",
        "kube-system",
    )


# ---- where Flatcar is not supported


REFUSED = {"digitalocean": "DigitalOcean", "hetzner": "Hetzner Cloud", "nutanix": "Nutanix"}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_clouds_are_refused_with_the_reason_in_a_machine_deployment(document, reads, name):
    text = document("001/flatcar-workers.yaml").replace('cloudProvider: "aws"', f'cloudProvider: "{name}"')
    refusals = [line for line in reads(text) if "cloudProvider:" in line]
    assert refusals == [
        f"error: …cloudProvider: flatyard does not run Flatcar on {REFUSED[name]}: the cloud offers no Flatcar "
        "image, machine-controller does not support it there, and flatyard has no adapter; "
        "allowed: aws, azure, gce, openstack, vsphere, local"
    ]


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_clouds_are_refused_with_the_reason_in_a_cluster(reads, name):
    text = CLUSTER.replace("sim: {as: aws, region: us-east-1}", f"{name}: {{region: fra1}}")
    assert reads(text) == [
        f"error: spec.cloud.{name}: flatyard does not run Flatcar on {REFUSED[name]}: the cloud offers no Flatcar "
        "image, machine-controller does not support it there, and flatyard has no adapter; "
        "allowed: azure, aws, gcp, openstack, vsphere, local, sim"
    ]
