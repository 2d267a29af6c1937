"""Clocks and chance come from base.World, and pure folders do no I/O: the rule finds every spelling."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = runpy.run_path(str(ROOT / "tools/rules.py"))
breaches = RULES["breaches"]

CLOCKS = [
    "import time\ntime.sleep(1)",
    "import time as t\nx = t.monotonic",
    "from time import time\ntime()",
    "from time import *",
    "from datetime import datetime\ndatetime.now()",
    "import datetime as dt\ndt.datetime.utcnow()",
    "from datetime import date as day\nday.today()",
    "from dataclasses import field\nfrom datetime import datetime\nx = field(default_factory=datetime.now)",
    "import uuid\nuuid.uuid4()",
    "from uuid import uuid1\nuuid1()",
    "import random\nrandom.random()",
    "from random import Random\nr = Random(1)",
    "from secrets import token_hex\ntoken_hex()",
    "import os\nos.urandom(8)",
    "def later():\n    import time\n    return time.time()",
]
FINE = [
    "import random\ndef f(r: random.Random) -> random.Random: ...",
    "from random import Random\nx: dict[str, Random] = {}",
    "from datetime import datetime, timedelta\nx: datetime = datetime.fromisoformat('2026-01-01') + timedelta(1)",
    "import asyncio\nasync def f() -> float:\n    return asyncio.get_running_loop().time()",
    "import uuid\nuuid.UUID(int=1)",
    "from flatyard.base import world\nnow = world.SIMULATED_EPOCH",
    "time = 3\nprint(time)",
]
READS = [
    "open('x')",
    "import os\nos.environ['HOME']",
    "from os import getenv\ngetenv('HOME')",
    "from pathlib import Path\nPath('x').read_text()",
    "from pathlib import Path\nPath.home()",
    "import urllib.request\nurllib.request.urlopen('x')",
    "from urllib.request import urlopen\nurlopen('x')",
]


@pytest.mark.parametrize("source", CLOCKS)
def test_a_clock_or_chance_is_found(source):
    assert breaches(source, "engine/queue.py")


@pytest.mark.parametrize("source", CLOCKS)
def test_the_world_may(source):
    assert not breaches(source, "base/world.py")


@pytest.mark.parametrize("source", FINE)
def test_types_and_the_loops_timer_are_fine(source):
    assert not breaches(source, "engine/queue.py")


@pytest.mark.parametrize("source", READS)
def test_a_pure_folder_reads_nothing(source):
    assert breaches(source, "decode/node.py")
    assert breaches(source, "engine/plan.py")
    assert not breaches(source, "store/files.py")


def test_a_breach_is_located():
    (found,) = breaches("import time\n\nx = [time.time()]\n", "cli/main.py")
    assert (found.line, found.column, found.what.split(":")[0]) == (3, 5, "time.time")


def test_a_long_function_is_found():
    body = "    x = 1\n"
    assert not breaches("def f():\n" + body * 79, "cli/main.py")
    (found,) = breaches("def f():\n" + body * 80, "cli/main.py")
    assert found.what == "f: 81 lines, more than 80"


def test_this_checkout_keeps_the_rules(capsys):
    status = RULES["main"](ROOT / "src/flatyard")
    assert (status, capsys.readouterr().out) == (0, "")
