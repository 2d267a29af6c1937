"""Machines for the local cloud's tests: a tree with a tiny init, and what this machine looked like before."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from flatyard.clouds.cloud import TAG_CLUSTER, ClusterRef, CreateRequest, Instance, InstanceState, Role
from flatyard.clouds.local import cgroups, evidence, kernel, loops, networks, processes
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.folders import BeforeFile, MachineFolder, clusters, make_private, open_lock
from flatyard.clouds.local.images import STAND_IN
from flatyard.clouds.local.nspawn import RUN as NSPAWN
from flatyard.clouds.local.settings import LocalSettings, settings
from flatyard.model import cluster as model
from flatyard.model.machines import LocalMachine
from flatyard.model.meta import ObjectMeta

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
MINE = f"01JGFJJZ00{os.getpid():015}"
"""How all ids of this run begin: the same tests may run twice on this machine."""
REF = ClusterRef(f"{MINE}D", "prod")
OTHER = ClusterRef(f"{MINE}F", "other")
POOL = f"10.231.{os.getpid() % 128 * 2}.0/23"
MOVING = {
    "fs/aio-nr": "counts what all programs have open",
    "fs/dentry-state": "counts the kernel's own objects",
    "fs/file-nr": "counts what all programs have open",
    "fs/inode-nr": "counts the kernel's own objects",
    "fs/inode-state": "counts the kernel's own objects",
    "fs/quota": "counts what all programs do",
    "kernel/hung_task_detect_count": "counts what the kernel saw",
    "kernel/ns_last_pid": "the last process",
    "kernel/perf_event_max_sample_rate": "the kernel lowers it when an interrupt took long",
    "kernel/pty/nr": "counts what all programs have open",
    "kernel/random": "differs with each reading",
    "net/netfilter/nf_conntrack_count": "counts connections, which end by themselves",
}
"""Kernel settings that are none, and why each moves."""
TESTS_OWN = "flatyard-test"
"""How nft's tables and the aliases of interfaces begin that a test makes by itself: other tests run meanwhile."""
SETTLED = 20.0
"""Seconds in which the kernel has ended what was killed, and others have finished what they began."""


@dataclass(frozen=True, slots=True)
class Machine:
    """All of this Linux machine that a cluster may have touched."""

    mounts: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    rules: frozenset[str]
    loops: frozenset[str]
    groups: frozenset[str]
    foreigners: frozenset[str]
    """Processes of machines and of what runs them."""
    settings: frozenset[str]
    folders: frozenset[str]

    def left(self, before: Machine) -> dict[str, object]:
        """What is there now and was not, or the other way round, by kind."""
        pairs = {
            field.name: (getattr(self, field.name), getattr(before, field.name)) for field in fields(self)
        }
        return {name: sorted(now ^ then) for name, (now, then) in pairs.items() if now != then}


@dataclass(frozen=True, slots=True)
class Others:
    """Clusters on this machine that are no concern of the test's: they come and go meanwhile."""

    links: frozenset[str]
    before: BeforeFile | None
    """What they have to put back; None when there are no others."""


class Stock:
    """Takes stock of this machine. `home`: the test's, in a folder of the test's; its ids begin with one of `mine`."""

    def __init__(self, home: Path, *mine: str) -> None:
        self.home = home
        self.place = home.parent
        self.mine = {text.lower() for text in mine}
        self._locks: set[str] = set()

    def note(self) -> None:
        """Remember clusters, machines and nspawn's locks for them: afterwards nobody knows whose they were."""
        self.mine |= {path.name for path in (*self.home.glob("*/"), *self.home.glob("*/*/"))}
        self._locks |= {inode(root) for root in self.home.glob("*/*/root")}

    def __call__(self) -> Machine:
        """This machine as it will be once all other clusters are gone."""
        with undisturbed():
            rows = ip("link")
            others = self._others(rows)
            links = {row["ifname"] for row in rows} - others.links
            return Machine(
                mounts=frozenset(self._mounts()),
                links=frozenset(links),
                routes=frozenset(routes(links)),
                rules=frozenset(rules(others)),
                loops=frozenset(loop_devices(others)),
                groups=frozenset(self._groups()),
                foreigners=frozenset(self._foreigners()),
                settings=frozenset(kernel_settings(others, links)),
                folders=frozenset(map(str, self._folders(others))),
            )

    async def left(self, before: Machine) -> dict[str, object]:
        """What differs, once that has settled."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SETTLED
        while (found := self().left(before)) and loop.time() < deadline:
            await asyncio.sleep(0.5)
        return found

    def _others(self, rows: list[dict]) -> Others:
        aliases = {row["ifname"]: row.get("ifalias", "") for row in rows}
        marked = {name: mark for name, mark in aliases.items() if mark.startswith(f"{TAG_CLUSTER}=")}
        bridges = {name for name, mark in marked.items() if not self._is_mine(mark.partition("=")[2])}
        cables = {
            row["ifname"]: name for row in rows for name in row.get("altnames", ()) if name[:3] == "vb-"
        }
        plugged = {link for link, name in cables.items() if not self._is_mine(name[3:])}
        made = {name for name, alias in aliases.items() if alias.startswith(TESTS_OWN)}
        return Others(frozenset(bridges | plugged | made), kernel.before() if bridges else None)

    def _is_mine(self, name: str) -> bool:
        return name.lower().startswith(tuple(self.mine))

    def _mounts(self) -> Iterator[str]:
        """All but what others do in temporary folders of their own, and their named network namespaces."""
        elsewhere = Path(tempfile.gettempdir())
        for line in lines("/proc/self/mountinfo"):
            place = Path(line.split()[4])
            is_others = place.is_relative_to(elsewhere) or place.is_relative_to("/run/netns")
            if place.is_relative_to(self.place) or not is_others:
                yield str(place)

    def _groups(self) -> Iterator[str]:
        """The test's own on every tree, and the folder of all clusters where only the test's are in it."""
        found = our_groups()
        for cluster in found:
            if self._is_mine(cluster.name):
                yield from map(str, (cluster, *cluster.rglob("*/")))
        for tree in trees():
            inside = [cluster for cluster in found if cluster.parent == tree]
            if tree.exists() and all(self._is_mine(cluster.name) for cluster in inside):
                yield str(tree)

    def _foreigners(self) -> Iterator[str]:
        for pid in processes.all_processes():
            words = " ".join(processes.command_line(pid))
            told = [words, *(read(f"/proc/{pid}/{name}") for name in ("cgroup", "environ", "mountinfo"))]
            is_ours = any(mark in text for text in told for mark in (str(self.place), *self.mine))
            status = read(f"/proc/{pid}/status")
            # one that has ended waits for this machine's PID 1 only
            if is_ours and pid != os.getpid() and "State:\tZ" not in status:
                yield f"{pid} {words or status}"

    def _folders(self, others: Others) -> Iterator[Path]:
        """Next to the test's home, where nspawn keeps things, and where this machine's record is."""
        yield from self.place.iterdir()
        machines = (path for kind in ("propagate", "unix-export") for path in (NSPAWN / kind).glob("*"))
        yield from (path for path in machines if self._is_mine(path.name))
        yield from (path for path in (NSPAWN / "locks").glob("*") if path.name in self._locks)
        if others.before is None:
            yield from (path for path in kernel.FOLDER.iterdir() if path.name != "lock")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep out whoever makes or removes a network, as `kernel.alone` does."""
    descriptor = -1
    while descriptor < 0:
        make_private(kernel.FOLDER)
        with suppress(FileNotFoundError):
            descriptor = open_lock(kernel.FOLDER / "lock")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not is_at(descriptor, kernel.FOLDER / "lock"):
                os.close(descriptor)
                descriptor = -1
    try:
        yield
    finally:
        if [path.name for path in kernel.FOLDER.iterdir()] == ["lock"]:
            (kernel.FOLDER / "lock").unlink()
            with suppress(OSError):
                kernel.FOLDER.rmdir()
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def read(path: str | Path) -> str:
    """A file of the kernel's; empty when it cannot be read, or is gone."""
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def inode(path: Path) -> str:
    """The name of nspawn's lock for a directory."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return f"inode-{found.st_dev}:{found.st_ino}"
    return ""


def ip(*arguments: str) -> list[dict]:
    done = subprocess.run(("ip", "-j", *arguments), capture_output=True, text=True, check=True)
    return json.loads(done.stdout or "[]")


def routes(links: set[str]) -> Iterator[str]:
    """Those on these interfaces, and on none; on lo others may have addresses, and clusters have none."""
    for version in ("-4", "-6"):
        for row in ip(version, "route", "show", "table", "all"):
            if row.get("dev") in {None, *links} - {"lo"}:
                yield json.dumps(row, sort_keys=True)


def rules(others: Others) -> Iterator[str]:
    """Each table of nft's."""
    theirs = {networks.table_of(link) for link in others.links}
    shown = subprocess.run(("nft", "list", "tables"), capture_output=True, text=True, check=True).stdout
    for words in (line.split() for line in shown.splitlines()):
        if words[2] not in theirs and not words[2].startswith(TESTS_OWN):
            yield subprocess.run(("nft", "list", *words), capture_output=True, text=True, check=False).stdout


def loop_devices(others: Others) -> Iterator[str]:
    """Nodes, and devices that show a file."""
    if others.before is None:
        yield from map(str, Path("/dev").glob("loop*"))
    else:
        yield from ("/dev/loop-control", *(f"/dev/loop{number}" for number in others.before.loops))
    for number in loops.present():
        shown = loops.backing(number)
        if shown.endswith(
            "(deleted)"
        ):  # machines that are there have devices, too; those that are gone had files
            yield f"{number} shows {shown}"


def trees() -> list[Path]:
    return [tree / cgroups.OURS for tree in (cgroups.ROOT, *cgroups.ROOT.iterdir())]


def our_groups() -> list[Path]:
    """Each cluster's group on each tree."""
    return [path for tree in trees() if tree.exists() for path in tree.iterdir() if path.is_dir()]


def kernel_settings(others: Others, links: set[str]) -> Iterator[str]:
    """All of them, of interfaces only these; those that other clusters have changed as they will be afterwards."""
    changed = others.before.changed if others.before else {}
    for folder, names, files in os.walk("/proc/sys"):
        if folder.startswith("/proc/sys/net/") and folder.endswith(("/conf", "/neigh")):
            names[:] = [name for name in names if name in {"all", "default", *links}]
        for file in files:
            name = f"{folder}/{file}".removeprefix("/proc/sys/")
            if not any(name == moving or name.startswith(f"{moving}/") for moving in MOVING):
                first = one_of_two(name)
                value = changed[first][0] if first in changed else read(f"/proc/sys/{name}").strip()
                yield f"{name} = {value}"


def one_of_two(name: str) -> str:
    """The setting that this one is another name of, or that sets this one, too."""
    if name.startswith("net/ipv4/conf/") and name.endswith("/forwarding"):
        return kernel.FORWARD
    return kernel.WATCHERS if name == "user/max_inotify_instances" else name


CLUSTER = model.Cluster(
    metadata=ObjectMeta(name="prod"),
    spec=model.ClusterSpec(cloud=model.CloudChoice(local=model.LocalCloud())),
)


class Bed:
    """A cluster without Kubernetes in which a test makes one machine."""

    ref, other, cluster = REF, OTHER, CLUSTER

    def __init__(self, place: LocalSettings, stock: Stock) -> None:
        self.cloud = LocalCloud(place)
        self.place = place
        self._stock = stock

    def address(self, number: int) -> str:
        """Its first cluster's `number`th address: the bridge's is the first."""
        return str(IPv4Network(self.place.pool)[number])

    def folder(self, instance: Instance) -> MachineFolder:
        return networks.folder_of(self.place, REF).folder(instance.id)

    async def create(self, user_data: bytes, attempt: int = 1) -> Instance:
        network = await self.cloud.ensure_network(REF, CLUSTER)
        await self.cloud.ensure_endpoint(REF, CLUSTER, network, ())
        return await self.cloud.create(
            CreateRequest(
                cluster=REF,
                machine_id=f"{MINE}E",
                attempt=attempt,
                name="m1",
                role=Role.WORKER,
                pool="general",
                zone="",
                image=self.place.image or STAND_IN,
                machine=LocalMachine(),
                network=network,
                user_data=user_data,
            )
        )

    async def until(self, done: Callable[[], object], what: str, seconds: float = 60) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    await asyncio.sleep(0.05)
                self._stock.note()
        except TimeoutError:
            kept = [
                path
                for name in ("state.json", "supervisor.log")
                for path in self.place.home.glob(f"*/*/{name}")
            ]
            told = "\n".join(f"{path}:\n{path.read_text()[-2000:]}" for path in kept)
            pytest.fail(f"{what} did not happen in {seconds} s\n{told}")

    async def state(self) -> InstanceState:
        (shown,) = await self.cloud.machines(REF)
        return shown.state

    def said(self, instance: Instance, words: str) -> int:
        """How often the machine's console says so."""
        return sum(words in line for line in evidence.console(self.folder(instance)))

    async def leader(self, instance: Instance) -> int:
        folder = self.folder(instance)
        await self.until(lambda: processes.leader(folder.state().nspawn), "the container's start")
        return processes.leader(folder.state().nspawn)

    async def inside(self, instance: Instance, *command: str) -> str:
        return (await processes.inside(await self.leader(instance), *command)).said

    async def down(self) -> None:
        for instance in await self.cloud.machines(REF):
            await self.cloud.delete(REF, instance)
        await self.cloud.delete_endpoint(REF)
        await self.cloud.delete_network(REF)
        assert await self.cloud.sweep(REF) == ()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[LocalSettings]:
    """A home of the test's own; the cache is everybody's. What a failing test left is swept."""
    made = LocalSettings(home=tmp_path / "home/local", cache=settings().cache, pool=POOL, tell=print)
    yield made
    asyncio.run(sweep_all(made))


async def sweep_all(place: LocalSettings, *more: ClusterRef) -> None:
    """Whose folders are there, and more whose folders may be lost."""
    cloud = LocalCloud(place)
    kept = [ClusterRef(cluster.path.name.upper(), "left over") for cluster in clusters(place.home)]
    for ref in (*kept, *more):
        for owned in await cloud.sweep(ref):
            await cloud.delete_owned(ref, owned)


@pytest.fixture
def stock(place: LocalSettings) -> Stock:
    """Takes stock of this machine before and after."""
    place.home.parent.mkdir()
    (place.home.parent / "of somebody else").touch()
    return Stock(place.home, MINE)


@pytest.fixture(scope="session")
def stock_of() -> type[Stock]:
    """For tests whose clusters get ids from the command line."""
    return Stock


@pytest.fixture
def bed(place: LocalSettings, stock: Stock) -> Iterator[Bed]:
    yield Bed(place, stock)
    asyncio.run(sweep_all(place, REF, OTHER))


@pytest.fixture
def tiny(bed: Bed, stock: Stock, tiny_tree: Path) -> Bed:
    """Machines whose only program is a tiny init."""
    return Bed(replace(bed.place, image=str(tiny_tree)), stock)


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
