"""Label and field selectors in Kubernetes' own syntax, parsed once and matched often.

Sources: the Kubernetes documentation pages "Labels and Selectors" and "Field Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from flatyard.kube.api import Invalid, Json

Labels = Mapping[str, str]
LabelTest = Callable[[Labels], bool]

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?{_NAME}"
_VALUE = rf"(?:{_NAME})?"
_EXISTS = re.compile(rf"\s*(!?)\s*({_KEY})\s*")
_EQUALS = re.compile(rf"\s*({_KEY})\s*(==|=|!=)\s*({_VALUE})\s*")
_IN = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*")
_ORDER = re.compile(rf"\s*({_KEY})\s*([<>])\s*(-?\d+)\s*")
_FIELD = re.compile(r"\s*([^=!,\s]+)\s*(==|=|!=)\s*([^,]*?)\s*")


def _bad(text: str) -> Invalid:
    return Invalid(f'unable to parse requirement: "{text}"', status=400, reason="BadRequest")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label: `key in values`, `key notin values`, existence, or an order on integers."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case _:
                return _ordered(value, self.operator, self.values[0])


def _ordered(value: str | None, operator: str, bound: str) -> bool:
    if value is None or not re.fullmatch(r"-?\d+", value):
        return False
    return int(value) > int(bound) if operator == ">" else int(value) < int(bound)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; no requirement matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __bool__(self) -> bool:
        return bool(self.requirements)


def _split(text: str) -> list[str]:
    """Parts between commas that are not inside parentheses."""
    return re.split(r",(?![^(]*\))", text)


def _requirement(text: str) -> Requirement:
    if found := _IN.fullmatch(text):
        values = tuple(value.strip() for value in found[3].split(","))
        if not all(re.fullmatch(_VALUE, value) for value in values):
            raise _bad(text)
        return Requirement(found[1], found[2], values)
    if found := _EXISTS.fullmatch(text):
        return Requirement(found[2], "absent" if found[1] else "exists")
    if found := _EQUALS.fullmatch(text):
        return Requirement(found[1], "notin" if found[2] == "!=" else "in", (found[3],))
    if found := _ORDER.fullmatch(text):
        return Requirement(found[1], found[2], (found[3],))
    raise _bad(text)


@lru_cache(maxsize=1024)
def labels(text: str) -> LabelSelector:
    """The selector written in `text`; raises Invalid (400) when it cannot be parsed."""
    if not text.strip():
        return LabelSelector()
    return LabelSelector(tuple(_requirement(part) for part in _split(text)))


_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}


def from_object(selector: Json | None) -> LabelSelector:
    """The selector in a LabelSelector object (matchLabels, matchExpressions)."""
    selector = selector or {}
    equal = [
        Requirement(key, "in", (str(value),)) for key, value in (selector.get("matchLabels") or {}).items()
    ]
    expressions = [
        Requirement(e["key"], _OPERATORS[e["operator"]], tuple(e.get("values") or ()))
        for e in selector.get("matchExpressions") or ()
    ]
    return LabelSelector((*equal, *expressions))


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """`field = value` or `field != value`; `path` is the field split at its dots."""

    field: str
    equal: bool
    value: str
    path: tuple[str, ...]

    def matches(self, raw: Json) -> bool:
        return (field_value(raw, self.path) == self.value) == self.equal


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All terms must hold; no term matches everything."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, raw: Json) -> bool:
        return all(term.matches(raw) for term in self.terms)

    def exact(self, field: str) -> str | None:
        """The one value that `field` must have, if the selector says so."""
        return next((t.value for t in self.terms if t.field == field and t.equal), None)

    def __bool__(self) -> bool:
        return bool(self.terms)


ALL_LABELS = LabelSelector()
ALL_FIELDS = FieldSelector()


def field_value(raw: object, path: tuple[str, ...]) -> str:
    """The field's value as a selector sees it: a missing one is empty, a boolean is true or false."""
    for step in path:
        raw = raw.get(step) if isinstance(raw, dict) else None
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return "" if raw is None else str(raw)


@lru_cache(maxsize=4096)
def fields(text: str) -> FieldSelector:
    """The selector written in `text`; raises Invalid (400) when it cannot be parsed."""
    terms = []
    for part in text.split(",") if text.strip() else ():
        found = _FIELD.fullmatch(part)
        if not found:
            message = f'invalid selector: "{text}"; can\'t understand "{part}"'
            raise Invalid(message, status=400, reason="BadRequest")
        terms.append(FieldTerm(found[1], found[2] != "!=", found[3], tuple(found[1].split("."))))
    return FieldSelector(tuple(terms))
