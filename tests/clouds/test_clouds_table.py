"""The tables of docs/clouds.md are what the tool makes of the runs' results, check by check."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOL = runpy.run_path(str(ROOT / "tools/clouds_table.py"))
NAMES = TOOL["NAMES"]


def test_the_table_names_exactly_the_checks_there_are() -> None:
    table = (ROOT / "docs/clouds.md").read_text().partition("<!-- table: checks -->")[2]
    rows = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert rows == list(NAMES), "python tools/clouds_table.py writes it anew"


def test_the_page_is_made_of_the_kept_results() -> None:
    text = (ROOT / "docs/clouds.md").read_text()
    assert TOOL["page"](text, TOOL["load"]()) == text, "python tools/clouds_table.py writes it anew"


def test_each_cloud_that_was_run_ran_every_check_and_left_out_a_tenth_at_most() -> None:
    kept = TOOL["load"]()
    assert all(list(found) == list(NAMES) for found in kept.values())
    assert TOOL["excess"](kept) == []


def test_results_are_taken_by_cloud_and_check(tmp_path: Path) -> None:
    first, second, third = NAMES[:3]
    results = tmp_path / "results.xml"
    results.write_text(
        f"""<testsuites><testsuite>
        <testcase classname="tests.clouds.test_conformance" name="test_twin[aws-{first}]"/>
        <testcase classname="tests.clouds.test_conformance" name="test_twin[gcp-{first}]"><failure/></testcase>
        <testcase classname="tests.clouds.test_conformance" name="test_twin[aws-{second}]"/>
        <testcase classname="tests.clouds.test_conformance" name="test_twin[gcp-{second}]">
          <skipped message="no zones"/></testcase>
        <testcase classname="tests.clouds.test_conformance" name="test_twin[aws-{third}]">
          <skipped message="no credentials"/></testcase>
        <testcase classname="tests.clouds.test_conformance" name="test_something_else[aws]"/>
        <testcase classname="tests.emulators.aws.test_conformance" name="test_aws_conforms[{first}]"/>
        <testcase classname="tests.emulators.aws.test_other" name="test_more[{second}]"/>
        </testsuite></testsuites>"""
    )
    assert TOOL["read"](results) == {
        "sim": {first: "failed", second: "passed on 1 of 2 twins: no zones", third: "no credentials"},
        "aws": {first: "passed"},
    }


def test_reasons_stand_below_the_table_once() -> None:
    first, second, third = NAMES[:3]
    some = "passed on 5 of 6 twins: no sizes"
    kept = {"sim": {first: "no zones", second: "no zones", third: some}, "local": {first: "no root"}}
    lines = TOOL["checks"](kept)
    assert lines[2:5] == [
        f"| `{first}` | – (1) | – (2) | not run | not run | not run |",
        f"| `{second}` | – (1) | not run | not run | not run | not run |",
        f"| `{third}` | passed (3) | not run | not run | not run | not run |",
    ]
    assert lines[-4:] == ["", "1. no zones", "2. no root", f"3. {some}"]
    assert (
        lines[-5]
        == "| **together** | 1 passed, 2 left out | 0 passed, 1 left out | not run | not run | not run |"
    )
