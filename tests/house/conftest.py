"""A small checkout with every folder of the house in it, to break rules in."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = Path(sys.executable).parent.parent
PACKAGE = "src/flatyard"
CLEAN = "from __future__ import annotations\n"


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of the house rules around almost empty folders."""

    root: Path

    def plant(self, place: str, source: str) -> None:
        """Write one module, given its path in the checkout."""
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the checkout, with stderr in stdout."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST_"))}
        return subprocess.run(
            command,
            cwd=self.root,
            env=env | {"PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def check(self, *names: str) -> subprocess.CompletedProcess[str]:
        """Some of the checks of `./test --ci`."""
        return self.run(sys.executable, "tools/check.py", *names)


def folders() -> Sequence[str]:
    """Every place that the layers contracts name, as a module path below the package."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found: list[str] = []
    for contract in contracts:
        if contract["type"] == "layers":
            container = contract["containers"][0].removeprefix("flatyard").lstrip(".")
            names = " ".join(contract["layers"]).replace("(", "").replace(")", "").replace("|", "").split()
            found += [f"{container}.{name}".lstrip(".") for name in names]
    return found


def empty_house(root: Path) -> None:
    """The package with every folder and nothing in it."""
    package = root / PACKAGE
    for name in folders():
        path = package / name.replace(".", "/")
        path.mkdir(parents=True, exist_ok=True)
        (path / "__init__.py").write_text("")
    shutil.rmtree(package / "__main__")
    for name in ("__init__.py", "__main__.py", "base/world.py"):
        shutil.copyfile(ROOT / PACKAGE / name, package / name)
    for name in (
        "engine/plan.py",
        "engine/changes.py",
        "engine/rollout.py",
        *(f"clouds/{cloud}/facts.py" for cloud in ("aws", "azure", "sim")),
    ):
        (package / name).write_text("")
    (package / "cli/main.py").write_text(f"{CLEAN}\n\ndef main() -> int:\n    return 0\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout that passes `.ci/run`, with this run's own environment behind it."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "flatyard", "test", "locks", "tools", ".ci"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, root / name)
    (root / "tools/clouds_table.py").unlink()  # it reads what an empty house does not have
    empty_house(root)
    (root / "bench").mkdir()
    (root / "tests").mkdir()
    shutil.copyfile(ROOT / "tests/conftest.py", root / "tests/conftest.py")
    return Checkout(root)


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """The checkout with a .venv/ that its launchers take for made: links to this run's environment, own stamps."""
    venv = checkout.root / ".venv"
    venv.mkdir()
    for entry in VENV.iterdir():
        if not entry.name.startswith("made-"):
            (venv / entry.name).symlink_to(entry)
    wanted = runpy.run_path(str(ROOT / "tools/environment.py"))["wanted"]
    for profile in ("run", "dev"):
        (venv / f"made-{profile}").write_bytes(wanted(checkout.root, profile))
    return checkout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="flatyard-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
