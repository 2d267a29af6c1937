"""The live tree on a terminal: one line per object, elapsed and expected time. The only user of rich."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from flatyard.controller.events import Event, EventKind

SHOWN = 20
"""Objects shown at once: those at work first, then the newest done."""
STYLES = {"done": ("✓", "green"), "failed": ("✗", "red"), "waiting": ("–", "dim")}
PER_SECOND = 8


class LiveTree:
    """Collects events; `draw` makes the picture of now."""

    def __init__(self, title: str, expected: float) -> None:
        self._title = title
        self._expected = expected
        self._started = asyncio.get_running_loop().time()
        self._events: dict[str, Event] = {}
        self._trouble = ""

    def show(self, event: Event, seconds: float) -> None:
        if event.kind is EventKind.TROUBLE:
            self._trouble = event.sentence
        elif event.kind is EventKind.STEP:
            self._events.pop(event.object, None)
            self._events[event.object] = event

    def draw(self) -> Tree:
        from flatyard.cli.durations import took

        elapsed = asyncio.get_running_loop().time() - self._started
        about = f" of about {took(self._expected)}" if self._expected else ""
        tree = Tree(Text.assemble((self._title, "bold"), f"  {took(elapsed)}{about}"))
        at_work = [e for e in self._events.values() if e.state != "done"]
        done = [e for e in self._events.values() if e.state == "done"]
        room = max(0, SHOWN - len(at_work))
        for event in (*at_work[:SHOWN], *(done[-room:] if room else ())):
            mark, style = STYLES.get(event.state, STYLES["waiting"])
            said = f"  {event.sentence}" if event.sentence else ""
            tree.add(Text.assemble((mark, style), f" {event.object}", (said, "dim")))
        if len(self._events) > SHOWN:
            tree.add(Text(f"… {len(done)} of {len(self._events)} done", "dim"))
        if self._trouble:
            tree.add(Text(f"the reconcilers started again: {self._trouble}", "yellow"))
        return tree


@asynccontextmanager
async def live_tree(title: str, expected: float, *, paint: bool) -> AsyncIterator[LiveTree]:
    """The tree on stderr, drawn some times a second while the block runs; its last picture stays."""
    console = Console(stderr=True, no_color=not paint, highlight=False)
    tree = LiveTree(title, expected)
    with Live(tree.draw(), console=console, auto_refresh=False) as live:
        painter = asyncio.create_task(_paint(tree, live), name="paint")
        try:
            yield tree
        finally:
            painter.cancel()
            live.update(tree.draw(), refresh=True)


async def _paint(tree: LiveTree, live: Live) -> None:
    while True:
        await asyncio.sleep(1 / PER_SECOND)
        live.update(tree.draw(), refresh=True)
