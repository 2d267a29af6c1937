"""From stamps to phases, and the report as table, JSON, SVG and HTML."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flatyard.base.world import SeededWorld, ulid
from flatyard.node.milestones import Milestone
from flatyard.operate import gantt
from flatyard.operate.timing import (
    MEANINGS,
    TITLES,
    Measurements,
    Phase,
    minted,
    timing,
)
from flatyard.operate.timing_report import as_json, headline, table

GOLDEN = Path(__file__).parent / "golden"
FORMS = {
    "timing.txt": lambda report: table(report) + "\n",
    "timing.json": lambda report: json.dumps(as_json(report), indent=2) + "\n",
    "timing.svg": gantt.svg,
    "timing.html": gantt.html,
}


def without(measured: Measurements, name: str, *milestones: Milestone) -> Measurements:
    """The same with one machine alone, which has not come to these milestones."""
    (found,) = (machine for machine in measured.machines if machine.name == name)
    left = {k: v for k, v in found.milestones.items() if k not in milestones}
    return replace(measured, machines=(replace(found, milestones=left),))


@pytest.mark.parametrize("name", FORMS)
def test_the_report_looks_as_the_golden_file(measured, name):
    assert FORMS[name](timing(measured)) == (GOLDEN / name).read_text()


def test_measurements_survive_the_way_over_the_wire(measured):
    assert Measurements.decode(measured.encode()) == measured


def test_milestones_of_a_newer_release_are_passed_over(measured):
    raw = json.loads(measured.encode())
    raw["machines"][0]["milestones"]["teleported"] = "2026-11-21T16:00:01.000000Z"
    assert Measurements.decode(json.dumps(raw)) == measured


def test_up_is_from_the_request_to_the_last_ready_node(measured):
    run = timing(measured).runs[0]
    assert (run.first, run.ready, run.end) == (True, True, 60.0)
    assert [row.name for row in run.rows][:2] == ["cluster", "local-control-plane-1"]


def test_what_comes_before_the_first_machine_is_the_clusters_own(measured):
    cluster = timing(measured).runs[0].rows[0]
    assert cluster.by_phase() == {Phase.SUPPLIES: 8.3, Phase.NETWORK: pytest.approx(1.1)}


def test_supplies_that_a_later_process_made_anew_are_not_the_first_ones(measured):
    cluster = timing(replace(measured, supplied=measured.now)).runs[0].rows[0]
    assert list(cluster.by_phase()) == [Phase.NETWORK]


def test_machines_that_were_asked_for_after_all_were_ready_are_a_run_of_their_own(measured):
    later = timing(measured).runs[1]
    assert (later.first, [row.name for row in later.rows]) == (False, ["general-54ougxmwqp-zzzzz"])
    assert later.rows[0].begin == 0


def test_phases_up_to_kubeadm_leave_no_gap_and_do_not_overlap(measured):
    for row in timing(measured).runs[0].machines:
        chain = [s for s in row.spans if s.phase is not Phase.READY]
        assert chain[0].begin == pytest.approx(row.begin)
        for one, other in pairwise(chain):
            assert other.begin == pytest.approx(one.begin + one.seconds, abs=0.06)


def test_ignition_inside_of_the_machine_parts_the_boot(measured):
    """On a cloud Ignition runs after power, in the initrd."""
    simulated = without(
        measured, "general-54ougxmwqp-9l4wn", *(m for m in Milestone if m.value.startswith("merg"))
    )
    (machine,) = simulated.machines
    stamps = dict(machine.milestones) | {Milestone.POWER: "2026-11-21T16:00:10.000000Z"}
    report = timing(replace(simulated, machines=(replace(machine, milestones=stamps),)))
    names = [span.phase for span in report.runs[0].machines[0].spans][:4]
    assert names == [Phase.CREATE, Phase.BOOT, Phase.IGNITION, Phase.BOOT]


def test_a_machine_that_still_waits_has_an_open_phase_until_now(measured):
    row = timing(measured).runs[1].rows[0]
    assert [(s.phase, s.open, round(s.seconds, 2)) for s in row.spans][-1] == (Phase.WAIT, True, 27.19)
    assert row.ready is None
    assert as_json(timing(measured))["runs"][1]["rows"][0]["phases"][-1]["end"] is None


@pytest.mark.parametrize(
    ("missing", "phase"),
    [
        (tuple(Milestone), Phase.CREATE),
        ((Milestone.POWER, *tuple(Milestone)[2:]), Phase.IGNITION),
        (tuple(Milestone)[3:], Phase.BOOT),
        (tuple(Milestone)[4:], Phase.SYSEXT),
        (tuple(Milestone)[5:], Phase.BOOT),
        (tuple(Milestone)[6:], Phase.CONTAINERD),
        (tuple(Milestone)[8:], Phase.IMAGES),
        (tuple(Milestone)[11:], Phase.WAIT),
        ((Milestone.DISCOVERED, Milestone.JOINED, Milestone.REGISTERED, Milestone.READY), Phase.DISCOVERY),
        ((Milestone.JOINED, Milestone.REGISTERED, Milestone.READY), Phase.JOIN),
        ((Milestone.READY,), Phase.READY),
    ],
)
def test_what_a_machine_is_at_is_the_one_open_phase(measured, missing, phase):
    report = timing(without(measured, "general-54ougxmwqp-9l4wn", *missing))
    spans = report.runs[0].machines[0].spans
    assert [span.phase for span in spans if span.open] == [phase]


def test_a_deleted_machine_that_was_never_ready_has_no_open_phase(measured):
    machine = replace(measured.machines[3], gone=True)
    report = timing(replace(measured, machines=(*measured.machines[:3], machine)))
    assert not any(span.open for span in report.runs[1].rows[0].spans)
    assert "general-54ougxmwqp-zzzzz, worker, deleted since ---" in table(report)


def test_a_simulated_clusters_seconds_are_simulated_ones(measured):
    fast = replace(measured, speed=300.0, simulated=True, what="simulated aws us-east-1")
    run = timing(fast).runs[0]
    assert (run.end, run.rows[0].seconds) == (18000.0, pytest.approx(2820))
    assert as_json(timing(fast))["simulated"] is True


@pytest.mark.parametrize("what", ["simulated aws us-east-1", "containers of a stand-in for Flatcar"])
@pytest.mark.parametrize("form", ["timing.txt", "timing.json", "timing.svg", "timing.html"])
def test_every_form_says_what_is_simulated_or_a_stand_in(measured, what, form):
    assert what in FORMS[form](timing(replace(measured, what=what)))


def test_a_big_run_is_cut_to_its_slowest_machines_in_the_table_only(measured):
    many = tuple(replace(measured.machines[2], id=str(n), name=f"worker-{n:02}") for n in range(30))
    report = timing(replace(measured, machines=(measured.machines[0], *many)))
    assert "… and 11 faster machines (-o json has all)" in table(report)
    assert gantt.svg(report).count("worker-") >= 30


def test_no_machine_no_run(measured):
    report = timing(replace(measured, machines=()))
    assert report.runs == ()
    assert table(report) == headline(report)


def test_the_picture_is_well_formed_and_needs_nothing_from_elsewhere(measured):
    evil = replace(measured.machines[0], name='<script>"&')
    report = timing(replace(measured, machines=(evil, *measured.machines[1:])))
    text = gantt.svg(report)
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for form in (text, gantt.html(report)):
        assert re.findall(r"https?://[^\s\"']+", form) == ["http://www.w3.org/2000/svg"]
        assert "<script" not in form and "@import" not in form
        assert re.findall(r"url\(([^)]*)\)", form) == ["#hatch"]


def test_every_bar_stays_inside_of_the_picture(measured):
    root = ElementTree.fromstring(gantt.svg(timing(measured)))
    bars = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("x")]
    assert bars
    assert all(float(b.get("x")) + float(b.get("width")) <= gantt.WIDTH - gantt.RIGHT + 1 for b in bars)


def test_every_phase_has_a_name_a_meaning_and_a_colour_of_its_own():
    assert set(TITLES) == set(MEANINGS) == set(gantt.COLORS) == set(Phase)
    assert len(set(gantt.COLORS.values())) == len(Phase)


@pytest.mark.parametrize("length", [0.05, 1, 9.9, 60, 61, 400, 3600, 90000, 10**7])
def test_an_axis_has_a_few_round_ticks(length):
    found = gantt.ticks(length)
    assert found[0] == 0
    assert 1 <= len(found) <= gantt.TICKS + 1
    assert found[-1] <= length


def test_an_id_tells_when_it_was_minted():
    world = SeededWorld(1, lambda: 12.345)
    assert minted(ulid(world)) == datetime(2026, 1, 1, 0, 0, 12, 345000, UTC)
    with pytest.raises(ValueError):
        minted("01m7")
