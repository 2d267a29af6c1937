"""Findings with their source lines where the golden reports have no example."""

from __future__ import annotations

import unicodedata

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


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@pytest.mark.parametrize("filler", ["x" * 9999, "漢" * 9999, "😀 " * 5000, "\t" * 9999])
@pytest.mark.parametrize("width", [40, 80, WIDEST_LINE])
def test_long_lines_are_cut_around_the_carets(filler: str, width: int):
    line = f'storage: {{bad: 1, links: [{{path: "{filler}", worse: 1}}, {{path: "{filler}"}}]}}\n'
    text = HEAD + line.encode()
    found = translate(text).report
    for block, word in zip(excerpts(found, "x.bu", text, width=width), ("bad", "worse"), strict=False):
        lines = block.split("\n")
        at = next(number for number, line in enumerate(lines) if "^" in line)
        source, carets = lines[at - 1 : at + 1]
        assert columns(source) <= width
        assert source.endswith("…")
        before, _, rest = source.partition(word)
        assert rest and columns(before) == carets.index("^")


def test_of_the_end_of_a_long_line_as_much_as_fits_is_shown():
    text = HEAD + b"storage: {links: [{path: " + b"x" * 9999 + b", worse: 1}]}\n"
    (block,) = excerpts(translate(text).report[:1], "x.bu", text, width=60)
    source = next(line for line in block.split("\n") if line.startswith(" 3 |"))
    assert (len(source), source[:6], source[-13:]) == (59, " 3 | …", ", worse: 1}]}")
