"""How kube-apiserver refuses: the status, the reason and the words of each answer, as clients print them.

The wording follows kube-apiserver 1.34 (k8s.io/apiserver, pkg/registry/rest and pkg/registry/generic/registry;
k8s.io/apimachinery, pkg/api/errors) as its recorded answers show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flatyard.kube.api import AlreadyExists, ApiError, Conflict, Invalid, Json, NotFound, Object
from flatyard.kube.kinds import Kind

STALE = "the object has been modified; please apply your changes to the latest version and try again"
"""Why a write by an old resourceVersion is refused."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong: `reason` is a metav1.CauseType, `message` goes without the field's name."""

    field: str
    reason: str
    message: str


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> Invalid:
    """A 422 that lists every wrong field."""
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    resource = kind.resource
    title = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = named(name, resource.group, resource.kind)
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return Invalid(f'{title} "{name}" is invalid: {text}', details=details)


def named(name: str, group: str, kind: str) -> Json:
    """A Status object's details about one object; empty parts are left out."""
    parts = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in parts.items() if value}


def not_found(kind: Kind, name: str) -> NotFound:
    """A 404."""
    resource = kind.resource
    details = named(name, resource.group, resource.plural)
    return NotFound(f'{resource.qualified} "{name}" not found', details=details)


def bad_request(message: str) -> Invalid:
    """A 400: what was sent makes no sense, whatever is stored."""
    return Invalid(message, status=400, reason="BadRequest")


def conflict(kind: Kind, name: str, why: str) -> Conflict:
    """A 409: what is stored is not what the request counts on."""
    resource = kind.resource
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return Conflict(message, details=named(name, resource.group, resource.plural))


def already_exists(kind: Kind, name: str) -> AlreadyExists:
    """A 409 for a second object of the same name."""
    details = named(name, kind.resource.group, kind.resource.plural)
    return AlreadyExists(f'{kind.resource.qualified} "{name}" already exists', details=details)


def terminating(kind: Kind, name: str, namespace: str) -> ApiError:
    """A 403: nothing is made in a namespace that is going."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    details = named(name, kind.resource.group, kind.resource.plural)
    field = {"message": f"namespace {namespace} is being terminated", "field": "metadata.namespace"}
    details["causes"] = [{"reason": "NamespaceTerminating", **field}]
    message = f'{kind.resource.qualified} "{name}" is forbidden: {why}'
    return ApiError(message, status=403, reason="Forbidden", details=details)


def bad_name(name: str) -> str:
    """What is said of a name that is no DNS subdomain."""
    return (
        f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
        "characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
        "regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )


def other_record(kind: Kind, name: str, why: str) -> Conflict:
    """A 409 for a deletion whose precondition does not hold; it titles the kind otherwise than `conflict` does."""
    resource = kind.resource
    title = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = named(name, resource.group, resource.kind)
    return Conflict(f'Operation cannot be fulfilled on {title} "{name}": {why}', details=details)


def other_uid(kind: Kind, old: Object, uid: str) -> str:
    """Why a write with the UID of another object is refused: in the words of the storage."""
    group = kind.resource.group if kind.custom else ""
    path = "/".join(part for part in (group, kind.resource.plural, old.namespace, old.name) if part)
    return (
        f"StorageError: invalid object, Code: 4, Key: /registry/{path}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}"
    )


def no_version(kind: Kind, name: str) -> Invalid:
    """A 422 for a custom object that is replaced without a resourceVersion."""
    resource = kind.resource
    why = "Invalid value: 0: must be specified for an update"
    field = "metadata.resourceVersion"
    details = named(name, resource.group, resource.plural)
    details["causes"] = [{"reason": "FieldValueInvalid", "message": why, "field": field}]
    return Invalid(f'{resource.qualified} "{name}" is invalid: {field}: {why}', details=details)
