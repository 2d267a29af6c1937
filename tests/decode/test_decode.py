"""Typed values from Nodes and JSON: every error at once, each with place, path, what is allowed and what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import pytest

from flatyard.base.errors import InvalidInput, Severity
from flatyard.decode import (
    BUTANE,
    IGNITION,
    JSON,
    Dialect,
    Duration,
    IntOrString,
    KeyRef,
    Quantity,
    Raw,
    decode,
    encode,
    from_json,
    json_front,
    yaml_front,
)
from flatyard.decode.codecs import plain
from flatyard.decode.context import At, dotted
from flatyard.decode.dialects import KUBERNETES
from flatyard.decode.record import codec_of
from flatyard.decode.shape import REST, Peek, Union, at_least, matches, meta, one_of, shape
from flatyard.decode.types import ConfigVar, ConfigVarBool


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class Cat:
    lives: int = 9
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class Dog:
    tricks: tuple[str, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


def _species(near: Peek, document: Peek) -> str | None:
    return near.text("species")


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Strict:
    text_value: str
    truth: bool = False
    whole: int = field(default=1, metadata=meta(rule=at_least(0)))
    real: float = 0.5
    colour: Colour = Colour.RED
    size: Literal["s", "m"] = "s"
    name: str = field(default="", metadata=meta("theName", rule=matches("[a-z]+", "lower-case letters")))
    mode: str = field(default="alpha", metadata=meta(rule=one_of("alpha", "beta")))
    optional: str | None = None
    texts: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    either: IntOrString = 0
    wait: Duration = field(default=Duration(60))
    memory: Quantity | None = None
    secret: ConfigVar = ConfigVar()
    switch: ConfigVarBool = ConfigVarBool()
    raw: Raw | None = None
    species: str = ""
    pet: Cat | Dog | None = field(
        default=None, metadata=meta(union=Union(_species, {"cat": Cat, "dog": Dog}))
    )
    child: Strict | None = None


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class Lenient:
    text: str = ""
    species: str = "cat"
    pet: Cat | Dog | None = field(
        default=None, metadata=meta(union=Union(_species, {"cat": Cat, "dog": Dog}))
    )
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


def problems(cls: type, text: str, dialect: Dialect = KUBERNETES) -> list[str]:
    node = yaml_front.read(text, "f").documents[0]
    return [str(problem) for problem in decode(cls, node, "f", dialect).problems]


FULL = """
textValue: hello
truth: yes
whole: 0x10
real: 3
colour: blue
size: m
theName: abc
mode: beta
optional: x
texts: [a, b]
labels: {a: "1", "b.c/d": e}
either: 25%
wait: 1h30m
memory: 1Gi
secret: {secretKeyRef: {namespace: ns, name: s, key: k}}
switch: true
raw: {any: [1, two, {three: 3.5}], none: ~}
species: dog
pet: {tricks: [sit]}
child: {textValue: inner}
"""


def full() -> Strict:
    node = yaml_front.read(FULL, "f").documents[0]
    decoded = decode(Strict, node, "f")
    assert decoded.problems == ()
    assert decoded.value is not None
    return decoded.value


def test_every_type_reads() -> None:
    value = full()
    assert value.truth is True and value.whole == 16 and value.real == 3.0
    assert value.colour is Colour.BLUE and value.either == "25%"
    assert value.wait == Duration(5400) and value.memory == Quantity("1Gi")
    assert value.secret == ConfigVar(secret_key_ref=KeyRef("ns", "s", "k"))
    assert value.switch == ConfigVarBool(True)
    assert value.raw == Raw({"any": [1, "two", {"three": 3.5}], "none": None})
    assert value.pet == Dog(tricks=("sit",))
    assert value.child == Strict(text_value="inner")


def test_parsed_json_reads_the_same_and_comes_back_the_same() -> None:
    node = yaml_front.read(FULL, "f").documents[0]
    value = full()
    tree = plain(node, KUBERNETES)
    assert from_json(Strict, tree) == value
    assert from_json(Strict, encode(value)) == value
    assert from_json(Strict, encode(value, full=True)) == value


def test_defaults_are_written_only_when_asked_for() -> None:
    assert encode(Strict(text_value="a")) == {"textValue": "a"}
    written = encode(Strict(text_value="a"), full=True)
    assert written["whole"] == 1 and written["wait"] == "1m" and "optional" not in written


def test_a_raw_value_keeps_its_places() -> None:
    raw = full().raw
    assert raw is not None and raw.node is not None and raw.node.line == 18


def test_null_is_absent() -> None:
    node = yaml_front.read("{textValue: a, whole: ~, texts: null, secret: }", "f").documents[0]
    assert decode(Strict, node, "f").value == Strict(text_value="a")
    assert from_json(Strict, {"textValue": "a", "whole": None, "pet": None}) == Strict(text_value="a")


def test_all_errors_come_at_once() -> None:
    text = """\
truth: "true"
whole: -1
real: x
colour: rde
size: xl
theName: ABC
mode: alhpa
optional: 1.5
texts: {a: b}
labels: {a: 1}
either: [1]
wait: 5 minutes
memory: lots
secret: {secretKeyReff: {}}
switch: maybe
species: cat
pet: {lifes: 9}
child: [1]
unknwon: 1
whole: 2
"""
    assert problems(Strict, text) == [
        "f:20:1: error: whole: written twice, first on line 2",
        "f:1:8: error: truth: 'true' is not allowed here; allowed: true or false, without quotes",
        "f:2:8: error: whole: -1 is not allowed here; allowed: 0 or more",
        "f:3:7: error: real: x is not allowed here; allowed: a number",
        "f:4:9: error: colour: rde is not allowed here; allowed: red, blue; did you mean 'red'?",
        "f:5:7: error: size: xl is not allowed here; allowed: s, m",
        "f:6:10: error: theName: ABC is not allowed here; allowed: lower-case letters",
        "f:7:7: error: mode: alhpa is not allowed here; allowed: alpha, beta; did you mean 'alpha'?",
        "f:8:11: error: optional: 1.5 is not allowed here; allowed: a text; did you mean '\"1.5\"'?",
        "f:9:8: error: texts: a mapping is not allowed here; allowed: a list",
        "f:10:13: error: labels.a: 1 is not allowed here; allowed: a text; did you mean '\"1\"'?",
        "f:11:9: error: either: a list is not allowed here; allowed: a whole number or a text like 25%",
        "f:12:7: error: wait: 5 minutes is not allowed here; allowed: a duration like 90s, 30m or 1h30m",
        "f:13:9: error: memory: lots is not allowed here; allowed: a quantity like 500m, 2 or 1Gi",
        "f:14:10: error: secret.secretKeyReff: unknown key 'secretKeyReff'; "
        "allowed: value, secretKeyRef, configMapKeyRef; did you mean 'secretKeyRef'?",
        "f:15:9: error: switch: maybe is not allowed here; allowed: true or false",
        "f:17:7: error: pet.lifes: unknown key 'lifes'; allowed: lives; did you mean 'lives'?",
        "f:18:8: error: child: a list is not allowed here; allowed: a mapping",
        "f:19:1: error: unknwon: unknown key 'unknwon'; allowed: textValue, truth, whole, real, colour, size, "
        "theName, mode, optional, texts, labels, either, wait, memory, secret, switch, raw, species, pet, child",
        "f:1:1: error: textValue: textValue is missing",
    ]


def test_unknown_keys_are_kept_with_a_warning_where_the_class_says_so() -> None:
    node = yaml_front.read("txet: a\npet: {purr: [1]}\n", "f").documents[0]
    decoded = decode(Lenient, node, "f")
    assert [problem.severity for problem in decoded.problems] == [Severity.WARNING] * 1
    assert str(decoded.problems[0]) == (
        "f:1:1: warning: txet: unknown key 'txet' is kept and has no effect; "
        "allowed: text, species, pet; did you mean 'text'?"
    )
    assert decoded.value is not None and encode(decoded.value) == {"txet": "a"}


def test_strictness_reaches_into_classes_that_inherit_it() -> None:
    text = {"species": "cat", "pet": {"purr": [1]}}
    assert encode(from_json(Lenient, text))["pet"] == {"purr": [1]}
    with pytest.raises(InvalidInput, match="unknown key 'purr'"):
        from_json(Strict, {**text, "textValue": "a"})


def test_the_type_of_a_union_is_unknown_without_its_sibling() -> None:
    assert from_json(Lenient, {"species": "bird", "pet": {"lives": 1}}).pet is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"textValue": 1}, "error: textValue: 1 is not allowed here; allowed: a text"),
        (
            {"textValue": "a", "whole": True},
            "error: whole: true is not allowed here; allowed: a whole number",
        ),
        ({"textValue": "a", "whole": 1.0}, "error: whole: 1.0 is not allowed here; allowed: a whole number"),
        (
            {"textValue": "a", "texts": ["b", None]},
            "error: texts[1]: null is not allowed here; allowed: a text",
        ),
        (
            {"textValue": "a", "labels": {"x/y": 1}},
            'error: labels["x/y"]: 1 is not allowed here; allowed: a text',
        ),
        ({}, "error: textValue: textValue is missing"),
        ([], "error: a list is not allowed here; allowed: a mapping"),
        (None, "error: null is not allowed here; allowed: a mapping"),
    ],
)
def test_parsed_json_is_refused_without_places(value: JSON, message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        from_json(Strict, value)
    assert str(error.value) == message


def test_ignition_keys_match_without_case_and_the_last_duplicate_wins() -> None:
    node = json_front.read('{"TEXTVALUE": "a", "whole": 1, "whole": 2}', "f").documents[0]
    decoded = decode(Strict, node, "f", IGNITION)
    assert decoded.problems == ()
    assert decoded.value == Strict(text_value="a", whole=2)


def test_butane_drops_null_items_and_takes_any_scalar_as_text() -> None:
    node = yaml_front.read("{textValue: 0755, texts: [~, yes, 1.50]}", "f").documents[0]
    decoded = decode(Strict, node, "f", BUTANE)
    assert decoded.value == Strict(text_value="0755", texts=("yes", "1.50"))


def test_merge_keys_and_aliases() -> None:
    node = yaml_front.read(
        "textValue: &t a\nchild: {<<: {textValue: b, whole: 3}, textValue: *t}\n", "f"
    ).documents[0]
    assert decode(Strict, node, "f").value == Strict(text_value="a", child=Strict(text_value="a", whole=3))


def test_a_type_outside_the_closed_list_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="closed"):
        codec_of(bytes, True)


def test_places_for_checks_fall_back_to_what_stands_around() -> None:
    at = At("f", yaml_front.read("a:\n  b:\n    - 1\n", "f").documents[0])
    assert str(at("a", "b", 0).error("no")) == "f:3:7: error: a.b[0]: no"
    assert str(at("a", "b", 7, "c").warning("hm")) == "f:3:5: warning: a.b[7].c: hm"
    assert at("x", "y").position == at.position


def test_paths_are_written_as_users_write_them() -> None:
    assert dotted(("spec", "workers", 0, "labels", "a.b/c")) == 'spec.workers[0].labels["a.b/c"]'


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration.parse(text).seconds == seconds
    assert Duration.parse(str(Duration(seconds))) == Duration(seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1h 30m", "1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("2", "2"), ("1Gi", "1073741824"), ("1e3", "1000"), ("1k", "1000"), (".5", "0.5")],
)
def test_quantities(text: str, value: str) -> None:
    assert Quantity.parse(text).value == type(Quantity.parse(text).value)(value)


@pytest.mark.parametrize("text", ["", "1 Gi", "Gi", "1gi", "1e", "0x10"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError):
        Quantity.parse(text)


def test_a_flood_of_errors_is_cut() -> None:
    text = "textValue: a\ntexts: [" + "1," * 5000 + "]\n"
    assert len(problems(Strict, text)) == 1000
