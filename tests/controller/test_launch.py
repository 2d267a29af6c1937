"""Starting a background process: one that is killed is started again, one that fails says why."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from flatyard.base.errors import Failed
from flatyard.controller import launch
from flatyard.controller.places import Places


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("FLATYARD_STATE", str(tmp_path))
    found = Places(tmp_path, "demo")
    found.folder.mkdir(parents=True)
    return found


def children(monkeypatch, *scripts: str) -> list[str]:
    """Let each start run the next script instead; returns those that were run."""
    started: list[str] = []

    def spawn(places: Places) -> subprocess.Popen[bytes]:
        started.append(scripts[len(started)])
        places.log.write_text(f"attempt {len(started)}\n")
        return subprocess.Popen(["/bin/sh", "-c", started[-1]])

    monkeypatch.setattr(launch, "spawn", spawn)
    return started


def test_a_process_that_fails_is_told_with_the_end_of_its_log(places, monkeypatch):
    started = children(monkeypatch, "exit 3", "exit 0")
    with pytest.raises(Failed, match="did not start") as failed:
        asyncio.run(launch.link_to(places))
    assert len(started) == 1
    assert failed.value.why == "it ended with exit code 3\n       attempt 1"
    assert failed.value.next == f"see {places.log}, then run the same command again"


def test_only_what_the_last_process_said_is_told(places, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for _ in range(2):
        with pytest.raises(Failed) as failed:
            asyncio.run(launch.link_to(places))
        assert failed.value.why == "it ended with exit code 1"
        with places.log.open("a") as log:
            log.write("no credentials\n")
    assert places.log.read_text().count(launch.STARTED) == 2


def test_a_process_that_is_killed_while_it_starts_is_replaced(places, monkeypatch):
    started = children(monkeypatch, "kill -9 $$", "kill -9 $$", "exit 3")
    with pytest.raises(Failed):
        asyncio.run(launch.link_to(places))
    assert len(started) == 3


def test_a_run_file_is_a_leftover_when_the_store_knows_no_such_cluster(places):
    assert asyncio.run(launch.remove_leftovers(places))
    assert not places.folder.exists()
    assert not places.run.exists()
    assert not asyncio.run(launch.remove_leftovers(places))
