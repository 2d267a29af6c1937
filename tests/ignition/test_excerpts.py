"""Findings about JSON with their source lines."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatyard.ignition.excerpts import Places, json_excerpts
from flatyard.ignition.parse import read

HEAD = '{"ignition": {"version": "3.4.0"}, '


def shown(text: str | bytes, width: int = 120) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return list(json_excerpts(read(data).report, "x.ign", data, width=width))


def caret_line(block: str) -> tuple[str, str]:
    """The line that a finding is about, and the one below it."""
    lines = block.split("\n")
    index = next(number for number, line in enumerate(lines) if "^" in line)
    return lines[index - 1], lines[index]


def columns(text: str) -> int:
    wide = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return wide - sum(1 for c in text if unicodedata.combining(c))


def word_at_carets(block: str) -> str:
    """What stands above the carets, by columns of a terminal."""
    source, carets = caret_line(block)
    first, count = carets.index("^"), carets.count("^")
    return "".join(c for n, c in enumerate(source) if first <= columns(source[:n]) < first + count)


@pytest.mark.parametrize("before", ["", "ä", "漢字", "😀", "e\u0301", "Ω😀漢"])
def test_carets_stand_under_the_value_behind_any_character(before: str):
    (block,) = shown(HEAD + f'"passwd": {{"users": [{{"name": "{before}", "groups": ["g", "g"]}}]}}}}')
    assert word_at_carets(block) == '"g"'
    assert f"--> x.ign:1:{len(HEAD) + len(before) + 51}\n" in block


def test_tabs_line_up():
    (block,) = shown('{"ignition":\t{"version":\t"3.4.0"},\t"x":\t1}')
    source, carets = caret_line(block)
    assert source.split("|")[1].partition('"x"')[0].count("\t") == carets.count("\t") == 3


@pytest.mark.parametrize("filler", ["x" * 100_000, "漢" * 40_000, "😀 " * 9999, "a\\t" * 9999])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_minified_json_is_cut_around_the_carets(filler: str, width: int):
    file = {"path": "/a", "contents": {"source": f"data:,{filler}"}}
    config = {"ignition": {"version": "3.4.0"}, "storage": {"files": [file, {"path": "rel"}, file]}}
    text = json.dumps(config, ensure_ascii=False)
    block = next(block for block in shown(text, width) if "path not absolute" in block)
    source, _ = caret_line(block)
    assert word_at_carets(block) == '"rel"'
    assert columns(source) <= width
    assert source.startswith(" 1 | …") and source.endswith("…")


@pytest.mark.parametrize(
    ("text", "word", "place"),
    [
        ('{"ignition": }', "}", "1:14"),
        ('{"ignition": {"version": "3.4.0"},}', "}", "1:35"),
        ('{"ignition": {"version": 3}}', "3", "1:26"),
        (HEAD + '"storage": []}', "[", "1:47"),
        (HEAD + '"storage": {"files": [{"path": "/a", "mode": "420"}]}}', '"420"', "1:81"),
        ('{"ignition": {"version": "2.2.0"}}', '"2.2.0"', "1:26"),
        ('{"ignition": {"version": "3.4.0"}}}', "}", "1:35"),
        ('{"ignition":\n {"version"', '"version"', "2:3"),
        (HEAD + '"storage": {"raid": [{"name": "r", "level": "raid1", "devices": []}]}}', "[", "1:100"),
        (HEAD + '"unknown": {"a": 1}}', '"unknown"', "1:36"),
        ('{"ignition": {"version": "3.4.0"},\r\n"x": 1}\r\n', '"x"', "2:1"),
    ],
)
def test_carets_stand_under_what_is_wrong(text: str, word: str, place: str):
    """The reference points behind what is malformed and into containers, or at line 0."""
    (block,) = shown(text)
    assert word_at_carets(block) == word
    assert f"--> x.ign:{place}\n" in block


def test_a_finding_about_the_whole_text_names_the_file_only():
    assert shown("") == ["error:\n  --> x.ign\n  not a config (empty)"]


def test_many_findings_in_one_long_line_cost_no_more_than_their_sum(monkeypatch):
    """Each excerpt looks at the neighbourhood of its place; counting whole lines would take minutes."""
    config = {
        "ignition": {"version": "3.4.0"},
        "storage": {"files": [{"path": f"ä{n}"} for n in range(3000)]},
    }
    data = json.dumps(config, ensure_ascii=False).encode()
    read_bytes = 0

    class Counting(bytes):
        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            nonlocal read_bytes
            found = super().__getitem__(key)
            read_bytes += len(found) if isinstance(found, bytes) else 1
            return found

    places = Places(data)
    monkeypatch.setattr(places, "data", Counting(data))
    spots = [places.spot(entry) for entry in read(data).report]
    assert len(spots) == 3000 and all(spots)
    assert read_bytes < 4 * len(data)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_can_be_shown(data: bytes):
    for block in shown(data, 40):
        assert "x.ign" in block
        assert all(c.isprintable() or c in "\n\t\ufffd" or ord(c) > 127 for c in block)
