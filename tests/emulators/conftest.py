"""Stages for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from emulators.room import FEED, FEED_PORT
from emulators.stage import Stage

pytest.register_assert_rewrite("emulators.life")

from emulators.life import Example, Life  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def new_stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Stage]:
    """Makes a stage; whoever calls it closes it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a network namespace")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/packages.py"), "emulated"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return lambda name: Stage(name, tmp_path_factory.mktemp(name))


@pytest.fixture
def stage(new_stage: Callable[[str], Stage]) -> Iterator[Stage]:
    made = new_stage("test")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def life(
    request: pytest.FixtureRequest,
    new_stage: Callable[[str], Stage],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Life]:
    """The life of the example that is its parameter."""
    example: Example = request.param
    stage = new_stage(f"life-{example.key}")
    folder = tmp_path_factory.mktemp(f"life-{example.key}")
    made = Life(example, stage, folder / "state")
    end = ExitStack()
    try:
        made.environment |= {
            "FLATYARD_STATE": str(made.state),
            "FLATYARD_FEED": FEED,
            "PYTHONPATH": str(ROOT / "tests"),
            "ROOM_SPEED": "60",
            **example.start(stage, end),
        }
        room = [sys.executable, "-m", "emulators.room", f"emulators.window_{example.cloud}", str(folder)]
        stage.start("room", room, port=FEED_PORT, environment=made.environment)
        yield made
    finally:
        end.close()
        stage.close()
