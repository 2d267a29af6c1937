"""The local cloud keeps every promise of the protocol, with real containers whose only program is a tiny init."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from flatyard.base.world import CROCKFORD, World
from flatyard.clouds import conformance
from flatyard.clouds.cloud import Cloud, ClusterRef, CreateRequest, Instance, InstanceState, Transient
from flatyard.clouds.conformance import Planted
from flatyard.clouds.facts import Trouble
from flatyard.clouds.local import machines, networks, processes
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.commands import CommandFailed
from flatyard.clouds.local.folders import Phase
from flatyard.clouds.local.settings import LocalSettings
from flatyard.model import cluster as model
from flatyard.model.machines import LocalMachine, MachineSpec
from flatyard.model.meta import ObjectMeta
from flatyard.node.evidence import Report, format_report

pytestmark = pytest.mark.real
SETTLED = 120.0
"""Seconds in which every machine has come up or gone."""
MINE = f"01JGFJJZ00{os.getpid():015}"
"""How all ids of this run begin: the same tests may run twice on this machine."""
STRAY = f"fys{os.getpid()}"


class LosingCloud(LocalCloud):
    """Makes machines, and forgets to say so as often as it is told."""

    lost = 0

    def __init__(self, place: LocalSettings) -> None:
        super().__init__(place)
        self.given: dict[str, bytes] = {}

    async def create(self, request: CreateRequest) -> Instance:
        made = await super().create(request)
        # read at once: it goes when Ignition has run
        found = networks.folder_of(self.settings, request.cluster).folder(made.id).user_data
        if found.exists():
            self.given.setdefault(made.id, found.read_bytes())
        if self.lost:
            self.lost -= 1
            raise Transient("the reply was lost")
        return made


class Refusing:
    """Makes machines, or lets this machine refuse to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._create = machines.create
        self.left = 0
        self.trouble = Trouble.INTERNAL
        monkeypatch.setattr(machines, "create", self)

    async def __call__(
        self, place: LocalSettings, world: World, request: CreateRequest, made_with: machines.Provisions
    ) -> Instance:
        if not self.left:
            return await self._create(place, world, request, made_with)
        self.left -= 1
        if self.trouble is Trouble.QUOTA_VCPUS:
            raise OSError(errno.ENOSPC, "No space left on device")
        raise CommandFailed(("ip", "link", "show"), 1, "Cannot open netlink socket")


NO_LIMIT = "nobody counts the calls to this machine"
CANNOT = {
    "preflight_finds_a_wrong_region": "there is one region, and the file cannot name another",
    "preflight_finds_a_wrong_zone": "there are no zones",
    "preflight_finds_a_wrong_credential": "there are no credentials; the suite runs as root, as it must",
    "no_capacity_is_told": "there is no capacity but this machine's own, which shows as a quota",
    "sweep_spares_what_is_not_tagged_owned": "a bridge has one alias, which is both marks",
    "throttling_is_waited_out": NO_LIMIT,
    "throttling_that_lasts_is_told": NO_LIMIT,
}


class LocalBench:
    """Two clusters on this machine. Waiting ends as soon as nothing is under way any more."""

    beyond_a_page = 12  # the list is one page, however long it is
    cannot = CANNOT

    def __init__(self, place: LocalSettings, refusing: Refusing) -> None:
        self._place = place
        self._refusing = refusing
        self._cloud = LosingCloud(place)
        self.cloud: Cloud = self._cloud
        self.machine: MachineSpec = LocalMachine(cpus=1, memory_mb=512)
        self.ref = ClusterRef(f"{MINE}A", "prod")
        self.other = ClusterRef(f"{MINE}B", "test")
        self.foreigners: list[subprocess.Popen[bytes]] = []
        self.cluster = cluster(self.machine)
        self.planted = (
            Planted("size", cluster(LocalMachine(memory_mb=10_000_000)), "MB together, and this machine has"),
            Planted("image", cluster(self.machine, image="/nowhere/flatcar.bin"), "cannot be read"),
            Planted(
                "subnet", cluster(self.machine, nodes="127.0.4.0/24"), "the range 127.0.4.0/24 is in use"
            ),
            Planted("quota", cluster(self.machine, workers=100_000), "100001 machines take about"),
            Planted(
                "name", cluster(self.machine, name="Prod"), "named after 'Prod' cannot be called so here"
            ),
        )

    def machine_id(self, number: int) -> str:
        return f"01JGFJJZ00CCCCCCCCCCCCCC{CROCKFORD[number // 32]}{CROCKFORD[number % 32]}"

    def restarted(self) -> Cloud:
        return LocalCloud(self._place)

    def lose_replies(self, count: int) -> None:
        self._cloud.lost = count

    def trouble(self, what: Trouble, count: int) -> None:
        self._refusing.trouble, self._refusing.left = what, count

    def meter(self, on: bool) -> None:
        """Nobody counts."""

    def lag(self, seconds: float) -> None:
        """Lists are read from the folders themselves: they are never late, as the limits say."""
        assert seconds == self.cloud.limits.list_lag_seconds == 0

    def fail(self, instance: Instance) -> None:
        """Its PID 1 is killed, as by a kernel without memory."""
        folder = networks.folder_of(self._place, self.ref).folder(instance.id)
        while not (pid_one := processes.leader(folder.state().nspawn)):
            Event().wait(0.02)
        processes.end(pid_one)
        while folder.state().phase is Phase.RUNNING:
            Event().wait(0.02)

    def end(self, instance: Instance) -> None:
        """Somebody clears it away with all that it has."""
        folder = networks.folder_of(self._place, self.ref).folder(instance.id)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, machines.delete(folder, self.ref.id.lower())).result()

    def user_data(self, instance: Instance) -> bytes:
        return self._cloud.given[instance.id]

    def stray(self) -> str:
        """A bridge of a cluster whose folder is lost."""
        alias = networks.alias(self.ref.id)
        ip = ("ip", "link")
        subprocess.run((*ip, "add", STRAY, "type", "bridge"), check=True)
        subprocess.run((*ip, "set", STRAY, "alias", alias), check=True)
        return STRAY

    def borrowed(self) -> str:
        raise AssertionError(CANNOT["sweep_spares_what_is_not_tagged_owned"])

    def remains(self, id: str) -> bool:
        raise AssertionError(CANNOT["sweep_spares_what_is_not_tagged_owned"])

    def foreign(self, name: str) -> None:
        """A container of somebody else's, of the same name."""
        root = self._place.home.parent / "foreign"
        subprocess.run(("cp", "-a", self._place.image, str(root)), check=True)
        command = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine={name}", "--boot")
        started = subprocess.Popen((*command, f"--directory={root}"), stdin=subprocess.DEVNULL)
        self.foreigners.append(started)

    def break_down(self, instance: Instance) -> None:
        folder = networks.folder_of(self._place, self.ref).folder(instance.id)
        report = Report("kubelet.service", "exit-code", ("kubelet: no such file or directory",))
        with folder.console.open("a") as console:
            console.write(format_report(report))

    async def wait(self, seconds: float) -> None:
        async with asyncio.timeout(min(seconds, SETTLED)):
            while await self._is_busy():
                await asyncio.sleep(0.1)

    async def _is_busy(self) -> bool:
        shown = [i for ref in (self.ref, self.other) for i in await self.cloud.machines(ref)]
        return any(i.state in (InstanceState.PENDING, InstanceState.DELETING) for i in shown)

    async def get(self, url: str) -> int:
        raise AssertionError(f"the local cloud stashes nothing, so nobody asks for {url}")

    async def read(self, url: str) -> bytes:
        raise AssertionError(f"the local cloud stashes nothing, so nobody reads {url}")


def cluster(
    machine: MachineSpec,
    *,
    workers: int = 2,
    name: str = "prod",
    image: str = "",
    nodes: str = model.Network().nodes,
) -> model.Cluster:
    pool = model.WorkerPool(name="general", replicas=workers, machine=machine)
    return model.Cluster(
        metadata=ObjectMeta(name=name),
        spec=model.ClusterSpec(
            cloud=model.CloudChoice(local=model.LocalCloud(image=image)),
            control_plane=model.ControlPlane(replicas=1, machine=machine),
            workers=(pool,),
            network=model.Network(nodes=nodes),
        ),
    )


@pytest.fixture
def bench(place: LocalSettings, tiny_tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBench]:
    place.home.parent.mkdir()
    made = LocalBench(replace(place, image=str(tiny_tree)), Refusing(monkeypatch))
    yield made
    for process in made.foreigners:
        process.kill()
        process.wait()
    subprocess.run(("ip", "link", "delete", STRAY), capture_output=True, check=False)  # gone if all is well


@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
def test_the_local_cloud_conforms(bench: LocalBench, named: conformance.Check) -> None:
    why = bench.cannot.get(named.__name__)
    if why:
        pytest.skip(why)
    asyncio.run(named(bench))


def test_a_tenth_of_the_suite_is_left_out_at_most() -> None:
    assert conformance.excess(CANNOT) == ""
