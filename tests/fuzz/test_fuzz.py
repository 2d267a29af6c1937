"""The fuzz targets over their corpus, always; guided by coverage for a minute in CI, and for ten in the long tier.

`--fuzz-seconds N` (./test --ci says 60) fuzzes for that long in all. `run.py` says how to fuzz one target, to run one
input again, and to take what was found into the corpus.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NAMES = runpy.run_path(str(HERE / "targets.py"))
TARGETS, SEEDS = NAMES["TARGETS"], NAMES["seeds"]
CORPUS_MAX = 300_000
LONG_SECONDS = 600
SHARES = {"butane": 4, "ignition": 4, "dataurl": 1, "unitfile": 1}
"""Of the time, in tenths: what is behind a parser takes longest to reach."""

every_target = pytest.mark.parametrize("target", TARGETS)


@every_target
def test_every_input_of_the_corpus_and_of_the_golden_cases(target):
    corpus = sorted((HERE / "corpus" / target).iterdir())
    assert corpus
    for path in corpus:
        try:
            TARGETS[target](path.read_bytes())
        except Exception as problem:
            pytest.fail(f"{path}: {problem!r}; again: {sys.executable} {HERE / 'run.py'} {target} {path}")
    for data in SEEDS(target):
        TARGETS[target](data)


def test_the_corpus_is_small():
    assert sum(path.stat().st_size for path in (HERE / "corpus").rglob("*") if path.is_file()) <= CORPUS_MAX


def test_a_mutation_is_the_same_for_the_same_seed():
    changes = runpy.run_path(str(HERE / "mutate.py"))["Mutator"]
    for data in (b'{"a":[1,{"b":"c"}]}', b"a: b\n- c\n  d: e\n", b"", b"\xff\n:"):
        made = [[changes(seed, ["x", "y"]).change(data, 100) for seed in range(200)] for _ in range(2)]
        assert made[0] == made[1]
        assert len(set(made[0])) > 3
        assert all(len(changed) <= 100 for changed in made[0])


@every_target
def test_guided_for_as_long_as_asked_for(target, pytestconfig):
    fuzz(target, pytestconfig.getoption("--fuzz-seconds"))


@pytest.mark.long
@every_target
def test_guided_for_ten_minutes(target):
    fuzz(target, LONG_SECONDS)


def fuzz(target: str, seconds: int) -> None:
    """Runs one target for its share of the time; shows the end of the log, with the input, where it fails."""
    share = max(1, seconds * SHARES[target] // sum(SHARES.values()))
    command = [sys.executable, str(HERE / "run.py"), target, f"--seconds={share}"]
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        text=True,
        errors="replace",
        check=False,
        stdout=-1,
        stderr=subprocess.STDOUT,
    )
    end = "\n".join(done.stdout.splitlines()[-40:])
    if done.returncode != 0:
        written = re.search(r"Test unit written to (\S+)", done.stdout)
        again = f"\nagain: {sys.executable} {HERE / 'run.py'} {target} {written[1]}" if written else ""
        pytest.fail(f"{end}{again}", pytrace=False)
    assert re.search(r"^Done [1-9]\d* runs", done.stdout, re.MULTILINE), end
    assert re.search(r"INITED cov: [1-9]", done.stdout), f"no coverage guides it\n{end}"
