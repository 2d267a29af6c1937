"""`.ci/run` is green on a clean checkout and red for each kind of breach, before the first test runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEAD = "from __future__ import annotations\n\n"
PASSES = f"{HEAD}\ndef test_passes():\n    pass\n"
FAILS = f"{HEAD}\ndef test_fails():\n    raise AssertionError\n"
SKIPPED = (
    HEAD
    + 'import pytest\n\n\n@pytest.mark.{tier}\n@pytest.mark.skip(reason="no emulator")\ndef test_it():\n    pass\n'
)
MARKED = HEAD + "import pytest\n\n\n@pytest.mark.{tier}\ndef test_it():\n    pass\n"

BREACHES = [
    ("lint", "import json\n", "`json` imported but unused"),
    ("format", "x  =  1\n", "planted_format.py"),
    (
        "types",
        '\ndef planted() -> int:\n    return "one"\n',
        "planted_types.py:5: error: Incompatible return value type",
    ),
    (
        "contracts",
        "import flatyard.cli.main\n\nHERE = flatyard.cli.main\n",
        "flatyard.base is not allowed to import",
    ),
    ("rules", "import time\n\nSTART = time.time()\n", "planted_rules.py:5:9: time.time"),
]


MEASURED = """\
import sys

TRACER = type(sys.gettrace())


def test_that_takes_long_is_measured_only_at_first():
    while sys.gettrace() is not None:
        pass


def test_that_follows_is_measured_again():
    assert type(sys.gettrace()) is TRACER
"""


def test_a_clean_checkout_is_green_with_coverage_and_pytests_own_last_line(ready):
    ready.plant("tests/test_two.py", HEAD + MEASURED)
    ready.plant(
        "tests/test_one.py",
        f"{HEAD}from flatyard.cli.main import main\n\n\ndef test_main():\n    assert main() == 0\n",
    )
    done = ready.run(".ci/run")
    assert done.returncode == 0, done.stdout
    assert "TOTAL" in done.stdout
    assert re.fullmatch(r"=+ 3 passed in [\d.]+s =+", done.stdout.splitlines()[-1])


def test_breaches_turn_the_build_red_before_any_test(ready):
    """One of each kind at once; each is named."""
    ready.plant("tests/test_one.py", PASSES)
    for check, source, _ in BREACHES:
        ready.plant(f"src/flatyard/base/planted_{check}.py", HEAD + source)
    done = ready.run(".ci/run")
    assert done.returncode == 1
    assert f"checks failed: {', '.join(check for check, _, _ in BREACHES)};" in done.stdout
    for _, _, message in BREACHES:
        assert message in done.stdout
    assert "passed" not in done.stdout


def test_one_breach_is_enough(ready):
    check, source, message = BREACHES[0]
    ready.plant("src/flatyard/base/planted.py", HEAD + source)
    done = ready.run(".ci/run")
    assert done.returncode == 1
    assert f"checks failed: {check};" in done.stdout and message in done.stdout


def test_a_failed_tier_keeps_the_next_from_starting(ready):
    ready.plant("tests/test_one.py", FAILS)
    ready.plant("tests/test_two.py", MARKED.format(tier="long"))
    done = ready.run("./test", "--tier=fast", "--long")
    assert done.returncode == 1
    assert "tier fast failed, so long does not start" in done.stdout
    assert re.fullmatch(r"=+ 1 failed, 1 skipped in [\d.]+s =+", done.stdout.splitlines()[-1])


def test_a_process_that_dies_keeps_nobody_from_the_next_tier(ready):
    """It fails its tier; whoever waits for it to be done with that tier goes on, and starts nothing."""
    ready.plant("tests/test_one.py", f"{HEAD}import os\n\n\ndef test_dies():\n    os._exit(1)\n")
    ready.plant("tests/test_two.py", MARKED.format(tier="long"))
    done = ready.run("./test", "-n2", "--tier=fast", "--long")
    assert done.returncode == 1
    assert "crashed while running 'tests/test_one.py::test_dies'" in done.stdout
    assert "1 failed, 1 skipped" in done.stdout.splitlines()[-1]


def test_each_file_of_a_tier_is_run_by_one_process_and_tiers_keep_their_order(ready):
    """Four files with tests of two tiers; each test says which process ran it, and which tiers it saw begun."""
    says = (
        "import os\nfrom pathlib import Path\n\nimport pytest\n\n"
        "SEEN = Path(__file__).resolve().parent.parent / 'seen'\n\n\n"
        "def say(tier):\n    with SEEN.open('a') as file:\n"
        "        file.write(f\"{tier} {__file__} {os.environ['PYTEST_XDIST_WORKER']}\\n\")\n\n\n"
        "def test_a():\n    say('fast')\n\n\ndef test_b():\n    say('fast')\n\n\n"
        "@pytest.mark.long\ndef test_c():\n    say('long')\n"
    )
    for number in range(4):
        ready.plant(f"tests/test_{number}.py", HEAD + says)
    done = ready.run("./test", "-n2", "--tier=fast", "--long")
    assert done.returncode == 0, done.stdout
    rows = [line.split() for line in (ready.root / "seen").read_text().splitlines()]
    assert [tier for tier, _, _ in rows] == ["fast"] * 8 + ["long"] * 4
    processes = {(tier, file, process) for tier, file, process in rows}
    assert len(processes) == 8
    assert len({process for _, _, process in rows}) == 2


def test_a_slow_file_is_begun_before_the_others_of_its_tier(ready):
    """The last one of a tier is waited for by everybody."""
    says = "def test_it():\n    with open('seen', 'a') as file:\n        file.write(__name__[-1])\n"
    for name, mark in (("a", ""), ("b", "import pytest\n\n\n@pytest.mark.slow\n"), ("c", "")):
        ready.plant(f"tests/test_{name}.py", HEAD + mark + says)
    done = ready.run("./test", "-n0", *(f"tests/test_{name}.py" for name in "abc"))
    assert done.returncode == 0, done.stdout
    assert (ready.root / "seen").read_text() == "bac"


def test_a_tier_that_can_run_but_only_skips_is_a_failure(ready):
    ready.plant("tests/test_two.py", SKIPPED.format(tier="long"))
    done = ready.run("./test", "--long", "--every-tier-runs")
    assert done.returncode == 1
    assert "tier long can run on this machine, but every test in it was skipped" in done.stdout


def test_only_the_chosen_tier_runs(ready):
    ready.plant("tests/test_one.py", PASSES)
    ready.plant("tests/test_two.py", MARKED.format(tier="long"))
    assert "1 passed, 1 deselected" in ready.run("./test").stdout
    assert "1 passed, 1 deselected" in ready.run("./test", "--long").stdout


def test_arguments_and_exit_code_are_pytests(ready):
    ready.plant("tests/test_one.py", PASSES)
    assert ready.run("./test", "--collect-only", "-q").stdout.startswith("tests/test_one.py::test_passes")
    assert ready.run("./test", "-k", "nothing").returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_the_watchdog_names_the_test_that_hangs(ready):
    hangs = f"{HEAD}import threading\n\n\ndef test_hangs():\n    threading.Event().wait()\n"
    ready.plant("tests/test_one.py", hangs)
    done = ready.run("./test", "--timeout=1")
    assert done.returncode == 1
    assert "test_hangs" in done.stdout
    assert "Timeout (>1.0s) from pytest-timeout" in done.stdout


def test_ci_runs_what_test_runs():
    assert "exec ./test --ci" in (ROOT / ".ci/run").read_text()
