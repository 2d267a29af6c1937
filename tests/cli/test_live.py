"""The live tree: what it shows at a moment, and that a terminal gets it."""

from __future__ import annotations

import asyncio
import os
import pty
import threading

from rich.console import Console

from flatyard.cli.durations import took
from flatyard.cli.tree import LiveTree
from flatyard.controller.events import Event, EventKind
from flatyard.sim.loop import run


def step(object: str, state: str, sentence: str = "") -> Event:
    return Event(EventKind.STEP, 1, object=object, state=state, sentence=sentence)


def drawn(*events: Event, after: float = 75.0, expected: float = 3.5) -> str:
    async def draw() -> str:
        tree = LiveTree("prod", expected)
        await asyncio.sleep(after)
        for event in events:
            tree.show(event, after)
        console = Console(width=80, color_system=None)
        with console.capture() as captured:
            console.print(tree.draw())
        return captured.get()

    return run(draw())


def test_the_tree_has_elapsed_and_expected_time_and_those_at_work_first():
    assert drawn(
        step("machine/a", "done"), step("machine/b", "waiting", "instance is pending")
    ).splitlines() == [
        "prod  1m 15s of about 3.5s",
        "├── – machine/b  instance is pending",
        "└── ✓ machine/a",
    ]


def test_a_newer_event_of_an_object_replaces_the_older():
    text = drawn(step("machine/a", "waiting", "pending"), step("machine/a", "failed", "no such size"))
    assert text.splitlines()[1:] == ["└── ✗ machine/a  no such size"]


def test_many_objects_are_counted():
    text = drawn(*(step(f"machine/{n}", "done") for n in range(50)))
    assert "… 50 of 50 done" in text
    assert len(text.splitlines()) == 22


def test_a_restart_of_the_reconcilers_is_said():
    assert "started again: lock lost" in drawn(Event(EventKind.TROUBLE, 1, sentence="lock lost"))


def test_durations_read_well():
    assert [took(s) for s in (0.85, 4.21, 363)] == ["850ms", "4.2s", "6m 03s"]


def test_a_terminal_gets_the_tree_and_stdout_stays_data(shell):
    ours, theirs = pty.openpty()
    shell.env = {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = shell.start("up", "--speed", "300", "examples/quickstart.yaml", stderr=theirs)
    os.close(theirs)
    shown: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 4096):
                shown.append(piece)
        except OSError:  # Linux answers EIO once the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    out = process.stdout.read()
    assert process.wait() == 0
    reader.join()
    os.close(ours)
    text = b"".join(shown).decode()
    assert out == "Cluster quickstart is ready (simulated).\n"
    assert "quickstart on the simulated twin of aws us-east-1" in text
    assert " of about " in text
    assert "\x1b[" in text
