"""A request as the server understands it: which kind, which object, which options.

Refusals are worded as kube-apiserver words them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import yaml

from flatyard.kube.api import ApiError, Invalid, Json, NotFound, Propagation
from flatyard.kube.kinds import Kind
from flatyard.kube.refusals import Cause, bad_request
from flatyard.kube.registry import Deletion
from flatyard.kube.resources import NAMESPACES
from flatyard.sim.apiserver.admission import FieldValidation

PROTOBUF = "application/vnd.kubernetes.protobuf"
BODY_TYPES = ("application/json", "application/yaml", PROTOBUF)
NO_PROTOBUF = (
    "the simulated API does not read protobuf, which this command sends: use kubectl apply -f or create -f"
)
NO_METHOD = "the server does not allow this method on the requested resource"


class NoSuchPath(Exception):
    """Nothing is served below this path; the answer is plain text."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a kind, one object of it (when `name` is set), a part of that object."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    watch: bool = False


def locate(kinds: Iterable[Kind], path: str) -> Target:
    """The target of a path below /api or /apis; raises NoSuchPath or NotFound."""
    parts = [part for part in path.split("/") if part]
    group, version, rest = _split(parts)
    members = [k for k in kinds if k.resource.group == group and k.resource.version == version]
    if not members or not rest:
        raise NoSuchPath(path)
    watch = rest[0] == "watch"
    target = _find(members, kinds, rest[1:] if watch else rest)
    return Target(target.kind, target.namespace, target.name, target.subresource, watch)


def _split(parts: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    if parts[:1] == ["api"] and len(parts) > 1:
        return "", parts[1], parts[2:]
    if parts[:1] == ["apis"] and len(parts) > 2:
        return parts[1], parts[2], parts[3:]
    raise NoSuchPath("/".join(parts))


def _find(members: Sequence[Kind], kinds: Iterable[Kind], rest: Sequence[str]) -> Target:
    by_plural = {kind.resource.plural: kind for kind in members}
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] in by_plural:
        return _target(by_plural[rest[2]], rest[1], rest[3:])
    kind = by_plural.get(rest[0]) if rest else None
    if kind is None:
        raise NotFound("the server could not find the requested resource")
    if kind.resource == NAMESPACES or not kind.resource.namespaced or len(rest) == 1:
        return _target(kind, "", rest[1:])
    raise NotFound("the server could not find the requested resource")


def _target(kind: Kind, namespace: str, rest: Sequence[str]) -> Target:
    if len(rest) > 2:
        raise NotFound("the server could not find the requested resource")
    name, subresource = (*rest, "", "")[:2]
    return Target(kind, namespace, name, subresource)


def method_not_allowed() -> ApiError:
    return ApiError(NO_METHOD, status=405, reason="MethodNotAllowed")


def invalid_options(kind: str, causes: Sequence[Cause]) -> Invalid:
    """A 422 about query parameters."""
    texts = [f"{c.field}: {c.message}" for c in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    listed = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    details: Json = {"group": "meta.k8s.io", "kind": kind, "causes": listed}
    return Invalid(f'{kind}.meta.k8s.io "" is invalid: {text}', details=details)


class Query:
    """Query parameters; the first value counts."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for key, value in pairs:
            self._values.setdefault(key, value)

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def has(self, name: str) -> bool:
        return name in self._values

    def flag(self, name: str) -> bool:
        """True for anything but absence, false and 0, as the server reads booleans."""
        return name in self._values and self._values[name].lower() not in ("false", "0")

    def integer(self, name: str) -> int:
        value = self._values.get(name, "")
        if not value:
            return 0
        try:
            return int(value)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None


def dry_run(query: Query, options: str) -> bool:
    """Whether nothing shall be stored; raises Invalid for anything but dryRun=All."""
    value = query.text("dryRun")
    if value not in ("", "All"):
        why = f'Unsupported value: ["{value}"]: supported values: "All"'
        raise invalid_options(options, (Cause("dryRun", "FieldValueNotSupported", why),))
    return value == "All"


def field_validation(query: Query, options: str) -> FieldValidation:
    """What to do about unknown fields; warn when the client does not say."""
    value = query.text("fieldValidation")
    if not value:
        return FieldValidation.WARN
    if value not in tuple(FieldValidation):
        names = ", ".join(f'"{v}"' for v in ("Ignore", "Strict", "Warn"))
        why = f'Unsupported value: "{value}": supported values: {names}'
        raise invalid_options(options, (Cause("fieldValidation", "FieldValueNotSupported", why),))
    return FieldValidation(value)


# ---- bodies


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip()


def unsupported(accepted: Iterable[str]) -> ApiError:
    names = ", ".join(accepted)
    why = f"the body of the request was in an unknown format - accepted media types include: {names}"
    return ApiError(why, status=415, reason="UnsupportedMediaType")


def decode(body: bytes, content_type: str, kind: str) -> tuple[Json, tuple[str, ...]]:
    """The object in a body, and the paths of keys that it has twice; a missing type means JSON."""
    media = media_type(content_type) or "application/json"
    if media == "application/yaml":
        return _decode_yaml(body, kind), ()
    if media == PROTOBUF:
        raise ApiError(NO_PROTOBUF, status=415, reason="UnsupportedMediaType")
    if media != "application/json":
        raise unsupported(BODY_TYPES)
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, object]]) -> Json:
        found = dict(items)
        if len(found) != len(items):
            keys = [key for key, _ in items]
            duplicates.extend(key for key in found if keys.count(key) > 1)
        return found

    try:
        value = json.loads(body, object_pairs_hook=pairs)
    except ValueError:
        raise _unrecognized(kind, body) from None
    if not isinstance(value, dict):
        raise _unrecognized(kind, body)
    return value, tuple(duplicates)


def _decode_yaml(body: bytes, kind: str) -> Json:
    try:
        value = yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {error}") from None
    if not isinstance(value, dict):
        raise _unrecognized(kind, body)
    return cast(Json, json.loads(json.dumps(value, default=str)))


def _unrecognized(kind: str, body: bytes) -> Invalid:
    """The body as the server quotes it: as text when it looks like JSON, else in hexadecimal digits."""
    quoted = "<empty>" if not body else body.decode() if body[:1] in b"{[" else body.hex()
    why = f"couldn't get version/kind; json parse error: {_complaint(body)} ({quoted})"
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why}")


def _complaint(body: bytes) -> str:
    """What Go's decoder says, for the mistakes that clients make: a body that ends early or is no JSON."""
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        if error.pos >= len(body.rstrip()):
            return "unexpected end of JSON input"
        for word in ("null", "true", "false"):
            at = 0
            while at < min(len(word), len(body)) and body[at] == ord(word[at]):
                at += 1
            if 0 < at < len(word):
                return f"invalid character {_quoted(body[at:])} in literal {word} (expecting '{word[at]}')"
        return f"invalid character {_quoted(body[error.pos :])} looking for beginning of value"
    except UnicodeDecodeError:
        return f"invalid character {_quoted(body)} looking for beginning of value"
    return "json: cannot unmarshal array into Go value of type struct"


def _quoted(text: bytes) -> str:
    return f"'{chr(text[0])}'"


def patch_body(body: bytes) -> object:
    """A patch; raises Invalid (400) when it is no JSON."""
    try:
        return json.loads(body)
    except ValueError:
        raise bad_request(f"error decoding patch: {_complaint(body)}") from None


def merge_patch_body(body: bytes) -> Json:
    value = patch_body(body)
    if not isinstance(value, dict):
        name = {list: "array", str: "string", bool: "bool"}.get(type(value), "number")
        why = f"json: cannot unmarshal {name} into Go value of type map[string]interface {{}}"
        raise bad_request(f"error decoding patch: {why}")
    return value


def json_patch_body(body: bytes) -> list[Json]:
    value = patch_body(body)
    if not isinstance(value, list):
        why = "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        raise bad_request(f"error decoding patch: {why}")
    return value


def deletion(query: Query, options: Json) -> Deletion:
    """Delete options from the body and, where that says nothing, from the query."""
    policy = options.get("propagationPolicy") or query.text("propagationPolicy")
    if options.get("orphanDependents") or query.flag("orphanDependents"):
        policy = "Orphan"
    if policy and policy not in tuple(Propagation):
        names = '"Foreground", "Background", "Orphan", "nil"'
        why = f'Unsupported value: "{policy}": supported values: {names}'
        raise invalid_options("DeleteOptions", (Cause("propagationPolicy", "FieldValueNotSupported", why),))
    conditions = options.get("preconditions") or {}
    seconds = options.get("gracePeriodSeconds")
    if seconds is None and query.has("gracePeriodSeconds"):
        seconds = query.integer("gracePeriodSeconds")
    return Deletion(
        uid=str(conditions.get("uid") or ""),
        resource_version=str(conditions.get("resourceVersion") or ""),
        propagation=Propagation(policy) if policy else None,
        grace_seconds=seconds,
        dry_run=options.get("dryRun") == ["All"] or dry_run(query, "DeleteOptions"),
    )
