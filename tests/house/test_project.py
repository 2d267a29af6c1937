"""The project file and its locks: files by hash, no index address, the same versions for users and tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
EXTRAS = ("aws", "azure", "openstack")
LOCKS = ("run", "dev", "uv", *EXTRAS)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(name: str) -> dict[str, str]:
    """Name → version, marker and hashes of one lock."""
    text = (ROOT / f"locks/{name}.txt").read_text()
    return {entry.partition("==")[0]: entry for entry in re.split(r"\n(?=\S)", text.strip())}


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(name):
    for entry in pins(name).values():
        assert re.match(r"[a-z0-9.-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_address(name):
    assert not re.search(
        r"://|^\s*-", (ROOT / f"locks/{name}.txt").read_text().replace("    --hash=", ""), re.M
    )


def test_the_tests_run_what_users_run():
    def versions(lock: str) -> dict[str, str]:
        return {name: entry.split()[0] for name, entry in pins(lock).items()}

    for lock in ("run", *EXTRAS):
        assert versions(lock).items() <= versions("dev").items()


def test_every_extra_has_a_lock_that_goes_with_what_users_run():
    assert tuple(PROJECT["project"]["optional-dependencies"]) == EXTRAS
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items():
        locked = pins(extra)
        assert pins("run").keys() <= locked.keys()
        assert {re.match(r"[a-z0-9-]+", words)[0] for words in requirements} <= locked.keys()


def test_the_build_backend_is_the_locked_uv():
    assert PROJECT["build-system"]["requires"] == [pins("uv")["uv"].split()[0].replace("uv==", "uv_build==")]


def test_every_dependency_is_locked_and_says_why():
    direct = PROJECT["project"]["dependencies"], PROJECT["dependency-groups"]["dev"]
    for names, lock in zip(direct, ("run", "dev"), strict=True):
        for requirement in names:
            assert re.match(r"[a-z0-9.-]+", requirement)[0].replace(".", "-") in pins(lock)
            assert re.search(
                rf'^  "{re.escape(requirement)}", +# \S', (ROOT / "pyproject.toml").read_text(), re.M
            )


def test_every_folder_of_the_package_is_a_package():
    folders = {path.parent for path in (ROOT / "src/flatyard").rglob("*.py")}
    assert sorted(folder for folder in folders if not (folder / "__init__.py").exists()) == []
