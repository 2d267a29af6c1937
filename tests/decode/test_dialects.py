"""The three dialects as tables: what one scalar means in a field of each type."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flatyard.decode import json_front, yaml_front
from flatyard.decode.dialects import BUTANE, IGNITION, KUBERNETES, Mismatch, entries
from flatyard.decode.node import Node

NO = "refused"


def scalar(text: str) -> Node:
    return yaml_front.read(f"- {text}\n", "f").documents[0].items[0]


def value(text: str) -> Node:
    return json_front.read(text, "f").documents[0]


def means(read: Callable[[Node], object], node: Node) -> object:
    try:
        found = read(node)
    except Mismatch:
        return NO
    return found


BUTANE_INTS = [
    ("420", 420),
    ("0644", 420),
    ("0o644", 420),
    ("0O644", 420),
    ("0x1A4", 420),
    ("0X1a4", 420),
    ("0b110", 6),
    ("+420", 420),
    ("-0644", -420),
    ("4_2_0", 420),
    ("0_644", 420),
    ("1e2", 100),
    ("4.2e2", 420),
    ("0.9", 0),
    ("-1.5", -1),
    ('!!int "420"', 420),
    ("!!float 420", 420),
    ("9223372036854775807", 9223372036854775807),
    ('"420"', NO),
    ("_420", NO),
    ("0o", NO),
    ("0b2", NO),
    ("1:30", NO),
    ("2024-01-02", NO),
    ("true", NO),
    (".inf", NO),
    (".nan", NO),
    ("18446744073709551616", NO),
]


@pytest.mark.parametrize(("text", "wanted"), BUTANE_INTS)
def test_butane_whole_numbers(text: str, wanted: object) -> None:
    assert means(BUTANE.whole, scalar(text)) == wanted


@pytest.mark.parametrize(
    "text", ["0755", "1.50", "2024-01-02", "yes", "1:30", "0o17", "1e3", ".NaN", "=", "true"]
)
def test_butane_texts_are_taken_as_written(text: str) -> None:
    assert BUTANE.text(scalar(text)) == text


def test_butane_decodes_binary_texts() -> None:
    assert BUTANE.text(scalar("!!binary aGk=")) == "hi"
    assert means(BUTANE.text, scalar("!!binary '%'")) in ("", NO)
    assert means(BUTANE.text, scalar("!!binary //8=")) == NO


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("true", True),
        ("False", False),
        ("yes", True),
        ("on", True),
        ("Off", False),
        ("n", False),
        ('"true"', NO),
        ("1", NO),
        ("tRue", NO),
    ],
)
def test_butane_truths(text: str, wanted: object) -> None:
    assert means(BUTANE.truth, scalar(text)) is wanted or means(BUTANE.truth, scalar(text)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3", 3),
        ("0x10", 16),
        ("010", 8),
        ("1_000", 1000),
        ("3.5", 3.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("null", None),
        ("01:00", "01:00"),
        ("2024-01-02", "2024-01-02"),
        ("4593.2.5", "4593.2.5"),
        ("v1.34.3", "v1.34.3"),
        ('"3"', "3"),
        ("!!str 3", "3"),
        ("1e999", "1e999"),
    ],
)
def test_kubernetes_untyped_values(text: str, wanted: object) -> None:
    found = KUBERNETES.plain(scalar(text))
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (KUBERNETES.text, ["a", '"3"', "01:00"], ["3", "1.34", "yes", "true"]),
        (KUBERNETES.whole, ["3", "-3", "0x10"], ['"3"', "3.0", "1e3", "true", "9223372036854775808"]),
        (KUBERNETES.real, ["3", "3.5"], ['"3"', "true"]),
        (KUBERNETES.truth, ["true", "no"], ['"true"', "1"]),
    ],
)
def test_kubernetes_fields_are_strict(
    read: Callable[[Node], object], good: list[str], bad: list[str]
) -> None:
    assert [text for text in good if means(read, scalar(text)) == NO] == []
    assert [text for text in bad if means(read, scalar(text)) != NO] == []


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (IGNITION.text, ['"a"'], ["1", "true"]),
        (IGNITION.whole, ["420", "-1"], ["420.0", "4.2e2", '"420"', "true"]),
        (IGNITION.truth, ["true", "false"], ['"true"', "1"]),
        (IGNITION.real, ["1", "1.5"], ['"1"', "1e999", "1" * 200]),
    ],
)
def test_ignition_fields_are_go_json(read: Callable[[Node], object], good: list[str], bad: list[str]) -> None:
    assert [text for text in good if means(read, value(text)) == NO] == []
    assert [text for text in bad if means(read, value(text)) != NO] == []


def test_merge_keys_give_way_to_written_ones_and_the_first_source_wins() -> None:
    text = "base: &a {x: 1, k: 1}\nmore: &b {k: 2, z: 2}\nout: {k: 0, <<: [*a, *b]}\n"
    out = yaml_front.read(text, "f").documents[0].at("out")
    assert out is not None
    assert {each.key: each.value.raw for each in entries(out, KUBERNETES)} == {"k": "0", "x": "1", "z": "2"}


@pytest.mark.parametrize("text", ["{<<: 3}", "{<<: [3]}", "{[1]: 2}"])
def test_what_cannot_be_merged_or_be_a_key(text: str) -> None:
    node = yaml_front.read(text, "f").documents[0]
    with pytest.raises(Mismatch):
        list(entries(node, KUBERNETES))


def test_keys_that_are_not_texts_are_spelt_out_as_json_has_them() -> None:
    node = yaml_front.read("{1: a, on: b, ~: c, '1.0': d}", "f").documents[0]
    assert [each.key for each in entries(node, KUBERNETES)] == ["1", "true", "null", "1.0"]
    assert [each.key for each in entries(node, BUTANE)] == ["1", "on", "~", "1.0"]
