"""What shall go wrong in a simulation, written as `rehearse --fault` takes it.

    WHAT:KIND[=VALUE][@KEY=VALUE[,KEY=VALUE …]]

    create:transient@p=0.1          every tenth create fails before it happens
    create:lost-reply@n=3           the third create happens, its reply is lost
    quota:instances=5               the account may run five instances
    zone:us-east-1a=down@t=60       a zone fails after a minute
    list:lag=30                     lists show an instance up to 30 s late
    boot:hang@machine=2             the second instance never boots
    sysext:corrupt@machine=1        the first instance's Kubernetes extension arrives with a flipped byte
    rate:rps=2                      two calls a second in the long run

`FAULTS` is the whole list. Conditions: `p` probability, `n` the how-manieth such call, `t` seconds from the
start, `for` seconds that it lasts, `machine` the how-manieth instance.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flatyard.base.errors import InvalidInput, Position, Problem, Severity

_CALL_KEYS = ("p", "n", "t", "for")
_TIME_KEYS = ("t", "for")
_MACHINE_KEYS = ("machine", "p")
CALLS = ("create", "delete", "restart", "list", "network", "endpoint", "image", "stash", "any")
"""What a fault at the door may concern: groups of the provider's operations."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. `value`: what stands after `=`, empty for nothing; `name` None: any name."""

    what: str
    name: str | None
    value: str
    keys: tuple[str, ...]
    says: str
    needs: str = ""
    """The key without which it means nothing."""


_AT_THE_DOOR = (
    ("transient", "the call fails before it happens, as a server error does"),
    ("lost-reply", "the call happens, and its reply is lost"),
    ("rate", "the call is refused as one too many"),
    ("capacity", "the call is refused for lack of capacity"),
    ("forbidden", "the call is refused for lack of permission"),
)

FAULTS: tuple[Kind, ...] = (
    *(Kind(call, name, "", _CALL_KEYS, says) for call in CALLS for name, says in _AT_THE_DOOR),
    Kind(
        "list",
        "lag",
        "seconds",
        _TIME_KEYS,
        "lists show a new instance up to so many seconds late, and the cloud says so",
    ),
    Kind("quota", "instances", "count", _TIME_KEYS, "the account may have so many instances"),
    Kind("quota", "vcpus", "count", _TIME_KEYS, "the account may use so many vCPUs"),
    Kind("quota", "addresses", "count", _TIME_KEYS, "the account may have so many addresses"),
    Kind("quota", "networks", "count", _TIME_KEYS, "the account may have so many networks"),
    Kind("quota", "load-balancers", "count", _TIME_KEYS, "the account may have so many load balancers"),
    Kind("zone", None, "down|full", _TIME_KEYS, "a zone fails (down), or takes no new instance (full)"),
    Kind("image", "lag", "days", (), "images show up so many days after their release"),
    Kind("latency", "times", "factor", _TIME_KEYS, "every call takes so many times as long"),
    Kind("rate", "rps", "number", _TIME_KEYS, "the account may make so many calls a second in the long run"),
    Kind("boot", "hang", "", _MACHINE_KEYS, "the instance runs and its machine never boots"),
    Kind("boot", "slow", "seconds", _MACHINE_KEYS, "the machine boots so much later"),
    Kind(
        "instance",
        "vanish",
        "",
        ("machine", "t"),
        "somebody deletes the instance behind our back",
        needs="machine",
    ),
    Kind("sysext", "corrupt", "", _MACHINE_KEYS, "the Kubernetes extension arrives with a flipped byte"),
    Kind("sysext", "missing", "", _MACHINE_KEYS, "the Kubernetes extension is not found"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that shall go wrong. Unset conditions hold always."""

    what: str
    name: str
    value: str = ""
    probability: float = 1.0
    nth: int = 0
    at: float = 0.0
    lasts: float = 0.0
    machine: int = 0
    text: str = ""
    position: Position | None = field(default=None, compare=False)

    @property
    def number(self) -> float:
        """The value as a number; 0 where it is none."""
        return float(self.value) if _NUMBER.fullmatch(self.value) else 0.0


_NUMBER = re.compile(r"\d+(\.\d+)?")
_FORM = re.compile(r"(?P<what>[^:@=]+):(?P<name>[^@=]+)(?:=(?P<value>[^@]*))?(?:@(?P<conditions>.*))?")
_VALUES = {
    "seconds": (_NUMBER, "a number of seconds"),
    "days": (_NUMBER, "a number of days"),
    "count": (re.compile(r"[1-9]\d*"), "a whole number from 1"),
    "factor": (_NUMBER, "a number"),
    "number": (re.compile(r"(?!0+(\.0*)?$)\d+(\.\d+)?"), "a number above 0"),
    "down|full": (re.compile(r"down|full"), "down, full"),
}
_CONDITIONS = {
    "p": (re.compile(r"0(\.\d+)?|1(\.0+)?"), "a probability from 0 to 1"),
    "n": (re.compile(r"[1-9]\d*"), "a whole number from 1"),
    "machine": (re.compile(r"[1-9]\d*"), "a whole number from 1"),
    "t": (_NUMBER, "a number of seconds"),
    "for": (_NUMBER, "a number of seconds"),
}


def parse_faults(texts: Iterable[str]) -> tuple[Fault, ...]:
    """Read every `--fault`; raises InvalidInput with all errors, each at its column of its `--fault`."""
    faults: list[Fault] = []
    problems: list[Problem] = []
    for number, text in enumerate(texts, 1):
        reader = _Reader(text, number)
        fault = reader.read()
        problems += reader.problems
        if fault and not reader.problems:
            faults.append(fault)
    if problems:
        raise InvalidInput(problems, next="see `flatyard rehearse --help` for the list of faults")
    return tuple(faults)


def describe() -> str:
    """The list of faults as text, one line each, for help and documents."""
    lines = []
    for kind in FAULTS:
        if kind.what in CALLS[1:] and kind.name in dict(_AT_THE_DOOR):
            continue
        value = f"={kind.value.upper()}" if kind.value else ""
        keys = f"[@{','.join(kind.keys)}]" if kind.keys else ""
        what = "CALL" if kind.what == "create" else kind.what
        lines.append(f"{what}:{kind.name or 'NAME'}{value}{keys}".ljust(44) + kind.says)
    return "\n".join([*lines, f"CALL is one of {', '.join(CALLS)}."])


class _Reader:
    """Reads one fault and notes what is wrong with it, and where."""

    def __init__(self, text: str, number: int) -> None:
        self.text = text
        self.problems: list[Problem] = []
        self._number = number

    def read(self) -> Fault | None:
        match = _FORM.fullmatch(self.text)
        if match is None:
            self._wrong(0, f"{self.text!r} is not a fault", "WHAT:KIND[=VALUE][@KEY=VALUE,…]")
            return None
        kind = self._kind(match)
        if kind is None:
            return None
        self._check_value(kind, match)
        conditions = dict(self._conditions(kind, match))
        if kind.needs and kind.needs not in conditions and not self.problems:
            self._wrong(
                len(self.text), f"{kind.what}:{kind.name} needs @{kind.needs}=", _CONDITIONS[kind.needs][1]
            )
        return Fault(
            what=kind.what,
            name=match["name"],
            value=match["value"] or "",
            probability=float(conditions.get("p", "1")),
            nth=int(conditions.get("n", "0")),
            at=float(conditions.get("t", "0")),
            lasts=float(conditions.get("for", "0")),
            machine=int(conditions.get("machine", "0")),
            text=self.text,
            position=Position("--fault", self._number, match.start("name") + 1),
        )

    def _kind(self, match: re.Match[str]) -> Kind | None:
        same = [kind for kind in FAULTS if kind.what == match["what"]]
        if not same:
            names = tuple(dict.fromkeys(kind.what for kind in FAULTS))
            self._wrong(
                match.start("what"), f"{match['what']!r} cannot fail", *_allowed(match["what"], names)
            )
            return None
        for kind in same:
            if kind.name in (None, match["name"]):
                return kind
        names = tuple(kind.name for kind in same if kind.name)
        what = f"{match['what']} has no fault {match['name']!r}"
        self._wrong(match.start("name"), what, *_allowed(match["name"], names))
        return None

    def _check_value(self, kind: Kind, match: re.Match[str]) -> None:
        value = match["value"]
        if not kind.value:
            if value is not None:
                self._wrong(match.start("value"), f"{kind.what}:{kind.name} takes no value")
            return
        pattern, allowed = _VALUES[kind.value]
        if value is None:
            self._wrong(match.end("name"), f"{kind.what}:{match['name']} needs a value", allowed)
        elif not pattern.fullmatch(value):
            self._wrong(match.start("value"), f"{value!r} is not allowed", allowed)

    def _conditions(self, kind: Kind, match: re.Match[str]) -> Iterator[tuple[str, str]]:
        if match["conditions"] is None:
            return
        column = match.start("conditions")
        for part in match["conditions"].split(","):
            key, _, value = part.partition("=")
            pattern, allowed = _CONDITIONS.get(key, (_NUMBER, ""))
            if key not in kind.keys:
                what = f"{kind.what}:{match['name']} has no condition {key!r}"
                self._wrong(column, what, ", ".join(kind.keys) or "none")
            elif not pattern.fullmatch(value):
                self._wrong(column + len(key) + 1, f"{key} is {value!r}", allowed)
            else:
                yield key, value
            column += len(part) + 1

    def _wrong(self, column: int, what: str, allowed: str = "", suggestion: str = "") -> None:
        position = Position("--fault", self._number, column + 1)
        self.problems.append(Problem(Severity.ERROR, position, "", what, allowed, suggestion))


def _allowed(word: str, names: tuple[str, ...]) -> tuple[str, str]:
    near = difflib.get_close_matches(word, names, 1)
    return ", ".join(names), near[0] if near else ""
