"""Merge patches (RFC 7386) and JSON patches (RFC 6902), by the examples of their RFCs."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatyard.kube import jsonpatch
from flatyard.kube.api import Invalid
from flatyard.kube.merge import clone, difference, merge

LEAVES = st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
OBJECTS = st.recursive(
    st.dictionaries(st.text(max_size=2), LEAVES, max_size=3),
    lambda inner: st.dictionaries(st.text(max_size=2), st.one_of(LEAVES, inner), max_size=3),
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "text"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merge_patches_of_rfc_7386(target, patch, result) -> None:
    before = copy.deepcopy(target)
    assert merge(target, patch) == result
    assert target == before


@given(OBJECTS, OBJECTS)
def test_the_difference_leads_from_one_to_the_other(old, new) -> None:
    assert merge(old, difference(old, new)) == new
    assert difference(new, clone(new)) == {}


def test_a_clone_shares_nothing() -> None:
    raw = {"a": [{"b": [1]}]}
    other = clone(raw)
    other["a"][0]["b"].append(2)
    assert raw == {"a": [{"b": [1]}]}


@pytest.mark.parametrize(
    ("target", "operations", "result"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
        ({"foo": [1, 3]}, [{"op": "add", "path": "/foo/1", "value": 2}], {"foo": [1, 2, 3]}),
        ({"foo": [1]}, [{"op": "add", "path": "/foo/-", "value": [2]}], {"foo": [1, [2]]}),
        ({"foo": [1, 2, 3]}, [{"op": "remove", "path": "/foo/1"}], {"foo": [1, 3]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        (
            {"a": {"b": 1}, "c": {}},
            [{"op": "move", "from": "/a/b", "path": "/c/d"}],
            {"a": {}, "c": {"d": 1}},
        ),
        ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": [1, {"b": 2}]}, [{"op": "test", "path": "/a/1", "value": {"b": 2}}], {"a": [1, {"b": 2}]}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"a/b": 1}, [{"op": "remove", "path": "/a~1b"}], {}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patches_of_rfc_6902(target, operations, result) -> None:
    before = copy.deepcopy(target)
    assert jsonpatch.apply(target, operations) == result
    assert target == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "bogus", "path": "/a"},
        {"op": "remove", "path": "/nope"},
        {"op": "replace", "path": "/nope", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "add", "path": "b", "value": 1},
        {"op": "add", "path": "", "value": 1},
        {"path": "/a"},
    ],
)
def test_a_json_patch_that_does_not_apply_changes_nothing(operation) -> None:
    target = {"a": 1, "list": [1]}
    with pytest.raises(Invalid) as refused:
        jsonpatch.apply(target, [{"op": "add", "path": "/x", "value": 1}, operation])
    assert target == {"a": 1, "list": [1]} and refused.value.why
