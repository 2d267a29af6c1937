"""What a simulation writes survives the death of its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatyard.sim.disk import Disk, MemoryDisk, SqliteDisk

SOURCES = Path(__file__).parents[2] / "src"

WRITER = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from flatyard.sim.disk import SqliteDisk

disk = SqliteDisk(Path(sys.argv[1]))
number = 0
while True:
    disk.put("a/counter", str(number).encode())
    disk.put(f"b/{number:08}", b"x" * 500)
    print(number, flush=True)
    number += 1
"""


@pytest.fixture(params=["memory", "sqlite"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return MemoryDisk() if request.param == "memory" else SqliteDisk(tmp_path / "state" / "sim.db")


def test_the_last_value_counts(disk: Disk) -> None:
    disk.put("a", b"1")
    disk.put("a", b"2")
    assert list(disk.items()) == [("a", b"2")]


def test_deleting_what_is_not_there_is_fine(disk: Disk) -> None:
    disk.put("a", b"1")
    disk.delete("a")
    disk.delete("a")
    assert list(disk.items()) == []


def test_a_prefix_is_taken_literally_and_keys_are_sorted(disk: Disk) -> None:
    for key in ("b", "a_2", "a_1", "aX1", "a%", "A_1", "ä"):
        disk.put(key, key.encode())
    assert [key for key, _ in disk.items("a_")] == ["a_1", "a_2"]
    assert [key for key, _ in disk.items()] == ["A_1", "a%", "aX1", "a_1", "a_2", "b", "ä"]


def test_entries_may_be_deleted_while_they_are_read(disk: Disk) -> None:
    for number in range(10):
        disk.put(str(number), b"")
    for key, _ in disk.items():
        disk.delete(key)
    assert list(disk.items()) == []


KEYS = st.text("ab/_%ä😀", max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), KEYS, st.binary(max_size=8)), max_size=30), KEYS)
def test_both_disks_hold_the_same(acts: list[tuple[bool, str, bytes]], prefix: str) -> None:
    with TemporaryDirectory() as folder:
        memory, sqlite = MemoryDisk(), SqliteDisk(Path(folder) / "sim.db")
        for disk in (memory, sqlite):
            for keep, key, value in acts:
                if keep:
                    disk.put(key, value)
                else:
                    disk.delete(key)
        assert list(memory.items(prefix)) == list(sqlite.items(prefix))
        sqlite.close()


def test_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    disk = SqliteDisk(tmp_path / "state" / "sim.db")
    disk.put("key", b"secret")
    files = sorted((tmp_path / "state").iterdir())
    assert [file.name for file in files] == ["sim.db", "sim.db-shm", "sim.db-wal"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_reopened_file_has_what_was_put(tmp_path: Path) -> None:
    first = SqliteDisk(tmp_path / "sim.db")
    first.put("a", b"1")
    first.close()
    assert list(SqliteDisk(tmp_path / "sim.db").items()) == [("a", b"1")]


@pytest.mark.parametrize("lines", [1, 7, 60])
def test_what_was_told_survives_a_kill(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "sim.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(lines)][-1]
    writer.send_signal(signal.SIGKILL)
    told = max([told, *(int(line) for line in writer.stdout.read().splitlines())])
    writer.wait()
    kept = dict(SqliteDisk(path).items())
    assert int(kept["a/counter"]) in (told, told + 1)
    assert [key for key in kept if key.startswith("b/")][: told + 1] == [
        f"b/{number:08}" for number in range(told + 1)
    ]
