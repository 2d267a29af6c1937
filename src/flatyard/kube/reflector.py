"""A local copy of some objects, kept current by a list and a watch.

The pattern of client-go's Reflector: resume with bookmarks, list again when the version is Gone and report
what vanished meanwhile as deleted, back off while the API does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

from flatyard.kube.api import Api, EventType, Gone, Listing, Object, Unreachable, WatchEvent
from flatyard.kube.resources import Resource
from flatyard.kube.shelf import Key

FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 30.0
AGAIN = 0.1
"""Pause before a watch that the server ended is taken up again."""

Handler = Callable[[WatchEvent], None]


class Reflector:
    """Keeps `items()` equal to what the API holds; `handler` is called for every change, in order.

    `run()` works until it is cancelled. `synced` is set once the first list is in. Events that the handler
    gets are ADDED, MODIFIED and DELETED; it must not block.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        handler: Handler | None = None,
    ) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        self._api = api
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._handler = handler
        self._objects: dict[Key, Object] = {}
        self._version = ""
        self._failures = 0

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get((namespace, name))

    def items(self) -> Iterator[Object]:
        """All objects, by namespace and name."""
        for key in sorted(self._objects):
            yield self._objects[key]

    def __len__(self) -> int:
        return len(self._objects)

    async def run(self) -> None:
        """List and watch for ever; only a refusal that is neither Gone nor Unreachable ends it."""
        while True:
            try:
                if not self._version:
                    self._take(await self._list())
                await self._follow()
                await asyncio.sleep(AGAIN)
            except Gone:
                self._version = ""
            except Unreachable:
                await self._back_off()

    async def _list(self) -> Listing:
        return await self._api.list(self.resource, self._namespace, labels=self._labels, fields=self._fields)

    def _take(self, listing: Listing) -> None:
        """Make the copy equal to the list, with the events that lead there."""
        found = {(o.namespace, o.name): o for o in listing.items}
        for key in [key for key in self._objects if key not in found]:
            self._see(WatchEvent(EventType.DELETED, self._objects[key]))
        for key, object in found.items():
            known = self._objects.get(key)
            if known is not None and known.uid != object.uid:
                self._see(WatchEvent(EventType.DELETED, known))
                known = None
            if known is None:
                self._see(WatchEvent(EventType.ADDED, object))
            elif known.resource_version != object.resource_version:
                self._see(WatchEvent(EventType.MODIFIED, object))
        self._version = listing.resource_version
        self._failures = 0
        self.synced.set()

    async def _follow(self) -> None:
        events = self._api.watch(
            self.resource,
            self._namespace,
            resource_version=self._version,
            labels=self._labels,
            fields=self._fields,
        )
        try:
            async for event in events:
                self._failures = 0
                self._version = event.object.resource_version
                if event.type is not EventType.BOOKMARK:
                    self._see(event)
        finally:
            await _close(events)

    def _see(self, event: WatchEvent) -> None:
        key = (event.object.namespace, event.object.name)
        if event.type is EventType.DELETED:
            self._objects.pop(key, None)
        else:
            self._objects[key] = event.object
        if self._handler is not None:
            self._handler(event)

    async def _back_off(self) -> None:
        delay = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        await asyncio.sleep(delay)


async def _close(events: AsyncIterator[WatchEvent]) -> None:
    if isinstance(events, AsyncGenerator):
        await events.aclose()
