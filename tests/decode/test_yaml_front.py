"""YAML text to Nodes: places, aliases, limits, and an error with a place for everything that is no YAML."""

from __future__ import annotations

import pytest

from flatyard.decode import yaml_front
from flatyard.decode.node import Limits, Node


def only(text: str | bytes) -> Node:
    reading = yaml_front.read(text, "f.yaml")
    assert reading.problems == ()
    (node,) = reading.documents
    return node


def refusal(text: str | bytes, limits: Limits | None = None) -> str:
    reading = yaml_front.read(text, "f.yaml", limits or Limits())
    (problem,) = reading.problems
    return str(problem)


def test_places_count_from_one_and_in_characters() -> None:
    node = only("ä: é\nlist:\n  - 'x'\n  - |\n    block\n")
    assert [(each.raw, each.line, each.column) for each in node.walk() if each.kind == "scalar"] == [
        ("ä", 1, 1),
        ("é", 1, 4),
        ("list", 2, 1),
        ("x", 3, 5),
        ("block\n", 4, 5),
    ]


def test_style_and_tag_are_kept() -> None:
    node = only("[a, 'a', \"a\", !!str a, !x a]\n")
    assert [(each.plain, each.tag) for each in node.items] == [
        (True, ""),
        (False, ""),
        (False, ""),
        (False, "tag:yaml.org,2002:str"),
        (False, "!x"),
    ]
    assert only("|\n  a\n").block


def test_the_text_of_a_scalar_is_not_interpreted() -> None:
    node = only("[0644, 0o644, yes, 1:30, 2024-01-02, 1.50, ~]\n")
    assert [each.raw for each in node.items] == ["0644", "0o644", "yes", "1:30", "2024-01-02", "1.50", "~"]


def test_duplicate_and_merge_keys_are_left_to_the_decoder() -> None:
    node = only("a: 1\na: 2\n<<: {b: 3}\n")
    assert [name.raw for name, _ in node.entries] == ["a", "a", "<<"]
    found = node.get("a")
    assert found is not None and found.raw == "2"


def test_an_alias_stands_at_its_own_place() -> None:
    node = only("a: &x {k: v}\nb: *x\n")
    alias = node.at("b")
    inner = node.at("b", "k")
    assert alias is not None and alias.alias and (alias.line, alias.column) == (2, 4)
    assert inner is not None and inner.raw == "v"


def test_several_documents_and_empty_ones() -> None:
    reading = yaml_front.read("a: 1\n---\n---\nb: 2\n", "f.yaml")
    assert [each.kind for each in reading.documents] == ["map", "scalar", "map"]
    assert yaml_front.read("# nothing\n", "f.yaml").documents == ()


def test_documents_before_a_syntax_error_are_kept() -> None:
    reading = yaml_front.read("a: 1\n---\nb: [\n", "f.yaml")
    assert len(reading.documents) == 1
    assert len(reading.problems) == 1


def test_anchors_do_not_reach_into_the_next_document() -> None:
    assert refusal("a: &x 1\n---\nb: *x\n") == "f.yaml:3:4: error: no &x stands before *x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: [",
            "f.yaml:2:1: error: not YAML: while parsing a flow node, did not find expected node content",
        ),
        ("a: b: c", "f.yaml:1:5: error: not YAML: mapping values are not allowed in this context"),
        (
            "a:\n\tb: 1",
            "f.yaml:2:1: error: not YAML: while scanning for the next token, found character that cannot start "
            "any token; allowed: spaces for indentation, not tabs",
        ),
        ("a: \x00b", "f.yaml:1:4: error: control character U+0000"),
        ("ok: 1\nb: \x07", "f.yaml:2:4: error: control character U+0007"),
        ("a: &x [*x]", "f.yaml:1:8: error: *x contains itself"),
        ("a: *y", "f.yaml:1:4: error: no &y stands before *y"),
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: error: byte 0xff is not UTF-8; allowed: UTF-8 text"),
        ("a: \ud800", "f.yaml:1:4: error: a lone surrogate is not text; allowed: UTF-8 text"),
        ("[" * 200, "f.yaml:1:101: error: nested deeper than 100 levels"),
        ("- " * 100_000, "f.yaml:1:201: error: nested deeper than 100 levels"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_place(text: str | bytes, message: str) -> None:
    assert refusal(text) == message


def test_a_bomb_of_aliases_is_counted_before_it_goes_off() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert refusal("\n".join(lines)).endswith("more than 1000000 values")


def test_depth_counts_through_aliases() -> None:
    lines = ["a0: &a0 []"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 120)]
    assert refusal("\n".join(lines)).endswith("nested deeper than 100 levels")


def test_a_long_text_is_refused_whole() -> None:
    small = Limits(bytes=10)
    assert refusal("a: 12345678", small) == "f.yaml:1:1: error: the text is longer than 10 bytes"
    assert refusal("a: éééé", small) == "f.yaml:1:1: error: the text is longer than 10 bytes"


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert only("\ufeffa: 1\n").get("a") is not None
