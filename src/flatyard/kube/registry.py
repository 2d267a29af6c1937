"""What kube-apiserver does between a request and the storage: checks, system fields, generations, deletion.

Everything here is synchronous and works on one object; `memory` adds durability and the controllers, `refusals`
has the words. The rules follow kube-apiserver 1.34 (k8s.io/apiserver, pkg/registry/rest and
pkg/registry/generic/registry) as its recorded answers show them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flatyard.base.world import World, rfc3339
from flatyard.kube import approval
from flatyard.kube.api import ApiError, Json, Object, Propagation
from flatyard.kube.kinds import Kind
from flatyard.kube.refusals import (
    STALE,
    Cause,
    already_exists,
    bad_name,
    bad_request,
    conflict,
    invalid,
    named,
    no_version,
    not_found,
    other_record,
    other_uid,
    terminating,
)
from flatyard.kube.resources import CERTIFICATE_SIGNING_REQUESTS, NAMESPACES
from flatyard.kube.shelf import Key
from flatyard.kube.storage import Storage

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names: no vowels and no look-alikes, as k8s.io/apimachinery's util/rand has it."""
_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
STATUS_PARTS = ("status", "approval")
"""Subresources through which only the status is written."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """How an object shall be deleted; None leaves the choice to the kind."""

    uid: str = ""
    resource_version: str = ""
    propagation: Propagation | None = None
    grace_seconds: int | None = None
    dry_run: bool = False


PLAIN = Deletion()


class Admission(Protocol):
    """Defaults and checks beyond the common ones; gets the object to be stored and may change it."""

    def admit(self, kind: Kind, new: Json, old: Object | None, subresource: str) -> Json:
        """The object with its defaults; raises Invalid for what must not be stored."""
        ...


class Registry:
    """Create, update and delete objects of any served kind with Kubernetes' semantics."""

    def __init__(self, storage: Storage, world: World, admission: Admission | None = None) -> None:
        self.storage = storage
        self.world = world
        self.admission = admission
        self._namespaces = storage.kinds.get((NAMESPACES.api_version, NAMESPACES.kind))

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        object = self.storage.get(kind, (namespace, name))
        if object is None:
            raise not_found(kind, name)
        return object

    # ---- create

    def create(self, kind: Kind, raw: Json, *, dry_run: bool = False) -> Object:
        """Store a new object; `raw` becomes the registry's own."""
        metadata = raw.setdefault("metadata", {})
        namespace = self._placed(kind, metadata)
        self._name(kind, metadata)
        key = (namespace, metadata["name"])
        if self.storage.get(kind, key) is not None:
            raise already_exists(kind, metadata["name"])
        self._found(kind, metadata)
        if not kind.keeps_status:
            raw.pop("status", None)
        raw["apiVersion"], raw["kind"] = kind.key
        if kind is self._namespaces:
            begin_namespace(raw)
        raw = self._admit(kind, raw, None, "")
        if dry_run:
            return Object(raw)
        return self.storage.put(kind, key, raw)

    def _placed(self, kind: Kind, metadata: Json) -> str:
        if not kind.resource.namespaced:
            metadata.pop("namespace", None)
            return ""
        namespace = str(metadata.setdefault("namespace", "default"))
        if self._namespaces is not None:
            parent = self.storage.get(self._namespaces, ("", namespace))
            if parent is None:
                raise not_found(self._namespaces, namespace)
            if parent.deleting:
                raise terminating(kind, metadata.get("name", ""), namespace)
        return namespace

    def _name(self, kind: Kind, metadata: Json) -> None:
        if metadata.get("resourceVersion"):
            raise ApiError("resourceVersion should not be set on objects to be created", reason="")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + self.suffix()
        name = metadata.get("name")
        if not name:
            why = "Required value: name or generateName is required"
            raise invalid(kind, "", (Cause("metadata.name", "FieldValueRequired", why),))
        if not valid_name(kind, name):
            raise invalid(kind, name, (Cause("metadata.name", "FieldValueInvalid", bad_name(name)),))

    def suffix(self) -> str:
        """Five letters for a generated name."""
        return "".join(_SUFFIX[byte % len(_SUFFIX)] for byte in self.world.random_bytes(5))

    def _found(self, kind: Kind, metadata: Json) -> None:
        """Give a new object its system fields."""
        for field in (*_SYSTEM, "resourceVersion", "selfLink", "managedFields"):
            metadata.pop(field, None)
        metadata["uid"] = self.uid()
        metadata["creationTimestamp"] = self.stamp()
        if kind.generation:
            metadata["generation"] = 1

    def uid(self) -> str:
        """A version 4 UUID from the world's bytes."""
        raw = bytearray(self.world.random_bytes(16))
        raw[6] = (raw[6] & 0x0F) | 0x40
        raw[8] = (raw[8] & 0x3F) | 0x80
        text = raw.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def stamp(self) -> str:
        return rfc3339(self.world.now())

    def _admit(self, kind: Kind, new: Json, old: Object | None, subresource: str) -> Json:
        return new if self.admission is None else self.admission.admit(kind, new, old, subresource)

    # ---- update

    def replace(self, kind: Kind, raw: Json, *, subresource: str = "", dry_run: bool = False) -> Object:
        """Store a new version of an object; `raw` becomes the registry's own."""
        metadata = raw.setdefault("metadata", {})
        namespace = str(metadata.get("namespace", "")) if kind.resource.namespaced else ""
        old = self.get(kind, namespace, str(metadata.get("name", "")))
        self._precondition(kind, old, metadata)
        return self._update(kind, old, raw, subresource, dry_run)

    def _precondition(self, kind: Kind, old: Object, metadata: Json) -> None:
        uid = metadata.get("uid")
        if uid and uid != old.uid:
            raise conflict(kind, old.name, other_uid(kind, old, uid))
        version = metadata.get("resourceVersion")
        if version and version not in ("0", old.resource_version):
            raise conflict(kind, old.name, STALE)
        if not version and kind.custom:
            raise no_version(kind, old.name)

    def patch(
        self,
        kind: Kind,
        key: Key,
        change: Callable[[Json], Json],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Store what `change` makes of the object.

        It gets a shallow copy with a metadata of its own, and must not change anything deeper in place.
        """
        old = self.get(kind, *key)
        new = change({**old.raw, "metadata": dict(old.metadata)})
        metadata = new.setdefault("metadata", {})
        self._identity(kind, old, metadata)
        return self._update(kind, old, new, subresource, dry_run)

    def _identity(self, kind: Kind, old: Object, metadata: Json) -> None:
        if metadata.get("name", "") != old.name:
            name = metadata.get("name", "")
            raise bad_request(
                f"the name of the object ({name}) does not match the name on the URL ({old.name})"
            )
        if metadata.get("namespace", "") != old.namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        version = metadata.get("resourceVersion")
        if version and version != old.resource_version:
            raise conflict(kind, old.name, STALE)
        if not version and kind.custom:
            raise no_version(kind, old.name)
        for field in ("uid", "deletionTimestamp"):
            value = metadata.get(field)
            if value is not None and value != old.metadata.get(field):
                why = Cause(
                    f"metadata.{field}", "FieldValueInvalid", f'Invalid value: "{value}": field is immutable'
                )
                raise invalid(kind, old.name, (why, why) if kind.custom else (why,))

    def _update(self, kind: Kind, old: Object, new: Json, subresource: str, dry_run: bool) -> Object:
        new["apiVersion"], new["kind"] = kind.key
        self._keep(kind, old, new, subresource)
        if subresource and kind.resource == CERTIFICATE_SIGNING_REQUESTS:
            self._judge(kind, old, new, subresource)
        new = self._admit(kind, new, old, subresource)
        self._check_finalizers(kind, old, new)
        if _finished(new):
            return self._finish(kind, old, new, dry_run)
        if new == old.raw:
            return old
        self._count(kind, old, new)
        if dry_run:
            return Object(new)
        return self.storage.put(kind, (old.namespace, old.name), new)

    def _finish(self, kind: Kind, old: Object, new: Json, dry_run: bool) -> Object:
        """The update took the last finalizer from an object in deletion: it is gone."""
        last = Object(new)
        if not dry_run:
            self.storage.remove(kind, (old.namespace, old.name))
        return last

    def _keep(self, kind: Kind, old: Object, new: Json, subresource: str) -> None:
        """Put back what this request may not change."""
        metadata = new["metadata"]
        metadata.pop("managedFields", None)
        metadata.pop("selfLink", None)
        if subresource in STATUS_PARTS:
            self._keep_all_but_status(kind, old, new)
            metadata = new["metadata"]
        elif kind.status:
            _carry(old.raw, new, "status")
        for field in (*_SYSTEM, "name", "namespace", "resourceVersion"):
            _carry(old.metadata, metadata, field)

    def _keep_all_but_status(self, kind: Kind, old: Object, new: Json) -> None:
        kept = {k: v for k, v in old.raw.items() if k not in ("metadata", "status")}
        status = new.get("status")
        metadata = dict(old.metadata) if kind.custom else new["metadata"]
        new.clear()
        new.update(kept, metadata=metadata)
        if status is not None:
            new["status"] = status

    def _judge(self, kind: Kind, old: Object, new: Json, subresource: str) -> None:
        """A certificate signing request is approved or denied, or its certificate is put in."""
        if subresource == "approval":
            approval.carry_over(old, new, self.stamp())
        causes = [Cause(*problem) for problem in approval.problems(old, new, subresource)]
        if causes:
            raise invalid(kind, old.name, causes)

    def _check_finalizers(self, kind: Kind, old: Object, new: Json) -> None:
        if not new["metadata"].get("finalizers"):
            new["metadata"].pop("finalizers", None)
        if not old.deleting:
            return
        added = [f for f in new["metadata"].get("finalizers") or () if f not in old.finalizers]
        if added:
            quoted = ", ".join(f'"{finalizer}"' for finalizer in added)
            why = (
                "Forbidden: no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{quoted}}}"
            )
            cause = Cause("metadata.finalizers", "FieldValueForbidden", why)
            raise invalid(kind, old.name, (cause, cause) if kind.custom else (cause,))

    def _count(self, kind: Kind, old: Object, new: Json) -> None:
        if not kind.generation:
            return
        ignored = ("metadata", "status") if kind.status else ("metadata",)
        if any(old.raw.get(k) != new.get(k) for k in {**old.raw, **new} if k not in ignored):
            new["metadata"]["generation"] = old.generation + 1

    # ---- delete

    def delete(self, kind: Kind, key: Key, how: Deletion = PLAIN) -> tuple[Object, bool]:
        """Delete an object or begin to; returns how it was last seen and whether it is gone."""
        old = self.get(kind, *key)
        self._may_delete(kind, old, how)
        if kind is self._namespaces:
            _refuse_immortal(kind, old.name)
            return self._end_namespace(kind, old, how.dry_run)
        grace = self._grace(kind, old, how.grace_seconds)
        finalizers = self._deletion_finalizers(old, how.propagation)
        if not finalizers and grace == 0:
            if not how.dry_run:
                self.storage.remove(kind, key)
            return old, True
        if old.deleting and list(old.finalizers) == finalizers and self._shortens(old, grace) is None:
            return old, False
        return self._mark(kind, old, finalizers, grace, how.dry_run), False

    def _may_delete(self, kind: Kind, old: Object, how: Deletion) -> None:
        if how.uid and how.uid != old.uid:
            why = (
                f"the UID in the precondition ({how.uid}) does not match the UID in record ({old.uid}). "
                "The object might have been deleted and then recreated"
            )
            raise other_record(kind, old.name, why)
        if how.resource_version and how.resource_version != old.resource_version:
            why = (
                f"the ResourceVersion in the precondition ({how.resource_version}) does not match the "
                f"ResourceVersion in record ({old.resource_version}). The object might have been modified"
            )
            raise other_record(kind, old.name, why)

    def _grace(self, kind: Kind, old: Object, wanted: int | None) -> int:
        """Seconds that the object may live on; only a pod on a node gets any."""
        if not kind.graceful:
            return 0
        if not old.spec.get("nodeName") or old.status.get("phase") in ("Succeeded", "Failed"):
            return 0
        if wanted is not None:
            return wanted
        if old.deleting:
            return int(old.metadata.get("deletionGracePeriodSeconds") or 0)
        return int(old.spec.get("terminationGracePeriodSeconds", 30))

    def _shortens(self, old: Object, grace: int) -> int | None:
        """The new grace period, if it is shorter than the running one."""
        running = int(old.metadata.get("deletionGracePeriodSeconds") or 0)
        return grace if grace < running else None

    def _deletion_finalizers(self, old: Object, propagation: Propagation | None) -> list[str]:
        finalizers = list(old.finalizers)
        if propagation is None:
            return finalizers
        kept = [f for f in finalizers if f not in (FOREGROUND, ORPHAN)]
        if propagation is Propagation.FOREGROUND:
            kept.append(FOREGROUND)
        elif propagation is Propagation.ORPHAN:
            kept.append(ORPHAN)
        return kept

    def _mark(self, kind: Kind, old: Object, finalizers: list[str], grace: int, dry_run: bool) -> Object:
        """Note that the object is to go once its finalizers are done and its grace period is over."""
        metadata = dict(old.metadata)
        if not old.deleting:
            metadata["deletionTimestamp"] = rfc3339(self.world.later(grace)) if grace else self.stamp()
            metadata["deletionGracePeriodSeconds"] = grace
            if metadata.get("generation"):
                metadata["generation"] += 1
        elif self._shortens(old, grace) is not None:
            metadata["deletionTimestamp"] = rfc3339(self.world.later(grace)) if grace else self.stamp()
            metadata["deletionGracePeriodSeconds"] = grace
        metadata.pop("finalizers", None)
        if finalizers:
            metadata["finalizers"] = finalizers
        raw = {**old.raw, "metadata": metadata}
        return Object(raw) if dry_run else self.storage.put(kind, (old.namespace, old.name), raw)

    def _end_namespace(self, kind: Kind, old: Object, dry_run: bool) -> tuple[Object, bool]:
        """A namespace stays, terminating, until everything in it is gone."""
        if old.deleting:
            return old, False
        metadata = {**old.metadata, "deletionTimestamp": self.stamp()}
        raw = {**old.raw, "metadata": metadata, "status": {**old.status, "phase": "Terminating"}}
        return (Object(raw) if dry_run else self.storage.put(kind, ("", old.name), raw)), False


def begin_namespace(raw: Json) -> None:
    """What every namespace carries: its name as a label, the finalizer of its contents, its phase."""
    metadata = raw["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    raw["spec"] = {**(raw.get("spec") or {}), "finalizers": ["kubernetes"]}
    raw["status"] = {"phase": "Active"}


def valid_name(kind: Kind, name: str) -> bool:
    """Whether the name is a DNS subdomain, or a path segment for the kinds that allow any."""
    if kind.resource.group == "rbac.authorization.k8s.io":
        return name not in (".", "..") and "/" not in name and "%" not in name
    return len(name) <= 253 and NAME.fullmatch(name) is not None


def _refuse_immortal(kind: Kind, name: str) -> None:
    """Three namespaces are always there (admission plugin NamespaceLifecycle)."""
    if name in ("default", "kube-public", "kube-system"):
        message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        details = named(name, kind.resource.group, kind.resource.plural)
        raise ApiError(message, status=403, reason="Forbidden", details=details)


def _carry(old: Json, new: Json, field: str) -> None:
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)


def _finished(raw: Json) -> bool:
    metadata = raw["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if (raw.get("spec") or {}).get("finalizers") and raw["kind"] == "Namespace":
        return False
    return not metadata.get("deletionGracePeriodSeconds")
