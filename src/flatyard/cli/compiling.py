"""How compiling is shown: a line for each component, and on a terminal one line more that moves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flatyard.cli.talk import Talk
    from flatyard.sysext.source import Progress

_CLEAR = "\r\x1b[K"


@contextmanager
def shown(talk: Talk) -> Iterator[Shown]:
    """`say` and `watch` for `flatyard.sysext.source`; the moving line is gone at the end, whatever happened."""
    lines = Shown(talk)
    try:
        yield lines
    finally:
        lines.clear()


class Shown:
    """Writes lines, and rewrites the last one while a component is compiled."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._moving = False

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._talk.say(text)

    def watch(self, progress: Progress) -> None:
        """The line that moves, cut to the terminal's width so that it stays one."""
        if not self._talk.live:
            return
        sys.stderr.write(f"{_CLEAR}{str(progress)[: (self._talk.width or 80) - 1]}")
        sys.stderr.flush()
        self._moving = True

    def clear(self) -> None:
        """Take the moving line away."""
        if self._moving:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._moving = False
