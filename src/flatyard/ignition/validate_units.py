"""Rules for the systemd section."""

from __future__ import annotations

from flatyard.base.patterns import pattern
from flatyard.ignition.report import Entry, Path, error, warning
from flatyard.ignition.types import Dropin, Systemd, Unit
from flatyard.ignition.unitfile import UnitError, sections

UNIT_DIRECTORY = "/etc/systemd/system/"
_SUFFIXES = (
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "snapshot",
    "slice",
    "scope",
)
_Text = frozenset[str] | UnitError | None
"""What stands in a unit: its assignments, what is wrong with it, or nothing."""
_INSTANCE = pattern(r"(.[^@\n]*+)@(.+)\.service")


def check_systemd(systemd: Systemd, found: list[Entry]) -> None:
    """Everything below `systemd`."""
    texts = [_parsed(unit.contents) for unit in systemd.units]
    _check_instances(systemd, texts, found)
    for index, (unit, text) in enumerate(zip(systemd.units, texts, strict=True)):
        at = ("systemd", "units", index)
        _check_unit(unit, text, at, found)
        for position, dropin in enumerate(unit.dropins):
            _check_dropin(dropin, (*at, "dropins", position), found)


def _check_unit(unit: Unit, text: _Text, at: Path, found: list[Entry]) -> None:
    if _extension(unit.name) not in _SUFFIXES:
        found.append(error("invalid systemd unit extension", (*at, "name")))
    if isinstance(text, UnitError):
        found.append(_invalid(text, (*at, "contents")))
    elif text is not None and unit.enabled and "Install" not in text:
        name = _quoted(unit.name)
        what = f"unit {name} is enabled, but has no install section so enable does nothing"
        found.append(warning(what, (*at, "contents")))


def _check_dropin(dropin: Dropin, at: Path, found: list[Entry]) -> None:
    text = _parsed(dropin.contents)
    if isinstance(text, UnitError):
        found.append(_invalid(text, (*at, "contents")))
    if _extension(dropin.name) != "conf":
        found.append(error("invalid systemd drop-in extension", (*at, "name")))


def _parsed(text: str | None) -> _Text:
    try:
        return sections(text) if text else None
    except UnitError as problem:
        return problem


def _invalid(problem: UnitError, at: Path) -> Entry:
    return error(f"invalid unit content: {problem}", at)


def _check_instances(systemd: Systemd, texts: list[_Text], found: list[Entry]) -> None:
    parsed = {unit.name: text for unit, text in zip(systemd.units, texts, strict=True)}
    for index, unit in enumerate(systemd.units):
        match = _INSTANCE.fullmatch(unit.name) if unit.enabled and "@" in unit.name else None
        template = f"{match[1]}@.service" if match else ""
        text = parsed.get(template)
        if isinstance(text, frozenset) and "Install" not in text:
            names = [_quoted(name) for name in (template, unit.name)]
            what = f"template unit {names[0]} for {names[1]} doesn't have Install section"
            found.append(warning(what, ("systemd", "units", index, "contents")))


def _extension(name: str) -> str:
    """What follows the last dot of the last component."""
    last = name.rpartition("/")[2]
    return last.rpartition(".")[2] if "." in last else ""


def _quoted(name: str) -> str:
    import json  # seldom needed, and a twentieth of a short command's time

    return json.dumps(name, ensure_ascii=False)
