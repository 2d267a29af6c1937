"""The documents that users have today, read by the real reader and brought up on the simulated twin of their cloud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from flatyard.base.errors import InvalidInput, Problem
from flatyard.base.world import SIMULATED_EPOCH, SeededWorld
from flatyard.clouds.sim.region import Region
from flatyard.engine import record as records
from flatyard.engine.commands import bring_up
from flatyard.engine.context import Seams
from flatyard.engine.plan import NOTHING, plan
from flatyard.engine.wanted import Wanted, wanted_of
from flatyard.model.documents import read
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import run
from flatyard.sim.machine import SimMachine
from flatyard.store import open_memory
from seeds.pasting import PROVIDER, pasted

HERE = Path(__file__).parent
DEADLINE = 3600.0


@dataclass(frozen=True)
class Brought:
    """What `up` made of the documents."""

    workers: tuple[SimMachine, ...]
    planes: tuple[SimMachine, ...]
    images: tuple[str, ...]
    """References of the images that the workers boot."""

    def text(self, path: str) -> str | None:
        """A file of the first worker."""
        boot = self.workers[0].boot
        assert boot is not None
        return boot.tree.text(path)

    def target(self, path: str) -> str:
        """Where a link of the first worker leads."""
        boot = self.workers[0].boot
        assert boot is not None
        return str(getattr(boot.tree.lstat(path), "target", ""))


@pytest.fixture
def paste() -> Callable[[str, str], str]:
    """The documents of a fragment in a file below this folder, pasted where it belongs."""

    def text(path: str, provider: str) -> str:
        fragment = yaml.safe_load((HERE / path).read_text())
        return yaml.safe_dump_all(pasted(fragment, provider), sort_keys=False)

    return text


@pytest.fixture(scope="session")
def document() -> Callable[[str], str]:
    """A file below this folder, as it is."""
    return lambda path: (HERE / path).read_text()


def without_place(problem: Problem) -> str:
    """A problem's severity, the end of its path, and what it says."""
    path = problem.path.replace(".".join(PROVIDER) + ".", "…")
    allowed = f"; allowed: {problem.allowed}" if problem.allowed else ""
    return f"{problem.severity.value}: {path}: {problem.what}{allowed}"


@pytest.fixture
def reads() -> Callable[[str], list[str]]:
    """What the reader says of the documents."""

    def said(text: str) -> list[str]:
        try:
            return [without_place(p) for p in read([("seed.yaml", text)]).warnings]
        except InvalidInput as refused:
            return [without_place(p) for p in refused.problems]

    return said


@pytest.fixture(scope="session")
def twin() -> Callable[[str], Brought]:
    """Plans, passes preflight, and brings the documents up on the twin of their cloud until every node is Ready."""

    def brought(text: str) -> Brought:
        found = read([("seed.yaml", text)], need_cluster=True)
        assert found.cluster is not None
        wanted = wanted_of(found.cluster, found.machine_deployments)
        assert plan(wanted, NOTHING).changes
        return run(_up(wanted))

    return brought


async def _up(wanted: Wanted) -> Brought:
    loop = asyncio.get_running_loop()
    world = SeededWorld(1, loop.time, SIMULATED_EPOCH)
    region = Region(wanted.cluster, world, MemoryDisk())
    await region.start()
    try:
        said = await region.cloud.preflight(wanted.cluster, wanted.deployments)
        assert not [problem for problem in said if problem.severity.value == "error"]
        store = open_memory(world)
        seams = Seams(
            world=world,
            cloud=region.cloud,
            store=store,
            clients=region.clients,
            feeds=region.feeds,
            holder="seeds",
            on_step=lambda step: None,
        )
        _, outcome = await bring_up(seams, wanted, DEADLINE)
        assert outcome.done, outcome.waits
        machines = tuple(region.machines.machines.values())
        assert len(region.kubernetes.kubelets) == len(machines)
        record = await records.load(store, wanted.name)
        assert record is not None
        instances = await region.cloud.machines(record.ref)
        planes = tuple(m for m in machines if "control-plane" in m.hardware.name)
        images = tuple(sorted({i.image for i in instances if i.role.value == "worker"}))
        return Brought(tuple(m for m in machines if m not in planes), planes, images)
    finally:
        await region.stop()
