"""What a machine says about its own failed first boot, and how to read it off a console.

The block that the node's evidence script prints, one line each, possibly among other console lines and behind
a kernel time stamp:

    flatyard-evidence: unit=UNIT result=RESULT      RESULT is systemd's: exit-code, timeout, success …
    flatyard-evidence| LAST LINE OF ITS LOG         at most 20 lines of at most 200 characters
    flatyard-evidence: end

Ignition fails before any unit runs; its own console lines (`ignition[PID]: … failed …`) are the evidence then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LAST_LINES = 6
"""Different lines of a unit that `told` keeps."""
IGNITION = "ignition"
"""The unit name under which a failure of Ignition itself is told."""
MARK = "flatyard-evidence"
MOST_LINES = 20
LONGEST_LINE = 200

_HEAD = re.compile(rf"{MARK}: unit=(\S+) result=(\S*)\s*$")
_LINE = re.compile(rf"{MARK}\| ?(.*?)\s*$")
_END = re.compile(rf"{MARK}: end\s*$")
_IGNITION = re.compile(r"ignition\[\d+\]: (.*)$")
_FATAL = re.compile(
    r"CRITICAL|Ignition failed|failed to fetch config|\bfailed:|POST message to Platform|error at"
)


@dataclass(frozen=True, slots=True)
class Report:
    """The first failing unit, how it ended, and its last lines."""

    unit: str
    result: str
    lines: tuple[str, ...]


_CHATTER = re.compile(
    r"\.service: (Main process exited|Control process exited|Failed with result|Scheduled restart job)"
    r"|^(Starting|Started|Stopped|Stopping|Failed to start|Finished) .*\.\.?\.?$|level=(info|debug)|stack trace of this"
)
"""What systemd says around a unit's own words, and what is no trouble."""
_TELLING = tuple(
    map(
        re.compile,
        (
            r"^flatyard: ",
            r"(?i)^(?!time=).*no space left on device",
            r"\[ERROR ",
            r"err=|level=(fatal|error)",
            r"(?i)error|fail|fatal",
        ),
    )
)
"""Kinds of lines, the most telling one first."""
_REMEDIES = (
    ("no space left on device", "its disk is full: make room, or give the machine a larger one"),
    (
        "runtime.v1.RuntimeService",
        "containerd runs without its CRI plugin: take cri out of disabled_plugins in /etc/containerd/config.toml",
    ),
    (
        "no kubeadm: is ",
        "flatyard sysext inspect IMAGE tells whether the machine's OS merges it, and why not",
    ),
    ("hash verification failed", "flatyard sysext verify IMAGE: it is not the one that was pinned"),
    ("GET error", "the machine cannot fetch a URL of its config: make it answer, or take it out"),
    ("[preflight]", "kubeadm refuses this machine: take away what its [ERROR …] lines name"),
)
"""What is found in the last words of first boots that failed, and what to do then."""


_PASSING = ('is forbidden: User "system:bootstrap:',)
"""What ends an attempt to join and not the next one: the rights of a token may be younger than the token."""


def is_passing(said: str) -> bool:
    """Whether what `told` says of a first boot may be gone by the unit's next attempt."""
    return any(words in said for words in _PASSING)


def told(unit: str, lines: tuple[str, ...]) -> str:
    """The unit and the line that says most, then its last different lines, one each."""
    own = [line for line in dict.fromkeys(map(str.strip, lines)) if line and not _CHATTER.search(line)]
    best = next(
        (line for kind in _TELLING for line in own if kind.search(line)), own[-1] if own else "failed"
    )
    return "\n".join((f"{unit}: {best}", *own[-LAST_LINES:]))


def remedy(said: str) -> str:
    """What helps where `told` says something known; empty where it does not."""
    return next((helps for words, helps in _REMEDIES if words.lower() in said.lower()), "")


def format_report(report: Report) -> str:
    """The block as a node prints it; also used by simulated machines."""
    lines = [f"{MARK}| {line[:LONGEST_LINE]}" for line in report.lines[-MOST_LINES:]]
    return "\n".join([f"{MARK}: unit={report.unit} result={report.result}", *lines, f"{MARK}: end", ""])


def parse_console(console: str) -> Report | None:
    """The last complete block on a console, else Ignition's own failure, else None."""
    report: Report | None = None
    current: Report | None = None
    for line in console.splitlines():
        head = _HEAD.search(line)
        if head:
            current = Report(head[1], head[2], ())
        elif current and _END.search(line):
            report, current = current, None
        elif current and (found := _LINE.search(line)):
            current = Report(current.unit, current.result, (*current.lines, found[1]))
    return report or _ignition(console)


def _ignition(console: str) -> Report | None:
    said = [match[1].rstrip() for line in console.splitlines() if (match := _IGNITION.search(line))]
    failed = [line for line in said if _FATAL.search(line)]
    return Report(IGNITION, "exit-code", tuple(failed[-MOST_LINES:])) if failed else None
