"""Amazon's API on a stage of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulators.aws.emulated import Emulated
from emulators.stage import Stage, environment

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def aws_stage(new_stage: Callable[[str], Stage]) -> Iterator[Stage]:
    made = new_stage("aws")
    python = environment("aws") / "bin/python"
    try:
        made.start(
            "aws",
            [str(python), str(HERE / "server.py"), str(Emulated.PORT), str(HERE / "amis.json")],
            port=Emulated.PORT,
        )
        yield made
    finally:
        made.close()


@pytest.fixture
def aws(aws_stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulated]:
    """An empty account, and an environment that finds it as the user's environment finds AWS."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in Emulated.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    made = Emulated(aws_stage)
    made.control("reset")
    yield made
    print(aws_stage.said("aws"))
