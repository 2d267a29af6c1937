"""A machine's own control groups: made before it starts, so that its cgroup namespace is rooted there.

cgroup v1 has one tree per controller, v2 a single one. In each, a machine's group is `flatyard/CLUSTER/INSTANCE`,
which is how processes without a folder are still found. On v2 the group is an inner one: nspawn runs in `machine`
below it, since a group that hands controllers on may hold no processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OURS = "flatyard"
_PERIOD = 100_000
"""Microseconds over which CPU time is measured."""


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The mounted trees. `unified`: the only one is v2's, at `trees[0]`."""

    trees: tuple[Path, ...]
    unified: bool

    def groups(self, cluster: str, instance: str) -> tuple[Path, ...]:
        return tuple(tree / OURS / cluster / instance for tree in self.trees)


def hierarchies(mounts: str | None = None, root: Path = ROOT) -> Hierarchies:
    """What is mounted below /sys/fs/cgroup, from the text of /proc/self/mounts."""
    text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    found = [line.split()[1:3] for line in text.splitlines()]
    if [str(root), "cgroup2"] in found:
        return Hierarchies((root,), unified=True)
    trees = {Path(place) for place, kind in found if kind in ("cgroup", "cgroup2")}
    return Hierarchies(tuple(sorted(tree for tree in trees if tree.parent == root)), unified=False)


def make(where: Hierarchies, cluster: str, instance: str, cpus: int, memory_mb: int) -> tuple[Path, ...]:
    """Make a machine's groups with its limits; the files to write a process id into, for it to move there.

    For one boot, after `clear`.
    """
    files = []
    for group in where.groups(cluster, instance):
        _make_anew(group)
        if where.unified:
            _hand_on(group)
            inner = group / "machine"
            inner.mkdir(exist_ok=True)
            files.append(inner / "cgroup.procs")
        else:
            _fill_cpuset(group)
            files.append(group / "cgroup.procs")
        _limit(group, cpus, memory_mb)
    return tuple(files)


def _make_anew(group: Path) -> None:
    """Make a group and those above it, which whoever removes the last machine of another cluster removes."""
    while not group.is_dir():
        with suppress(FileNotFoundError):
            group.mkdir(parents=True, exist_ok=True)


def _hand_on(group: Path) -> None:
    """Give a v2 group the controllers that its parents have."""
    for above in (group.parents[2], group.parents[1], group.parents[0], group):
        wanted = (above / "cgroup.controllers").read_text().split()
        with suppress(OSError):  # a group above may hold processes; the machine then runs without limits
            (above / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))


def _fill_cpuset(group: Path) -> None:
    """A v1 cpuset takes no process before it has CPUs and memory nodes; they come from above."""
    for above in (group.parents[1], group.parents[0], group):
        if not (above / "cpuset.cpus").exists():
            return
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not (above / name).read_text().strip():
                (above / name).write_text((above.parent / name).read_text())
        (above / "cgroup.clone_children").write_text("1")


def _limit(group: Path, cpus: int, memory_mb: int) -> None:
    """Bound memory, and CPU time where it is less than this machine has."""
    limits = {"memory.limit_in_bytes": str(memory_mb << 20), "memory.max": str(memory_mb << 20)}
    if cpus < (os.cpu_count() or 1):
        limits |= {"cpu.cfs_quota_us": str(cpus * _PERIOD), "cpu.max": f"{cpus * _PERIOD} {_PERIOD}"}
    for name, value in limits.items():
        if (group / name).exists():
            (group / name).write_text(value)


def below(group: Path) -> Iterator[Path]:
    """The group and all below it, deepest first."""
    for folder, _, _ in os.walk(group, topdown=False):
        yield Path(folder)


def processes(where: Hierarchies, cluster: str, instance: str) -> tuple[int, ...]:
    """Every process in the machine's groups, in order."""
    found: dict[int, None] = {}
    for group in where.groups(cluster, instance):
        for folder in below(group):
            with suppress(OSError):  # the group went meanwhile
                found |= dict.fromkeys(map(int, (folder / "cgroup.procs").read_text().split()))
    return tuple(sorted(found))


def clear(where: Hierarchies, cluster: str, instance: str) -> bool:
    """Remove the groups in the machine's, which an earlier boot made; False while something is still in them.

    On v2 nspawn has controllers handed on in the group that it starts in, which takes no process after that.
    """
    inside = [
        folder for group in where.groups(cluster, instance) for folder in below(group) if folder != group
    ]
    for folder in inside:
        with suppress(OSError):
            folder.rmdir()
    return not any(folder.exists() for folder in inside)


def remove(where: Hierarchies, cluster: str, instance: str) -> bool:
    """Remove the machine's groups, and those above that are empty then; False while something is still in them."""
    for group in where.groups(cluster, instance):
        for folder in below(group):
            with suppress(OSError):
                folder.rmdir()
        for above in group.parents[:2]:
            with suppress(OSError):  # other machines have theirs there
                above.rmdir()
    return not any(group.exists() for group in where.groups(cluster, instance))


def instances(where: Hierarchies, cluster: str) -> tuple[str, ...]:
    """Machines of the cluster that have a group, whether they have a folder or not."""
    found: dict[str, None] = {}
    for tree in where.trees:
        with suppress(FileNotFoundError):
            found |= {p.name: None for p in (tree / OURS / cluster).iterdir() if p.is_dir()}
    return tuple(sorted(found))
