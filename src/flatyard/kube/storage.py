"""Versioned storage of Kubernetes objects in memory: one counter, an index per kind, and what changed.

Objects are never changed once they are in here, so readers share them. Each kind keeps a bounded history of
its changes, from which a watch resumes and an older list is rebuilt; what is older than that is Gone.
The part that etcd and the watch cache play for kube-apiserver.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from flatyard.kube.api import EventType, Json, Object, OwnerReference, WatchEvent
from flatyard.kube.kinds import Kind
from flatyard.kube.shelf import HISTORY, Change, Feed, Key, Scope, Shelf, stamped, too_old

BOOKMARK_EVERY = 1_000
"""Versions after which a watcher that saw nothing is told the current version."""


class Storage:
    """Every served kind's shelf, the version counter, and who owns whom.

    `observers` see each change once, after it happened. `journal` collects the changes of the running write,
    so that they can be persisted or taken back as one.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.version = 1
        self.shelves: dict[Kind, Shelf] = {kind: Shelf(kind) for kind in kinds}
        self.kinds: dict[tuple[str, str], Kind] = {kind.key: kind for kind in self.shelves}
        self.uids: dict[str, tuple[Kind, Key]] = {}
        self.owned: dict[str, dict[str, None]] = {}
        self.journal: list[Change] = []
        self.observers: list[Callable[[Change], None]] = []
        self._bookmarked = 0

    def serve(self, kind: Kind) -> None:
        """Serve one more kind from now on."""
        self.shelves[kind] = Shelf(kind, oldest=self.version)
        self.kinds[kind.key] = kind

    def redefine(self, old: Kind, new: Kind) -> None:
        """Serve a kind with other columns, subresources or schema; its objects stay."""
        shelf = self.shelves.pop(old)
        shelf.kind = new
        self.shelves[new] = shelf
        self.kinds[new.key] = new
        for key, object in shelf.objects.items():
            self.uids[object.uid] = (new, key)

    def withdraw(self, kind: Kind) -> None:
        """Stop serving a kind whose objects are gone; its place stays for writes that are taken back."""
        self.kinds.pop(kind.key, None)

    def get(self, kind: Kind, key: Key) -> Object | None:
        return self.shelves[kind].objects.get(key)

    def put(self, kind: Kind, key: Key, raw: Json) -> Object:
        """Store a new or changed object under the next version."""
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        object = Object(raw)
        before = self.get(kind, key)
        event = EventType.ADDED if before is None else EventType.MODIFIED
        self._commit(Change(self.version, kind, key, event, object, before))
        return object

    def remove(self, kind: Kind, key: Key) -> None:
        """Delete an object; its watchers see it as it was stored last."""
        before = self.shelves[kind].objects[key]
        self.version += 1
        gone = stamped(before, self.version)
        self._commit(Change(self.version, kind, key, EventType.DELETED, gone, before))

    def _commit(self, change: Change) -> None:
        self._apply(change.kind, change.key, change.previous, _after(change))
        self.journal.append(change)
        for observer in self.observers:
            observer(change)

    def _apply(self, kind: Kind, key: Key, before: Object | None, after: Object | None) -> None:
        self.shelves[kind].apply(key, before, after)
        if before is not None and (after is None or after.uid != before.uid):
            self.uids.pop(before.uid, None)
        if after is not None:
            self.uids[after.uid] = (kind, key)
        self._own(before, after)

    def _own(self, before: Object | None, after: Object | None) -> None:
        old = owner_uids(before) if before else ()
        new = owner_uids(after) if after else ()
        if old == new:
            return
        for uid in old:
            dependents = self.owned.get(uid, {})
            dependents.pop(before.uid if before else "", None)
            if not dependents:
                self.owned.pop(uid, None)
        for uid in new:
            self.owned.setdefault(uid, {})[after.uid if after else ""] = None

    def dependents(self, uid: str) -> list[tuple[Kind, Key]]:
        """Objects that name `uid` as an owner."""
        return [self.uids[dependent] for dependent in self.owned.get(uid, ()) if dependent in self.uids]

    def publish(self) -> None:
        """Tell the watchers what the finished write changed."""
        journal, self.journal = self.journal, []
        for change in journal:
            shelf = self.shelves.get(change.kind)
            if shelf is None:
                continue
            if len(shelf.history) == HISTORY:
                shelf.oldest = shelf.history[0].version
            shelf.history.append(change)
            for feed in shelf.audience(change):
                feed.offer(change)
        if self.version - self._bookmarked >= BOOKMARK_EVERY:
            self.bookmark()

    def take_back(self) -> None:
        """Undo the running write; its versions are not used again."""
        journal, self.journal = self.journal, []
        for change in reversed(journal):
            self._apply(change.kind, change.key, _after(change), change.previous)

    def bookmark(self) -> None:
        """Tell every watcher the current version."""
        self._bookmarked = self.version
        for shelf in self.shelves.values():
            for feed in (*shelf.feeds, *(f for feeds in shelf.pinned.values() for f in feeds)):
                feed.push(self.mark(shelf.kind), self.version)

    def mark(self, kind: Kind) -> WatchEvent:
        """A bookmark at the current version."""
        api_version, name = kind.key
        metadata = {"resourceVersion": str(self.version)}
        return WatchEvent(
            EventType.BOOKMARK, Object({"kind": name, "apiVersion": api_version, "metadata": metadata})
        )

    def compact(self, version: int | None = None) -> None:
        """Forget the changes up to `version` (default: all), as etcd does; bookmarks go out first."""
        self.bookmark()
        limit = self.version if version is None else version
        for shelf in self.shelves.values():
            while shelf.history and shelf.history[0].version <= limit:
                shelf.history.popleft()
            shelf.oldest = max(shelf.oldest, limit)

    async def watch(self, kind: Kind, scope: Scope, version: int) -> AsyncIterator[WatchEvent]:
        """Changes after `version`; raises Gone when they are forgotten."""
        shelf = self.shelves[kind]
        if version < shelf.oldest:
            raise too_old(version, shelf.oldest)
        feed = Feed(scope, version)
        for change in self._since(shelf, version):
            feed.offer(change)
        shelf.subscribe(feed)
        try:
            while True:
                yield await feed.next()
        finally:
            shelf.unsubscribe(feed)

    def _since(self, shelf: Shelf, version: int) -> list[Change]:
        missed: list[Change] = []
        for change in reversed(shelf.history):
            if change.version <= version:
                break
            missed.append(change)
        missed.reverse()
        return missed

    def load(self, kind: Kind, object: Object) -> None:
        """Put back an object that was persisted, with its version."""
        key = (object.namespace, object.name)
        self._apply(kind, key, self.get(kind, key), object)
        self.version = max(self.version, int(object.resource_version or 0))


def _after(change: Change) -> Object | None:
    return None if change.type is EventType.DELETED else change.object


def owner_uids(object: Object) -> tuple[str, ...]:
    return tuple(reference["uid"] for reference in object.metadata.get("ownerReferences") or ())


def owners(object: Object) -> list[tuple[OwnerReference, bool]]:
    """The object's owners, each with whether it blocks the owner's foreground deletion."""
    return [
        (
            OwnerReference(r["apiVersion"], r["kind"], r["name"], r["uid"], bool(r.get("controller"))),
            bool(r.get("blockOwnerDeletion")),
        )
        for r in object.metadata.get("ownerReferences") or ()
    ]
