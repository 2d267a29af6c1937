"""Getting, listing and watching.

Source for resource versions, paging and watches: the Kubernetes documentation, "Kubernetes API Concepts".
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from flatyard.kube.api import ApiError, EventType, Gone, Invalid, Json, Object, WatchEvent
from flatyard.kube.kinds import Kind
from flatyard.kube.memory import MemoryApi
from flatyard.kube.refusals import Cause, bad_request
from flatyard.kube.shelf import Scope
from flatyard.sim.apiserver.answers import Page, Printer, encode, refuse, respond, status
from flatyard.sim.apiserver.negotiation import Wanted
from flatyard.sim.apiserver.requests import Query, Target, invalid_options

T = TypeVar("T")
BOOKMARK_SECONDS = 60.0
"""How often a quiet watch is told the current version."""
_MATCH = "resourceVersionMatch"
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
    "the results. Continuing with the provided token results in an inconsistent list - objects that were "
    "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
    "list."
)


@dataclass(frozen=True, slots=True)
class Token:
    """Where a list goes on: after the key `start`, at a version (-1: as things are now)."""

    version: int
    start: str

    def __str__(self) -> str:
        value = {"v": "meta.k8s.io/v1", "rv": self.version, "start": self.start + "\0"}
        text = json.dumps(value, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(text: str) -> Token:
    """The token that a client sent back; raises Invalid (400) for anything else."""
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise bad_request("invalid continue token: continue key is not valid: illegal base64 data") from None
    try:
        value = json.loads(decoded)
        return Token(int(value["rv"]), str(value["start"]).rstrip("\0").lstrip("/"))
    except (ValueError, KeyError, TypeError):
        raise bad_request(
            f"invalid continue token: continue key is not valid: {_complaint(decoded)}"
        ) from None


def _complaint(decoded: bytes) -> str:
    """What Go's decoder says about the first character that does not belong there."""
    text = decoded.decode("latin-1")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return f"invalid character '{text[:1]}' looking for beginning of value"
    shown = text[end : end + 1].encode("unicode_escape").decode().replace("\\x0c", "\\f")
    return f"invalid character '{shown}' after top-level value"


class Reader:
    """Answers reads from the in-memory API. `wall` turns a client's seconds into the event loop's."""

    def __init__(self, api: MemoryApi, now: Callable[[], datetime], wall: Callable[[float], float]) -> None:
        self._api = api
        self._now = now
        self._wall = wall

    def now(self) -> datetime:
        return self._now()

    def printer(self, target: Target, wanted: Wanted, query: Query) -> Printer:
        return Printer(target.kind, wanted, query.text("includeObject"), self._now())

    def get(self, target: Target, wanted: Wanted, query: Query) -> Response:
        printer = self.printer(target, wanted, query)
        _check_version(query, 400)
        object = self._api.registry.get(target.kind, target.namespace, target.name)
        return respond(printer.one(object), media=wanted.media)

    # ---- lists

    def list(self, target: Target, wanted: Wanted, query: Query) -> Response:
        printer = self.printer(target, wanted, query)
        _check_match(query)
        scope = self.scope(target, query)
        if query.text("continue"):
            return self._go_on(target, wanted, query, scope, printer)
        page = self._first_page(target.kind, scope, query)
        return respond(printer.page(page), media=wanted.media)

    def scope(self, target: Target, query: Query) -> Scope:
        fields = query.text("fieldSelector")
        if target.name:
            fields = ",".join(part for part in (f"metadata.name={target.name}", fields) if part)
        return self._api.scope(target.kind, target.namespace, query.text("labelSelector"), fields)

    def _first_page(self, kind: Kind, scope: Scope, query: Query) -> Page:
        limit = query.integer("limit")
        version = _check_version(query, 400)
        exact = query.text(_MATCH) == "Exact"
        if version == 0 and query.has("resourceVersion") and query.text("resourceVersion"):
            limit = 0
        current = self._api.storage.version
        if version > current:
            raise _from_the_future(version, current)
        shelf = self._api.storage.shelves[kind]
        if not exact:
            return _cut(list(shelf.select(scope)), limit, current, scope)
        try:
            return _cut(shelf.at(version, scope), limit, version, scope)
        except Gone:
            raise Gone("The resourceVersion for the provided list is too old.") from None

    def _go_on(
        self, target: Target, wanted: Wanted, query: Query, scope: Scope, printer: Printer
    ) -> Response:
        if query.text("resourceVersion") not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        token = read_token(query.text("continue"))
        shelf = self._api.storage.shelves[target.kind]
        current = self._api.storage.version
        try:
            found = list(shelf.select(scope)) if token.version < 0 else shelf.at(token.version, scope)
        except Gone:
            metadata = {"continue": str(Token(-1, token.start))}
            return refuse(Gone(_TOO_OLD), metadata)
        rest = [item for item in found if _start(item, scope) > token.start]
        version = current if token.version < 0 else token.version
        return respond(printer.page(_cut(rest, query.integer("limit"), version, scope)), media=wanted.media)

    # ---- watches

    def watch(self, target: Target, wanted: Wanted, query: Query) -> Watch:
        printer = self.printer(target, wanted, query)
        _check_watch(query)
        scope = self.scope(target, query)
        seconds = query.integer("timeoutSeconds")
        return Watch(
            self._events(target.kind, scope, query, _check_version(query, 500)),
            printer,
            lambda: self._api.storage.mark(target.kind),
            self._now,
            seconds=self._wall(seconds) if seconds > 0 else None,
            pause=self._wall(BOOKMARK_SECONDS) if query.flag("allowWatchBookmarks") else None,
        )

    async def _events(
        self, kind: Kind, scope: Scope, query: Query, version: int
    ) -> AsyncGenerator[WatchEvent, None]:
        storage = self._api.storage
        asked = query.has("sendInitialEvents")
        wants_list = query.flag("sendInitialEvents") if asked else version == 0
        version = storage.version if version == 0 or wants_list else version
        if wants_list:
            for object in list(storage.shelves[kind].select(scope)):
                yield WatchEvent(EventType.ADDED, object)
            if asked:
                yield _end_of_list(storage.mark(kind).object)
        async for event in storage.watch(kind, scope, version):
            yield event


class Watch:
    """The answer to a watch: one JSON object per line until the time is up or the client is gone.

    `pause` is after how many quiet seconds a bookmark is sent; None sends no bookmarks at all.
    """

    def __init__(
        self,
        events: AsyncGenerator[WatchEvent, None],
        printer: Printer,
        mark: Callable[[], WatchEvent],
        now: Callable[[], datetime],
        *,
        seconds: float | None,
        pause: float | None,
    ) -> None:
        self._events = events
        self._printer = printer
        self._mark = mark
        self._now = now
        self._seconds = seconds
        self._pause = pause
        self._first = True

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache, private")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone: asyncio.Future[None] = asyncio.ensure_future(_disconnected(receive))
        try:
            async for line in self._lines(gone):
                await send({"type": "http.response.body", "body": line, "more_body": True})
        finally:
            await _stop(gone)
            await self._events.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _lines(self, gone: asyncio.Future[None]) -> AsyncIterator[bytes]:
        try:
            async for event in self._timed(gone):
                if event.type is not EventType.BOOKMARK:
                    body = self._printer.event(event.object, first=self._first, now=self._now())
                    self._first = False
                    yield _line(event.type.value, body)
                elif self._pause is not None:
                    yield _line(event.type.value, event.object.raw)
        except Gone as refusal:
            yield _line("ERROR", status(refusal))

    async def _timed(self, gone: asyncio.Future[None]) -> AsyncIterator[WatchEvent]:
        """The events until the time is up; with bookmarks in between when nothing happens."""
        loop = asyncio.get_running_loop()
        end = None if self._seconds is None else loop.time() + self._seconds
        waiting: asyncio.Future[WatchEvent] = asyncio.ensure_future(anext(self._events))
        try:
            while not gone.done():
                both: list[asyncio.Future[Any]] = [waiting, gone]
                await asyncio.wait(
                    both, timeout=self._patience(end, loop.time()), return_when=asyncio.FIRST_COMPLETED
                )
                if waiting.done():
                    yield waiting.result()
                    waiting = asyncio.ensure_future(anext(self._events))
                elif end is not None and loop.time() >= end:
                    return
                elif not gone.done():
                    yield self._mark()
        finally:
            await _stop(waiting)

    def _patience(self, end: float | None, now: float) -> float | None:
        if end is None:
            return self._pause
        left = max(0.0, end - now)
        return left if self._pause is None else min(left, self._pause)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(waiting: asyncio.Future[T]) -> None:
    waiting.cancel()
    await asyncio.wait([waiting])
    if not waiting.cancelled():
        waiting.exception()


def _line(type: str, object: Json) -> bytes:
    return encode({"type": type, "object": object}) + b"\n"


def _end_of_list(mark: Object) -> WatchEvent:
    metadata = {**mark.metadata, "annotations": {"k8s.io/initial-events-end": "true"}}
    return WatchEvent(EventType.BOOKMARK, Object({**mark.raw, "metadata": metadata}))


def _start(object: Object, scope: Scope) -> str:
    """An object's key, relative to what is listed."""
    return object.name if scope.namespace or not object.namespace else f"{object.namespace}/{object.name}"


def _cut(found: list[Object], limit: int, version: int, scope: Scope) -> Page:
    if limit <= 0 or len(found) <= limit:
        return Page(found, str(version))
    items = found[:limit]
    remaining = None if scope.selective else len(found) - limit
    return Page(items, str(version), str(Token(version, _start(items[-1], scope))), remaining)


def _check_version(query: Query, code: int) -> int:
    text = query.text("resourceVersion")
    if text and not text.isdecimal():
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        if code == 500:
            raise ApiError(why, status=500)
        raise bad_request(f"invalid resource version: {why}")
    return int(text or 0)


def _check_match(query: Query) -> None:
    match = query.text(_MATCH)
    if not match:
        return
    if not query.has("resourceVersion"):
        raise _forbidden(f"{_MATCH} is forbidden unless resourceVersion is provided")
    if match not in ("Exact", "NotOlderThan"):
        raise invalid_options("ListOptions", (_unsupported(match, '"Exact", "NotOlderThan", ""'),))
    if match == "Exact" and query.text("resourceVersion") == "0":
        raise _forbidden(f'{_MATCH} "exact" is forbidden for resourceVersion "0"')


def _check_watch(query: Query) -> None:
    match = query.text(_MATCH)
    if not query.has("sendInitialEvents"):
        if match:
            raise _forbidden(f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided")
        return
    if match == "NotOlderThan":
        return
    causes = [
        Cause(
            _MATCH,
            "FieldValueForbidden",
            f"Forbidden: sendInitialEvents requires setting {_MATCH} to NotOlderThan",
        )
    ]
    if match:
        causes.append(_unsupported(match, '"NotOlderThan"'))
    raise invalid_options("ListOptions", causes)


def _forbidden(why: str) -> Invalid:
    return invalid_options("ListOptions", (Cause(_MATCH, "FieldValueForbidden", f"Forbidden: {why}"),))


def _unsupported(match: str, names: str) -> Cause:
    why = f'Unsupported value: "{match}": supported values: {names}'
    return Cause(_MATCH, "FieldValueNotSupported", why)


def _from_the_future(version: int, current: int) -> ApiError:
    why = f"Too large resource version: {version}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details: Json = {"causes": [cause], "retryAfterSeconds": 1}
    return ApiError(f"Timeout: {why}", status=504, reason="Timeout", details=details)
