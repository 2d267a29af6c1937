"""What ignition-validate 2.26.0 says about 87 configs, flatyard says too."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from flatyard.ignition.parse import Document, read

GOLDEN = Path(__file__).parent / "golden" / "validate"
CASES = {case["name"]: case for case in json.loads((GOLDEN / "MANIFEST.json").read_text())["cases"]}


def shown(document: Document) -> list[str]:
    """The report as ignition-validate prints it: what is not about a place gets its own prefix."""
    unplaced = document.config is None and all(entry.line is None for entry in document.report)
    prefix = "couldn't parse config: "
    return [prefix + e.message if unplaced else str(e) for e in document.report]


def test_all_cases_are_here():
    assert len(CASES) == 87


@pytest.mark.parametrize("name", CASES)
def test_report_and_verdict_are_the_reference_s(name: str):
    document = read((GOLDEN / f"{name}.json").read_bytes())
    assert Counter(shown(document)) == Counter(CASES[name]["report"])
    assert document.is_valid == (CASES[name]["exit"] == 0)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case["report"]) > 1])
def test_findings_stand_in_the_reference_s_order(name: str):
    document = read((GOLDEN / f"{name}.json").read_bytes())
    found, wanted = shown(document), CASES[name]["report"]
    unused = "unused key"  # named in the order of a hash table there
    assert [line for line in found if unused not in line] == [line for line in wanted if unused not in line]
    assert [unused in line for line in found] == [unused in line for line in wanted]


def test_what_is_wrong_comes_before_duplicates_and_these_before_unused_keys():
    """The reference walks the config once for each, a section's own findings before those of its parts."""
    text = b"""{"ignition": {"version": "3.4.0"}, "x": 1,
      "systemd": {"units": [{"name": "a"}, {"name": "a.service", "contents": "["}]},
      "storage": {
        "files": [{"path": "/l/f", "user": {"id": 0, "name": "u"}, "group": {"id": 0, "name": "g"}, "mode": -1},
                  {"path": "/etc/systemd/system/a.service"}, {"path": "/l"}],
        "directories": [{"path": "/d/"}],
        "links": [{"path": "/l"}]}}"""
    assert [".".join(map(str, entry.path)) for entry in read(text).report] == [
        "storage.files.1.path",
        "storage.files.0",
        "storage.links.0.target",
        "storage.directories.0.path",
        "storage.files.0.mode",
        "storage.files.0.mode",
        "storage.files.0.group",
        "storage.files.0.user",
        "systemd.units.0.name",
        "systemd.units.1.contents",
        "storage.links.0",
        "x",
    ]
