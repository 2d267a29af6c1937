"""Machines for the local cloud's tests: a tree with a tiny init, and what this machine looked like before."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from flatyard.clouds.cloud import ClusterRef
from flatyard.clouds.local import loops
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.folders import clusters
from flatyard.clouds.local.settings import LocalSettings, settings

INIT = r"""
#include <signal.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>
static volatile int asked;
static void note(int number) { asked = number; }
int main(void) {
    FILE *console = fopen("/dev/console", "w");
    struct sigaction act = {0};
    act.sa_handler = note;
    sigaction(SIGRTMIN + 4, &act, 0);
    sigaction(SIGRTMIN + 5, &act, 0);
    if (console) { fprintf(console, "tiny init is up\n"); fflush(console); }
    while (!asked) pause();
    if (asked == SIGRTMIN + 5) reboot(RB_AUTOBOOT);
    return 0;
}
"""
TEST_CLUSTERS = "01jgfjjz00"
VOLATILE = (
    "quota/",
    "random/",
    "ns_last_pid",
    "-nr",
    "-state",
    "nf_conntrack_count",
    "pty/nr",
    "sched_domain",
    "keys",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """All of this Linux machine that a cluster may have touched."""

    mounts: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    rules: str
    loops: frozenset[str]
    groups: frozenset[str]
    foreigners: frozenset[str]
    """Processes of machines and of what runs them."""
    settings: frozenset[str]
    folders: frozenset[str]

    def left(self, before: Machine) -> dict[str, object]:
        """What is there now and was not, or the other way round, by kind."""
        found: dict[str, object] = {}
        for field in fields(self):
            now, then = getattr(self, field.name), getattr(before, field.name)
            if now != then:
                found[field.name] = now ^ then if isinstance(now, frozenset) else (now, then)
        return found


def look(home: Path) -> Machine:
    """Take stock of this machine."""
    links = [row for row in ip("-d", "link") if not of_others(row)]
    names = {row["ifname"] for row in links} | {None}
    routes = [row for row in ip("route", "show", "table", "all") if row.get("dev") in names]
    return Machine(
        mounts=frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        links=frozenset(row["ifname"] for row in links),
        routes=frozenset(json.dumps(row, sort_keys=True) for row in routes),
        rules=subprocess.run(("nft", "list", "ruleset"), capture_output=True, text=True, check=True).stdout,
        loops=frozenset(str(path) for path in (*Path("/dev").glob("loop*"), *attached())) - of_machines(),
        groups=frozenset(groups()),
        foreigners=frozenset(foreigners(home)),
        settings=frozenset(kernel_settings()),
        folders=frozenset(str(path) for path in folders(home)),
    )


def of_others(link: dict[str, str]) -> bool:
    """Whether an interface is that of a cluster on this machine that is no test's."""
    marks = [link.get("ifalias", ""), *link.get("altnames", ())]
    ours = [mark for mark in marks if mark.startswith(("flatyard-cluster=", "vb-"))]
    return bool(ours) and not any(TEST_CLUSTERS in mark.lower() for mark in ours)


def folders(home: Path) -> list[Path]:
    run = Path("/run/systemd/nspawn")
    return [*run.glob(f"*/{TEST_CLUSTERS}*"), *home.parent.iterdir()]


def ip(*arguments: str) -> list[dict[str, str]]:
    done = subprocess.run(("ip", "-j", *arguments), capture_output=True, text=True, check=True)
    return json.loads(done.stdout or "[]")  # type: ignore[no-any-return]


def attached() -> list[Path]:
    return [path for path in Path("/sys/block").glob("loop*") if (path / "loop").exists()]


def of_machines() -> frozenset[str]:
    """Loop devices of machines on this machine that are no test's."""
    folders = Path("/var/lib/flatyard/local").glob("*/*-*")
    numbers = [number for folder in folders for number in loops.used_by(folder)]
    return frozenset(f"{place}{number}" for number in numbers for place in ("/dev/loop", "/sys/block/loop"))


def groups() -> Iterator[str]:
    """Ours on every tree, but what a cluster that is no test's does inside of its own."""
    for tree in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
        for cluster in (tree / "flatyard", *(tree / "flatyard").glob("*")):
            if cluster.exists():
                yield str(cluster)
            if cluster.name.startswith(TEST_CLUSTERS):
                yield from map(str, cluster.rglob("*/"))


def foreigners(home: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if str(home) in words or TEST_CLUSTERS in words:
                found.append(f"{entry.name} {words}")
    return found


def kernel_settings() -> list[str]:
    found = []
    for folder, _, names in os.walk("/proc/sys"):
        for name in names:
            path = f"{folder}/{name}"
            if not any(part in path for part in VOLATILE):
                try:
                    found.append(f"{path}={Path(path).read_text()}")
                except OSError:
                    continue
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[LocalSettings]:
    """A home of the test's own; the cache is everybody's. What a failing test left is swept."""
    made = LocalSettings(
        home=tmp_path / "home/local", cache=settings().cache, pool="10.231.0.0/16", tell=print
    )
    yield made
    asyncio.run(sweep_all(made))


async def sweep_all(place: LocalSettings) -> None:
    cloud = LocalCloud(place)
    for cluster in clusters(place.home):
        ref = ClusterRef(cluster.path.name.upper(), "left over")
        for owned in await cloud.sweep(ref):
            await cloud.delete_owned(ref, owned)


@pytest.fixture
def stock(place: LocalSettings) -> Callable[[], Machine]:
    """Takes stock of this machine."""
    place.home.parent.mkdir()
    (place.home.parent / "of somebody else").touch()
    Path("/run/systemd/nspawn/locks").mkdir(parents=True, exist_ok=True)
    Path("/run/systemd/nspawn/propagate").mkdir(parents=True, exist_ok=True)
    return lambda: look(place.home)


@pytest.fixture(scope="session")
def tiny_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest image: one static program that is PID 1."""
    tree = tmp_path_factory.mktemp("tiny") / "tree"
    for name in ("usr/sbin", "usr/lib", "usr/bin", "etc", "var", "opt"):
        (tree / name).mkdir(parents=True)
    (tree / "usr/lib/os-release").write_text("ID=tiny\nVERSION_ID=1\n")
    for name in ("sbin", "lib", "bin"):
        (tree / name).symlink_to(f"usr/{name}")
    source = tree.parent / "init.c"
    source.write_text(INIT)
    gcc = shutil.which("gcc")
    assert gcc, "python tools/packages.py real installs gcc"
    subprocess.run((gcc, "-static", "-Os", "-o", str(tree / "usr/sbin/init"), str(source)), check=True)
    return tree
