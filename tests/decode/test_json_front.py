"""JSON text to Nodes: strict, with the place of every key and value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatyard.decode import json_front
from flatyard.decode.codecs import plain
from flatyard.decode.dialects import KUBERNETES
from flatyard.decode.node import Limits, Node

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def only(text: str | bytes) -> Node:
    reading = json_front.read(text, "f.json")
    assert reading.problems == ()
    (node,) = reading.documents
    return node


@given(values)
def test_reads_what_the_standard_library_writes(value: object) -> None:
    assert plain(only(json.dumps(value)), KUBERNETES) == value
    assert plain(only(json.dumps(value, ensure_ascii=False, indent=1).encode()), KUBERNETES) == value


def test_places() -> None:
    node = only('{\n  "a": [1,\n        true]\n}')
    assert [(each.kind, each.line, each.column) for each in node.walk()] == [
        ("map", 1, 1),
        ("scalar", 2, 3),
        ("list", 2, 8),
        ("scalar", 2, 9),
        ("scalar", 3, 9),
    ]


def test_duplicates_are_left_to_the_decoder() -> None:
    assert len(only('{"a": 1, "a": 2}').entries) == 2


def test_escapes() -> None:
    assert only(r'"\u00e9\ud83d\ude00\n\/"').raw == "é😀\n/"
    assert only(r'"\ud800"').raw == "\ufffd"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.json:1:1: error: not JSON: empty; one JSON value was expected"),
        ("{a: 1}", "f.json:1:2: error: not JSON: 'a' where a key was expected; allowed: a key in \"quotes\""),
        (
            '{"a": 1,}',
            "f.json:1:9: error: not JSON: '}' where a key was expected; allowed: a key in \"quotes\"",
        ),
        ("[1 2]", "f.json:1:4: error: not JSON: '2' where ] or , was expected; allowed: ] or ,"),
        (
            "[1,]",
            "f.json:1:4: error: not JSON: ']' where a value was expected; allowed: a value; texts in \"quotes\"",
        ),
        ('{"a" 1}', "f.json:1:6: error: not JSON: '1' where : was expected; allowed: :"),
        ("1 x", "f.json:1:3: error: not JSON: 'x' after the end of the value"),
        ('\n"a', 'f.json:2:3: error: not JSON: the text ends inside a string; allowed: a closing "'),
        ('"\t"', "f.json:1:2: error: not JSON: raw control character '\\t' in a string; allowed: \\u0009"),
        (
            "01",
            "f.json:1:1: error: not JSON: '01' where a value was expected; allowed: a value; texts in \"quotes\"",
        ),
        (
            "NaN",
            "f.json:1:1: error: not JSON: 'NaN' where a value was expected; allowed: a value; texts in \"quotes\"",
        ),
        (
            "// x",
            "f.json:1:1: error: not JSON: '/' where a value was expected; allowed: a value; texts in \"quotes\"",
        ),
        ("[" * 101, "f.json:1:101: error: not JSON: nested deeper than 100 levels"),
        (b'"\xe9"', "f.json:1:2: error: byte 0xe9 is not UTF-8; allowed: UTF-8 text"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: str | bytes, message: str) -> None:
    (problem,) = json_front.read(text, "f.json").problems
    assert str(problem) == message


def test_a_byte_order_mark_is_no_json() -> None:
    assert json_front.read("\ufeff{}", "f.json").problems


def test_the_number_of_values_is_limited() -> None:
    (problem,) = json_front.read("[1,2,3]", "f.json", Limits(nodes=3)).problems
    assert problem.what.endswith("more than 3 values")


def test_a_long_string_of_escapes_reads_quickly_and_whole() -> None:
    text = '"' + r"\n" * 200_000 + '"'
    assert only(text).raw == "\n" * 200_000
