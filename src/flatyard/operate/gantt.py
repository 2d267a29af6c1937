"""The timing report as a picture: an SVG with one row per machine, and a page of HTML with it and the figures.

Both stand alone: no script, no font and no address of anything else. Colours follow the viewer's scheme where the
viewer tells it (prefers-color-scheme), and are light otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

from flatyard.operate.timing import (
    MEANINGS,
    TITLES,
    Phase,
    Row,
    Run,
    Span,
    Timing,
    Total,
)
from flatyard.operate.timing_report import headline, run_title

COLORS: Mapping[Phase, str] = {
    Phase.SUPPLIES: "#8c959f",
    Phase.NETWORK: "#5b7a99",
    Phase.CREATE: "#d4a017",
    Phase.IGNITION: "#e0632f",
    Phase.BOOT: "#4a7fc1",
    Phase.SYSEXT: "#2ba6a0",
    Phase.CONTAINERD: "#8e63ce",
    Phase.IMAGES: "#6f9e3f",
    Phase.WAIT: "#a9a29a",
    Phase.INIT: "#c2377e",
    Phase.DISCOVERY: "#b98ad6",
    Phase.JOIN: "#d8588f",
    Phase.READY: "#2da44e",
}
"""Of middle brightness, so that they stand out from white and from black; neighbours in time differ in hue."""

WIDTH = 1000
LEFT = 246
RIGHT = 76
PLOT = WIDTH - LEFT - RIGHT
ROW = 40
BAR = 18
LANE = 5
"""Height of the line below the bar: from the node's registration, which is while kubeadm runs, until Ready."""
TICKS = 8
NAME = 33
"""Characters of a machine's name that fit to the left; of longer ones the middle is left out."""
CHARACTER = 6.2
"""Width of a figure inside of a bar."""

_STYLE = """\
text{font:12px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1f2328}
.paper{fill:#ffffff}.title{font-size:17px;font-weight:600}.run{font-size:13px;font-weight:600}
.soft{fill:#59636e}.small{font-size:11px}.grid{stroke:#d1d9e0;stroke-width:1}.rule{stroke:#818b98;stroke-width:1}
.in{fill:#ffffff;font-size:11px}.on{font-size:11px;paint-order:stroke;stroke:#ffffff;stroke-width:3px}
.flag{fill:#1a7f37}.open{fill-opacity:.55}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.paper{fill:#0d1117}.soft{fill:#9198a1}
.grid{stroke:#2a313c}.rule{stroke:#656c76}.in{fill:#ffffff}.on{stroke:#0d1117}.flag{fill:#3fb950}}
"""
_HATCH = (
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="{0}" fill-opacity=".35"/><rect width="2" height="6" fill="{0}"/></pattern>'
)


def svg(report: Timing) -> str:
    """The picture. Its size grows with the number of machines; wider screens scale it."""
    legend = tuple(_legend(report))
    body: list[str] = []
    top = 62.0 + _LINE * (1 + max((item.line for item in legend), default=0)) + 14
    for run in report.runs:
        drawn, top = _run(run, top)
        body += drawn
    height = round(top + 8)
    colors = "".join(f".{phase.value}{{fill:{_fill(phase)}}}" for phase in Phase)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="{escape(headline(report))}">',
        f"<style>{_STYLE}{colors}</style>",
        f"<defs>{_HATCH.format(COLORS[Phase.WAIT])}</defs>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        _text(16, 30, f"Cluster {report.cluster}", "title"),
        _text(16, 50, f"{report.what}; at the right: seconds from asking for it until Ready", "soft"),
    ]
    return "\n".join([*head, *(item.drawn for item in legend), *body, "</svg>"]) + "\n"


def _fill(phase: Phase) -> str:
    """Waiting is hatched: nothing is done in it."""
    return "url(#hatch)" if phase is Phase.WAIT else COLORS[phase]


# ---- the legend

_LINE = 20.0
_BOX = 12


@dataclass(frozen=True, slots=True)
class _Item:
    line: int
    drawn: str


def _legend(report: Timing) -> Iterator[_Item]:
    """The phases that there are, with a colour each; then what the flag means."""
    seen = [span.phase for run in report.runs for row in run.rows for span in row.spans]
    left, line = 16.0, 0
    for phase in (phase for phase in Phase if phase in seen):
        width = _BOX + 6 + 6.4 * len(TITLES[phase]) + 18
        if left + width > WIDTH - 16:
            left, line = 16.0, line + 1
        y = 66 + _LINE * line
        box = f'<rect class="{phase.value}" x="{left:.0f}" y="{y:.0f}" width="{_BOX}" height="{_BOX}" rx="2">'
        words = _text(left + _BOX + 6, y + 10, TITLES[phase], "small")
        yield _Item(line, f"{box}<title>{escape(MEANINGS[phase])}</title></rect>{words}")
        left += width


# ---- one run


def _run(run: Run, top: float) -> tuple[list[str], float]:
    """A run's rows on an axis of their own, and where the next one may begin."""
    length = max((span.begin + span.seconds for row in run.rows for span in row.spans), default=run.end)
    scale = PLOT / max(length, run.end, 0.001)
    first, bottom = top + 32, top + 32 + ROW * len(run.rows)
    drawn = [_text(16, top + 12, run_title(run), "run")]
    for tick in ticks(length):
        x = LEFT + tick * scale
        drawn.append(f'<path class="grid" d="M{x:.1f} {first - 6:.1f}V{bottom:.1f}"/>')
        drawn.append(_text(x, bottom + 14, f"{tick:g} s", "soft small", "middle"))
    for number, row in enumerate(run.rows):
        drawn += _row(row, first + ROW * number, scale)
    drawn.append(f'<path class="rule" d="M{LEFT} {bottom:.1f}H{WIDTH - RIGHT}"/>')
    return drawn, bottom + 34


def ticks(length: float) -> tuple[float, ...]:
    """Round seconds from 0 to `length`, at most TICKS and one: ones, twos and fives of a power of ten, or minutes."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
    step = next((step for step in steps if length / step <= TICKS), 3600.0)
    while length / step > TICKS:
        step *= 2
    return tuple(round(step * number, 1) for number in range(int(length / step) + 1))


def _row(row: Row, top: float, scale: float) -> Iterator[str]:
    name = row.name if len(row.name) <= NAME else f"{row.name[: NAME // 2]}…{row.name[-(NAME // 2) :]}"
    role = f"{row.role}{', deleted since' if row.gone else ''}" if row.role else "before the first machine"
    yield f"<g><title>{escape(row.name)}</title>"
    yield _text(16, top + 13, name)
    yield _text(16, top + 27, role, "soft small")
    bars = [span for span in row.spans if span.phase is not Phase.READY]
    for span in bars:
        yield _bar(span, top, BAR, scale)
    for span in (span for span in row.spans if span.phase is Phase.READY):
        yield _bar(span, top + BAR + 2, LANE, scale)
    if row.ready is not None:
        x, y = LEFT + row.ready * scale, top + BAR + 2 + LANE / 2
        title = f"<title>Ready at {row.ready:.2f} s</title>"
        yield f'<path class="flag" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z">{title}</path>'
    end = max([row.end, *(span.begin + span.seconds for span in row.spans)])
    word = f"{row.seconds:.1f} s" + (" …" if any(span.open for span in row.spans) else "")
    yield _text(LEFT + end * scale + 8, top + 13, word)
    yield "</g>"


def _bar(span: Span, top: float, height: float, scale: float) -> str:
    x, width = LEFT + span.begin * scale, max(span.seconds * scale, 0.5)
    title = f"{TITLES[span.phase]}: {span.seconds:.2f} s{', not over' if span.open else ''}"
    kind = f"{span.phase.value} open" if span.open else span.phase.value
    bar = f'<rect class="{kind}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height}">'
    figure = f"{span.seconds:.1f}"
    bar += f"<title>{escape(title)}</title></rect>"
    if height < BAR or width < CHARACTER * len(figure) + 8:
        return bar
    style = "on" if span.phase is Phase.WAIT else "in"
    return bar + _text(x + width / 2, top + 13, figure, style, "middle")


def _text(x: float, y: float, words: str, style: str = "", anchor: str = "") -> str:
    more = f' class="{style}"' if style else ""
    more += f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'


# ---- a page

_PAGE = """\
:root{color-scheme:light dark;--ink:#1f2328;--paper:#ffffff;--soft:#59636e;--line:#d1d9e0}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--soft:#9198a1;--line:#2a313c}}
body{margin:24px auto;max-width:1040px;padding:0 16px;background:var(--paper);color:var(--ink);
font:14px/1.45 system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
svg{max-width:100%;height:auto}h2{font-size:16px;margin:28px 0 8px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;margin-bottom:16px}
th,td{text-align:left;padding:3px 10px 3px 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:500}td.n,th.n{text-align:right}tr.machine td{font-weight:600;padding-top:14px}
i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:8px}
p{color:var(--soft)}
"""


_SIMULATED = "Everything here is simulated; seconds are simulated ones, counted from the start of each run."
_WHOLE = (
    "Seconds count from the start of each run. Kubernetes stamps a node's registration and when it is Ready in whole "
    "seconds."
)


def html(report: Timing) -> str:
    """The picture and its figures as one page."""
    colors = "".join(f"i.{phase.value}{{background:{COLORS[phase]}}}" for phase in Phase)
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(headline(report))}</title>\n<style>{_PAGE}{colors}</style>",
        svg(report).rstrip(),
    ]
    for run in report.runs:
        parts += [f"<h2>{escape(run_title(run))}</h2>", *_figures(run)]
    note = _SIMULATED if report.simulated else _WHOLE
    return "\n".join([*parts, f"<p>{note}</p>", "</html>"]) + "\n"


def _figures(run: Run) -> Iterator[str]:
    yield "<table><tr><th>phase<th class=n>seconds<th class=n>from<th class=n>to</tr>"
    for row in run.rows:
        words = f"{row.name}, {row.role}" if row.role else row.name
        over = not any(span.open for span in row.spans)
        yield _cells(escape(words), row.seconds, row.begin, row.end if over else None, " class=machine")
        for span in sorted(row.spans, key=lambda span: -span.seconds):
            end = None if span.open else span.begin + span.seconds
            yield _cells(_named(span.phase), span.seconds, span.begin, end)
    yield "</table>"
    yield "<table><tr><th>all machines, by phase<th class=n>total<th class=n>longest<th>which</tr>"
    yield from (_total(total) for total in run.totals())
    yield "</table>"


def _named(phase: Phase) -> str:
    return f'<i class="{phase.value}"></i><span title="{escape(MEANINGS[phase])}">{TITLES[phase]}</span>'


def _cells(first: str, seconds: float, begin: float, end: float | None, style: str = "") -> str:
    to = "…" if end is None else f"{end:.2f}"
    return f"<tr{style}><td>{first}<td class=n>{seconds:.2f}<td class=n>{begin:.2f}<td class=n>{to}</tr>"


def _total(total: Total) -> str:
    return (
        f"<tr><td>{_named(total.phase)}<td class=n>{total.seconds:.2f}<td class=n>{total.longest:.2f}"
        f"<td>{escape(total.slowest)}</tr>"
    )
