"""Seed 000: Cluster API's page on Flatcar for Azure. Both flavors, and what its readers do by hand, are one `up`."""

from __future__ import annotations

import pytest
import yaml

from flatyard.clouds.azure.facts import FACTS
from flatyard.flatcar.images import GALLERY, GALLERY_NAME, IMAGE_RULES
from flatyard.node import layout


def on_the_twin(text: str) -> str:
    """The same file on the simulated twin."""
    found = yaml.safe_load(text)
    azure = found["spec"]["cloud"]["azure"]
    found["spec"]["cloud"] = {"sim": {"as": "azure", "region": azure["location"]}}
    return yaml.safe_dump(found, sort_keys=False)


def unit(machine, name: str, path: str) -> str | None:
    return machine.boot.tree.text(f"/etc/systemd/system/{name}{path}")


# ---- flavor flatcar-sysext


@pytest.fixture(scope="module")
def sysext(document, twin):
    return twin(on_the_twin(document("000/azure-sysext.yaml")))


def test_the_sysext_flavor_reads_without_a_word(document, reads):
    assert reads(document("000/azure-sysext.yaml")) == []


def test_az_vm_image_list_finds_what_our_rule_finds(sysext):
    """`az vm image list --offer flatcar-container-linux-corevm-amd64 --publisher kinvolk --sku stable-gen2`"""
    rule = IMAGE_RULES["azure"]
    urn = f"{rule.owner}:{rule.offers['amd64']}:{rule.skus['gen2'].format(channel='stable')}"
    assert urn == "kinvolk:flatcar-container-linux-corevm-amd64:stable-gen2"
    assert sysext.images == (f"{urn}:4593.2.5",)


def test_kubernetes_is_an_extension_on_the_marketplace_image(sysext):
    path = "/opt/extensions/kubernetes/kubernetes-v1.34.3-x86-64.raw"
    assert sysext.target("/etc/extensions/kubernetes.raw") == path
    assert all(machine.hardware.kubernetes is None for machine in (*sysext.planes, *sysext.workers))


def test_sysupdate_follows_patches_of_the_minor_and_is_off_until_asked_for(sysext, document, twin):
    """`sudo systemctl enable --now systemd-sysupdate.timer`"""
    conf = sysext.text("/etc/sysupdate.kubernetes.d/kubernetes-v1.34.conf") or ""
    assert "extensions.flatcar.org" in conf and "v1.34." in conf
    assert sysext.text("/etc/sysupdate.d/noop.conf") is not None
    timer = "systemd-sysupdate.timer"
    assert timer not in sysext.workers[0].boot.manager.boot()
    asked = on_the_twin(document("000/azure-sysext.yaml")).replace("patches: manual", "patches: auto")
    assert timer in twin(asked).workers[0].boot.manager.boot()


def test_reboots_have_one_owner_and_kured_can_be_it(sysext, document, twin):
    """`To coordinate the node reboot, we recommend using Kured.`"""
    assert sysext.target("/etc/systemd/system/locksmithd.service") == "/dev/null"
    asked = on_the_twin(document("000/azure-sysext.yaml")).replace("reboots: flatyard", "reboots: kured")
    up = twin(asked)
    assert up.target("/etc/systemd/system/locksmithd.service") == "/dev/null"
    dropin = up.text("/etc/systemd/system/systemd-sysupdate.service.d/10-flatyard.conf") or ""
    assert layout.REBOOT_REQUIRED in dropin


def test_etcd_has_a_disk_of_its_own_which_is_mounted_before_kubeadm_starts(sysext):
    (plane, *_) = sysext.planes
    assert "Where=/var/lib/etcddisk" in (unit(plane, layout.ETCD_MOUNT, "") or "")
    assert FACTS.etcd_device == "/dev/disk/azure/scsi1/lun0"


# ---- flavor flatcar


def test_the_image_flavor_boots_kubernetes_that_is_baked_in(document, reads, twin):
    text = document("000/azure-image.yaml")
    assert reads(text) == []
    up = twin(on_the_twin(text))
    assert {machine.hardware.kubernetes for machine in (*up.planes, *up.workers)} == {"v1.34.3"}
    assert up.target("/etc/extensions/kubernetes.raw") == ""


def test_the_community_gallery_is_the_one_of_the_page():
    """`az sig image-definition list-community --public-gallery-name flatcar4capi-…`"""
    assert GALLERY == "flatcar4capi-742ef0cb-dcaa-4ecb-9cb0-bfd2e43dccc0"
    name = GALLERY_NAME.format(channel="stable", arch="amd64", kubernetes="v1.26.0")
    assert name == "flatcar-stable-amd64-capi-v1.26.0"


# ---- the note on cloud-provider-azure


def test_nodes_wait_for_the_clouds_controller_only_where_it_runs(sysext):
    """`--set-string cloudControllerManager.caCertDir=/usr/share/ca-certificates` belongs to an add-on that is not
    there yet: a kubelet that waited for it would never be Ready."""
    for machine in (*sysext.planes, *sysext.workers):
        assert not [taint for taint in machine.memory.kubelet.taints if "uninitialized" in taint.key]
