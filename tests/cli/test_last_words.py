"""A command's last words: the machine, its unit, the unit's last lines, and the next command."""

from __future__ import annotations

from flatyard.cli.follow import failed
from flatyard.controller.events import Event, EventKind, WaitLine


def test_every_failed_machine_is_told_with_its_last_lines_and_nobody_who_only_waits_for_it() -> None:
    waits = (
        WaitLine("machine/a", "first boot failed, x.service: no\nline 1\nline 2", True, "do this"),
        WaitLine("machine/b", "first boot failed, ignition: no", True),
        WaitLine("machine/c", "first boot failed, ignition: no", True),
        WaitLine("machinedeployment/a", "0 of 1 machines available", True),
    )
    error = failed(Event(EventKind.OUTCOME, 1, waits=waits), "prod")
    assert str(error) == (
        "cluster prod is not done: machine/a: first boot failed, x.service: no\n"
        "  why: its last lines:\n"
        "         | line 1\n"
        "         | line 2\n"
        "       machine/b, machine/c: first boot failed, ignition: no\n"
        "  next: do this"
    )


def test_without_a_failed_machine_what_waits_is_told() -> None:
    waits = (WaitLine("cluster/prod", "no quota", False),)
    error = failed(Event(EventKind.OUTCOME, 1, waits=waits), "prod")
    assert error.what == "cluster prod is not done: cluster/prod: no quota"
    assert error.next == "flatyard status prod"
