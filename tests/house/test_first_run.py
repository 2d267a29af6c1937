"""The first start of a fresh checkout, with the real locks: from nothing but Python to a working command."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.emulated

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = """from __future__ import annotations

import os
import sys


def main() -> None:
    import click
    import obstore

    print(sys.argv[1:], os.geteuid(), bool(click and obstore))
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    return clone(tmp_path / "fresh checkout")


def clone(root: Path) -> Path:
    """What a clone has, with a small command instead of the whole."""
    root.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "flatyard", "test", "locks", "tools"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, root / name)
    package = root / "src/flatyard"
    (package / "cli").mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "py.typed"):
        shutil.copyfile(ROOT / "src/flatyard" / name, package / name)
    (package / "cli/__init__.py").write_text("")
    (package / "cli/start.py").write_text(COMMAND)
    return root


def start(
    root: Path, *arguments: str, launcher: str = "flatyard", **env: str
) -> subprocess.CompletedProcess[str]:
    """Start the checkout's launcher with this test's Python in front."""
    base = Path(sys.executable).resolve().parent
    path = f"{base}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [root / launcher, *arguments],
        env=os.environ | {"PATH": path, "PYTHONDONTWRITEBYTECODE": ""} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_makes_its_environment_and_then_starts_at_once(fresh):
    first = start(fresh, "up", "a b")
    assert (first.returncode, first.stdout) == (0, f"['up', 'a b'] {os.geteuid()} True\n"), first.stderr
    assert "making .venv/" in first.stderr
    second = start(fresh, "up", PATH=os.defpath)
    assert (second.stdout, second.stderr) == (f"['up'] {os.geteuid()} True\n", "")
    assert not list(fresh.glob("*.egg-info")) + list(fresh.glob("build"))


def test_the_tests_of_a_fresh_checkout_run_and_a_new_lock_keeps_them_running(fresh):
    (fresh / "tests").mkdir()
    (fresh / "tests/test_one.py").write_text("def test_passes(): pass\n")
    assert start(fresh, launcher="test").stdout.splitlines()[-1].strip("=").split()[:2] == ["1", "passed"]
    with (fresh / "locks/run.txt").open("a") as lock:
        lock.write("# changed\n")
    (fresh / ".venv/kept").touch()
    again = start(fresh)
    assert (again.returncode, again.stderr) == (0, "")
    assert (fresh / ".venv/kept").exists()
    assert (fresh / ".venv/bin/pytest").exists()


def test_killed_in_the_middle_it_begins_again(fresh):
    tool = fresh / "tools/environment.py"
    whole = tool.read_text()
    last = '    run([str(uv), "pip", "install", *target, "--no-deps", "--editable", str(root)], root, env)'
    assert last in whole
    tool.write_text(whole.replace(last, f"    os.kill(os.getpid(), {int(signal.SIGKILL)})"))
    killed = start(fresh)
    assert (killed.returncode, killed.stdout) == (1, "")
    assert (fresh / ".venv/bin/python").exists()
    assert not list((fresh / ".venv").glob("made-*"))
    tool.write_text(whole)
    assert start(fresh, "again").stdout == f"['again'] {os.geteuid()} True\n"


def test_a_file_with_another_hash_is_refused(fresh):
    lock = fresh / "locks/run.txt"
    lock.write_text(re.sub(r"(--hash=sha256:)[0-9a-f]{8}", r"\g<1>00000000", lock.read_text()))
    refused = start(fresh)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "hash" in refused.stderr.lower()
    assert refused.stderr.splitlines()[-1].startswith("flatyard: could not make .venv/, for the reason above")


def test_a_python_without_pip_is_enough(fresh, tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    done = start(fresh, PATH=f"{bare / 'bin'}{os.pathsep}{os.defpath}")
    assert (done.returncode, done.stdout) == (0, f"[] {os.geteuid()} True\n"), done.stderr
    assert "home = " in (fresh / ".venv/pyvenv.cfg").read_text()
    assert str(bare) not in (fresh / ".venv/pyvenv.cfg").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can pretend to be sudo")
def test_under_sudo_no_file_is_roots(open_folder):
    home, root = open_folder / "home", clone(open_folder / "checkout")
    home.mkdir()
    for path in (home, root, *root.rglob("*")):
        os.chown(path, 65534, 65534)
    done = start(
        root, "up", SUDO_UID="65534", SUDO_GID="65534", PATH=os.defpath, UV_CACHE_DIR=str(home / "uv")
    )
    assert (done.returncode, done.stdout) == (0, "['up'] 65534 True\n"), done.stderr
    assert {path.lstat().st_uid for path in (*root.rglob("*"), *home.rglob("*"))} == {65534}
