"""Unit text as Ignition's parser takes it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard.ignition.unitfile import LINE_MAX, Option, UnitError, parse_unit, sections


def test_assignments_keep_their_order_and_continued_lines():
    text = "ignored\n# [no]\n[Service]\r\nExecStart=/bin/sh -c \\\n  x\nEnvironment = A=b\n"
    text += "; [no]\n[Install]\nWantedBy=a\n"
    assert parse_unit(text) == (
        Option("Service", "ExecStart", "/bin/sh -c \\\n  x"),
        Option("Service", "Environment", "A=b"),
        Option("Install", "WantedBy", "a"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Unit\n", "unable to find end of section"),
        ("[Unit] x\n", 'found garbage after section name : "x"'),
        ("[Unit]\nnonsense\n", "unexpected newline encountered while parsing option name"),
        ("[Unit]\nnonsense", "EOF"),
    ],
)
def test_what_is_no_assignment_is_refused(text: str, message: str):
    with pytest.raises(UnitError) as caught:
        parse_unit(text)
    assert str(caught.value) == message


def test_a_line_of_the_limit_is_too_long_where_the_parser_can_see_it():
    line = "ExecStart=".ljust(LINE_MAX - 1, "x")
    assert parse_unit(f"[Service]\n{line}\n")
    with pytest.raises(UnitError, match="line too long"):
        parse_unit(f"[Service]\n{line}x\n")


def test_the_same_line_behind_most_of_a_read_buffer_goes_unnoticed():
    filler = "A=b\n" * 700
    assert parse_unit("[Service]\n" + filler + "ExecStart=" + "x" * LINE_MAX + "\n")


def test_comments_continue_with_a_backslash():
    assert parse_unit("[A]\n# x \\\nB=c\nD=e\n") == (Option("A", "D", "e"),)


PIECES = (
    "[A]",
    "[B]\n",
    " [C] ",
    "[D",
    "] x",
    "\n",
    "\n\n",
    "a=b",
    "\t=\n",
    "x",
    "# y=z",
    ";",
    "\\\n",
    "\r\n",
    "\v",
    "\x1c",
    "é=ü",
)


@settings(deadline=None)
@given(st.lists(st.sampled_from((*PIECES, "E=" + "x" * LINE_MAX)), max_size=12))
def test_sections_are_those_of_the_assignments(pieces: list[str]):
    text = "".join(pieces)
    try:
        wanted = {option.section for option in parse_unit(text)}
    except UnitError as problem:
        with pytest.raises(UnitError) as caught:
            sections(text)
        assert str(caught.value) == str(problem)
    else:
        assert sections(text) == wanted
