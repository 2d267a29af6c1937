"""The conformance suite as somebody else has it: from the built package, with an adapter that is not in it."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flatyard.clouds import conformance

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/conformance"
UV = Path(sys.executable).parent.parent / ".uv/bin/uv"
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """An empty folder with the example alone."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, folder)
    return folder


def run(*words: str | Path, folder: Path, **more: str) -> str:
    """What a command prints. It sees nothing of the checkout but what it is told."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))
    }
    done = subprocess.run(
        [*map(str, words)], cwd=folder, env={**inherited, **more}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_types_tell_what_a_bench_lacks(outside: Path) -> None:
    """The example is right under mypy --strict, attributes for the protocol's properties included."""
    bench = outside / "test_shed.py"
    words = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--cache-dir",
        outside / "cache",
        "shed.py",
        bench.name,
    )
    run(*words, folder=outside, MYPYPATH=str(ROOT / "src"))
    bench.write_text(bench.read_text().replace("def borrowed(", "def lent("))
    with pytest.raises(AssertionError, match="borrowed"):
        run(*words, folder=outside, MYPYPATH=str(ROOT / "src"))


def locked(*names: str) -> str:
    """The pins of some packages, with their hashes, out of the lock of the tests."""
    entries = re.split(r"\n(?=\S)", (ROOT / "locks/dev.txt").read_text())
    return "\n".join(entry for entry in entries if entry.partition("==")[0] in names)


@pytest.mark.emulated
def test_a_wheel_and_two_files_are_all_it_takes(outside: Path, tmp_path: Path) -> None:
    settings = runpy.run_path(str(ROOT / "tools/environment.py"))["environment"]()
    python, pins = tmp_path / "venv/bin/python", tmp_path / "pytest.txt"
    pins.write_text(locked(*PYTEST))
    install = (UV, "-q", "pip", "install", "--python", python)
    for words in (
        (UV, "-q", "build", "--wheel", "--out-dir", tmp_path, ROOT),
        (UV, "-q", "venv", "--python", sys.executable, tmp_path / "venv"),
        (*install, "--require-hashes", "-r", ROOT / "locks/run.txt", "-r", pins),
    ):
        run(*words, folder=outside, **settings)
    (wheel,) = tmp_path.glob("*.whl")
    run(*install, "--no-deps", wheel, folder=outside, **settings)
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shed.py", folder=outside)
    assert re.search(rf"^{len(conformance.NAMES) + 1} passed in ", said, re.MULTILINE), said
    where = run(python, "-c", "import flatyard.clouds.conformance as c; print(c.__file__)", folder=outside)
    assert Path(where.strip()).is_relative_to(tmp_path / "venv"), "it ran from the checkout"
