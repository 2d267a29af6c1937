"""The run file: its lock tells the living from the dead, its content outlives both."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flatyard.controller.runfile import Run, hold, look

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = Run("quickstart", "aws", "us-east-1", 60.0, token="t", port=4711, pid=1)

HOLDER = """
import sys
from pathlib import Path
from flatyard.controller.runfile import hold
held = hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "quickstart.json"


def test_there_is_none_at_first(path):
    assert look(path) == (None, False)


def test_a_holder_is_seen_alive_with_what_it_wrote(path):
    held = hold(path)
    held.write(RUN)
    assert look(path) == (RUN, True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_one_holds_it(path):
    first = hold(path)
    assert hold(path) is None
    first.release()
    second = hold(path)
    assert second is not None
    second.release()


def test_the_content_outlives_its_process(path):
    held = hold(path)
    held.write(RUN)
    held.release()
    assert look(path) == (RUN, False)
    assert hold(path).read() == RUN


def test_a_killed_holder_is_dead_at_once(path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert child.stdout.readline() == b"held\n"
    assert look(path)[1]
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not look(path)[1]


def test_a_half_written_file_is_read_as_none(path):
    held = hold(path)
    path.write_bytes(RUN.encode()[:40])
    assert look(path) == (None, True)
    held.release()


def test_a_removed_file_is_not_held_by_who_opened_it_before(path):
    held = hold(path)
    held.remove()
    again = hold(path)
    assert again is not None
    again.write(RUN)
    assert look(path) == (RUN, True)
    held.release()


def test_the_token_is_not_in_the_repr():
    assert "token" not in repr(RUN)
