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

_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_TOKEN = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")
_SYMBOLS = ("==", "!=", "=", "!", "<", ">", "(", ")", ",", "")
_OPERATOR_WORDS = "in, notin, =, ==, !=, gt, lt"
_FIELD = re.compile(r"\s*([^=!,\s]+)\s*(==|=|!=)\s*([^,]*?)\s*")


def _bad(why: str) -> Invalid:
    return Invalid(why, status=400, reason="BadRequest")


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


class _Parser:
    """Kubernetes' grammar of label selectors, with its complaints."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKEN.findall(text), ""]
        self._at = 0

    @property
    def _token(self) -> str:
        return self._tokens[self._at]

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def parse(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while True:
            if self._token in _SYMBOLS and self._token != "!":
                if not self._token and not found:
                    return ()
                expected = "identifier after ','" if found else "!, identifier, or 'end of string'"
                raise _bad(f"found '{self._token}', expected: {expected}")
            found.append(self._requirement())
            if not self._token:
                return tuple(found)
            if self._take() != ",":
                raise _bad(f"found '{self._tokens[self._at - 1]}', expected: ',' or 'end of string'")

    def _requirement(self) -> Requirement:
        try:
            return self._parse_requirement()
        except Invalid as refusal:
            raise _bad(f"unable to parse requirement: {refusal.what}") from None

    def _parse_requirement(self) -> Requirement:
        absent = self._token == "!"
        if absent:
            self._take()
        key = self._take()
        if key in _SYMBOLS:
            raise _bad(f"found '{key}', expected: identifier")
        if not _KEY.fullmatch(key):
            raise _bad(f'key: Invalid value: "{key}": not a qualified name')
        if absent or self._token in ("", ","):
            return Requirement(key, "absent" if absent else "exists")
        return self._comparison(key, self._take())

    def _comparison(self, key: str, operator: str) -> Requirement:
        match operator:
            case "in" | "notin":
                return Requirement(key, operator, self._set())
            case "=" | "==" | "!=":
                return Requirement(key, "notin" if operator == "!=" else "in", (self._value(),))
            case "<" | ">":
                return Requirement(key, operator, (self._integer(),))
            case _:
                raise _bad(f"found '{operator}', expected: {_OPERATOR_WORDS}")

    def _value(self) -> str:
        value = "" if self._token in ("", ",", ")") else self._take()
        if not _VALUE.fullmatch(value):
            raise _bad(f'values[0][{value}]: Invalid value: "{value}": not a valid label value')
        return value

    def _integer(self) -> str:
        value = self._value()
        if not re.fullmatch(r"-?\d+", value):
            raise _bad("for 'Gt', 'Lt' operators, the value must be an integer")
        return value

    def _set(self) -> tuple[str, ...]:
        if self._token != "(":
            raise _bad(f"found '{self._token}' expected: '('")
        self._take()
        values = [self._value()]
        while self._token == ",":
            self._take()
            values.append(self._value())
        if self._take() != ")":
            raise _bad(f"found '{self._tokens[self._at - 1]}', expected: ')'")
        return tuple(values)


@lru_cache(maxsize=1024)
def labels(text: str) -> LabelSelector:
    """The selector written in `text`; raises Invalid (400) when it cannot be parsed."""
    return LabelSelector(_Parser(text).parse())


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
