"""Fields of machine specs that are not written but read from a Secret or a ConfigMap of the cluster itself.

machine-controller's rule (sdk/providerconfig, GetConfigVarStringValue): a secretKeyRef with namespace, name and key
counts first, then such a configMapKeyRef, then the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flatyard.base.errors import Problem
from flatyard.decode.context import At
from flatyard.decode.record import record_of
from flatyard.decode.types import ConfigVar, ConfigVarBool, KeyRef
from flatyard.model.machines import MachineSpec

ACCOUNT = frozenset(
    {
        "access_key_id",
        "secret_access_key",
        "assume_role_arn",
        "assume_role_external_id",
        "subscription_id",
        "tenant_id",
        "client_id",
        "client_secret",
        "identity_endpoint",
        "username",
        "password",
        "application_credential_id",
        "application_credential_secret",
        "domain_name",
        "project_name",
        "project_id",
        "tenant_name",
        "token_id",
        "service_account",
        "vsphere_url",
        "allow_insecure",
    }
)
"""Fields, by name, that say who asks the cloud and where. They are never read from the cluster: whoever acts has found
its account, as the cloud's own CLI does, before there is a cluster to read from."""
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One key of one object in the cluster. `kind` is Secret or ConfigMap."""

    kind: str
    namespace: str
    name: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}, key {self.key}"


class NotABool(ValueError):
    """What is read for a field that is true or false is neither (Go's strconv.ParseBool). The text is the field."""


def references(machine: MachineSpec) -> dict[str, Reference]:
    """What is to be read for the machine, by field as it is written (`subnetId`, `networks[0]`); no account's."""
    return {field: found for field, found in _all(machine) if not _is_account(machine, field)}


def account_references(machine: MachineSpec) -> dict[str, Reference]:
    """References that nobody reads: the account's, by field as it is written."""
    return {field: found for field, found in _all(machine) if _is_account(machine, field)}


def reference(value: ConfigVar | ConfigVarBool) -> Reference | None:
    """Where a value is read; None for one that is written."""
    for kind, ref in (("Secret", value.secret_key_ref), ("ConfigMap", value.config_map_key_ref)):
        if ref is not None and _is_whole(ref):
            return Reference(kind, ref.namespace, ref.name, ref.key)
    return None


def resolved(machine: MachineSpec, values: Mapping[Reference, str]) -> MachineSpec:
    """The machine with what was read in the references' place. Raises NotABool."""
    changes: dict[str, Any] = {}
    for name, key, value in _fields(machine):
        if name in ACCOUNT:
            continue
        if isinstance(value, tuple):
            read: object = tuple(_read(item, f"{key}[{i}]", values) for i, item in enumerate(value))
        else:
            read = _read(value, key, values)
        if read != value:
            changes[name] = read
    return replace(machine, **changes) if changes else machine


def without_account(machine: MachineSpec) -> MachineSpec:
    """The machine without anything that says who asks the cloud: what a create request needs of it."""
    changes: dict[str, Any] = {
        name: type(value)()
        for name, _, value in _fields(machine)
        if name in ACCOUNT and value != type(value)()
    }
    return replace(machine, **changes) if changes else machine


def check_readable(machine: MachineSpec, at: At) -> Iterator[Problem]:
    """A warning for each reference that nobody reads, and what a reference without one of its parts means.

    machine-controller takes such a one for nothing: the field is empty then, and its default counts.
    """
    yield from _check_whole(machine, at)
    for field, found in account_references(machine).items():
        what = f"this is not read from {found}: flatyard finds its account as the cloud's own CLI does"
        yield _place(at, field).warning(what)


def check_written(machine: MachineSpec, at: At) -> Iterator[Problem]:
    """An error for each reference in a spec whose machines make the cluster that it would be read from."""
    for field, found in references(machine).items():
        what = f"{found} is in the cluster that this machine has to make first"
        yield _place(at, field).error(what, "the value itself")


def _check_whole(machine: MachineSpec, at: At) -> Iterator[Problem]:
    for field, value in _values(machine):
        for form, ref in (
            ("secretKeyRef", value.secret_key_ref),
            ("configMapKeyRef", value.config_map_key_ref),
        ):
            if ref is None or ref == KeyRef() or _is_whole(ref):
                continue
            missing = [part for part in ("namespace", "name", "key") if not getattr(ref, part)]
            place, what = _place(at, field)(form), f"lacks {' and '.join(missing)}, so nothing is read"
            if value.value not in ("", None) or reference(value) or _is_account(machine, field):
                yield place.warning(what)
            else:
                yield place.error(what, "namespace, name and key")


def _place(at: At, field: str) -> At:
    key, bracket, number = field.partition("[")
    return at(key, int(number.rstrip("]"))) if bracket else at(key)


def _read(value: object, field: str, values: Mapping[Reference, str]) -> object:
    if not isinstance(value, ConfigVar | ConfigVarBool):
        return value
    found = reference(value)
    if found is None:
        return value
    if isinstance(value, ConfigVar):
        return ConfigVar(values[found])
    if values[found] not in (*_TRUE, *_FALSE):
        raise NotABool(field)
    return ConfigVarBool(values[found] in _TRUE)


def _all(machine: MachineSpec) -> Iterator[tuple[str, Reference]]:
    for field, value in _values(machine):
        found = reference(value)
        if found is not None:
            yield field, found


def _values(machine: MachineSpec) -> Iterator[tuple[str, ConfigVar | ConfigVarBool]]:
    """Each field that may be read, as it is written."""
    for _, key, value in _fields(machine):
        items = enumerate(value) if isinstance(value, tuple) else ((-1, value),)
        for number, item in items:
            if isinstance(item, ConfigVar | ConfigVarBool):
                yield (key if number < 0 else f"{key}[{number}]"), item


def _fields(machine: MachineSpec) -> Iterator[tuple[str, str, object]]:
    """Name, key as it is written, and value of each field; what others have below them is never a reference."""
    for each in record_of(type(machine), True).fields:
        yield each.name, each.key, getattr(machine, each.name)


def _is_account(machine: MachineSpec, field: str) -> bool:
    return any(key == field and name in ACCOUNT for name, key, _ in _fields(machine))


def _is_whole(ref: KeyRef) -> bool:
    return bool(ref.namespace and ref.name and ref.key)
