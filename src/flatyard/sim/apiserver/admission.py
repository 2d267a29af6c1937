"""Decoding, defaults and checks of what clients send, beyond what is common to all kinds.

The wording of refusals is kube-apiserver's: clients and their users know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from flatyard.kube.api import ApiError, Json, Object
from flatyard.kube.kinds import Kind, from_definition
from flatyard.kube.refusals import Cause, bad_request, invalid
from flatyard.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, LEASES, NODES
from flatyard.kube.storage import Storage
from flatyard.sim.apiserver import defaults, schema, types
from flatyard.sim.apiserver.definitions import established

_OWN_FINALIZERS = ("foregroundDeletion", "orphan", "kubernetes")
_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_PREFIXED = (
    f"a qualified name {_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


class FieldValidation(StrEnum):
    """What happens to fields that a kind does not have; they are dropped in any case."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


@dataclass(slots=True)
class Request:
    """What the request that is being carried out asked for, and the warnings it gets."""

    validation: FieldValidation = FieldValidation.IGNORE
    patch: bool = False
    duplicates: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)


class SchemaAdmission:
    """Admission by types for built-in kinds, by structural schema for custom ones.

    `request` is set for the time of one write by the HTTP face; writes from inside leave it alone.
    """

    def __init__(self) -> None:
        self.request = Request()
        self.storage: Storage | None = None

    def during(self, request: Request, operation: Callable[[], Object]) -> Object:
        """Carry out an operation under a request's rules."""
        self.request = request
        try:
            return operation()
        finally:
            self.request = Request()

    def admit(self, kind: Kind, new: Json, old: Object | None, subresource: str) -> Json:
        unknown: list[str] = []
        part = "status" if subresource == "status" else ""
        self.request.warnings += _finalizer_warnings(new, old)
        if kind.custom:
            made = self._custom(kind, new, unknown)
            self._report(kind, unknown)
            causes = [*_metadata_causes(kind, made), *schema.validate(kind, made, part)]
        else:
            made = self._built_in(kind, new, old, unknown)
            self._report(kind, unknown)
            causes = [*_metadata_causes(kind, made), *_check_built_in(kind, made, old)]
        if causes:
            raise invalid(kind, str(made["metadata"].get("name", "")), causes)
        return made

    def _custom(self, kind: Kind, new: Json, unknown: list[str]) -> Json:
        if not kind.schema:
            return new
        pruned = schema.prune(kind.schema, new, unknown)
        pruned["metadata"] = types.conform("meta_v1.ObjectMeta", pruned["metadata"], [])
        made = schema.default(kind.schema, pruned)
        assert isinstance(made, dict)
        return made

    def _built_in(self, kind: Kind, new: Json, old: Object | None, unknown: list[str]) -> Json:
        try:
            made = types.conform(types.type_name(kind), new, unknown)
        except types.WrongType as wrong:
            raise self._wrong(kind, wrong) from None
        if kind.resource == CUSTOM_RESOURCE_DEFINITIONS:
            _check_definition(kind, made)
            made.setdefault("status", established(made, made["metadata"]["creationTimestamp"]))
        if self.storage is not None:
            defaults.fill(kind, made, old, self.storage)
        return made

    def _wrong(self, kind: Kind, wrong: types.WrongType) -> ApiError:
        resource = kind.resource
        if self.request.patch:
            cause = Cause("patch", "FieldValueInvalid", f"Invalid value: {wrong.why}")
            details = {"causes": [{"reason": cause.reason, "message": cause.message, "field": cause.field}]}
            text = f' "" is invalid: {cause.field}: {cause.message}'
            return ApiError(text, status=422, reason="Invalid", details=details)
        head = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        return bad_request(f"{head}: {wrong.why}")

    def _report(self, kind: Kind, unknown: list[str]) -> None:
        """Refuse or warn about fields that the kind does not have and about keys given twice."""
        duplicates = [f'duplicate field "{path}"' for path in self.request.duplicates]
        found = [*duplicates, *(f'unknown field "{path}"' for path in sorted(unknown))]
        if not found or self.request.validation is FieldValidation.IGNORE:
            return
        if self.request.validation is FieldValidation.WARN:
            self.request.warnings += found
            return
        why = f"strict decoding error: {', '.join(found)}"
        raise bad_request(why if self.request.patch else f"{self._head(kind)}: {why}")

    def _head(self, kind: Kind) -> str:
        resource = kind.resource
        return f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'


def _finalizer_warnings(new: Json, old: Object | None) -> list[str]:
    """Warn of new finalizers that do not say whose they are."""
    before = old.finalizers if old else ()
    added = [f for f in new["metadata"].get("finalizers") or () if f not in before]
    hint = (
        "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
    )
    return [f'metadata.finalizers: "{f}": {hint}' for f in added if "/" not in f and f not in _OWN_FINALIZERS]


def _metadata_causes(kind: Kind, raw: Json) -> Iterator[Cause]:
    metadata = raw["metadata"]
    for key, value in (metadata.get("labels") or {}).items():
        yield from _key_causes("metadata.labels", key)
        if len(str(value)) > 63 or (value and not _PART.fullmatch(str(value))):
            yield Cause("metadata.labels", "FieldValueInvalid", f'Invalid value: "{value}": {_VALUE_RULE}')
    for key in metadata.get("annotations") or {}:
        yield from _key_causes("metadata.annotations", key)


def _key_causes(at: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.partition("/")
    if slash and "/" in name:
        yield Cause(at, "FieldValueInvalid", f'Invalid value: "{key}": {_PREFIXED}')
        return
    if slash and not _DOMAIN.fullmatch(prefix):
        yield Cause(at, "FieldValueInvalid", f'Invalid value: "{key}": prefix part must be a DNS subdomain')
    if not _PART.fullmatch(name if slash else prefix):
        yield Cause(at, "FieldValueInvalid", f'Invalid value: "{key}": name part {_RULE}')


def _check_definition(kind: Kind, raw: Json) -> None:
    """Refuse a definition that no kind can be made of."""
    try:
        from_definition(raw)
        made = f"{raw['spec']['names']['plural']}.{raw['spec']['group']}"
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        why = f"Invalid value: no kind can be made of it: {type(error).__name__} {error}"
        raise invalid(
            kind, str(raw["metadata"]["name"]), (Cause("spec", "FieldValueInvalid", why),)
        ) from None
    if raw["metadata"]["name"] != made:
        why = f'Invalid value: "{raw["metadata"]["name"]}": must be spec.names.plural+"."+spec.group'
        raise invalid(kind, raw["metadata"]["name"], (Cause("metadata.name", "FieldValueInvalid", why),))


def _check_built_in(kind: Kind, raw: Json, old: Object | None) -> Iterator[Cause]:
    if kind.resource == LEASES:
        yield from _check_lease(raw)
    elif kind.resource == NODES and old is not None:
        yield from _check_node(raw, old)


def _check_lease(raw: Json) -> Iterator[Cause]:
    spec = raw.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds")
    if isinstance(seconds, int) and seconds <= 0:
        why = f"Invalid value: {seconds}: must be greater than 0"
        yield Cause("spec.leaseDurationSeconds", "FieldValueInvalid", why)
    transitions = spec.get("leaseTransitions")
    if isinstance(transitions, int) and transitions < 0:
        why = f"Invalid value: {transitions}: must be greater than or equal to 0"
        yield Cause("spec.leaseTransitions", "FieldValueInvalid", why)


def _check_node(raw: Json, old: Object) -> Iterator[Cause]:
    before = old.spec.get("podCIDR")
    if before and raw["spec"].get("podCIDR") != before:
        why = 'Forbidden: node updates may not change podCIDR except from "" to valid'
        yield Cause("spec.podCIDRs", "FieldValueForbidden", why)
    provider = old.spec.get("providerID")
    if provider and raw["spec"].get("providerID") != provider:
        why = 'Forbidden: node updates may not change providerID except from "" to valid'
        yield Cause("spec.providerID", "FieldValueForbidden", why)
