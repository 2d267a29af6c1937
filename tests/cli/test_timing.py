"""`flatyard timing` on a simulated cluster: every form, later machines, and what stays when its process is killed."""

from __future__ import annotations

import os
import signal
from xml.etree import ElementTree

import pytest

FILE = "examples/quickstart.yaml"


@pytest.fixture(scope="module")
def up(module_shell):
    module_shell.run("up", "-q", "--speed", "300", FILE)
    return module_shell


def phases(row: dict) -> list[str]:
    return [span["phase"] for span in row["phases"]]


def test_the_table_has_the_whole_each_machine_and_the_totals(up):
    out = up.run("timing", "quickstart")
    lines = out.splitlines()
    assert lines[0] == "Cluster quickstart (simulated aws us-east-1, 300 times faster than the clock)"
    assert lines[2].startswith("up: 4 machines, ") and lines[2].endswith(
        " s from the request to the last Ready node"
    )
    assert sum(", worker ---" in line for line in lines) == 3
    assert any(line.startswith("  kubeadm init ---") for line in lines)
    assert any(line.startswith("all machines, by phase ---") for line in lines)


def test_the_longest_phase_of_a_machine_comes_first(up):
    lines = up.ask("timing", "quickstart").splitlines()
    start = next(i for i, line in enumerate(lines) if ", worker ---" in line)
    seconds = []
    for line in lines[start + 1 :]:
        if not line:
            break
        seconds.append(float(line.split(" - ")[0].split("--- ")[1].split("s")[0]))
    assert seconds == sorted(seconds, reverse=True) and len(seconds) == 7


def test_json_tells_the_phases_in_the_order_of_time(up):
    report = up.asked("timing", "quickstart")
    assert (report["simulated"], report["stand_in"], report["speed"]) == (True, False, 300.0)
    (run,) = report["runs"]
    assert run["first"] and run["ready"]
    cluster, plane, *workers = run["rows"]
    assert (cluster["role"], phases(cluster)) == ("cluster", ["network"])
    assert phases(plane) == ["create", "boot", "ignition", "boot", "init", "ready"]
    for row in workers:
        assert phases(row) == ["create", "boot", "ignition", "boot", "wait", "join", "ready"]
        assert row["begin"] < row["registered"] <= row["ready"] <= run["seconds"]
        assert all(span["seconds"] >= 0 and span["end"] for span in row["phases"])


def test_pictures_go_to_a_file(up, tmp_path):
    for form in ("svg", "html"):
        file = tmp_path / f"timing.{form}"
        assert up.ask("timing", "quickstart", "-o", form, "--to", str(file)) == ""
        assert "simulated aws us-east-1" in file.read_text()
    picture = ElementTree.fromstring((tmp_path / "timing.svg").read_text())
    assert picture.tag.endswith("svg")
    assert up.ask("timing", "quickstart", "-o", "svg") == (tmp_path / "timing.svg").read_text()


def test_a_file_that_cannot_be_written_is_an_error_with_a_way_out(up, tmp_path):
    process = up.start("timing", "quickstart", "--to", str(tmp_path / "no/such/folder"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "cannot be written" in err and "next: name another file with --to" in err


def test_it_is_the_same_after_its_process_was_killed(up):
    before = up.asked("timing", "quickstart")
    os.kill(up.pid("quickstart"), signal.SIGKILL)
    assert up.json("timing", "quickstart") == before


def test_a_machine_that_came_later_is_a_run_of_its_own_and_stays_when_it_goes(up):
    first = up.asked("timing", "quickstart")["runs"][0]
    up.run("scale", "quickstart", "flatcar-workers=4")
    report = up.asked("timing", "quickstart")
    assert (report["runs"][0], len(report["runs"])) == (first, 2)
    (later,) = report["runs"][1]["rows"]
    assert (report["runs"][1]["first"], later["begin"], later["gone"]) == (False, 0.0, False)
    up.run("scale", "quickstart", "flatcar-workers=1")
    rows = [row for run in up.asked("timing", "quickstart")["runs"] for row in run["rows"]]
    assert sum(row["gone"] for row in rows) == 3
    assert "deleted since" in up.ask("timing", "quickstart")


def test_a_cluster_that_is_not_there(flatyard):
    result = flatyard("timing", "nowhere")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is no cluster 'nowhere'\n")
