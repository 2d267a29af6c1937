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


timeout = click.option(
    "--timeout",
    type=Duration(),
    default="10m",
    show_default=True,
    help="How long to watch; work goes on after.",
)


def took(seconds: float) -> str:
    """`850ms`, `4.2s`, `6m 03s`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    return f"{int(seconds) // 60}m {int(seconds) % 60:02}s"
