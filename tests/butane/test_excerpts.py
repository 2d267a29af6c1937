"""Findings with their source lines where the golden reports have no example."""

from __future__ import annotations

import pytest

from flatyard.butane import translate
from flatyard.ignition.report import WIDEST_LINE, excerpts

HEAD = b"variant: flatcar\nversion: 1.1.0\n"


def shown(text: bytes) -> list[str]:
    return list(excerpts(translate(text).report, "x.bu", text))


def caret_line(text: bytes) -> tuple[str, str]:
    """The line that the first finding is about, and the one below it."""
    lines = shown(text)[0].split("\n")
    index = next(number for number, line in enumerate(lines) if "^" in line)
    return lines[index - 1], lines[index]


def test_carets_stand_under_the_word_behind_wide_and_combining_characters():
    for before in ("äöü", "日本", "e\u0301"):
        source, carets = caret_line(HEAD + f'storage: {{links: [{{path: "/{before}", bad: 1}}]}}\n'.encode())
        width = {"äöü": 0, "日本": 2, "e\u0301": -1}[before]
        assert carets.index("^") == source.index("bad:") + width


def test_tabs_line_up():
    source, carets = caret_line(HEAD + b"storage:\t{bad:\t1}\n")
    assert carets[: carets.index("^")].count("\t") == source[: source.index("bad")].count("\t") == 1


@pytest.mark.parametrize("end", [b"\r\n", b"\r", "\x85".encode(), "\u2028".encode()])
def test_lines_end_where_yaml_says(end):
    source, _ = caret_line((HEAD + b"# a comment\nbad: 1\n").replace(b"\n", end))
    assert source == " 4 | bad: 1"


def test_a_byte_order_mark_moves_nothing():
    assert caret_line(b"\xef\xbb\xbfbad: 1\n" + HEAD)[0] == " 1 | bad: 1"


def test_what_a_config_says_does_not_steer_the_terminal():
    text = HEAD + b'"\\e[31m": 1\n'
    assert "\x1b" not in "\n".join(shown(text))
    assert "␛[31m" in shown(text)[0]


def test_long_lines_are_cut_and_a_place_behind_the_cut_has_the_raw_form():
    first, second = shown(HEAD + b"storage: {bad: 1, links: [" + b" " * 9999 + b"{worse: 1}]}\n")[:2]
    assert all(len(line) < WIDEST_LINE + 10 for line in first.split("\n"))
    assert second.startswith("warning at $.storage.links.0.worse, line 3 col ")
