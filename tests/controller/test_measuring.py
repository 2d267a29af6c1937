"""What was measured of a cluster's machines stays: after reboots, deletions, rotated journals and killed processes."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flatyard.base.world import SIMULATED_EPOCH, SeededWorld, rfc3339_micro, ulid
from flatyard.clouds.cloud import Instance, InstanceState, Role
from flatyard.controller import measuring as module
from flatyard.controller.measuring import Measuring, Wording
from flatyard.engine.context import Step, StepState
from flatyard.kube.api import Object
from flatyard.node.milestones import Milestone

CLUSTER = ulid(SeededWorld(1, lambda: 0.5))
ID = ulid(SeededWorld(2, lambda: 1.5))


def at(seconds: float) -> str:
    return rfc3339_micro(SIMULATED_EPOCH + timedelta(seconds=seconds))


INSTANCE = Instance(f"{ID}-1", ID, 1, "worker-1", Role.WORKER, InstanceState.RUNNING, "sim://1", "node-1", "")


def machine(**annotations: str) -> Object:
    found = {"flatyard.dev/machine-id": ID, **annotations}
    return Object({"kind": "Machine", "metadata": {"name": "worker-1", "annotations": found}})


SENT = machine(**{"flatyard.dev/create-sent": at(2)})


def node(created: float, ready: float | None = None, since: float | None = None) -> Object:
    state = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "lastTransitionTime": at(ready or since or 0),
    }
    metadata = {"name": "node-1", "creationTimestamp": at(created)}
    return Object({"kind": "Node", "metadata": metadata, "status": {"conditions": [state]}})


class Stage:
    """A cluster's measurements in a folder; `again` is another process. `stamps`: what the machine tells."""

    def __init__(self, folder: Path, speed: float = 1.0) -> None:
        self.path = folder / "timing.jsonl"
        self.speed = speed
        self.asked = 0
        self.stamps: dict[Milestone, str] = {Milestone.POWER: at(3)}
        self.measuring = self.again()

    def again(self) -> Measuring:
        world = SeededWorld(1, lambda: 100.0)
        self.measuring = Measuring(self.path, world, Wording("machines"), self._milestones, self.speed)
        return self.measuring

    async def _milestones(self, instance: Instance) -> Mapping[Milestone, str]:
        self.asked += 1
        return self.stamps

    def measure(
        self, *nodes: Object, instances: tuple[Instance, ...] = (INSTANCE,), of: Object = SENT
    ) -> None:
        asyncio.run(self.measuring.measure(instances, [of], nodes))

    def done(self, name: str, seconds: float) -> None:
        self.measuring.on_step(Step(SIMULATED_EPOCH + timedelta(seconds=seconds), name, StepState.DONE))

    @property
    def told(self) -> module.Measurements:
        return self.measuring.told("prod", CLUSTER)

    @property
    def only(self) -> module.Measured:
        (found,) = self.told.machines
        return found


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


def test_a_node_is_registered_when_it_was_created_and_ready_since_its_condition_changed(stage):
    stage.measure(node(5, ready=7))
    assert stage.only.asked == at(2)
    assert stage.only.milestones == {
        Milestone.POWER: at(3),
        Milestone.REGISTERED: at(5),
        Milestone.READY: at(7),
    }


def test_a_machines_own_stamp_is_taken_where_it_is_the_same_moment_more_precisely(stage):
    stage.stamps = {Milestone.REGISTERED: at(5.25), Milestone.READY: at(9.5)}
    stage.measure(node(5, ready=7))
    assert stage.only.milestones == {Milestone.REGISTERED: at(5.25), Milestone.READY: at(7)}


def test_a_node_that_kubernetes_does_not_show_is_not_there(stage):
    stage.stamps = {Milestone.REGISTERED: at(5.25), Milestone.READY: at(7.5)}
    stage.measure()
    assert stage.only.milestones == {}


def test_what_was_measured_whole_is_not_asked_again_and_a_reboot_does_not_move_it(stage):
    stage.measure(node(5, ready=7))
    stage.stamps = {}
    stage.again()
    stage.measure(node(5, ready=90))
    assert (stage.asked, stage.only.milestones[Milestone.READY]) == (1, at(7))


def test_milestones_stay_when_the_journal_has_rotated(stage):
    stage.measure()
    stage.stamps = {Milestone.CONTAINERD: at(4)}
    stage.again()
    stage.measure()
    assert stage.only.milestones == {Milestone.POWER: at(3), Milestone.CONTAINERD: at(4)}


def test_a_node_that_is_not_ready_yet_is_asked_for_again(stage):
    stage.measure(node(5, since=5))
    assert not stage.only.complete
    stage.measure(node(5, ready=7))
    assert stage.only.complete


def test_a_machine_of_which_no_create_was_noted_was_asked_for_when_its_id_was_minted(stage):
    stage.measure(of=machine())
    assert stage.only.asked == at(1.5)


def test_deleted_machines_stay_and_say_so(stage):
    stage.measure(node(5, ready=7))
    stage.measure(instances=())
    assert stage.only.gone
    stage.again()
    assert stage.only.gone and stage.only.complete


def test_an_instance_that_the_cloud_still_shows_as_terminated_is_deleted(stage):
    stage.measure(node(5, ready=7))
    stage.measure(instances=(replace(INSTANCE, state=InstanceState.TERMINATED),))
    assert stage.only.gone


def test_another_attempt_is_another_machine(stage):
    stage.measure()
    stage.measure(instances=(replace(INSTANCE, id=f"{ID}-2", attempt=2),))
    assert [(m.id, m.gone) for m in stage.told.machines] == [(f"{ID}-1", True), (f"{ID}-2", False)]


def test_only_the_newest_deleted_machines_are_told_of(stage, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 2)
    for number in range(5):
        stage.measure(instances=(replace(INSTANCE, id=f"i-{number}"),))
    assert [m.id for m in stage.told.machines] == ["i-2", "i-3", "i-4"]


def test_in_a_simulation_a_node_is_ready_when_the_engine_first_saw_it(tmp_path):
    stage = Stage(tmp_path, speed=300.0)
    stage.done("machine/worker-1", 1)  # an earlier attempt's
    stage.done("machine/worker-1", 6.25)
    stage.done("machine/worker-1", 50)
    stage.again()
    stage.measure(node(5, ready=7))
    assert stage.only.milestones[Milestone.READY] == at(6.25)


def test_in_a_simulation_a_node_that_is_not_ready_is_not_ready(tmp_path):
    stage = Stage(tmp_path, speed=300.0)
    stage.done("machine/worker-1", 6.25)
    stage.measure(node(5, since=7))
    assert not stage.only.complete


def test_a_machine_that_comes_and_goes_for_years_does_not_fill_the_disk(stage):
    for second in range(10):
        stage.done("machine/worker-1", second)
    assert not stage.path.exists()


def test_supplies_were_there_when_they_were_first(stage):
    stage.done("supplies/v1.34.3", 4.5)
    stage.again()
    stage.done("supplies/v1.34.3", 80)
    assert (stage.told.supplied, stage.told.started) == (at(4.5), at(0.5))


def test_a_line_that_a_kill_cut_short_is_dropped_and_the_next_one_is_whole(stage):
    stage.measure(node(5, ready=7))
    with stage.path.open("a") as file:
        file.write('{"machine":{"id":"x","na')
    stage.again()
    stage.done("supplies/v1.34.3", 4.5)
    stage.again()
    assert (stage.only.complete, stage.told.supplied) == (True, at(4.5))


def test_the_file_is_its_owners_alone(stage):
    stage.measure()
    assert stat.S_IMODE(stage.path.stat().st_mode) == 0o600
