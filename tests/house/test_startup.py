"""`flatyard --help` starts at once: it loads no SDK, no client, no server and nothing that paints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = (
    "azure boto3 botocore cryptography google httpcore2 httpx2 jinja2 keystoneauth1 lightkube obstore openstack pyVim "
    "pyVmomi rich ruamel starlette uvicorn yaml anyio asyncio ssl"
).split()
MOST_MODULES = 200
"""A bare interpreter has about 30, click brings about 60; the rest is ours and the standard library's."""

PROBE = """
import sys
sys.argv = ["flatyard", "--help"]
from flatyard.cli.main import main
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
"""


def loaded() -> list[str]:
    """The modules in the interpreter after `flatyard --help`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-X", "frozen_modules=on", "-c", PROBE]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=env | {"PYTHONPATH": str(ROOT / "src")}
    )
    assert "Usage" in done.stdout
    return done.stderr.split()


@pytest.fixture(scope="module")
def modules() -> list[str]:
    return loaded()


def test_help_loads_nothing_heavy(modules):
    assert [name for name in modules if name.partition(".")[0] in HEAVY] == []


def test_help_loads_few_modules(modules):
    assert len(modules) <= MOST_MODULES, modules
