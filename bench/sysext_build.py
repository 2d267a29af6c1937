"""`flatyard sysext build` of a prepared tree against mksquashfs on it: `.venv/bin/python bench/sysext_build.py DIR`.

DIR is a tree such as `unsquashfs -d DIR kubernetes-v1.34.3-x86-64.raw` makes. Both pack it with zstd, level 3, and
alternate, so that a busy machine slows both; the medians are compared. Exit code 1 above the target.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

FLATYARD = str(Path(__file__).resolve().parent.parent / ".venv/bin/flatyard")
ROUNDS = 15
TARGET = 1.1
PLAIN = "-all-root -noappend -comp zstd -Xcompression-level 3 -no-progress -quiet"


def seconds(command: Sequence[str]) -> float:
    """The wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(arguments: Sequence[str]) -> int:
    """Print medians in milliseconds and their ratio."""
    tool = shutil.which("mksquashfs")
    if tool is None or len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("mksquashfs and a folder are needed; see the head of this file", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "mksquashfs": [tool, arguments[0], f"{folder}/plain.raw", *PLAIN.split()],
            "flatyard sysext build": [
                FLATYARD,
                *"sysext build kubernetes".split(),
                arguments[0],
                "--to",
                folder,
            ],
        }
        for command in commands.values():
            seconds(command)  # the first run fills caches
        rounds = [{name: seconds(command) for name, command in commands.items()} for _ in range(ROUNDS)]
    medians = {name: statistics.median(taken[name] for taken in rounds) for name in commands}
    for name, median in medians.items():
        print(f"{name:24} {median * 1000:6.0f} ms")
    plain, ours = medians.values()
    print(f"{'ratio':24} {ours / plain:6.2f}    target: at most {TARGET}")
    return 0 if ours / plain <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
