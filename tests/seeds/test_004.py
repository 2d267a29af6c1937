"""Seed 004: Flatcar on Jetstream2. What was tried there by hand and by Kubespray, and what Exosphere lacked."""

from __future__ import annotations

import re

import pytest
import yaml

from flatyard.clouds.openstack.facts import FACTS
from flatyard.node import layout
from flatyard.node.exosphere import SERVER_METADATA


def on_the_twin(text: str, **access: object) -> str:
    """The same file on the simulated twin."""
    found = yaml.safe_load(text)
    found["spec"]["cloud"] = {
        "sim": {"as": "openstack", "region": found["spec"]["cloud"]["openstack"]["region"]}
    }
    found["spec"]["access"] |= access
    return yaml.safe_dump(found, sort_keys=False)


@pytest.fixture(scope="module")
def jetstream(document, twin):
    return twin(on_the_twin(document("004/openstack-jetstream2.yaml")))


def test_the_cluster_file_reads_without_a_word(document, reads):
    assert reads(document("004/openstack-jetstream2.yaml")) == []


def test_one_master_and_two_workers_on_the_uploaded_image(document, jetstream):
    """`image = "FlatcarContainerLinux-3815-2-2"` in cluster.tfvars"""
    image = re.search(r'^image = "(.*)"$', document("004/cluster.tfvars"), re.MULTILINE)
    assert image is not None and jetstream.images == (image[1],)
    assert (len(jetstream.planes), len(jetstream.workers)) == (1, 2)


def test_user_core_logs_in_with_the_key(document, jetstream):
    """`ssh_user = "core"` in cluster.tfvars; core may use docker, as the image has it"""
    assert 'ssh_user = "core"' in document("004/cluster.tfvars")
    (key,) = yaml.safe_load(document("004/openstack-jetstream2.yaml"))["spec"]["access"]["sshKeys"]
    assert jetstream.text("/home/core/.ssh/authorized_keys.d/ignition") == f"{key}\n"
    assert "exouser" not in (jetstream.text("/etc/passwd") or "")


def test_nothing_is_written_below_the_read_only_usr(document, jetstream):
    """`bin_dir: /opt/bin` in all.yml: here Kubernetes is an extension, and volume plugins are below /opt"""
    assert yaml.safe_load(document("004/all.yml")) == {"bin_dir": "/opt/bin"}
    assert jetstream.target(layout.EXTENSION_LINK).startswith("/opt/extensions/kubernetes/")
    assert layout.VOLUME_PLUGINS.startswith("/opt/libexec/")


def test_the_updates_of_the_image_go_on(jetstream):
    """`update_engine_client -update`: on, and rebooted by one owner only"""
    assert jetstream.target("/etc/systemd/system/update-engine.service") != "/dev/null"
    assert jetstream.target("/etc/systemd/system/locksmithd.service") == "/dev/null"


def test_the_accounts_only_router_is_left_alone(document):
    """Jetstream2 gives an account one router, so the file names the network that comes with it."""
    cloud = yaml.safe_load(document("004/openstack-jetstream2.yaml"))["spec"]["cloud"]["openstack"]
    assert cloud["network"] == "auto_allocated_network"
    assert "auto_allocated_network" in FACTS.notes["router"]


# ---- Exosphere: stuck in "Building", no passphrase, no sudo, no docker


@pytest.fixture(scope="module")
def exosphere(document, twin):
    return twin(on_the_twin(document("004/openstack-jetstream2.yaml"), exosphere=True))


def test_exosphere_reads_on_openstack_without_a_word(document, reads):
    text = document("004/openstack-jetstream2.yaml").replace(
        "  access:\n", "  access:\n    exosphere: true\n"
    )
    assert "exosphere: true" in text and reads(text) == []


def test_exouser_can_sudo_use_docker_and_log_in_with_the_key(document, exosphere):
    groups = dict(line.split(":")[::3] for line in (exosphere.text("/etc/group") or "").splitlines())
    assert groups["sudo"] == groups["docker"] == "exouser"
    (key,) = yaml.safe_load(document("004/openstack-jetstream2.yaml"))["spec"]["access"]["sshKeys"]
    assert exosphere.text("/home/exouser/.ssh/authorized_keys.d/ignition") == f"{key}\n"
    assert exosphere.text("/home/core/.ssh/authorized_keys.d/ignition") == f"{key}\n"


def test_every_machine_tells_exosphere_that_it_is_ready_and_a_passphrase_of_its_own(exosphere):
    for machine in (*exosphere.planes, *exosphere.workers):
        assert machine.boot.states[layout.EXOSPHERE_UNIT].active.value == "active"
    script = exosphere.text(layout.EXOSPHERE_SCRIPT) or ""
    assert "openstack/latest/password" in script and "say complete" in script
    assert '"status":"waiting"' in SERVER_METADATA["exoSetup"]
