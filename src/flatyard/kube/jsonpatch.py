"""JSON Patch, RFC 6902, on JSON values; pointers by RFC 6901."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from flatyard.kube.api import Invalid, Json
from flatyard.kube.merge import clone

MISSING = object()
Operation = Json


def refused(why: str) -> Invalid:
    """A patch that cannot be applied. The sentence is an API server's; `why` goes beside it."""
    refusal = Invalid("the server rejected our request due to an error in our request")
    refusal.why = why
    return refusal


def apply(target: Json, operations: Sequence[Operation]) -> Json:
    """`target` after the operations; it is not changed. Raises Invalid when one does not apply."""
    document: object = clone(target)
    for operation in operations:
        document = _step(document, operation)
    if not isinstance(document, dict):
        raise refused("the patch replaced the whole object")
    return cast(Json, document)


def _step(document: object, operation: Operation) -> object:
    path = _pointer(operation.get("path"))
    match operation.get("op"):
        case "add":
            return _add(document, path, _value(operation))
        case "remove":
            return _remove(document, path)
        case "replace":
            _look(document, path)
            return _add(_remove(document, path) if path else document, path, _value(operation))
        case "move":
            source = _pointer(operation.get("from"))
            value = _look(document, source)
            return _add(_remove(document, source), path, value)
        case "copy":
            return _add(document, path, clone(_look(document, _pointer(operation.get("from")))))
        case "test":
            if _look(document, path) != _value(operation):
                raise refused(f"the value at {operation['path']} is another one")
            return document
        case other:
            raise refused(f"unknown operation {other!r}")


def _value(operation: Operation) -> object:
    value = operation.get("value", MISSING)
    if value is MISSING:
        raise refused(f"operation {operation.get('op')} needs a value")
    return value


def _pointer(text: object) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise refused(f"not a JSON pointer: {text!r}")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _look(document: object, path: Sequence[str]) -> object:
    for step in path:
        document = _child(document, step)
    return document


def _child(parent: object, step: str) -> object:
    if isinstance(parent, dict) and step in parent:
        return parent[step]
    if isinstance(parent, list):
        return parent[_index(step, len(parent) - 1)]
    raise refused(f"there is nothing at {step!r}")


def _index(step: str, last: int) -> int:
    if not step.isdecimal() or int(step) > last:
        raise refused(f"there is no element {step!r}")
    return int(step)


def _add(document: object, path: Sequence[str], value: object) -> object:
    if not path:
        return value
    parent = _look(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if path[-1] == "-" else _index(path[-1], len(parent)), value)
    else:
        raise refused(f"nothing can be added below {path[-1]!r}")
    return document


def _remove(document: object, path: Sequence[str]) -> object:
    if not path:
        raise refused("the whole object cannot be removed")
    parent = _look(document, path[:-1])
    _child(parent, path[-1])
    if isinstance(parent, dict):
        del parent[path[-1]]
    elif isinstance(parent, list):
        del parent[int(path[-1])]
    return document
