"""Merging as Ignition 2.26.0 does it: 50 pairs, their result, and what validation says about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flatyard.ignition import Config, File, Resource, Storage, encode
from flatyard.ignition.merge import merge
from flatyard.ignition.parse import parse, read

GOLDEN = Path(__file__).parent / "golden" / "merge"
CASES = {case["name"]: case for case in json.loads((GOLDEN / "MANIFEST.json").read_text())["cases"]}


def config(name: str) -> Config:
    document = parse((GOLDEN / f"{name}.json").read_bytes())
    assert document.config is not None
    return document.config


def test_all_cases_are_here():
    assert len(CASES) == 50


@pytest.mark.parametrize("name", CASES)
def test_result_and_its_report_are_the_reference_s(name: str):
    merged = encode(merge(config(f"{name}.parent"), config(f"{name}.child")))
    assert json.loads(merged) == json.loads((GOLDEN / f"{name}.merged.json").read_bytes())
    report = "".join(f"{entry}\n" for entry in read(merged).report)
    assert report == CASES[name]["merged_report"]


def test_a_config_over_itself_appends_what_is_appended():
    file = File(path="/a", append=(Resource(source="data:,x"),))
    both = merge(Config(storage=Storage(files=(file,))), Config(storage=Storage(files=(file,))))
    assert len(both.storage.files[0].append) == 2
