"""Stages for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulators.stage import Stage

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
