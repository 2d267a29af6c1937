"""The pages for users: every ```console block is run, in order, in one state directory per page.

`$ ` starts a command; `# exit N` behind it is the exit code when it is not 0. The lines below are what it prints on
stdout: `…` stands for any text, and for any number of lines where it stands alone.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (
    "quickstart",
    "plan-and-rehearse",
    "day-two",
    "timing",
    "butane-ignition",
    "images",
    "conformance",
    "troubleshooting",
)
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
_EXIT = re.compile(r"\s+# exit (\d+)$")


@dataclass
class Step:
    command: str
    code: int
    output: list[str] = field(default_factory=list)


def steps(page: str) -> Iterator[Step]:
    for block in _BLOCK.findall(page):
        step: Step | None = None
        for line in block.splitlines():
            if line.startswith("$ "):
                if step:
                    yield step
                code = _EXIT.search(line)
                step = Step(_EXIT.sub("", line[2:]), int(code[1]) if code else 0)
            elif step:
                step.output.append(line)
        if step:
            yield step


def pattern(output: list[str]) -> str:
    parts = []
    for line in output:
        if line == "…":
            parts.append(r"(.*\n)*?")
        else:
            parts.append(".*".join(re.escape(piece) for piece in line.split("…")) + r"\n")
    return "".join(parts)


@pytest.fixture
def shop(tmp_path: Path, state: Path) -> dict[str, str]:
    """An environment in which `flatyard` is the checkout's, started below a folder that has its examples."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = shlex.quote(sys.executable)
    for name, command in (("flatyard", f"{python} -m flatyard"), ("python", python)):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    utf = {"PYTHONUTF8": "1", "PYTHONPATH": str(ROOT / "src"), "FLATYARD_SPEED": "300"}
    return {**os.environ, **utf, "PATH": path, "FLATYARD_STATE": str(state)}


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_do_what_it_says(name, shop, tmp_path):
    follow(name, shop, tmp_path)


@pytest.mark.emulated
def test_the_commands_of_the_page_about_images_do_what_it_says(mksquashfs, shop, tmp_path):
    follow("sysext", shop, tmp_path)


@pytest.mark.real
@pytest.mark.usefixtures("kubernetes_built")
def test_the_commands_of_the_page_about_this_machine_do_what_it_says(kubectl_path, shop, tmp_path):
    path = f"{Path(kubectl_path).parent}{os.pathsep}{shop['PATH']}"
    own = {
        "PATH": path,
        "FLATYARD_LOCAL_HOME": str(tmp_path / "home"),
        "FLATYARD_LOCAL_POOL": "10.234.0.0/16",
    }
    try:
        follow("local", shop | own, tmp_path, seconds=1500)
    finally:
        subprocess.run(
            "flatyard down --yes local", shell=True, check=False, env=shop | own, capture_output=True
        )


def follow(name: str, shop: dict[str, str], folder: Path, *, seconds: float = 100) -> None:
    """Do what a page says, and compare what is printed."""
    found = list(steps((ROOT / "docs" / f"{name}.md").read_text()))
    assert found
    for step in found:
        done = subprocess.run(
            step.command,
            shell=True,
            check=False,
            env=shop,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == step.code, f"{step.command}\n{done.stdout}{done.stderr}"
        assert re.fullmatch(pattern(step.output), done.stdout), f"{step.command} printed\n{done.stdout}"


def test_a_refused_file_looks_as_the_page_says(shop, tmp_path):
    page = (ROOT / "docs/troubleshooting.md").read_text()
    commands = [step for step in steps(page) if "demo.yaml" in step.command]
    shown = re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for step in commands:
        done = subprocess.run(
            step.command, shell=True, check=False, env=shop, cwd=tmp_path, capture_output=True, text=True
        )
    assert done.stderr == shown[1]


def test_the_python_of_the_page_prints_what_it_says(shop, tmp_path):
    ((code, printed),) = _PYTHON.findall((ROOT / "docs/butane-ignition.md").read_text())
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env=shop, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", printed)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page):
    for target in _LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target
