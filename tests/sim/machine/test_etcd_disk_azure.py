"""Etcd's disk on Azure: SCSI and NVMe machines call it differently, and neither knows the other's name."""

from __future__ import annotations

import asyncio

import pytest

from emulators.window_azure import devices
from flatyard.clouds import table
from flatyard.clouds.facts import traits
from flatyard.sim.machine import Phase

FACTS = table.facts("azure")
LUN_0 = [{"lun": 0}]


def booted(play, size: str, controller: str):
    async def story(lab):
        azure = traits(FACTS).for_size(size)
        config = lab.config("cp-0", lab.init("cp-1"), lab.control_plane_role, azure)
        machine = lab.boot("cp-0", config, devices=devices(controller, LUN_0))
        await asyncio.sleep(600)
        return machine.phase, lab.console("cp-0")

    return play(story)


@pytest.mark.parametrize(
    ("size", "controller"),
    [("Standard_D2s_v5", "SCSI"), ("Standard_D2s_v6", "NVMe"), ("Standard_D2ps_v6", "NVMe")],
)
def test_etcds_disk_is_found_on_scsi_and_on_nvme(play, size, controller):
    phase, console = booted(play, size, controller)
    assert phase is Phase.JOINED, console


@pytest.mark.parametrize(("size", "controller"), [("Standard_D2s_v5", "NVMe"), ("Standard_D2s_v6", "SCSI")])
def test_the_other_controllers_name_ends_the_first_boot(play, size, controller):
    phase, console = booted(play, size, controller)
    assert phase is Phase.EMERGENCY
    assert f"timed out waiting for device {FACTS.etcd_device_of(size)}" in console


@pytest.mark.parametrize(
    ("size", "nvme"),
    [
        ("Standard_B2s", False),
        ("Standard_D4s_v5", False),
        ("Standard_E2bs_v5", False),
        ("Standard_F2s_v2", False),
        ("Standard_L8s_v3", False),
        ("Standard_D4als_v6", True),
        ("standard_d2s_v6", True),
        ("Standard_E4-2ads_v6", True),
        ("Standard_F2ams_v6", True),
        ("Standard_D2ds_v7", True),
        ("Standard_D2ds_v10", True),
        ("Standard_L2aos_v4", True),
    ],
)
def test_nvme_sizes_are_known_by_name(size, nvme):
    assert ("nvme" in FACTS.etcd_device_of(size)) is nvme
