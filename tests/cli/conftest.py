"""A state directory of its own for each test, the CLI in this process, and the CLI as a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

ROOT = Path(__file__).resolve().parent.parent.parent
SPEED = 300


@pytest.fixture(scope="session")
def files_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden files on disk, with the modes and links that a checkout does not keep."""
    golden = ROOT / "tests/butane/golden"
    folder = tmp_path_factory.mktemp("butane") / "files"
    shutil.copytree(golden / "files", folder)
    for name, mode in json.loads((golden / "FILES.json").read_text())["modes"].items():
        path = folder / name
        if mode.startswith("link:"):
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(mode.removeprefix("link:"))
        else:
            path.chmod(int(mode, 8))
    return folder


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory; processes that a test leaves behind are ended with it."""
    folder = tmp_path / "state"
    monkeypatch.setenv("FLATYARD_STATE", str(folder))
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "FLATYARD_PASSPHRASE"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    end_processes(folder)


def end_processes(folder: Path) -> None:
    from flatyard.controller.runfile import look

    for path in (folder / "run").glob("*.json"):
        run, living = look(path)
        if living and run is not None and run.pid:
            os.kill(run.pid, signal.SIGKILL)


@pytest.fixture
def flatyard(state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the CLI in this process, in the checkout."""
    from flatyard.cli.main import cli

    monkeypatch.chdir(ROOT)
    return lambda *args: CliRunner().invoke(cli, args, prog_name="flatyard")


@dataclass
class Shell:
    """Runs `flatyard` as a process of its own, as a user does."""

    state: Path
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *args: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        env = {**os.environ, "FLATYARD_STATE": str(self.state), "PYTHONPATH": str(ROOT / "src"), **self.env}
        command = [sys.executable, "-m", "flatyard", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=stderr, text=True, env=env, cwd=ROOT)

    def run(self, *args: str, code: int = 0) -> str:
        """What it prints on stdout; its stderr is shown when the exit code is another one."""
        process = self.start(*args)
        out, err = process.communicate(timeout=100)
        assert process.returncode == code, f"{args} ended with {process.returncode}\n{out}\n{err}"
        return out

    def ask(self, *args: str, code: int = 0) -> str:
        """What a command that only asks prints, in this process: of a cluster whose own process lives."""
        from flatyard.cli.main import cli

        done = CliRunner().invoke(
            cli, args, prog_name="flatyard", env={"FLATYARD_STATE": str(self.state), **self.env}
        )
        assert done.exit_code == code, f"{args} ended with {done.exit_code}\n{done.output}"
        return done.stdout

    def json(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.run(*args, "-o", "json", code=code))

    def asked(self, *args: str, code: int = 0) -> Any:
        return json.loads(self.ask(*args, "-o", "json", code=code))

    def kinds(self, name: str) -> dict[str, int]:
        """What the simulated account holds, by kind."""
        counts: dict[str, int] = {}
        for item in self.asked("get", "resources", name)["items"]:
            counts[item["spec"]["kind"]] = counts.get(item["spec"]["kind"], 0) + 1
        return counts

    def pid(self, name: str) -> int:
        """The living background process of a cluster; 0 without one."""
        from flatyard.controller.runfile import look

        run, living = look(self.state / "run" / f"{name}.json")
        return run.pid if living and run is not None else 0


@pytest.fixture
def shell(state: Path) -> Shell:
    return Shell(state)


@pytest.fixture(scope="module")
def module_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One state directory for a module whose tests follow each other in one cluster's life."""
    folder = tmp_path_factory.mktemp("state")
    yield Shell(folder)
    end_processes(folder)
