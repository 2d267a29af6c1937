"""The small part of the Kubernetes API that flatyard uses, as a protocol.

Implemented by the in-memory store (`kube.memory`), which also keeps a cluster's intent before its API answers
and is the store behind the simulated API, and by the lightkube client. One contract suite holds them equal.
No server-side apply (DESIGN §3 "Kubernetes access").

ApiError
├── NotFound          404
├── AlreadyExists     409, reason AlreadyExists
├── Conflict          409, reason Conflict: read again and decide again
├── Gone              410: list again
├── Invalid           400 or 422
├── TooManyRequests   429: a disruption budget or the server's own limit
└── Unreachable       no answer; the call may or may not have been carried out
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, cast

from flatyard.base.errors import Failed
from flatyard.base.world import parse_stamp
from flatyard.kube import merge
from flatyard.kube.resources import Resource

_type = type
Json = merge.Json


class ApiError(Failed):
    """The API refused; `status` is the HTTP status, `reason` and `details` those of the Status object."""

    status = 500
    reason = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reason: str | None = None,
        details: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status if status is not None else _type(self).status
        self.reason = reason if reason is not None else _type(self).reason
        self.details: Json = details if details is not None else {}


class NotFound(ApiError):
    status, reason = 404, "NotFound"


class AlreadyExists(ApiError):
    status, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    status, reason = 409, "Conflict"


class Gone(ApiError):
    status, reason = 410, "Expired"


class Invalid(ApiError):
    status, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    """`retry_after` is the server's hint in seconds, or None when a disruption budget says no."""

    status, reason = 429, "TooManyRequests"

    def __init__(
        self, message: str, *, retry_after: float | None = None, details: Json | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.retry_after = retry_after


class Unreachable(ApiError):
    status, reason = 0, "Unreachable"


@dataclass(frozen=True, slots=True)
class OwnerReference:
    """Who owns an object; the owner's deletion deletes the object too."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = True


@dataclass(frozen=True, slots=True)
class Object:
    """One Kubernetes object as JSON, never changed in place: `edit()` gives a copy to work on."""

    raw: Json = field(repr=False)

    @property
    def metadata(self) -> Json:
        found: Json = self.raw.get("metadata") or {}
        return found

    @property
    def spec(self) -> Json:
        found: Json = self.raw.get("spec") or {}
        return found

    @property
    def status(self) -> Json:
        found: Json = self.raw.get("status") or {}
        return found

    @property
    def kind(self) -> str:
        return str(self.raw.get("kind", ""))

    @property
    def name(self) -> str:
        return str(self.metadata.get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace", ""))

    @property
    def uid(self) -> str:
        return str(self.metadata.get("uid", ""))

    @property
    def resource_version(self) -> str:
        return str(self.metadata.get("resourceVersion", ""))

    @property
    def generation(self) -> int:
        return int(self.metadata.get("generation") or 0)

    @property
    def labels(self) -> Mapping[str, str]:
        return cast(Mapping[str, str], self.metadata.get("labels") or {})

    @property
    def annotations(self) -> Mapping[str, str]:
        return cast(Mapping[str, str], self.metadata.get("annotations") or {})

    @property
    def finalizers(self) -> Sequence[str]:
        return cast(Sequence[str], self.metadata.get("finalizers") or ())

    @property
    def deleting(self) -> bool:
        return self.metadata.get("deletionTimestamp") is not None

    @property
    def created(self) -> datetime | None:
        text = self.metadata.get("creationTimestamp")
        return parse_stamp(text) if text else None

    @property
    def controller(self) -> OwnerReference | None:
        for reference in self.metadata.get("ownerReferences") or ():
            if reference.get("controller"):
                return OwnerReference(
                    reference["apiVersion"], reference["kind"], reference["name"], reference["uid"]
                )
        return None

    def edit(self) -> Json:
        """A deep copy of the JSON, to change and send back."""
        return merge.clone(self.raw)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list returned, and the version from which a watch goes on without a gap."""

    items: tuple[Object, ...]
    resource_version: str


class EventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change seen by a watch; a BOOKMARK only carries a newer resource version."""

    type: EventType
    object: Object


class Propagation(StrEnum):
    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


APPROVED, DENIED = "Approved", "Denied"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided about a certificate signing request.

    `reason` is one word in CamelCase, `message` a sentence for people.
    """

    approved: bool
    reason: str
    message: str

    @property
    def type(self) -> str:
        """The type of the condition that says so."""
        return APPROVED if self.approved else DENIED


class Api(Protocol):
    """What flatyard asks of a Kubernetes API. Every call may raise Unreachable.

    One about an object raises NotFound where there is none, one that writes Invalid with every wrong field. `labels`
    and `fields` are selectors in Kubernetes' own syntax. The namespace of cluster-scoped kinds is empty.
    """

    async def get(self, resource: Resource, namespace: str, name: str) -> Object: ...

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        """All in one answer; an empty namespace means every one."""
        ...

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version`, for ever; raises Gone when that version is too old."""
        ...

    async def create(self, resource: Resource, object: Json) -> Object:
        """Raises AlreadyExists, and NotFound where its namespace is missing."""
        ...

    async def replace(self, resource: Resource, object: Json) -> Object:
        """The object, without its status where that is a subresource.

        Needs the resourceVersion, and raises Conflict when that is stale.
        """
        ...

    async def replace_status(self, resource: Resource, object: Json) -> Object:
        """The status alone, by the same rule."""
        ...

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, patch: Json, *, subresource: str = ""
    ) -> Object:
        """By RFC 7386; raises Conflict only where the patch has a resourceVersion, and a stale one."""
        ...

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: Propagation = Propagation.BACKGROUND,
        grace_seconds: int | None = None,
    ) -> None:
        """Delete, or begin to; with `uid` only that very object: raises Conflict where it is another by now.

        `grace_seconds` is what a pod may still run, None for its own choice.
        """
        ...

    async def evict(self, namespace: str, pod: str) -> None:
        """Ask to evict a pod; raises TooManyRequests when a disruption budget forbids it now."""
        ...

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        """Set the wanted replicas through the subresource `scale`."""
        ...

    async def approve(self, request: Object, verdict: Verdict) -> Object:
        """Decide about a certificate signing request as it was read; the same verdict twice is one.

        Raises Conflict when the request has changed since, Invalid when the opposite is decided already.
        """
        ...
