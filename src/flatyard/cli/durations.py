"""Lengths of time: `--timeout 10m`, and how long something took."""

from __future__ import annotations

import re

import click

_FORM = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")


class Duration(click.ParamType[float]):
    """A length of time in seconds, written as 90, 90s, 10m or 1h30m."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        match = _FORM.fullmatch(value) if value else None
        if match is None or not any(match.groups()):
            self.fail(f"{value!r} is not a length of time; write 90s, 10m or 1h30m", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds


SHORT, LONG = 600.0, 3600.0
QUICK = ("sim", "local", "")
"""Clouds on which minutes are enough; the empty name is that of a cluster which is not known (any more)."""

timeout = click.option(
    "--timeout",
    type=Duration(),
    help="How long to watch; work goes on after.  [default: 10m on sim and local, 1h on other clouds]",
)


def patience(timeout: float | None, cloud: str) -> float:
    """Seconds to watch a cluster on `cloud`, as it is called in a cluster file: what was asked for, or the default.

    On other clouds a control plane takes two to four minutes, they come one after the other, and a slow day of the
    cloud takes several times as long.
    """
    if timeout is not None:
        return timeout
    return SHORT if cloud in QUICK else LONG


def took(seconds: float) -> str:
    """`850ms`, `4.2s`, `6m 03s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    return f"{int(seconds) // 60}m {int(seconds) % 60:02}s"
