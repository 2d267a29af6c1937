"""The local cloud keeps every promise of the protocol, with real containers whose only program is a tiny init."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.world import CROCKFORD
from flatyard.clouds import conformance
from flatyard.clouds.cloud import Cloud, ClusterRef, CreateRequest, Instance, InstanceState, Transient
from flatyard.clouds.local import networks
from flatyard.clouds.local.cloud import LocalCloud
from flatyard.clouds.local.settings import LocalSettings
from flatyard.model import cluster as model
from flatyard.model.machines import LocalMachine, MachineSpec
from flatyard.model.meta import ObjectMeta
from flatyard.node.evidence import Report, format_report

pytestmark = pytest.mark.real
SETTLED = 120.0
"""Seconds in which every machine has come up or gone."""


class LosingCloud(LocalCloud):
    """Makes machines, and forgets to say so as often as it is told."""

    lost = 0

    async def create(self, request: CreateRequest) -> Instance:
        made = await super().create(request)
        if self.lost:
            self.lost -= 1
            raise Transient("the reply was lost")
        return made


class LocalBench:
    """Two clusters on this machine. Waiting ends as soon as nothing is under way any more."""

    beyond_a_page = 12  # the list is one page, however long it is

    def __init__(self, place: LocalSettings) -> None:
        self._place = place
        self._cloud = LosingCloud(place)
        self.cloud: Cloud = self._cloud
        self.machine: MachineSpec = LocalMachine(cpus=1, memory_mb=512)
        self.ref = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
        self.other = ClusterRef("01JGFJJZ00BBBBBBBBBBBBBBBB", "test")
        self.foreigners: list[subprocess.Popen[bytes]] = []
        machines = model.WorkerPool(name="general", replicas=2, machine=self.machine)
        self.cluster = model.Cluster(
            metadata=ObjectMeta(name="prod"),
            spec=model.ClusterSpec(
                cloud=model.CloudChoice(local=model.LocalCloud()),
                control_plane=model.ControlPlane(replicas=1, machine=self.machine),
                workers=(machines,),
            ),
        )

    def machine_id(self, number: int) -> str:
        return f"01JGFJJZ00CCCCCCCCCCCCCC{CROCKFORD[number // 32]}{CROCKFORD[number % 32]}"

    def restarted(self) -> Cloud:
        return LocalCloud(self._place)

    def lose_replies(self, count: int) -> None:
        self._cloud.lost = count

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


@pytest.fixture
def bench(place: LocalSettings, tiny_tree: Path) -> Iterator[LocalBench]:
    place.home.parent.mkdir()
    made = LocalBench(replace(place, image=str(tiny_tree)))
    yield made
    for process in made.foreigners:
        process.kill()
        process.wait()


@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
def test_the_local_cloud_conforms(bench: LocalBench, named: conformance.Check) -> None:
    asyncio.run(named(bench))
