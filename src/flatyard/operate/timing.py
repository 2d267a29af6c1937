"""Where the time of an `up` went: from the milestones of each machine to phases with a start, an end and seconds.

Pure. What was measured comes from the cluster's background process (`controller.measuring`). Stamps are the wall
clock's; seconds of a simulated cluster are simulated ones, `speed` times as many.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from flatyard.base.world import CROCKFORD, parse_stamp
from flatyard.clouds.cloud import Role
from flatyard.kube.api import Json
from flatyard.node.milestones import Milestone

M = Milestone


class Phase(StrEnum):
    """What a cluster or a machine was at; the values are keys of the JSON form and do not change."""

    SUPPLIES = "supplies"
    NETWORK = "network"
    CREATE = "create"
    IGNITION = "ignition"
    BOOT = "boot"
    SYSEXT = "sysext"
    CONTAINERD = "containerd"
    IMAGES = "images"
    WAIT = "wait"
    INIT = "init"
    DISCOVERY = "discovery"
    JOIN = "join"
    READY = "ready"


TITLES: Mapping[Phase, str] = {
    Phase.SUPPLIES: "supplies",
    Phase.NETWORK: "network and endpoint",
    Phase.CREATE: "create",
    Phase.IGNITION: "Ignition",
    Phase.BOOT: "boot",
    Phase.SYSEXT: "merge the sysext",
    Phase.CONTAINERD: "containerd",
    Phase.IMAGES: "import images",
    Phase.WAIT: "wait for the API",
    Phase.INIT: "kubeadm init",
    Phase.DISCOVERY: "kubeadm discovery",
    Phase.JOIN: "kubeadm join",
    Phase.READY: "node Ready",
}
MEANINGS: Mapping[Phase, str] = {
    Phase.SUPPLIES: "from the request until what all machines need is there",
    Phase.NETWORK: "until the first machine is asked for",
    Phase.CREATE: "from asking for the machine until it is there",
    Phase.IGNITION: "Ignition, with all that it fetches",
    Phase.BOOT: "from power until containerd starts, without Ignition and merging",
    Phase.SYSEXT: "systemd-sysext, and starting what it brought",
    Phase.CONTAINERD: "until containerd answers",
    Phase.IMAGES: "importing image archives into containerd",
    Phase.WAIT: "a machine that joins waits until the API answers",
    Phase.INIT: "kubeadm init",
    Phase.DISCOVERY: "kubeadm join's checks, and its wait until the cluster publishes what a joining node must know",
    Phase.JOIN: "the rest of kubeadm join",
    Phase.READY: "from the node's registration until it is Ready",
}


# ---- what was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One machine's stamps (RFC 3339): `asked` is when its create call left. `gone`: it was deleted since."""

    id: str
    """The instance's; another attempt is another one."""
    name: str
    role: str
    asked: str
    milestones: Mapping[Milestone, str] = field(default_factory=dict)
    gone: bool = False

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to measure."""
        return M.READY in self.milestones

    @classmethod
    def of(cls, raw: Json) -> Measured:
        """From its JSON form; milestones of a newer release are passed over."""
        found = {M(k): str(v) for k, v in raw["milestones"].items() if k in M.__members__.values()}
        return cls(**{**raw, "milestones": found})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """All that is known of one cluster. `started`: when it was asked for; `supplied`: empty where not told."""

    cluster: str
    what: str
    """What its machines are, in words: never more than is true."""
    simulated: bool
    stand_in: bool
    speed: float
    now: str
    started: str
    supplied: str = ""
    machines: tuple[Measured, ...] = ()

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, text: str | bytes) -> Measurements:
        raw = json.loads(text)
        return cls(**{**raw, "machines": tuple(Measured.of(machine) for machine in raw["machines"])})


def minted(ulid: str) -> datetime:
    """When a ULID was made, to the millisecond; raises ValueError for anything else."""
    if len(ulid) != 26:
        raise ValueError(f"{ulid!r} is no ULID")
    number = 0
    for character in ulid[:10].upper():
        number = number << 5 | CROCKFORD.index(character)
    return datetime.fromtimestamp(number / 1000, UTC)


# ---- what follows from it


@dataclass(frozen=True, slots=True)
class Span:
    """A phase's time, or a part of it. `begin` and `seconds` count from the start of its run; `open`: not over."""

    phase: Phase
    start: datetime
    end: datetime
    begin: float
    seconds: float
    open: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A machine's time from when it was asked for, or the cluster's own (`role` empty).

    `registered` and `ready` are seconds from the start of the run, None where that has not happened.
    """

    name: str
    role: str
    begin: float
    end: float
    spans: tuple[Span, ...]
    registered: float | None = None
    ready: float | None = None
    gone: bool = False

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def by_phase(self) -> dict[Phase, float]:
        """Seconds of each phase, the longest first."""
        found: dict[Phase, float] = {}
        for span in self.spans:
            found[span.phase] = found.get(span.phase, 0.0) + span.seconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class Total:
    """A phase over all machines of a run."""

    phase: Phase
    seconds: float
    machines: int
    longest: float
    slowest: str
    """The machine that took longest."""


@dataclass(frozen=True, slots=True)
class Run:
    """Machines that were made together: those of the first `up`, or later ones. `ended` is the last Ready."""

    first: bool
    started: datetime
    rows: tuple[Row, ...]
    end: float
    ready: bool
    """Every machine of it became Ready."""

    @property
    def machines(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.role)

    def totals(self) -> tuple[Total, ...]:
        """Each phase over all rows, the longest first."""
        found = []
        for phase in Phase:
            rows = [(row.by_phase()[phase], row.name) for row in self.rows if phase in row.by_phase()]
            if rows:
                longest, slowest = max(rows, key=lambda pair: pair[0])
                found.append(Total(phase, sum(s for s, _ in rows), len(rows), longest, slowest))
        return tuple(sorted(found, key=lambda total: -total.seconds))


@dataclass(frozen=True, slots=True)
class Timing:
    """The report of one cluster."""

    cluster: str
    what: str
    simulated: bool
    stand_in: bool
    speed: float
    runs: tuple[Run, ...]


def timing(found: Measurements) -> Timing:
    """The report. Machines that were asked for after all former ones were ready are a run of their own."""
    groups: list[list[Measured]] = [[]]
    latest = parse_stamp(found.started)
    for machine in sorted(found.machines, key=lambda m: (m.asked, m.name)):
        asked = parse_stamp(machine.asked)
        if groups[-1] and asked > latest:
            groups.append([])
        groups[-1].append(machine)
        latest = max(latest, _end(machine, found))
    runs = tuple(_run(found, group, first=not number) for number, group in enumerate(groups) if group)
    return Timing(found.cluster, found.what, found.simulated, found.stand_in, found.speed, runs)


def _end(machine: Measured, found: Measurements) -> datetime:
    """When a machine was ready; one that is not has not ended."""
    if not machine.complete and not machine.gone:
        return parse_stamp(found.now)
    return max(parse_stamp(stamp) for stamp in (machine.asked, *machine.milestones.values()))


def _run(found: Measurements, machines: Sequence[Measured], *, first: bool) -> Run:
    asked = min(parse_stamp(machine.asked) for machine in machines)
    clock = _Clock(min(asked, parse_stamp(found.started)) if first else asked, found)
    order = sorted(machines, key=lambda m: (m.role != Role.CONTROL_PLANE, m.asked, m.name))
    rows = [_row(machine, clock) for machine in order]
    if first and asked > clock.zero:
        rows.insert(0, _cluster(found, asked, clock))
    end = max(row.end for row in rows)
    return Run(first, clock.zero, tuple(rows), end, all(m.complete for m in machines))


class _Clock:
    """Seconds of a run, simulated ones where the cluster is."""

    def __init__(self, zero: datetime, found: Measurements) -> None:
        self.zero = zero
        self.now = parse_stamp(found.now)
        self._speed = found.speed

    def at(self, stamp: datetime) -> float:
        return (stamp - self.zero).total_seconds() * self._speed

    def span(self, phase: Phase, start: datetime, end: datetime, *, open: bool = False) -> Span:
        return Span(phase, start, end, self.at(start), self.at(end) - self.at(start), open)


def _cluster(found: Measurements, asked: datetime, clock: _Clock) -> Row:
    """What comes before the first machine is asked for; supplies that were told of later are not the first ones."""
    supplied = parse_stamp(found.supplied) if found.supplied else clock.zero
    supplied = supplied if supplied <= asked else clock.zero
    spans = [clock.span(Phase.SUPPLIES, clock.zero, supplied)] if supplied > clock.zero else []
    if asked > supplied:
        spans.append(clock.span(Phase.NETWORK, supplied, asked))
    return Row("cluster", "", 0.0, clock.at(asked), tuple(spans))


def _row(machine: Measured, clock: _Clock) -> Row:
    stamps = {name: parse_stamp(stamp) for name, stamp in machine.milestones.items()}
    asked = parse_stamp(machine.asked)
    spans = tuple(sorted(_spans(machine, asked, stamps, clock), key=lambda span: span.begin))
    ends = [clock.at(asked), *(clock.at(s) for s in stamps.values()), *(s.begin + s.seconds for s in spans)]
    registered, ready = stamps.get(M.REGISTERED), stamps.get(M.READY)
    return Row(
        machine.name,
        machine.role,
        clock.at(asked),
        clock.at(ready) if ready else max(ends),
        spans,
        clock.at(registered) if registered else None,
        clock.at(ready) if ready else None,
        machine.gone,
    )


_BETWEEN: tuple[tuple[Phase, Milestone, Milestone], ...] = (
    (Phase.IGNITION, M.IGNITION, M.IGNITED),
    (Phase.SYSEXT, M.MERGING, M.MERGED),
    (Phase.CONTAINERD, M.CONTAINERD_STARTING, M.CONTAINERD),
    (Phase.IMAGES, M.IMPORTING, M.IMPORTED),
    (Phase.INIT, M.INITIALISING, M.JOINED),
    (Phase.WAIT, M.WAITING, M.JOINING),
    (Phase.READY, M.REGISTERED, M.READY),
)


def _spans(
    machine: Measured, asked: datetime, stamps: Mapping[Milestone, datetime], clock: _Clock
) -> Iterator[Span]:
    """All phases that have begun; of a machine that is not ready the last one is open."""
    running = not (machine.complete or machine.gone)
    there = min((stamps[m] for m in (M.IGNITION, M.POWER) if m in stamps), default=None)
    if there or running:
        yield clock.span(Phase.CREATE, asked, max(asked, there or clock.now), open=there is None)
    # a node registers while kubeadm still runs
    latest = max((stamp for name, stamp in stamps.items() if name is not M.REGISTERED), default=asked)
    for phase, begin, end in (*_BETWEEN, *_joining(stamps)):
        if begin in stamps and end in stamps:
            yield clock.span(phase, stamps[begin], max(stamps[begin], stamps[end]))
        elif begin in stamps and running and (begin is M.REGISTERED or stamps[begin] == latest):
            yield clock.span(phase, stamps[begin], clock.now, open=True)
    if M.POWER in stamps:
        yield from _boot(stamps, clock, running=running)


def _joining(stamps: Mapping[Milestone, datetime]) -> Iterator[tuple[Phase, Milestone, Milestone]]:
    """kubeadm join in two parts; in one where the machine has joined without telling them apart (simulated)."""
    if M.JOINED in stamps and M.DISCOVERED not in stamps:
        yield Phase.JOIN, M.JOINING, M.JOINED
    else:
        yield Phase.DISCOVERY, M.JOINING, M.DISCOVERED
        yield Phase.JOIN, M.DISCOVERED, M.JOINED


def _boot(stamps: Mapping[Milestone, datetime], clock: _Clock, *, running: bool) -> Iterator[Span]:
    """From power until containerd starts, in the parts that other phases leave of it."""
    begin = stamps[M.POWER]
    ends = [stamps[m] for m in (M.CONTAINERD_STARTING, M.CONTAINERD) if m in stamps]
    for start, end in ((M.IGNITION, M.IGNITED), (M.MERGING, M.MERGED)):
        if start not in stamps or stamps[start] < begin:
            continue
        yield clock.span(Phase.BOOT, begin, stamps[start])
        if end not in stamps:
            return
        begin = stamps[end]
    if ends:
        yield clock.span(Phase.BOOT, begin, max(begin, ends[0]))
    elif running:
        yield clock.span(Phase.BOOT, begin, clock.now, open=True)
