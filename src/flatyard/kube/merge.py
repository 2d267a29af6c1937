"""JSON values: copies, and patches by RFC 7386 (merge patch)."""

from __future__ import annotations

from typing import Any, TypeVar

Json = dict[str, Any]
T = TypeVar("T")


def clone(value: T) -> T:
    """A copy of a JSON value that shares no dict and no list with it; several times as fast as deepcopy."""
    return _clone(value)  # type: ignore[return-value]


def _clone(value: object) -> object:
    if isinstance(value, dict):
        return {k: _clone(v) if isinstance(v, (dict, list)) else v for k, v in value.items()}
    if isinstance(value, list):
        return [_clone(v) if isinstance(v, (dict, list)) else v for v in value]
    return value


def merge(target: Json, patch: Json) -> Json:
    """`target` after the merge patch, by RFC 7386; neither is changed, unchanged parts are shared."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = merge(old if isinstance(old, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def difference(old: Json, new: Json) -> Json:
    """The smallest merge patch that turns `old` into `new` (lists are replaced whole, as RFC 7386 has it)."""
    patch: Json = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = difference(before, value)
            if inner:
                patch[key] = inner
        elif key not in old or value != before:
            patch[key] = value
    return patch


def effective(patch: Json, present: Json) -> Json:
    """The part of a merge patch that would change `present`; empty when applying it changes nothing."""
    kept: Json = {}
    for name, value in patch.items():
        have = present.get(name)
        if isinstance(value, dict):
            inner = effective(value, have if isinstance(have, dict) else {})
            if inner or (value and not isinstance(have, dict)):
                kept[name] = inner or value
        elif have != value:
            kept[name] = value
    return kept
