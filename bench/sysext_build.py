"""`flatyard sysext build` of a prepared tree against mksquashfs on it: `.venv/bin/python bench/sysext_build.py DIR`.

DIR is a tree such as `unsquashfs -d DIR kubernetes-v1.34.3-x86-64.raw` makes. Both pack it with zstd, level 3, and
alternate, so that a busy machine slows both; the medians are compared. Each round writes a new image, as a user does:
how long a file system takes to drop an image that it is still writing to disk says nothing about packing. Exit code 1
above the target.
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


def seconds(command: Sequence[str], image: Path) -> float:
    """The wall time of one run, which leaves nothing behind."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    taken = time.perf_counter() - start
    image.unlink()
    return taken


def main(arguments: Sequence[str]) -> int:
    """Print medians in milliseconds and their ratio."""
    tool = shutil.which("mksquashfs")
    if tool is None or len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("mksquashfs and a folder are needed; see the head of this file", file=sys.stderr)
        return 2
    tree = arguments[0]
    with tempfile.TemporaryDirectory() as folder:
        plain, ours = Path(folder) / "plain.raw", Path(folder) / "kubernetes.raw"
        build = "sysext build kubernetes"
        commands = {
            "mksquashfs": ([tool, tree, str(plain), *PLAIN.split()], plain),
            "flatyard sysext build": ([FLATYARD, *build.split(), tree, "--to", folder], ours),
        }
        for command in commands.values():
            seconds(*command)  # the first run fills caches
        rounds = [{name: seconds(*command) for name, command in commands.items()} for _ in range(ROUNDS)]
    medians = {name: statistics.median(taken[name] for taken in rounds) for name in commands}
    for name, median in medians.items():
        print(f"{name:24} {median * 1000:6.0f} ms")
    reference, own = medians.values()
    print(f"{'ratio':24} {own / reference:6.2f}    target: at most {TARGET}")
    return 0 if own / reference <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
