"""All objects of one kind as the storage keeps them: indexes, a bounded history, and a queue for each watcher."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flatyard.kube.api import EventType, Gone, Object, WatchEvent
from flatyard.kube.kinds import Kind
from flatyard.kube.selectors import ALL_FIELDS, ALL_LABELS, FieldSelector, LabelSelector, field_value

HISTORY = 10_000
"""How many changes of one kind are remembered."""
BACKLOG = 100_000
"""How many changes a slow watcher may lag behind before it has to list again."""

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the object after it (as last seen, when deleted) and before it."""

    version: int
    kind: Kind
    key: Key
    type: EventType
    object: Object
    previous: Object | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects of a kind a list or a watch is about."""

    namespace: str = ""
    labels: LabelSelector = ALL_LABELS
    fields: FieldSelector = ALL_FIELDS

    def matches(self, object: Object) -> bool:
        if self.namespace and object.namespace != self.namespace:
            return False
        return self.labels.matches(object.labels) and self.fields.matches(object.raw)

    @property
    def selective(self) -> bool:
        return bool(self.labels or self.fields)


def too_old(version: int, oldest: int) -> Gone:
    """What an API server says of a version that it has forgotten."""
    return Gone(f"too old resource version: {version} ({oldest})")


class Feed:
    """One watcher's queue. The iterator ends only by being closed, or with Gone when it lags too far."""

    __slots__ = ("_lost", "_queue", "_waiter", "scope", "seen")

    def __init__(self, scope: Scope, seen: int) -> None:
        self.scope = scope
        self.seen = seen
        self._queue: deque[WatchEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False

    def offer(self, change: Change) -> None:
        """Queue the change as this watcher sees it: leaving its scope is a deletion, entering an addition."""
        event = self._seen_as(change)
        if event is not None:
            self.push(event, change.version)

    def _seen_as(self, change: Change) -> WatchEvent | None:
        now = change.type is not EventType.DELETED and self.scope.matches(change.object)
        before = change.previous is not None and self.scope.matches(change.previous)
        if now:
            return WatchEvent(EventType.MODIFIED if before else EventType.ADDED, change.object)
        if not before or change.previous is None:
            return None
        if change.type is EventType.DELETED:
            return WatchEvent(EventType.DELETED, change.object)
        return WatchEvent(EventType.DELETED, stamped(change.previous, change.version))

    def push(self, event: WatchEvent, version: int) -> None:
        """Queue an event; a watcher that lags more than BACKLOG behind is lost."""
        self.seen = version
        self._queue.append(event)
        self._lost = self._lost or len(self._queue) > BACKLOG
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> WatchEvent:
        """Wait for the next event; raises Gone for a watcher that is lost."""
        while not self._queue:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._lost:
            raise Gone("the watch lagged too far behind")
        return self._queue.popleft()


def stamped(object: Object, version: int) -> Object:
    """The object with another resourceVersion, sharing everything else."""
    metadata = {**object.metadata, "resourceVersion": str(version)}
    return Object({**object.raw, "metadata": metadata})


@dataclass(slots=True)
class Shelf:
    """All objects of one kind, their history and their watchers."""

    kind: Kind
    objects: dict[Key, Object] = field(default_factory=dict)
    namespaces: dict[str, dict[str, Object]] = field(default_factory=dict)
    indexes: dict[str, dict[str, dict[Key, None]]] = field(default_factory=dict)
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=HISTORY))
    oldest: int = 0
    feeds: list[Feed] = field(default_factory=list)
    pinned: dict[tuple[str, str], list[Feed]] = field(default_factory=dict)
    _order: dict[str, list[Key]] = field(default_factory=dict)

    @property
    def indexed(self) -> tuple[str, ...]:
        return ("metadata.name", *self.kind.indexed)

    def apply(self, key: Key, before: Object | None, after: Object | None) -> None:
        """Put `after` in the place of `before`, None for no object, in every index."""
        namespace, name = key
        if after is None:
            del self.objects[key]
            self._leave(namespace, name)
        else:
            self.objects[key] = after
            self.namespaces.setdefault(namespace, {})[name] = after
        if before is None or after is None:
            self._order.pop(namespace, None)
            self._order.pop("", None)
        self._reindex(key, before, after)

    def _leave(self, namespace: str, name: str) -> None:
        inside = self.namespaces[namespace]
        del inside[name]
        if not inside:
            del self.namespaces[namespace]

    def _reindex(self, key: Key, before: Object | None, after: Object | None) -> None:
        for name in self.kind.indexed:
            path = tuple(name.split("."))
            old = field_value(before.raw, path) if before else None
            new = field_value(after.raw, path) if after else None
            if old == new:
                continue
            index = self.indexes.setdefault(name, {})
            if old is not None:
                index[old].pop(key, None)
            if new is not None:
                index.setdefault(new, {})[key] = None

    def keys(self, namespace: str) -> list[Key]:
        """Keys in the order in which a list returns them."""
        order = self._order.get(namespace)
        if order is None:
            inside = (
                self.objects
                if not namespace
                else ((namespace, n) for n in self.namespaces.get(namespace, ()))
            )
            order = self._order[namespace] = sorted(inside)
        return order

    def select(self, scope: Scope) -> Iterator[Object]:
        """Objects in scope, in order."""
        for key in self._candidates(scope):
            object = self.objects.get(key)
            if object is not None and scope.matches(object):
                yield object

    def _candidates(self, scope: Scope) -> Iterable[Key]:
        name = scope.fields.exact("metadata.name")
        if name is not None and (scope.namespace or not self.kind.resource.namespaced):
            return ((scope.namespace, name),)
        for indexed in self.kind.indexed:
            value = scope.fields.exact(indexed)
            if value is not None:
                return sorted(self.indexes.get(indexed, {}).get(value, ()))
        return self.keys(scope.namespace)

    def _pin(self, feed: Feed) -> tuple[str, str] | None:
        """The exact field by which the changes for this feed are found without asking every feed."""
        for name in self.indexed:
            value = feed.scope.fields.exact(name)
            if value is not None:
                return name, value
        return None

    def subscribe(self, feed: Feed) -> None:
        pin = self._pin(feed)
        (self.feeds if pin is None else self.pinned.setdefault(pin, [])).append(feed)

    def unsubscribe(self, feed: Feed) -> None:
        pin = self._pin(feed)
        if pin is None:
            self.feeds.remove(feed)
            return
        self.pinned[pin].remove(feed)
        if not self.pinned[pin]:
            del self.pinned[pin]

    def audience(self, change: Change) -> Iterator[Feed]:
        """The feeds that may have the change in scope."""
        yield from self.feeds
        if not self.pinned:
            return
        for name in self.indexed:
            path = tuple(name.split("."))
            values = dict.fromkeys(field_value(o.raw, path) for o in (change.object, change.previous) if o)
            for value in values:
                yield from self.pinned.get((name, value), ())

    def at(self, version: int, scope: Scope) -> list[Object]:
        """Objects in scope as they were at an older version; raises Gone when that is forgotten."""
        if version < self.oldest:
            raise too_old(version, self.oldest)
        past = dict(self.objects)
        for change in reversed(self.history):
            if change.version <= version:
                break
            if change.previous is None:
                del past[change.key]
            else:
                past[change.key] = change.previous
        return [past[key] for key in sorted(past) if scope.matches(past[key])]
