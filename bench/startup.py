"""How long `./flatyard --help` takes, against a bare interpreter in the same run: `.venv/bin/python bench/startup.py`.

Both commands alternate, so that a busy machine slows both; the medians are compared. Exit code 1 above the target.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 40
TARGET = 7.0


def seconds(command: Sequence[str]) -> float:
    """The wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Print medians in milliseconds and their ratio."""
    commands = {
        "python -c pass": [str(ROOT / ".venv/bin/python"), "-c", "pass"],
        "./flatyard --help": [str(ROOT / "flatyard"), "--help"],
    }
    for command in commands.values():
        seconds(command)  # the first run compiles and fills caches
    rounds = [{name: seconds(command) for name, command in commands.items()} for _ in range(ROUNDS)]
    medians = {name: statistics.median(taken[name] for taken in rounds) for name in commands}
    for name, median in medians.items():
        print(f"{name:20} {median * 1000:6.1f} ms")
    bare, ours = medians.values()
    print(f"{'ratio':20} {ours / bare:6.2f}    target: at most {TARGET:.0f}")
    return 0 if ours / bare <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
