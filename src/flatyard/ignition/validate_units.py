"""Rules for the systemd section."""

from __future__ import annotations

import json
import re

from flatyard.ignition.report import Entry, Path, error, warning
from flatyard.ignition.types import Dropin, Systemd, Unit
from flatyard.ignition.unitfile import Option, UnitError, parse_unit
from flatyard.ignition.validate_resource import check_duplicates

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
_INSTANCE = re.compile(r"(.+?)@(.+?)\.service")


def check_systemd(systemd: Systemd, found: list[Entry]) -> None:
    """Everything below `systemd`."""
    check_duplicates((u.name for u in systemd.units), ("systemd", "units"), found)
    parsed = {}
    for index, unit in enumerate(systemd.units):
        at = ("systemd", "units", index)
        parsed[unit.name] = _check_unit(unit, at, found)
        check_duplicates((d.name for d in unit.dropins), (*at, "dropins"), found)
        for position, dropin in enumerate(unit.dropins):
            _check_dropin(dropin, (*at, "dropins", position), found)
    _check_instances(systemd, parsed, found)


def _check_unit(unit: Unit, at: Path, found: list[Entry]) -> tuple[Option, ...] | None:
    """The assignments of a unit that has a text which can be read."""
    if _extension(unit.name) not in _SUFFIXES:
        found.append(error("invalid systemd unit extension", (*at, "name")))
    if not unit.contents:
        return None
    options = _parsed(unit.contents, (*at, "contents"), found)
    if options is not None and unit.enabled and not _has_install(options):
        name = json.dumps(unit.name, ensure_ascii=False)
        text = f"unit {name} is enabled, but has no install section so enable does nothing"
        found.append(warning(text, (*at, "contents")))
    return options


def _check_dropin(dropin: Dropin, at: Path, found: list[Entry]) -> None:
    if dropin.contents:
        _parsed(dropin.contents, (*at, "contents"), found)
    if _extension(dropin.name) != "conf":
        found.append(error("invalid systemd drop-in extension", (*at, "name")))


def _parsed(text: str, at: Path, found: list[Entry]) -> tuple[Option, ...] | None:
    try:
        return parse_unit(text)
    except UnitError as problem:
        found.append(error(f"invalid unit content: {problem}", at))
        return None


def _check_instances(
    systemd: Systemd, parsed: dict[str, tuple[Option, ...] | None], found: list[Entry]
) -> None:
    for index, unit in enumerate(systemd.units):
        match = _INSTANCE.fullmatch(unit.name) if unit.enabled else None
        template = f"{match[1]}@.service" if match else ""
        options = parsed.get(template)
        if options is not None and not _has_install(options):
            names = [json.dumps(name, ensure_ascii=False) for name in (template, unit.name)]
            text = f"template unit {names[0]} for {names[1]} doesn't have Install section"
            found.append(warning(text, ("systemd", "units", index, "contents")))


def _has_install(options: tuple[Option, ...]) -> bool:
    return any(option.section == "Install" for option in options)


def _extension(name: str) -> str:
    """What follows the last dot of the last component."""
    last = name.rpartition("/")[2]
    return last.rpartition(".")[2] if "." in last else ""
