"""Etcd's disk by the names that clouds' machines have for it, and the machine that has no such name."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from emulators.window_aws import devices
from flatyard.clouds import table
from flatyard.clouds.facts import traits
from flatyard.node.evidence import IGNITION
from flatyard.sim.machine import Phase

FACTS = table.facts("aws")
ROOT = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": "vol-0a1"}}


def instance(device: str) -> dict[str, object]:
    """As EC2 shows an instance with a second volume of that name."""
    return {"BlockDeviceMappings": [ROOT, {"DeviceName": device, "Ebs": {"VolumeId": "vol-0b2"}}]}


def booted(play, device: str, present: tuple[str, ...]):
    """What became of a control plane whose config counts on `device`, on a machine with the devices `present`."""

    async def story(lab):
        aws = replace(traits(FACTS), etcd_device=device)
        config = lab.config("cp-0", lab.init("cp-1"), lab.control_plane_role, aws)
        machine = lab.boot("cp-0", config, devices=present)
        await asyncio.sleep(600)
        return machine.phase, lab.report("cp-0"), lab.console("cp-0")

    return play(story)


@pytest.mark.parametrize("hypervisor", ["nitro", "xen"])
def test_etcds_volume_is_found_on_nitro_and_on_xen(play, hypervisor):
    present = devices(instance(FACTS.etcd_device), hypervisor)
    phase, _, console = booted(play, FACTS.etcd_device, present)
    assert phase is Phase.JOINED, console
    assert "nvme" in " ".join(present) or hypervisor == "xen"


@pytest.mark.parametrize("hypervisor", ["nitro", "xen"])
@pytest.mark.parametrize("device", ["/dev/nvme1n1", "/dev/xvdb", "/dev/sdf"])
def test_another_name_ends_the_first_boot_and_is_told(play, device, hypervisor):
    """The kernel's own name is as often the root disk's; Flatcar's AMIs have xvdb for ephemeral0."""
    phase, report, console = booted(play, device, devices(instance(FACTS.etcd_device), hypervisor))
    assert phase is Phase.EMERGENCY, console
    assert report is not None and report.unit == IGNITION
    assert f"timed out waiting for device {device}" in "\n".join(report.lines)


def test_xen_has_no_sd_names():
    """A volume that was asked for as sdf is xvdf there, and sdf on Nitro: only xvdf is both."""
    row = instance("/dev/sdf")
    assert "/dev/xvdf" in devices(row, "xen") and "/dev/sdf" not in devices(row, "xen")
    assert "/dev/sdf" in devices(row, "nitro") and "/dev/xvdf" not in devices(row, "nitro")
