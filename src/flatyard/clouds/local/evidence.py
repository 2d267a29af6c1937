"""Why a machine did not come up: its console's own block, else its systemd's, else what Ignition or nspawn said."""

from __future__ import annotations

import re
from pathlib import Path

from flatyard.clouds.cloud import Evidence
from flatyard.clouds.local import processes, rootfs
from flatyard.clouds.local.folders import MachineFolder, Phase, StateFile, is_held
from flatyard.clouds.local.overlay import IMAGES_UNIT
from flatyard.node import layout
from flatyard.node.evidence import IGNITION, LONGEST_LINE, MOST_LINES, parse_console

TAIL = 256 * 1024
"""Bytes of the console that are looked at."""
LONGEST_OF_JOURNAL = 600
"""Characters of a line; no console is in between, and the kubelet's reasons come at the end of long lines."""
_BEFORE = layout.EVIDENCE_ORDER.index(layout.KUBELET_UNIT)
ORDER = (*layout.EVIDENCE_ORDER[:_BEFORE], IMAGES_UNIT, *layout.EVIDENCE_ORDER[_BEFORE:])
"""Causes before effects, with what only machines here have: without its images a control plane asks a registry."""
_ANSI = re.compile(r"\x1b(?:\[[0-9;?!]*[ -/]*[@-~]|\].*?(?:\x07|\x1b\\)|[@-Z\\-_])")
_STUCK = re.compile(r"\b(?:GET|HEAD|PUT) error: ")


async def evidence(folder: MachineFolder) -> Evidence | None:
    """The first failing unit and its last lines; None where nothing failed, or the machine is gone."""
    if folder.machine() is None or folder.deleting.exists():
        return None
    lines, state = console(folder), folder.state()
    report = parse_console("\n".join(lines))
    if report is not None:
        return Evidence(report.unit, report.lines, "console")
    if state.phase is Phase.FAILED:
        return Evidence("systemd-nspawn", _last(state.error.splitlines()), "supervisor")
    if state.phase is Phase.EMERGENCY:
        return Evidence(IGNITION, _last(lines), "console")
    if state.phase is Phase.PROVISIONING:
        return _stuck(lines)
    full = rootfs.why_full(folder.path)
    if full and not is_held(folder.lock):
        return Evidence("systemd-nspawn", (full,), "supervisor")
    return await _journal(state)


def console(folder: MachineFolder) -> tuple[str, ...]:
    """The console's last lines as text: without colours, and with the ends of lines that a terminal gets."""
    try:
        with folder.console.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ()
    return tuple(_ANSI.sub("", line).rstrip("\r") for line in text.split("\n"))


def _stuck(lines: tuple[str, ...]) -> Evidence | None:
    """Ignition tries fetches for ever; what it says of them is the evidence meanwhile."""
    failed = [line.partition("]: ")[2] for line in lines if _STUCK.search(line)]
    return Evidence(IGNITION, _last(failed), "console") if failed else None


async def _journal(state: StateFile) -> Evidence | None:
    """What the machine's own systemd says, where no unit could tell it any more."""
    leader = processes.leader(state.nspawn) if state.nspawn else 0
    if not leader:
        return None
    listed = await processes.inside(leader, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
    failed = (
        {line.split()[0] for line in listed.said.splitlines() if line.split()} if listed.code == 0 else set()
    )
    failed.discard(layout.KUBELET_UNIT)
    if await _kubelet_failed(leader):
        failed.add(layout.KUBELET_UNIT)
    unit = next((unit for unit in ORDER if unit in failed), None)
    if unit is None:
        return None
    said = await processes.inside(
        leader, "journalctl", "-b", "-q", "-o", "cat", "-n", str(MOST_LINES), "-u", unit, "--no-pager"
    )
    return Evidence(unit, _last(said.said.splitlines(), LONGEST_OF_JOURNAL), "journal")


async def _kubelet_failed(leader: int) -> bool:
    """Whether the kubelet ended by itself with a configuration: without one, before kubeadm, that is normal.

    A kubelet that was never started, because what its unit runs before it failed, has failed in any case.
    """
    asked = ("-p", "SubState", "-p", "Result", "-p", "ExecMainStartTimestamp", "--timestamp=unix")
    shown = await processes.inside(leader, "systemctl", "show", layout.KUBELET_UNIT, *asked)
    found = dict(line.partition("=")[::2] for line in shown.said.splitlines())
    started = found.get("ExecMainStartTimestamp", "").lstrip("@")
    ended = found.get("SubState") in ("auto-restart", "failed") and found.get("Result") != "success"
    if not ended or not started:
        return ended
    try:
        configured = Path(f"{processes.PROC}/{leader}/root{layout.KUBELET_CONFIG}").stat().st_mtime
    except OSError:
        return False
    return started.isdigit() and int(started) > int(configured)


def _last(lines: list[str] | tuple[str, ...], longest: int = LONGEST_LINE) -> tuple[str, ...]:
    return tuple(line[:longest] for line in lines if line.strip())[-MOST_LINES:]
