"""Findings on a terminal: colours, and long lines cut to its width."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COLOR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """A terminal of 60 columns as the standard error of a command."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))

    def run(self, *args: str | Path, **more: str) -> str:
        """What appears there; stays below what a terminal buffers."""
        env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CLICOLOR_FORCE")}
        env |= {"TERM": "xterm", "PYTHONPATH": str(ROOT / "src"), **more}
        command = [sys.executable, "-m", "flatyard", *map(str, args)]
        subprocess.run(
            command,
            env=env,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.theirs,
        )
        return os.read(self.ours, 1 << 16).decode().replace("\r\n", "\n")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    os.close(made.ours)
    os.close(made.theirs)


@pytest.fixture
def minified(tmp_path: Path) -> Path:
    """100 KB in one line, with what is wrong in its middle."""
    big = {"path": "/etc/big", "contents": {"source": "data:," + "x" * 50_000}}
    config = {
        "ignition": {"version": "3.4.0"},
        "storage": {"files": [big, {"path": "rel"}, big | {"path": "/b"}]},
    }
    path = tmp_path / "x.ign"
    path.write_text(json.dumps(config, separators=(",", ":")))
    return path


def test_a_line_of_100_kb_is_cut_to_the_terminal(terminal, minified):
    said = COLOR.sub("", terminal.run("ignition", "validate", minified))
    source, carets = (line for line in said.split("\n") if '"rel"' in line or "path not absolute" in line)
    assert len(source) <= 60
    assert source.startswith(" 1 | …") and source.endswith("…")
    assert source.index('"rel"') == carets.index("^")


def test_butane_s_lines_are_cut_to_the_terminal(terminal, tmp_path):
    path = tmp_path / "x.bu"
    path.write_text(
        f"variant: flatcar\nversion: 1.1.0\nstorage: {{links: [{{path: /{'x' * 9999}, bad: 1}}]}}\n"
    )
    said = COLOR.sub("", terminal.run("butane", path))
    source = next(line for line in said.split("\n") if line.startswith(" 3 |"))
    assert len(source) <= 60 and "bad: 1" in source


def test_colours_unless_they_are_not_wanted(terminal, minified):
    assert "\x1b[31merror[$.storage.files.1.path]:" in terminal.run("ignition", "validate", minified)
    assert "\x1b" not in terminal.run("ignition", "validate", minified, NO_COLOR="1")
    assert "\x1b" not in terminal.run("ignition", "validate", "--color", "never", minified)
