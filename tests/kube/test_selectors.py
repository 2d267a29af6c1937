"""Selectors as Kubernetes reads them."""

from __future__ import annotations

import pytest

from flatyard.kube import selectors
from flatyard.kube.api import Invalid

LABELS = {"app": "web", "tier": "front", "empty": "", "n": "5", "example.org/x": "y"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app = web , tier=back", False),
        ("app!=web", False),
        ("other!=web", True),
        ("app", True),
        ("!app", False),
        ("!other", True),
        ("app in (web, db)", True),
        ("app notin (web,db)", False),
        ("other notin (web)", True),
        ("empty=", True),
        ("app in ()", False),
        ("empty in ()", True),
        ("n>4,n<6", True),
        ("app>4", False),
        ("example.org/x=y", True),
    ],
)
def test_label_selectors(text, matches) -> None:
    assert selectors.labels(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("==", "found '==', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in (b", "unable to parse requirement: found '', expected: ')'"),
        ("a n b", "unable to parse requirement: found 'n', expected: in, notin, =, ==, !=, gt, lt"),
        ("a>b", "unable to parse requirement: for 'Gt', 'Lt' operators, the value must be an integer"),
        ("-a=b", 'unable to parse requirement: key: Invalid value: "-a": not a qualified name'),
    ],
)
def test_what_is_wrong_with_a_label_selector(text, complaint) -> None:
    with pytest.raises(Invalid) as refused:
        selectors.labels(text)
    assert (refused.value.what, refused.value.status) == (complaint, 400)


def test_selector_objects() -> None:
    selector = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["front", "back"]},
            {"key": "other", "operator": "DoesNotExist"},
            {"key": "n", "operator": "NotIn", "values": ["6"]},
            {"key": "empty", "operator": "Exists"},
        ],
    }
    assert selectors.from_object(selector).matches(LABELS)
    assert not selectors.from_object(selector).matches({**LABELS, "other": "x"})
    assert selectors.from_object(None).matches({})


def test_field_selectors() -> None:
    raw = {"metadata": {"name": "a"}, "spec": {"unschedulable": True}, "status": {}}
    assert selectors.fields("metadata.name=a,spec.unschedulable=true,status.phase!=Failed").matches(raw)
    assert not selectors.fields("metadata.name!=a").matches(raw)
    assert selectors.fields("spec.nodeName=").matches(raw)
    assert selectors.fields("metadata.name=a").exact("metadata.name") == "a"
    with pytest.raises(Invalid, match="can't understand"):
        selectors.fields("nonsense")
