"""What a console says about a first boot that failed: the node's own evidence block, or Ignition's last
words.
"""

from __future__ import annotations

import re

from flatyard.clouds.cloud import Evidence

KEPT = 20
"""Lines of evidence that are passed on."""
_IGNITION = re.compile(r"ignition\[\d+\]: (?P<text>.*)")
_FAILED = re.compile(r"Ignition failed|failed to fetch config|CRITICAL|\bfailed\b.*\bhash\b", re.IGNORECASE)


def of_console(lines: tuple[str, ...], source: str) -> Evidence | None:
    """The first cause that the console tells; None while it tells of no failure."""
    return _of_ignition(lines, source)


def _of_ignition(lines: tuple[str, ...], source: str) -> Evidence | None:
    found = [match["text"] for match in map(_IGNITION.search, lines) if match]
    if not any(_FAILED.search(text) for text in found):
        return None
    return Evidence("ignition", tuple(found[-KEPT:]), source)
