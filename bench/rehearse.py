"""A thousand machines in a rehearsal: `.venv/bin/python bench/rehearse.py`.

The quickstart with 1,000 replicas through the real engine on the simulated twin of AWS, as a process of its own: twice
with the same seed under different PYTHONHASHSEED, once with another seed. Exit code 1 when a run takes longer than the
target, when equal seeds differ, or when different seeds do not.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = 30.0
COMMAND = [
    str(ROOT / "flatyard"),
    "rehearse",
    "-q",
    "examples/quickstart.yaml",
    "--replicas",
    "1000",
    "-o",
    "json",
]


def rehearse(seed: str, hash_seed: str) -> tuple[float, str]:
    """Seconds on the wall, and a digest of what was printed."""
    start = time.perf_counter()
    env = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run([*COMMAND, "--seed", seed], cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE)
    return time.perf_counter() - start, hashlib.sha256(done.stdout).hexdigest()[:16]


def main() -> int:
    """Print each run's seconds and digest."""
    runs = {name: rehearse(*name) for name in (("1", "1"), ("1", "2"), ("2", "1"))}
    for (seed, hash_seed), (seconds, digest) in runs.items():
        print(f"seed {seed}, PYTHONHASHSEED {hash_seed}: {seconds:5.1f} s    {digest}")
    one, same, other = (digest for _, digest in runs.values())
    slowest = max(seconds for seconds, _ in runs.values())
    print(f"slowest {slowest:.1f} s of at most {TARGET:.0f}")
    print(f"same seed alike: {one == same}; another seed differs: {one != other}")
    return 0 if slowest <= TARGET and one == same != other else 1


if __name__ == "__main__":
    sys.exit(main())
