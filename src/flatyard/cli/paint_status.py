"""A cluster's tree as text and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from flatyard.cli.talk import Talk
from flatyard.clouds.table import place
from flatyard.controller.health import ClusterView, MachineView, PoolView
from flatyard.kube.api import Json

MANY = 12
"""Healthy machines of a pool beyond which the rest is only counted."""


def lines(view: ClusterView, talk: Talk) -> Iterator[str]:
    """The tree: the cluster, its endpoint, control plane, pools, strangers, and what is waited for."""
    yield f"{_mark(view.healthy, talk)} {view.name}  {_title(view)}"
    branches = [*_endpoint(view), *_pool_branches(view, talk), *_rest(view)]
    for number, (head, leaves) in enumerate(branches):
        last = number == len(branches) - 1
        yield f"{_twig(last)}{head}"
        for index, leaf in enumerate(leaves):
            yield ("   " if last else _bar()) + _twig(index == len(leaves) - 1) + leaf


def _title(view: ClusterView) -> str:
    words = [place(view.twin, view.region, simulated=view.simulated)]
    words += [f"Kubernetes {view.kubernetes}"] if view.kubernetes else []
    flatcar = "a stand-in for Flatcar" if view.stand_in else "Flatcar"
    words += [f"{flatcar} {view.flatcar}"] if view.flatcar else []
    return ", ".join([*words, view.phase or "new"])


def _endpoint(view: ClusterView) -> list[tuple[str, list[str]]]:
    state = "answers" if view.api else "does not answer"
    where = f"API {state} on {view.server}" if view.server else "there is no API yet"
    where += f" for {view.endpoint}" if view.endpoint else ""
    old = not view.api and view.control_plane.machines
    return [(f"{where}; nodes are told as they were last seen" if old else where, [])]


def _pool_branches(view: ClusterView, talk: Talk) -> list[tuple[str, list[str]]]:
    pools = sorted((view.control_plane, *view.pools), key=lambda pool: pool.healthy)
    return [
        (f"{_mark(p.healthy, talk)} {p.name}  {p.ready}/{p.wanted} ready", _leaves(p, talk)) for p in pools
    ]


def _leaves(pool: PoolView, talk: Talk) -> list[str]:
    sick = [machine for machine in pool.machines if not machine.healthy]
    well = [machine for machine in pool.machines if machine.healthy]
    shown = [*sick, *well[:MANY]]
    width = max((len(machine.name) for machine in shown), default=0)
    leaves = [_machine(machine, width, talk) for machine in shown]
    return leaves + ([f"… and {len(well) - MANY} healthy ones"] if len(well) > MANY else [])


def _machine(machine: MachineView, width: int, talk: Talk) -> str:
    text = f"{_mark(machine.healthy, talk)} {machine.name:<{width}}  {machine.phase}"
    if machine.why:
        return f"{text}  {talk.style(machine.why, 'error', err=False)}"
    return f"{text}  node {machine.node} Ready, {machine.kubelet}, {machine.address}"


def _rest(view: ClusterView) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    if view.strangers:
        found.append(("nodes of no machine", list(view.strangers)))
    others = [wait for wait in view.waits if not wait.object.startswith("machine/")]
    if others:
        found.append(("waits for", [f"{wait.object}: {wait.reason}" for wait in others]))
    return found


def _mark(healthy: bool, talk: Talk) -> str:
    mark = ("✓" if healthy else "✗") if _fancy() else ("ok" if healthy else "!!")
    return talk.style(mark, "done" if healthy else "error", err=False)


def _twig(last: bool) -> str:
    if not _fancy():
        return "`- " if last else "|- "
    return "└─ " if last else "├─ "


def _bar() -> str:
    return "│  " if _fancy() else "|  "


def _fancy() -> bool:
    return "utf" in (sys.stdout.encoding or "").lower()


def as_json(view: ClusterView) -> Json:
    """The tree for programs."""
    found = asdict(view)
    found["simulated"] = view.simulated
    found["healthy"] = view.healthy
    pools: Sequence[tuple[Json, PoolView]] = [
        (found["control_plane"], view.control_plane),
        *zip(found["pools"], view.pools, strict=True),
    ]
    for raw, pool in pools:
        raw |= {"ready": pool.ready, "healthy": pool.healthy}
        for one, machine in zip(raw["machines"], pool.machines, strict=True):
            one["healthy"] = machine.healthy
    return found
