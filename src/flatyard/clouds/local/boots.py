"""When a machine's first boot reached which milestone: from its supervisor's stamps and its own journal.

The journal is read from this machine, so a machine without power tells as much as a running one. Its disk is the
machine's own, so the folder must be a real one below its root; what the journal says is only ever shown.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flatyard.base.world import rfc3339_micro
from flatyard.clouds.local.commands import PATH, attempt
from flatyard.clouds.local.folders import MachineFolder, Phase
from flatyard.node import layout
from flatyard.node.milestones import Milestone

ENSURE_SYSEXT_UNIT = "ensure-sysext.service"
"""Flatcar's: makes systemd read the units that an extension brought."""
IMAGES_UNIT = "flatyard-local-images.service"
STARTING = "7d4958e842da4a758f6c1cdc7b36dcc5"
STARTED = "39f53479d3a045ac8e11786248231fbf"
"""MESSAGE_ID of SD_MESSAGE_UNIT_STARTING and SD_MESSAGE_UNIT_STARTED (systemd's sd-messages.h)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINS = {
    layout.SYSEXT_UNIT: Milestone.MERGING,
    layout.CONTAINERD_UNIT: Milestone.CONTAINERD_STARTING,
    IMAGES_UNIT: Milestone.IMPORTING,
    layout.INIT_UNIT: Milestone.INITIALISING,
    layout.JOIN_UNIT: Milestone.WAITING,
}
_ENDS = {
    layout.SYSEXT_UNIT: Milestone.MERGED,
    layout.CONTAINERD_UNIT: Milestone.CONTAINERD,
    IMAGES_UNIT: Milestone.IMPORTED,
    layout.INIT_UNIT: Milestone.JOINED,
    layout.JOIN_UNIT: Milestone.JOINED,
}
_SAID = {
    layout.JOIN_UNIT: {
        "[preflight] Running pre-flight checks": Milestone.JOINING,
        "[preflight] Reading configuration from": Milestone.DISCOVERED,
    },
    layout.KUBELET_UNIT: {
        "Successfully registered node": Milestone.REGISTERED,
        "it just became ready": Milestone.READY,
    },
}
"""What kubeadm and the kubelet say of it (Kubernetes 1.34; cmd/kubeadm/app/cmd/join.go, pkg/kubelet)."""
_KUBELET = "|".join(_SAID[layout.KUBELET_UNIT])
_SUPERVISOR = {
    Phase.PROVISIONING: (Milestone.IGNITION,),
    Phase.RUNNING: (Milestone.IGNITED, Milestone.POWER),
}
"""Ignition runs before the container does, which is started at once when it is done."""


async def milestones(folder: MachineFolder) -> Mapping[Milestone, str]:
    """Every milestone that is known of the machine, as RFC 3339 stamps; none when it is gone."""
    found: dict[Milestone, str] = {}
    stamps = folder.state().stamps
    for phase, reached in _SUPERVISOR.items():
        found |= {milestone: stamps[phase.value] for milestone in reached if phase.value in stamps}
    return {**found, **journal_milestones(await _journal(folder.root))}


async def _journal(root: Path) -> tuple[str, ...]:
    """The lines of interest of a root directory's journal, oldest first, as `journalctl -o json` writes them."""
    place = root / "var/log/journal"
    if not place.is_dir() or place.resolve() != root.resolve() / "var/log/journal":
        return ()
    units = [f"UNIT={name}" for name in (*_BEGINS, ENSURE_SYSEXT_UNIT)]
    if shutil.which("journalctl", path=PATH) is None:
        return ()
    ours = ("_PID=1", f"MESSAGE_ID={STARTING}", f"MESSAGE_ID={STARTED}", *units)
    found = await _lines(place, *ours, "+", f"_SYSTEMD_UNIT={layout.JOIN_UNIT}")
    # a kubelet says much, so this is filtered there; one without PCRE2 refuses, and whole seconds remain
    return (*found, *await _lines(place, f"--grep={_KUBELET}", f"_SYSTEMD_UNIT={layout.KUBELET_UNIT}"))


async def _lines(place: Path, *wanted: str) -> tuple[str, ...]:
    fields = "--output-fields=MESSAGE_ID,MESSAGE,UNIT,_SYSTEMD_UNIT"
    always = (f"--directory={place}", "--quiet", "--no-pager", "--output=json", fields)
    done = await attempt("journalctl", *always, *wanted)
    return tuple(done.said.splitlines()) if done.code == 0 else ()


def journal_milestones(lines: Iterable[str]) -> dict[Milestone, str]:
    """Milestones of the first boot in a journal's JSON lines; lines that are none are passed over."""
    found: dict[Milestone, str] = {}
    ensured: dict[Milestone, str] = {}
    boot = ""
    for line in lines:
        entry = _entry(line)
        boot = boot or entry.get("_BOOT_ID", "")
        milestone = _milestone(entry)
        if milestone is not None and entry.get("_BOOT_ID") == boot:
            first = ensured if entry.get("UNIT") == ENSURE_SYSEXT_UNIT else found
            first.setdefault(milestone, _stamp(entry))
    return {**found, **ensured}


def _entry(line: str) -> dict[str, str]:
    """The texts of one entry; what is not UTF-8 comes as a list of numbers and is left out."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    texts = {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}
    return texts if texts.get("__REALTIME_TIMESTAMP", "").isdecimal() else {}


def _milestone(entry: Mapping[str, str]) -> Milestone | None:
    unit, kind = entry.get("UNIT", ""), entry.get("MESSAGE_ID", "")
    if kind == STARTING:
        return _BEGINS.get(unit)
    if kind == STARTED:
        return Milestone.MERGED if unit == ENSURE_SYSEXT_UNIT else _ENDS.get(unit)
    said = _SAID.get(entry.get("_SYSTEMD_UNIT", ""), {})
    return next((milestone for text, milestone in said.items() if text in entry.get("MESSAGE", "")), None)


def _stamp(entry: Mapping[str, str]) -> str:
    return rfc3339_micro(_EPOCH + timedelta(microseconds=int(entry["__REALTIME_TIMESTAMP"])))
