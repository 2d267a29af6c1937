"""Keeps what was measured of a cluster's machines: a line of JSON for each fact, in the cluster's folder.

A journal rotates, a machine is deleted, a process is killed: what was read once stays. Lines are appended; of several
about one machine the last one holds, and one that was cut short by a kill is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

from flatyard.base.world import World, parse_stamp, rfc3339_micro
from flatyard.clouds.cloud import Instance
from flatyard.engine.context import Step, StepState
from flatyard.engine.identity import machine_id_of
from flatyard.engine.instances import alive
from flatyard.engine.labels import CREATE_SENT
from flatyard.engine.machine_status import node_ready
from flatyard.kube.api import Json, Object
from flatyard.node.milestones import Milestone
from flatyard.operate.timing import Measured, Measurements, minted

MILESTONES = Callable[[Instance], Awaitable[Mapping[Milestone, str]]]
KEPT = 1000
"""Deleted machines that are still told of."""
SAME = 2.0
"""Seconds by which a machine may tell later of what Kubernetes stamped with a second that had begun."""
_SUPPLIES = "supplies/"
_MACHINE = "machine/"


@dataclass(frozen=True, slots=True)
class Wording:
    """What the machines are, in words and as marks: never more than is true."""

    what: str
    simulated: bool = False
    stand_in: bool = False


@dataclass(slots=True)
class Measuring:
    """One cluster's measurements. `milestones` asks the cloud's machines themselves.

    Kubernetes' own stamps are whole seconds. Where seconds pass `speed` times faster that is too coarse, and a node
    is Ready when the engine sees it.
    """

    path: Path
    world: World
    wording: Wording
    milestones: MILESTONES
    speed: float = 1.0
    _machines: dict[str, Measured] = field(default_factory=dict)
    _done: dict[str, list[str]] = field(default_factory=dict)
    """When objects were told to be done, by their names as steps give them."""

    def __post_init__(self) -> None:
        for line in _whole_lines(self.path):
            if "machine" in line:
                machine = Measured.of(line["machine"])
                self._machines[machine.id] = machine
            else:
                self._done.setdefault(line["done"], []).append(line["at"])

    def on_step(self, step: Step) -> None:
        """Hear of every step of the engine; where Kubernetes' own stamps will do, machines' are not kept."""
        kept = (_SUPPLIES,) if self.speed == 1 else (_SUPPLIES, _MACHINE)
        if step.state is StepState.DONE and step.object.startswith(kept):
            stamp = rfc3339_micro(step.at)
            self._done.setdefault(step.object, []).append(stamp)
            self._write({"done": step.object, "at": stamp})

    async def measure(
        self, instances: Iterable[Instance], machines: Iterable[Object], nodes: Iterable[Object]
    ) -> None:
        """Ask every machine that is not known from creation to Ready.

        Where nobody wrote down when its create call left, it was asked for when its id was minted.
        """
        objects = {machine_id_of(machine): machine for machine in machines}
        by_name = {node.name: node for node in nodes}
        present = {instance.id: instance for instance in instances if alive(instance)}
        for instance in present.values():
            kept = self._machines.get(instance.id)
            if kept is None or not kept.complete:
                machine, node = objects.get(instance.machine_id), by_name.get(instance.node_name)
                self._keep(await self._measured(instance, machine, node, kept))
        for kept in tuple(self._machines.values()):
            if kept.gone != (kept.id not in present):
                self._keep(replace(kept, gone=not kept.gone))

    async def _measured(
        self, instance: Instance, machine: Object | None, node: Object | None, kept: Measured | None
    ) -> Measured:
        sent = machine.annotations.get(CREATE_SENT, "") if machine else ""
        asked = sent or (kept.asked if kept else rfc3339_micro(minted(instance.machine_id)))
        found = {**(kept.milestones if kept else {}), **await self.milestones(instance)}
        if self.speed == 1:
            found = {**found, **_of_node(node, found)} if node else _without_node(found)
        elif node is not None and node_ready(node) and machine is not None:
            seen = next((at for at in self._done.get(_MACHINE + machine.name, ()) if at > asked), "")
            found |= {Milestone.READY: seen} if seen else {}
        name = machine.name if machine else instance.name
        return Measured(id=instance.id, name=name, role=instance.role.value, asked=asked, milestones=found)

    def _keep(self, machine: Measured) -> None:
        if self._machines.get(machine.id) != machine:
            self._machines[machine.id] = machine
            self._write({"machine": asdict(machine)})

    def _write(self, line: Mapping[str, object]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with os.fdopen(os.open(self.path, flags, 0o600), "a") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def told(self, cluster: str, cluster_id: str) -> Measurements:
        """All that is known of the cluster, which was asked for when its id was minted."""
        started = minted(cluster_id)
        supplies = [at for name, stamps in self._done.items() if name.startswith(_SUPPLIES) for at in stamps]
        gone = [machine.id for machine in self._machines.values() if machine.gone][:-KEPT]
        return Measurements(
            cluster=cluster,
            what=self.wording.what,
            simulated=self.wording.simulated,
            stand_in=self.wording.stand_in,
            speed=self.speed,
            now=rfc3339_micro(self.world.now()),
            started=rfc3339_micro(started),
            supplied=min(supplies, default=""),
            machines=tuple(m for m in self._machines.values() if m.id not in gone),
        )


def _whole_lines(path: Path) -> list[Json]:
    """What the file says; a last line without an end is cut off, since the next one would be added to it."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(path, len(whole.encode()))
    return [json.loads(line) for line in whole.splitlines()]


def _of_node(node: Object, told: Mapping[Milestone, str]) -> dict[Milestone, str]:
    """Registered when the Node was created; Ready since its condition last changed, which later boots would move.

    Those are whole seconds; where the machine tells of the same second, its stamp is the more precise one.
    """
    stamps = {Milestone.REGISTERED: node.created, Milestone.READY: _ready_since(node)}
    return {
        milestone: _precise(stamp, told.get(milestone, "")) for milestone, stamp in stamps.items() if stamp
    }


def _ready_since(node: Object) -> datetime | None:
    for condition in node.status.get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            return parse_stamp(str(condition["lastTransitionTime"]))
    return None


def _precise(stamp: datetime, told: str) -> str:
    later = (parse_stamp(told) - stamp).total_seconds() if told else -1.0
    return told if 0 <= later < SAME else rfc3339_micro(stamp)


def _without_node(found: Mapping[Milestone, str]) -> dict[Milestone, str]:
    """What a machine tells of its node counts when Kubernetes shows the node."""
    return {k: v for k, v in found.items() if k not in (Milestone.REGISTERED, Milestone.READY)}
