"""A rehearsal's report as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from flatyard.base.errors import Failed
from flatyard.cli.tables import lined_up
from flatyard.cli.talk import Talk
from flatyard.controller.rehearsal import Moment, Rehearsal, Unfinished
from flatyard.kube.api import Json

MANY = 40
"""Nodes and timeline lines shown as text; -v shows all."""
MARKS = {"done": ("✓", "done"), "failed": ("✗", "error"), "waiting": ("–", "dim")}


def lines(found: Rehearsal, talk: Talk) -> Iterator[str]:
    """Timeline, nodes, resources, calls, and what is unfinished with its evidence."""
    twin = f"the simulated twin of {found.twin} {found.region}"
    yield f"Rehearsal of cluster {found.cluster} on {twin}, seed {found.seed}"
    for fault in found.faults:
        yield f"  fault: {fault}"
    yield ""
    yield from _timeline(found, talk)
    if found.nodes:
        yield ""
        yield from _nodes(found, talk)
    yield ""
    yield f"Resources (simulated): {_counted(found.resources)}"
    yield f"Calls to the simulated cloud: {_counted(found.calls)}"
    for unfinished in found.unfinished:
        yield from _unfinished(unfinished, talk)
    yield ""
    yield _last_line(found)


def clock(seconds: float) -> str:
    """Simulated time since the start, as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _timeline(found: Rehearsal, talk: Talk) -> Iterator[str]:
    shown = found.timeline
    if len(shown) > MANY and not talk.verbose:
        shown = tuple(
            moment for moment in shown if moment.state != "waiting" or moment.object.startswith("cluster/")
        )
    if len(shown) > MANY and not talk.verbose:
        shown = (*shown[: MANY // 2], *shown[-MANY // 2 :])
    yield "Simulated time:"
    for moment in shown:
        yield f"  {clock(moment.second)}  {_moment(moment, talk)}"
    left = len(found.timeline) - len(shown)
    if left:
        yield f"           … and {left} more changes (-v shows all)"


def _moment(moment: Moment, talk: Talk) -> str:
    mark, color = MARKS[moment.state]
    return f"{talk.style(mark, color, err=False)} {moment.object}  {moment.sentence or moment.state}"


def _nodes(found: Rehearsal, talk: Talk) -> Iterator[str]:
    rows = [["NODE", "STATUS", "ROLE", "MACHINE", "VERSION", "OS-IMAGE"]]
    nodes = found.nodes if talk.verbose else sorted(found.nodes, key=lambda node: node.ready)[:MANY]
    for node in nodes:
        state = "Ready" if node.ready else "NotReady"
        rows.append([node.name, state, node.role, node.machine or "-", node.kubelet, node.os_image])
    yield lined_up(rows)
    if len(nodes) < len(found.nodes):
        yield f"… and {len(found.nodes) - len(nodes)} more nodes (-v shows all)"


def _counted(pairs: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in pairs) or "none"


def _unfinished(unfinished: Unfinished, talk: Talk) -> Iterator[str]:
    yield ""
    yield f"{talk.style('✗', 'error', err=False)} {unfinished.object}: {unfinished.reason}"
    if unfinished.unit:
        yield f"    first failing unit: {unfinished.unit} (from the simulated {unfinished.source})"
    for line in unfinished.lines:
        yield f"    | {line}"
    if unfinished.next:
        yield f"    next: {unfinished.next}"


def _last_line(found: Rehearsal) -> str:
    nodes = f"{found.ready} of {found.machines} machines are Ready nodes"
    if found.done:
        return f"Rehearsed: {nodes} after {clock(found.seconds)} of simulated time"
    return f"Not done: {nodes} after {clock(found.seconds)} of simulated time, {len(found.unfinished)} waits left"


def failed(found: Rehearsal) -> Failed:
    """The machine, the unit and the next command."""
    first = min(
        found.unfinished, key=lambda u: (not u.unit, not u.final, not u.object.startswith("cluster/"))
    )
    unit = f", unit {first.unit}" if first.unit else ""
    return Failed(
        f"the rehearsed cluster {found.cluster} did not become ready: {first.object}{unit}",
        why=first.reason,
        next=first.next or "change the file or the faults, and rehearse again",
    )


def as_json(found: Rehearsal) -> Json:
    """The report for programs: no wall time in it, the same bytes for the same input and seed."""
    report = asdict(found)
    report["simulated"] = True
    report["ready"] = found.ready
    report["resources"] = dict(found.resources)
    report["calls"] = dict(found.calls)
    report["reconciled"] = dict(found.reconciled)
    return report
