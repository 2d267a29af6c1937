"""Machines whose supervisor ended without a word: they were pending for ever."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from flatyard.clouds.cloud import InstanceState, Role
from flatyard.clouds.local import machines, rootfs
from flatyard.clouds.local.evidence import evidence
from flatyard.clouds.local.folders import MachineFile, MachineFolder, Phase, StateFile, open_lock, try_lock


@pytest.fixture
def folder(tmp_path: Path) -> MachineFolder:
    made = MachineFolder(tmp_path / "01jgfjjz00-1")
    made.path.mkdir()
    made.write_machine(
        MachineFile(
            id=made.id,
            machine_id="01JGFJJZ00",
            attempt=1,
            cluster_id="01jgfjjz01",
            cluster_name="prod",
            name="general-1",
            role=Role.WORKER.value,
            pool="general",
            address="10.0.0.9",
            bridge="fy0",
            image="stand-in",
            tree="/",
            cpus=1,
            memory_mb=1024,
            created="2026-11-21T18:00:00Z",
            digest="",
            tags={},
        )
    )
    made.write_state(StateFile(phase=Phase.PREPARING))
    return made


def shown(folder: MachineFolder) -> tuple[InstanceState, str]:
    machine = folder.machine()
    assert machine is not None
    found = machines.shown(folder, machine)
    return found.state, found.error


def test_a_machine_is_lost_when_its_supervisor_died_before_the_first_boot(folder: MachineFolder) -> None:
    folder.log.write_text("Traceback (most recent call last):\nOSError: [Errno 5] Input/output error\n")
    said = "its supervisor ended before the first boot: OSError: [Errno 5] Input/output error"
    assert shown(folder) == (InstanceState.ERROR, said)


def test_it_is_pending_while_its_supervisor_lives(folder: MachineFolder) -> None:
    descriptor = open_lock(folder.lock)
    try:
        assert try_lock(descriptor)
        assert shown(folder) == (InstanceState.PENDING, "")
    finally:
        os.close(descriptor)


def test_it_has_no_power_when_its_supervisor_died_after_the_first_boot(folder: MachineFolder) -> None:
    folder.write_state(StateFile(phase=Phase.RUNNING, boots=1))
    assert shown(folder) == (InstanceState.STOPPED, "")


def test_a_full_disk_on_which_nobody_could_write_why_is_told(
    folder: MachineFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs, "size", lambda path: 4096)
    said = f"no space left on device: the disk of {folder.path} is full"
    assert shown(folder) == (InstanceState.ERROR, said)


def test_a_machine_that_went_off_on_a_full_disk_says_so(
    folder: MachineFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped, and nobody knew why: how it ended could not be written."""
    monkeypatch.setattr(rootfs, "size", lambda path: 4096)
    folder.write_state(StateFile(phase=Phase.RUNNING, boots=1))
    found = asyncio.run(evidence(folder))
    assert found is not None
    assert found.lines == (f"no space left on device: the disk of {folder.path} is full",)
