"""Structural schemas of custom resources: pruning, defaults and validation.

Follows the Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions", and words
its refusals as kube-apiserver does, because clients print them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import cast

from flatyard.kube.api import Json
from flatyard.kube.kinds import Kind, Scale
from flatyard.kube.merge import clone
from flatyard.kube.refusals import Cause

PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
_METADATA: Json = {key: {PRESERVE: True} for key in ("apiVersion", "kind", "metadata")}


def prune(schema: Json, raw: Json, unknown: list[str]) -> Json:
    """The object without the fields that the schema does not know; their paths are added to `unknown`."""
    known = {"properties": {**(schema.get("properties") or {}), **_METADATA}}
    return cast(Json, _prune({**schema, **known}, raw, "", unknown))


def _prune(schema: Json, value: object, path: str, unknown: list[str]) -> object:
    if isinstance(value, dict):
        return _prune_object(schema, value, path, unknown)
    if isinstance(value, list) and "items" in schema:
        items = schema["items"]
        return [_prune(items, item, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    return value


def _prune_object(schema: Json, value: Json, path: str, unknown: list[str]) -> Json:
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    kept: Json = {}
    for key, item in value.items():
        at = f"{path}.{key}" if path else key
        if key in properties:
            kept[key] = _prune(properties[key], item, at, unknown)
        elif isinstance(extra, dict):
            kept[key] = _prune(extra, item, at, unknown)
        elif schema.get(PRESERVE) or extra is True:
            kept[key] = item
        else:
            unknown.append(at)
    return kept


def default(schema: Json, value: object) -> object:
    """The value with the schema's defaults; parts that need none are shared."""
    if isinstance(value, dict):
        return _default_object(schema, value)
    if isinstance(value, list) and "items" in schema:
        return [default(schema["items"], item) for item in value]
    return value


def _default_object(schema: Json, value: Json) -> Json:
    filled = dict(value)
    for key, part in (schema.get("properties") or {}).items():
        if key not in filled and "default" in part:
            filled[key] = clone(part["default"])
        if key in filled:
            filled[key] = default(part, filled[key])
    return filled


def validate(kind: Kind, raw: Json, part: str = "") -> list[Cause]:
    """What is wrong with an object; `part` limits the look to one top-level field ("status")."""
    causes: list[Cause] = []
    if part:
        schema = (kind.schema.get("properties") or {}).get(part) or {}
        inner = _validate(schema, raw.get(part, {}), "")
        causes = [Cause(f"{part}.{c.field}" if c.field else part, c.reason, c.message) for c in inner]
    else:
        causes = list(_validate(kind.schema, raw, ""))
    if kind.scale is not None:
        causes += _check_scale(kind.scale, raw, part)
    return causes


def _check_scale(scale: Scale, raw: Json, part: str) -> Iterator[Cause]:
    paths = (scale.status,) if part == "status" else (scale.spec, scale.status)
    for path in paths:
        value: object = raw
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        at = "." + ".".join(path)
        if value is not None and not isinstance(value, int):
            why = f"{at} accessor error: {value} is of the type {_go_type(value)}, expected int64"
            yield Cause(at, "FieldValueInvalid", f"Invalid value: 0: {why}")
        elif isinstance(value, int) and value < 0:
            yield Cause(at, "FieldValueInvalid", f"Invalid value: {value}: should be a non-negative integer")


def _go_type(value: object) -> str:
    names = {str: "string", bool: "bool", float: "float64"}
    return names.get(type(value), "map[string]interface {}" if isinstance(value, dict) else "[]interface {}")


def _type_of(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def _fits(wanted: str, actual: str) -> bool:
    return wanted == actual or (wanted == "number" and actual == "integer")


def _validate(schema: Json, value: object, path: str) -> Iterator[Cause]:
    actual = _type_of(value)
    if value is None and (schema.get("nullable") or not schema.get("type")):
        return
    if schema.get(INT_OR_STRING):
        if actual not in ("integer", "string"):
            yield _wrong_type(path, "integer,string", actual)
        return
    wanted = schema.get("type")
    if wanted and not _fits(wanted, actual):
        yield _wrong_type(path, wanted, actual)
        return
    yield from _check_value(schema, value, path)
    if isinstance(value, dict):
        yield from _check_object(schema, value, path)
    elif isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield from _validate(schema["items"], item, f"{path}[{i}]")


def _wrong_type(path: str, wanted: str, actual: str) -> Cause:
    why = f'Invalid value: "{actual}": {path} in body must be of type {wanted}: "{actual}"'
    return Cause(path, "FieldValueTypeInvalid", why)


_BOUNDS: tuple[tuple[str, str, Callable[[float, float], bool], str], ...] = (
    ("minimum", "number", lambda value, bound: value >= bound, "should be greater than or equal to"),
    ("maximum", "number", lambda value, bound: value <= bound, "should be less than or equal to"),
    ("minLength", "string", lambda value, bound: value >= bound, "should be at least {} chars long"),
    ("maxLength", "string", lambda value, bound: value <= bound, "should be at most {} chars long"),
    ("minItems", "array", lambda value, bound: value >= bound, "should have at least {} items"),
    ("maxItems", "array", lambda value, bound: value <= bound, "should have at most {} items"),
    ("minProperties", "object", lambda value, bound: value >= bound, "should have at least {} properties"),
    ("maxProperties", "object", lambda value, bound: value <= bound, "should have at most {} properties"),
)


def _check_value(schema: Json, value: object, path: str) -> Iterator[Cause]:
    for keyword, kind, holds, words in _BOUNDS:
        bound = schema.get(keyword)
        if bound is not None and _fits(kind, _type_of(value)):
            size = float(value) if isinstance(value, (int, float)) else len(cast(str, value))
            if not holds(size, bound):
                text = words.format(bound) if "{}" in words else f"{words} {bound}"
                yield Cause(
                    path, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {path} in body {text}"
                )
    pattern = schema.get("pattern")
    if pattern and isinstance(value, str) and not re.search(pattern, value):
        why = f"{path} in body should match '{pattern}'"
        yield Cause(path, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {why}")
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        names = ", ".join(f'"{item}"' for item in allowed)
        why = f"Unsupported value: {_shown(value)}: supported values: {names}"
        yield Cause(path, "FieldValueNotSupported", why)


def _shown(value: object) -> str:
    return (
        json.dumps(value) if isinstance(value, (str, int, float, bool)) else json.dumps(value, sort_keys=True)
    )


def _check_object(schema: Json, value: Json, path: str) -> Iterator[Cause]:
    for name in schema.get("required") or ():
        if name not in value:
            yield Cause(f"{path}.{name}" if path else name, "FieldValueRequired", "Required value")
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for key in sorted(value):
        part = properties.get(key, extra if isinstance(extra, dict) else None)
        if part is not None:
            yield from _validate(part, value[key], f"{path}.{key}" if path else key)
