"""Following the background process until a round has ended: a live tree on a terminal, one line per change without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from flatyard.base.errors import Failed, FlatyardError, PartlyDone
from flatyard.cli.talk import Talk
from flatyard.controller.events import Event, EventKind, WaitLine
from flatyard.controller.launch import Start, link_to
from flatyard.controller.link import Broken, Link
from flatyard.controller.places import Places

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


def took(seconds: float) -> str:
    """`850ms`, `4.2s`, `6m 03s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    return f"{int(seconds) // 60}m {int(seconds) % 60:02}s"


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
    timeout: float = 600.0
    expected: float = 0.0
    again: str = ""
    """The command that goes on, for sentences."""
    last: dict[str, str] = field(default_factory=dict)

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
            self.last[event.object] = "" if event.state == "done" else event.sentence
            shown.show(event, loop.time() - started)
        raise AssertionError

    def _last_reason(self) -> str:
        reasons = [f"{name}: {sentence}" for name, sentence in self.last.items() if sentence]
        return "; ".join(reasons[:3]) + (f" and {len(reasons) - 3} more" if len(reasons) > 3 else "")


def failed(event: Event, name: str) -> FlatyardError:
    """The error for an outcome with waits that will not end by themselves."""
    first = min(event.waits, key=lambda wait: (not wait.object.startswith("machine/"), not wait.final))
    others = len(event.waits) - 1
    return Failed(
        f"cluster {name} is not done: {first.object}: {first.reason}",
        why=f"{others} more wait" + ("s" if others == 1 else "") if others else "",
        next=first.next or f"flatyard status {name}",
    )


def reasons(waits: tuple[WaitLine, ...]) -> str:
    return "\n".join(f"  {wait.object}: {wait.reason}" for wait in waits)
