"""What there is: resources, what refers to what, operations that take time, and the clock that they run on."""

from __future__ import annotations

import heapq
import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .errors import ArmError
from .ids import parse

Body = dict[str, Any]


@dataclass
class Operation:
    """Something that takes time (rules: operation-status, operation-location)."""

    id: str
    kind: str
    """Namespace and location: where its status is asked."""
    started: float
    due: float
    status: str = "InProgress"
    error: ArmError | None = None
    answer: Callable[[], Body | None] | None = None
    """What the Location URL answers in the end."""
    ended: float | None = None


@dataclass
class Resource:
    """One resource. `body` is what its owner wrote, `hidden` what only the service knows."""

    id: str
    kind: str
    body: Body
    created: float
    etag: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "Creating"
    operation: Operation | None = None
    hidden: Body = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.id.lower()

    @property
    def name(self) -> str:
        return self.id.rsplit("/", 1)[-1]

    @property
    def location(self) -> str:
        return str(self.body.get("location", ""))

    @property
    def properties(self) -> Body:
        made: Body = self.body.setdefault("properties", {})
        return made

    @property
    def busy(self) -> bool:
        return self.operation is not None and self.operation.status == "InProgress"


class World:
    """One subscription."""

    def __init__(self) -> None:
        self.speed = 1.0
        self._base, self._real = time.time(), time.monotonic()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.resources: dict[str, Resource] = {}
        self.operations: dict[str, Operation] = {}
        self.used_by: dict[str, dict[str, list[str]]] = {}
        self._uses: dict[str, list[str]] = {}
        self.durations = {"vm": 0.3, "delete": 0.1, "other": 0.05, "power": 0.1}
        self.retry_after = 1
        self.lag = 0.0
        self.market: Any = None
        self.accounts: Any = None
        self.blobs = "https://127.0.0.1:10100"
        self.fails_next: ArmError | None = None
        """With this the operation that the request at hand starts will end."""

    # ---- time
    def now(self) -> float:
        return self._base + (time.monotonic() - self._real) * self.speed

    def set_speed(self, factor: float) -> None:
        self._base, self._real = self.now(), time.monotonic()
        self.speed = factor

    def text(self, at: float) -> str:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")

    def later(self, seconds: float, act: Callable[[], None]) -> float:
        due = self.now() + seconds
        heapq.heappush(self._heap, (due, next(self._order), act))
        return due

    def advance(self) -> None:
        """Whatever is due by now happens, in order."""
        while self._heap and self._heap[0][0] <= self.now():
            heapq.heappop(self._heap)[2]()

    # ---- operations
    def operate(
        self,
        where: str,
        seconds: float,
        end: Callable[[ArmError | None], None],
        answer: Callable[[], Body | None] | None = None,
    ) -> Operation:
        """Start one; `end` is called with its failure or None when it is over."""
        failure, self.fails_next = self.fails_next, None
        operation = Operation(str(uuid.uuid4()), where, self.now(), 0.0, answer=answer)

        def over() -> None:
            operation.status = "Failed" if failure else "Succeeded"
            operation.error, operation.ended = failure, self.now()
            end(failure)

        operation.due = self.later(seconds, over)
        self.operations[operation.id] = operation
        return operation

    # ---- resources
    def find(self, raw: str) -> Resource | None:
        return self.resources.get(raw.lower())

    def add(self, resource: Resource) -> Resource:
        self.resources[resource.key] = resource
        self.index(resource)
        return resource

    def touch(self, resource: Resource) -> None:
        resource.etag = str(uuid.uuid4())
        self.index(resource)

    def remove(self, resource: Resource) -> None:
        self.resources.pop(resource.key, None)
        for target in self._uses.pop(resource.key, []):
            self.used_by.get(target, {}).pop(resource.key, None)

    def below(self, raw: str) -> list[Resource]:
        """Everything whose id starts with this one."""
        prefix = raw.lower() + "/"
        return [found for key, found in self.resources.items() if key.startswith(prefix)]

    def of_kind(self, kind: str, scope: str = "") -> list[Resource]:
        kind, scope = kind.lower(), scope.lower().rstrip("/") + "/"
        return [r for key, r in self.resources.items() if r.kind.lower() == kind and key.startswith(scope)]

    # ---- references
    def index(self, resource: Resource) -> None:
        """Remember what it refers to, and from which of its parts."""
        for target in self._uses.pop(resource.key, []):
            self.used_by.get(target, {}).pop(resource.key, None)
        targets: list[str] = []
        for source, target in references(resource.id, resource.body):
            key = target.lower()
            if key.startswith(resource.key + "/"):
                continue
            targets.append(key)
            self.used_by.setdefault(key, {}).setdefault(resource.key, []).append(source)
        self._uses[resource.key] = targets

    def users(self, raw: str) -> list[str]:
        """Ids of what refers to it, whole resources or their parts."""
        return [source for sources in self.used_by.get(raw.lower(), {}).values() for source in sources]


def references(owner: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(part that refers, id that it refers to), for every {"id": …} in a body that is not the part's own id."""
    for name, value in body.items():
        yield from _below(owner, name, value)


def _below(owner: str, name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _below(owner, name, item)
    elif isinstance(value, dict):
        own = value.get("id")
        if isinstance(own, str) and own.lower().startswith("/subscriptions/"):
            if is_part(own, owner):
                owner = own
            else:
                yield owner, own
        if name == "userAssignedIdentities":
            for target in value:
                yield owner, target
        for inner, item in value.items():
            yield from _below(owner, inner, item)


def is_part(raw: str, owner: str) -> bool:
    """An inline child's own id: its parent's, its type and its name."""
    return raw.lower().startswith(owner.lower() + "/")


def where(raw: str, location: str) -> str:
    return f"{parse(raw).kind.split('/')[0] or 'Microsoft.Resources'}/locations/{location or 'global'}"
