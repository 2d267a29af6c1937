"""The timing report as JSON for programs and as a table for people; `gantt` draws it."""

from __future__ import annotations

from collections.abc import Iterator

from flatyard.base.world import rfc3339_micro
from flatyard.kube.api import Json
from flatyard.operate.timing import TITLES, Row, Run, Timing, Total

WIDTH = 79
MOST_ROWS = 20
"""Machines of a run that the table shows; the JSON form has all."""


def as_json(report: Timing) -> Json:
    """The report for programs: stamps of the wall clock in RFC 3339, durations in seconds."""
    return {
        "cluster": report.cluster,
        "machines": report.what,
        "simulated": report.simulated,
        "stand_in": report.stand_in,
        "speed": report.speed,
        "runs": [_run_json(run) for run in report.runs],
    }


def _run_json(run: Run) -> Json:
    return {
        "first": run.first,
        "started": rfc3339_micro(run.started),
        "ready": run.ready,
        "seconds": _rounded(run.end),
        "rows": [_row_json(row) for row in run.rows],
        "totals": [
            {
                "phase": total.phase.value,
                "seconds": _rounded(total.seconds),
                "machines": total.machines,
                "longest": _rounded(total.longest),
                "slowest": total.slowest,
            }
            for total in run.totals()
        ],
    }


def _row_json(row: Row) -> Json:
    return {
        "name": row.name,
        "role": row.role or "cluster",
        "gone": row.gone,
        "begin": _rounded(row.begin),
        "seconds": _rounded(row.seconds),
        "registered": _rounded(row.registered),
        "ready": _rounded(row.ready),
        "phases": [
            {
                "phase": span.phase.value,
                "start": rfc3339_micro(span.start),
                "end": None if span.open else rfc3339_micro(span.end),
                "begin": _rounded(span.begin),
                "seconds": _rounded(span.seconds),
            }
            for span in row.spans
        ],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def headline(report: Timing) -> str:
    """What the report is about, in one line that says what is simulated or a stand-in."""
    return f"Cluster {report.cluster} ({report.what})"


def run_title(run: Run) -> str:
    """A run in one line."""
    count = f"{len(run.machines)} machine{'s' if len(run.machines) != 1 else ''}"
    since = "the request" if run.first else "asking for the first"
    if not run.ready:
        return f"{count}, not all Ready {run.end:.1f} s after {since}"
    what = "up" if run.first else f"later, on {run.started:%Y-%m-%d at %H:%M:%S} UTC"
    return f"{what}: {count}, {run.end:.1f} s from {since} to the last Ready node"


def table(report: Timing) -> str:
    """The report as text, in the manner of Ansible's profile_tasks: a machine's longest phase first."""
    lines = [headline(report)]
    for run in report.runs:
        lines += ["", run_title(run), *_rows(run)]
        lines += ["", _dashed("all machines, by phase", "total   longest"), *map(_total, run.totals())]
    return "\n".join(lines)


def _rows(run: Run) -> Iterator[str]:
    slowest = sorted(run.machines, key=lambda row: -row.seconds)[:MOST_ROWS]
    for row in run.rows:
        if row.role and row not in slowest:
            continue
        yield ""
        yield _dashed(_name(row), f"{row.seconds:8.2f}s{_when(row.begin, row.end, open=not _over(row))}")
        parts = sorted(row.spans, key=lambda span: -span.seconds)
        for span in parts:
            value = f"{span.seconds:8.2f}s{_when(span.begin, span.begin + span.seconds, open=span.open)}"
            yield _dashed(f"  {TITLES[span.phase]}", value)
    if len(run.machines) > MOST_ROWS:
        yield ""
        yield f"… and {len(run.machines) - MOST_ROWS} faster machines (-o json has all)"


def _over(row: Row) -> bool:
    return not any(span.open for span in row.spans)


def _name(row: Row) -> str:
    if not row.role:
        return row.name
    return f"{row.name}, {row.role}{', deleted since' if row.gone else ''}"


def _when(begin: float, end: float, *, open: bool) -> str:
    return f"  {begin:8.2f} to {'...' if open else f'{end:.2f}':>8}"


def _total(total: Total) -> str:
    value = f"{total.seconds:8.2f}s {total.longest:8.2f}s"
    return _dashed(f"  {TITLES[total.phase]}", value)


def _dashed(name: str, value: str) -> str:
    return f"{name} {'-' * max(3, WIDTH - len(name) - len(value) - 2)} {value}"
