"""What the reader says about a document beside its config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flatyard.butane.reading import read_common, read_config
from flatyard.butane.syntax import YamlError, parse
from flatyard.butane.unused import unused_keys
from flatyard.butane.versions import VERSIONS

CASES = Path(__file__).parent / "golden/cases.jsonl"
ODD = {
    "unknown key": "storage: {files: [{path: /a, colour: red}]}",
    "null section": "storage:",
    "null in a list": "storage: {files: [~, {path: /a}]}",
    "alias": "storage: {files: [&a {path: /a}, *a]}",
    "merge": "storage: {files: [{<<: {path: /a}}]}",
}


def read(text: str) -> tuple[bool, int]:
    """Whether the document is whole, and how many of its keys go unused."""
    root = parse(text)
    version = VERSIONS[read_common(root)[1]]
    config, is_whole = read_config(root, version)
    return is_whole, len(unused_keys(config, root, version))


def test_a_whole_document_has_no_unused_keys():
    whole = 0
    for case in map(json.loads, CASES.read_text().splitlines()):
        try:
            is_whole, unused = read(case["butane"])
        except (YamlError, KeyError):
            continue
        assert not (is_whole and unused), case["name"]
        whole += is_whole
    assert whole > 150


@pytest.mark.parametrize("written", ODD.values(), ids=ODD.keys())
def test_what_is_not_all_in_the_config_is_no_whole_document(written: str):
    assert read(f"variant: flatcar\nversion: 1.1.0\n{written}\n")[0] is False
