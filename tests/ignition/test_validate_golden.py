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
