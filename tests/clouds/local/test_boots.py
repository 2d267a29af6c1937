"""When a machine booted: from its supervisor's stamps and from journal lines as `journalctl -o json` writes them."""

from __future__ import annotations

import asyncio
import json

import pytest

from flatyard.clouds.local.boots import (
    ENSURE_SYSEXT_UNIT,
    IMAGES_UNIT,
    STARTED,
    STARTING,
    journal_milestones,
    milestones,
)
from flatyard.clouds.local.folders import MachineFolder, Phase, StateFile
from flatyard.node import layout
from flatyard.node.milestones import Milestone

FIRST, SECOND = "39de4ad1c5434e17af8ece4fa8bdc393", "41f0da18ee974ffa9ce697d411fd847a"
START = 1795277400  # 2026-11-21T16:10:00Z


def entry(seconds: float, boot: str = FIRST, **fields: object) -> str:
    stamp = str(int((START + seconds) * 1_000_000))
    return json.dumps({"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": stamp, "_BOOT_ID": boot, **fields})


def unit(seconds: float, name: str, kind: str = STARTED, boot: str = FIRST) -> str:
    return entry(seconds, boot, MESSAGE_ID=kind, UNIT=name, MESSAGE=f"{name} …")


def said(seconds: float, message: object) -> str:
    return entry(seconds, MESSAGE=message, _SYSTEMD_UNIT=layout.JOIN_UNIT)


def kubelet(seconds: float, message: str) -> str:
    line = f"I1121 16:10:00.000000     304 kubelet_node_status.go:78] {message}"
    return entry(seconds, MESSAGE=line, _SYSTEMD_UNIT=layout.KUBELET_UNIT)


def at(seconds: float) -> str:
    return f"2026-11-21T16:10:{seconds:09.6f}Z"


WORKER = (
    unit(2.229, layout.SYSEXT_UNIT, STARTING),
    unit(3.186, layout.SYSEXT_UNIT),
    unit(3.199, ENSURE_SYSEXT_UNIT, STARTING),
    unit(4.277, ENSURE_SYSEXT_UNIT),
    unit(4.81, layout.CONTAINERD_UNIT, STARTING),
    unit(5.671, layout.CONTAINERD_UNIT),
    unit(5.685, IMAGES_UNIT, STARTING),
    unit(12.782, IMAGES_UNIT),
    unit(12.787, layout.JOIN_UNIT, STARTING),
    said(12.9, "flatyard: waiting for https://10.123.1.5:6443"),
    said(31.056, "[preflight] Running pre-flight checks"),
    said(
        44.2,
        '[preflight] Reading configuration from the "kubeadm-config" ConfigMap in namespace "kube-system"...',
    ),
    unit(46.172, layout.JOIN_UNIT),
    kubelet(44.9, '"Successfully registered node" node="worker-1"'),
    kubelet(45.3, '"Fast updating node status as it just became ready"'),
)


def test_a_workers_journal_tells_each_milestone():
    assert journal_milestones(WORKER) == {
        Milestone.MERGING: at(2.229),
        Milestone.MERGED: at(4.277),
        Milestone.CONTAINERD_STARTING: at(4.81),
        Milestone.CONTAINERD: at(5.671),
        Milestone.IMPORTING: at(5.685),
        Milestone.IMPORTED: at(12.782),
        Milestone.WAITING: at(12.787),
        Milestone.JOINING: at(31.056),
        Milestone.DISCOVERED: at(44.2),
        Milestone.JOINED: at(46.172),
        Milestone.REGISTERED: at(44.9),
        Milestone.READY: at(45.3),
    }


def test_the_first_control_plane_initialises():
    lines = (unit(12.8, layout.INIT_UNIT, STARTING), unit(36.2, layout.INIT_UNIT))
    assert journal_milestones(lines) == {Milestone.INITIALISING: at(12.8), Milestone.JOINED: at(36.2)}


def test_without_a_unit_for_what_extensions_brought_merging_ends_with_the_merge():
    lines = [line for line in WORKER if ENSURE_SYSEXT_UNIT not in line]
    assert journal_milestones(lines)[Milestone.MERGED] == at(3.186)


def test_later_boots_and_later_starts_do_not_count():
    later = (
        unit(50, ENSURE_SYSEXT_UNIT),
        unit(51, layout.CONTAINERD_UNIT, STARTING),
        unit(52, layout.JOIN_UNIT),
        unit(55, IMAGES_UNIT, STARTING, SECOND),
    )
    assert journal_milestones((*WORKER, *later)) == journal_milestones(WORKER)
    only_early = [unit(1.5, layout.SYSEXT_UNIT, STARTING), unit(55, layout.CONTAINERD_UNIT, boot=SECOND)]
    assert journal_milestones(only_early) == {Milestone.MERGING: at(1.5)}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not json",
        "[1, 2]",
        "null",
        json.dumps({"MESSAGE_ID": STARTED, "UNIT": layout.CONTAINERD_UNIT}),
        json.dumps({"__REALTIME_TIMESTAMP": "soon", "MESSAGE_ID": STARTED, "UNIT": layout.CONTAINERD_UNIT}),
        said(1, [91, 112, 255]),
        entry(1, MESSAGE_ID=STARTED, UNIT="sshd.service"),
    ],
)
def test_lines_that_tell_nothing_are_passed_over(line):
    assert journal_milestones((line, *WORKER)) == journal_milestones(WORKER)


@pytest.fixture
def folder(tmp_path) -> MachineFolder:
    found = MachineFolder(tmp_path / "one")
    (found.root / "var").mkdir(parents=True)
    return found


def test_the_supervisors_stamps_tell_of_ignition_and_power(folder):
    stamps = {"preparing": at(1), "provisioning": at(2), "running": at(3.5)}
    folder.write_state(StateFile(phase=Phase.RUNNING, stamps=stamps))
    assert asyncio.run(milestones(folder)) == {
        Milestone.IGNITION: at(2),
        Milestone.IGNITED: at(3.5),
        Milestone.POWER: at(3.5),
    }


def test_a_machine_that_is_gone_tells_nothing(tmp_path):
    assert asyncio.run(milestones(MachineFolder(tmp_path / "gone"))) == {}


def test_a_journal_that_leads_out_of_the_machine_is_not_read(folder, tmp_path, monkeypatch):
    """A machine's disk is its own: root in it could point its journal at this machine's."""

    async def read(*_: str) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr("flatyard.clouds.local.boots.attempt", read)
    (tmp_path / "log/journal").mkdir(parents=True)
    (folder.root / "var/log").symlink_to(tmp_path / "log")
    assert asyncio.run(milestones(folder)) == {}
