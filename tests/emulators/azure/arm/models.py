"""Request bodies held against the SDK's own models: what these do not know, no request may say.

Two generations of models: `rest_field` (compute, network, resources, storage) and `_attribute_map` (authorization,
msi, marketplace).
"""

from __future__ import annotations

import datetime
import enum
import functools
import importlib
import sys
import types
import typing
from collections.abc import Mapping

from .errors import ArmError

FREE_ENUMS = {"vmSize"}
"""Enumerations that the service itself ended keeping up to date (rules: sizes-are-data)."""
Shape = Mapping[str, "Field"]


class Field(typing.NamedTuple):
    type: object
    read_only: bool
    required: bool


def check(model: str, body: object) -> None:
    """`model`: `compute.models.VirtualMachine`. Raises InvalidRequestContent or InvalidParameter naming the field."""
    if not isinstance(body, dict):
        raise content("the body is no JSON object", "")
    _object(load(model), body, "")


def load(model: str) -> type:
    package, name = model.rsplit(".", 1)
    return typing.cast(type, getattr(importlib.import_module(f"azure.mgmt.{package}"), name))


def content(message: str, at: str) -> ArmError:
    text = f"The request content was invalid and could not be deserialized: '{message}'."
    return ArmError(400, "InvalidRequestContent", text, target=at or None)


def missing(at: str) -> ArmError:
    return ArmError(400, "InvalidParameter", f"Required parameter '{at}' is missing (null).", target=at)


def _object(model: type, body: Mapping[str, object], at: str) -> None:
    shape = shape_of(concrete(model, body))
    for name, value in body.items():
        where = f"{at}.{name}" if at else name
        field = shape.get(name)
        if field is None:
            raise content(f"Could not find member '{name}' on object of type '{model.__name__}'", where)
        if field.read_only:
            raise content(f"'{where}' is read-only", where)
        _value(field.type, value, where)
    for name, field in shape.items():
        if field.required and not field.read_only and body.get(name) is None:
            raise missing(f"{at}.{name}" if at else name)


def concrete(model: type, body: Mapping[str, object]) -> type:
    """The subclass that a discriminator names."""
    for value, subclass in (getattr(model, "__mapping__", None) or {}).items():
        if value in body.values():
            return typing.cast(type, subclass)
    return model


def _value(kind: object, value: object, at: str) -> None:
    if value is None:
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        _union(arguments, value, at)
    elif origin is list:
        _expect(isinstance(value, list), "an array", value, at)
        for index, item in enumerate(typing.cast(list[object], value)):
            _value(arguments[0], item, f"{at}[{index}]")
    elif origin is dict:
        _expect(isinstance(value, dict), "an object", value, at)
        for name, item in typing.cast(dict[str, object], value).items():
            _value(arguments[1], item, f"{at}.{name}")
    elif isinstance(kind, type):
        _plain(kind, value, at)


def _union(arguments: tuple[object, ...], value: object, at: str) -> None:
    kinds = [kind for kind in arguments if kind is not type(None)]
    known = next((k for k in kinds if isinstance(k, type) and issubclass(k, enum.Enum)), None)
    if known is not None:
        _value(known, value, at)
    else:
        _value(kinds[0], value, at)


def _plain(kind: type, value: object, at: str) -> None:
    if issubclass(kind, enum.Enum):
        _expect(isinstance(value, str), "a string", value, at)
        allowed = [str(item.value) for item in kind]
        if str(value).lower() not in map(str.lower, allowed) and at.rsplit(".", 1)[-1] not in FREE_ENUMS:
            raise ArmError(
                400,
                "InvalidParameter",
                f"The value '{value}' of '{at}' is not one of {', '.join(allowed)}.",
                target=at,
            )
    elif kind is bool:
        _expect(isinstance(value, bool), "a boolean", value, at)
    elif kind is int:
        _expect(isinstance(value, int) and not isinstance(value, bool), "an integer", value, at)
    elif kind is float:
        _expect(isinstance(value, int | float) and not isinstance(value, bool), "a number", value, at)
    elif kind in (str, bytes, datetime.datetime, datetime.timedelta, datetime.date):
        _expect(isinstance(value, str), "a string", value, at)
    elif hasattr(kind, "_attribute_map") or hasattr(kind, "_is_model"):
        _expect(isinstance(value, dict), "an object", value, at)
        _object(kind, typing.cast(dict[str, object], value), at)


def _expect(right: bool, wanted: str, value: object, at: str) -> None:
    if not right:
        raise content(f"{wanted} is wanted for '{at}', got {value!r:.60}", at)


@functools.cache
def shape_of(model: type) -> Shape:
    if model in _NESTED:
        return _NESTED[model]
    if hasattr(model, "_attribute_map"):
        return _mapped(model)
    model.__new__(model)  # type: ignore[call-overload]  # fills the table of fields
    hints = _hints(model)
    found = {}
    for attribute, field in model._attr_to_rest_field.items():  # type: ignore[attr-defined]
        kind = hints[attribute]
        visibility = field._visibility or ["read", "create"]
        required = type(None) not in typing.get_args(kind)
        found[field._rest_name] = Field(kind, not {"create", "update"} & set(visibility), required)
    return found


def _hints(model: type) -> dict[str, object]:
    module = sys.modules[model.__module__]
    package = importlib.import_module(model.__module__.rpartition(".")[0])
    names = {**vars(module), "_models": package}
    hints: dict[str, object] = {}
    for base in reversed(model.__mro__):
        if base.__module__ == model.__module__:
            hints |= typing.get_type_hints(base, names, names)
    return hints


_WORDS: Mapping[str, object] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": float,
    "object": object,
    "iso-8601": str,
    "duration": str,
}


def _mapped(model: type) -> Shape:
    """Of the older generation: `properties.x` there is a field x of an object `properties`."""
    rules = getattr(model, "_validation", {})
    found: dict[str, Field] = {}
    inner: dict[str, Field] = {}
    for attribute, entry in model._attribute_map.items():  # type: ignore[attr-defined]
        rule = rules.get(attribute, {})
        field = Field(_named(model, entry["type"]), bool(rule.get("readonly")), bool(rule.get("required")))
        outer, dot, name = str(entry["key"]).partition(".")
        if dot:
            inner[name] = field
        else:
            found[outer] = field
    if inner:
        found["properties"] = Field(_nested(tuple(sorted(inner.items()))), False, False)
    return found


def _named(model: type, word: str) -> object:
    if word.startswith("["):
        return list[_named(model, word[1:-1])]  # type: ignore[misc]
    if word.startswith("{"):
        return dict[str, _named(model, word[1:-1])]  # type: ignore[misc]
    if word in _WORDS:
        return _WORDS[word]
    package = importlib.import_module(model.__module__.rpartition(".")[0])
    return getattr(package, word, object)


def _nested(fields: tuple[tuple[str, Field], ...]) -> type:
    """A model made of the flattened fields."""
    made = type("Properties", (), {"_attribute_map": {}})
    _NESTED[made] = dict(fields)
    return made


_NESTED: dict[type, Shape] = {}
