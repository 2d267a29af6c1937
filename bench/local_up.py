"""`flatyard up` of a real cluster on this machine: `sudo .venv/bin/python bench/local_up.py [--write]`.

One control plane and two workers, against a plain script that boots the same machines and runs kubeadm in them.

Both run as processes of their own and in turn, so that a busy machine slows both, with the same programs from the
cache; a first run of `flatyard up`, which may compile, is not counted. Of `flatyard up` the whole command counts, which
ends when everything is as the file says; of the script the time until three nodes are Ready. Exit code 1 above one of
the targets.

`--write` puts what it measured, with the timing report of each run and the nodes, into `docs/local.md`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flatyard.clouds.local.settings import architecture, settings
from flatyard.controller.documents import load
from flatyard.controller.supplies import Supplies
from flatyard.sysext.layout import EXTENSION, image_name

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples/local.yaml"
PAGE = ROOT / "docs/local.md"
BEGIN, END = "<!-- measured: bench/local_up.py --write -->\n", "<!-- end of what was measured -->\n"
ROUNDS = 3
TARGET = 1.15


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of both, the report of `flatyard timing`, and `kubectl get nodes -o wide`."""

    ours: float
    plain: float
    report: str
    nodes: str


class Place:
    """Where this bench's clusters are: nothing of it is shared with the user's own."""

    def __init__(self, folder: Path) -> None:
        own = {"FLATYARD_STATE": str(folder / "state"), "FLATYARD_LOCAL_HOME": str(folder / "home/local")}
        cache = {"FLATYARD_CACHE": str(settings().cache), "FLATYARD_LOCAL_POOL": "10.239.0.0/16"}
        self._env: Mapping[str, str] = {**os.environ, **own, **cache}

    def run(self, *command: str) -> str:
        """Its stdout; what it says on stderr is shown when it fails."""
        done = subprocess.run(command, env=self._env, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def python(self, *words: str) -> str:
        """A script or a module of this checkout."""
        return self.run(sys.executable, *words)

    def flatyard(self, *words: str) -> str:
        """A command of flatyard's."""
        return self.python("-m", "flatyard", *words)


def one_round(place: Place, kubectl: str) -> Round:
    """Both, one after the other, and nothing left of them."""
    try:
        ours = timed(lambda: place.flatyard("up", "--yes", str(EXAMPLE)))
        report = place.flatyard("timing", "local")
        kubeconfig = place.flatyard("kubeconfig", "local").strip()
        nodes = place.run(kubectl, f"--kubeconfig={kubeconfig}", "get", "nodes", "-o", "wide")
    finally:
        place.flatyard("down", "--yes", "local")
    try:
        plain = timed(lambda: place.python("bench/plain_kubeadm.py", "up"))
    finally:
        place.python("bench/plain_kubeadm.py", "down")
    return Round(ours, plain, report, nodes)


def timed(work: Callable[[], object]) -> float:
    """Seconds on the wall."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def packing(folder: Path) -> str:
    """What `bench/sysext_build.py` says of the extension that the machines got."""
    version = load([str(EXAMPLE)]).wanted.cluster.spec.kubernetes.version
    image = Supplies(settings().cache / "local").feed / EXTENSION / image_name(version, architecture())
    command = ("unsquashfs", "-q", "-n", "-d", str(folder / "tree"), str(image))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    script = (sys.executable, "bench/sysext_build.py", str(folder / "tree"))
    return subprocess.run(script, cwd=ROOT, check=False, capture_output=True, text=True).stdout


def summary(rounds: Sequence[Round]) -> tuple[str, float]:
    """A table of all rounds, and the median of their ratios."""
    ratio = statistics.median(one.ours / one.plain for one in rounds)
    lines = [f"{'run':>3}  {'flatyard up':>11}  {'plain script':>12}  {'ratio':>5}"]
    for number, one in enumerate(rounds, 1):
        lines.append(f"{number:3}  {one.ours:9.1f} s  {one.plain:10.1f} s  {one.ours / one.plain:5.2f}")
    lines.append(f"median of the ratios {ratio:.2f}, target: at most {TARGET}")
    return "\n".join(lines) + "\n", ratio


def section(table: str, packed: str, rounds: Sequence[Round]) -> str:
    """What goes into the page."""
    parts = [
        f"On {len(os.sched_getaffinity(0))} cores; the nodes are containers of a stand-in for Flatcar.\n",
        f"```text\n{table}```\n",
        f"Packing the extension against `mksquashfs` on the same tree:\n\n```text\n{packed}```\n",
        f"The nodes, by `kubectl get nodes -o wide`:\n\n```text\n{rounds[-1].nodes}```\n",
        "`flatyard timing local` after each run:\n",
        *(f"```text\n{one.report}```\n" for one in rounds),
    ]
    return "\n".join(parts)


def write(text: str) -> None:
    """Put it between the marks of the page."""
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 2 without root or with other arguments."""
    if os.geteuid() or list(arguments) not in ([], ["--write"]):
        print("as root, with --write or nothing; see the head of this file", file=sys.stderr)
        return 2
    kubectl = (
        shutil.which("kubectl")
        or subprocess.run(
            (sys.executable, "tools/kubectl.py"), cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    with tempfile.TemporaryDirectory(prefix="flatyard-bench-") as name:
        place = Place(Path(name))
        one_round(place, kubectl)  # fills caches
        rounds = [one_round(place, kubectl) for _ in range(ROUNDS)]
        packed = packing(Path(name))
    table, ratio = summary(rounds)
    print(table, packed, rounds[-1].nodes, *(one.report for one in rounds), sep="\n")
    if arguments:
        write(section(table, packed, rounds))
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
