"""Following the background process until a round has ended: a live tree on a terminal, one line per change without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from flatyard.base.errors import Failed, FlatyardError, PartlyDone
from flatyard.cli import durations
from flatyard.cli.durations import took
from flatyard.cli.talk import Talk
from flatyard.controller.accounts import renew
from flatyard.controller.events import Event, EventKind, WaitLine
from flatyard.controller.launch import Start, link_to
from flatyard.controller.link import Broken, Link
from flatyard.controller.places import Places

MOST_REASONS = 10
"""How many different reasons a command's last words have."""
REPLACED = 3
"""How often a process that dies under a command is replaced before the command gives up."""


class Screen(Protocol):
    """Where progress is shown."""

    def show(self, event: Event, seconds: float) -> None: ...


class Lines:
    """One plain line per change; equal lines are not repeated."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._last: dict[str, tuple[str, str]] = {}

    def show(self, event: Event, seconds: float) -> None:
        if event.kind is EventKind.TROUBLE:
            self._talk.say(f"{took(seconds):>8}  the reconcilers start again: {event.sentence}")
        elif event.kind is EventKind.STEP and self._last.get(event.object) != (event.state, event.sentence):
            self._last[event.object] = (event.state, event.sentence)
            self._talk.say(f"{took(seconds):>8}  {line(event, self._talk)}")


def line(event: Event, talk: Talk) -> str:
    """An event in one line: mark, object, sentence."""
    mark, color = {"done": ("✓", "done"), "failed": ("✗", "error")}.get(event.state, ("–", "dim"))
    sentence = event.sentence or event.state
    return f"{talk.style(mark, color)} {event.object}: {sentence}"


@asynccontextmanager
async def screen(talk: Talk, title: str, expected: float) -> AsyncIterator[Screen]:
    """A live tree where stderr is a terminal, plain lines elsewhere, nothing with -q."""
    if not talk.live:
        yield Lines(talk)
        return
    from flatyard.cli.tree import live_tree

    async with live_tree(title, expected, paint=bool(talk.style("x", "done") != "x")) as tree:
        yield tree


@dataclass(slots=True)
class Follow:
    """One command given to the process, and its progress until the end."""

    talk: Talk
    places: Places
    order: Callable[[Link], Awaitable[int]]
    """Gives the command; returns its round. Given again when the process died under it."""
    title: str
    start: Start | None = None
    timeout: float = durations.SHORT
    expected: float = 0.0
    again: str = ""
    """The command that goes on, for sentences."""
    last: dict[str, WaitLine] = field(default_factory=dict)
    """What is not done, as far as it was told, by object."""

    async def until_done(self) -> Event:
        """The event that ended the round.

        Raises PartlyDone when the timeout passed, Failed when the process died too often.
        """
        try:
            async with (
                asyncio.timeout(self.timeout),
                screen(self.talk, self.title, self.expected) as shown,
            ):
                return await self._through_deaths(shown)
        except asyncio.CancelledError:
            self.talk.say("detached: the background process works on by itself")
            self.talk.next((self.again, "watches it again, and goes on"))
            raise
        except TimeoutError:
            raise PartlyDone(
                f"{self.title}: not done after {took(self.timeout)}",
                why=self._last_reason(),
                next=f"{self.again} goes on; the background process works on by itself",
            ) from None

    async def _through_deaths(self, shown: Screen) -> Event:
        started = asyncio.get_running_loop().time()
        if await renew(self.places, os.environ):
            self.talk.say("the background process goes on with the credentials of this command")
        for life in range(REPLACED + 1):
            try:
                async with await link_to(self.places, self.start) as link:
                    return await self._round(link, shown, started)
            except Broken as error:
                if life == REPLACED:
                    raise Failed(error.what, why=error.why, next=error.next) from error
                self.talk.say("the background process ended; another one goes on from there")
        raise AssertionError

    async def _round(self, link: Link, shown: Screen, started: float) -> Event:
        loop = asyncio.get_running_loop()
        async for event in link.follow(await self.order(link)):
            if event.kind in (EventKind.OUTCOME, EventKind.GONE):
                return event
            self._note(event)
            shown.show(replace(event, sentence=_first_line(event.sentence)), loop.time() - started)
        raise AssertionError

    def _note(self, event: Event) -> None:
        self.last.pop(event.object, None)
        if event.state != "done" and event.sentence:
            final = event.state == "failed"
            self.last[event.object] = WaitLine(event.object, event.sentence, final, event.next)

    def _last_reason(self) -> str:
        return reasons(_telling(self.last.values()))


def failed(event: Event, name: str) -> FlatyardError:
    """The error for an outcome with waits that will not end by themselves."""
    first, *others = _telling(event.waits)
    said, _, lines = first.reason.partition("\n")
    why = [_quoted(f"its last lines:\n{lines}")] if lines else []
    why += [reasons(others)] if others else []
    return Failed(
        f"cluster {name} is not done: {first.object}: {said}",
        why="\n       ".join(why),
        next=first.next or f"flatyard status {name}",
    )


def reasons(waits: Sequence[WaitLine]) -> str:
    """One paragraph for each reason, with the last lines of a unit that failed; equal ones are told once."""
    objects: dict[str, list[str]] = {}
    for wait in waits:
        objects.setdefault(wait.reason, []).append(wait.object)
    told = [f"{', '.join(names)}: {reason}" for reason, names in objects.items()]
    more = [f"and {len(told) - MOST_REASONS} more"] if len(told) > MOST_REASONS else []
    return "\n       ".join(_quoted(text) for text in (*told[:MOST_REASONS], *more))


def _telling(waits: Iterable[WaitLine]) -> list[WaitLine]:
    """Machines that failed, before what waits for them; only the latter where no machine did."""
    ordered = sorted(waits, key=lambda wait: (not wait.final, not wait.object.startswith("machine/")))
    failed = [wait for wait in ordered if wait.final and wait.object.startswith(("cluster/", "machine/"))]
    return failed + [w for w in ordered if not w.final] if failed else ordered


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _quoted(text: str) -> str:
    """Lines after the first are a log's, and look like it."""
    return text.replace("\n", "\n         | ")
