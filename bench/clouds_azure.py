"""What the Azure adapter adds to the bare SDK: 200 machines made, listed and deleted on the emulated API, both in turn.

    .venv/bin/python bench/clouds_azure.py

Needs root, for a network namespace. Both ways make the same calls with as many at once; the pace that the adapter keeps
for the sake of a real subscription's limits is lifted. Medians of the rounds are compared; exit code 1 above target.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from azure.core import MatchConditions  # noqa: E402

from emulators.azure.bench import AzureBench  # noqa: E402
from emulators.azure.place import Arm, start  # noqa: E402
from emulators.stage import Stage  # noqa: E402
from flatyard.clouds import conformance  # noqa: E402
from flatyard.clouds.azure import orders  # noqa: E402
from flatyard.clouds.azure.answers import translate  # noqa: E402
from flatyard.clouds.azure.cloud import AzureCloud  # noqa: E402
from flatyard.clouds.calls import THREADS, Calls  # noqa: E402
from flatyard.clouds.cloud import CreateRequest  # noqa: E402

MACHINES, ROUNDS, TARGET = 200, 5, 1.2
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPbCZ8cOIFtDXs/DTEnx2/mLp+Dst8sQG1oP+BoMmx/d"
Way = Callable[[AzureBench, list[CreateRequest]], Awaitable[float]]


async def requests(bench: AzureBench) -> list[CreateRequest]:
    """The machines that are made, in a network that is there."""
    first = await conformance.request(bench)
    numbers = range(1, MACHINES + 1)
    return [replace(first, machine_id=bench.machine_id(n), name=f"general-{n:04d}") for n in numbers]


async def ours_takes(bench: AzureBench, wanted: list[CreateRequest]) -> float:
    """Seconds with the adapter."""
    begun = time.perf_counter()
    made = await asyncio.gather(*(bench.cloud.create(one) for one in wanted))
    assert len(await bench.cloud.machines(bench.ref)) == MACHINES
    await asyncio.gather(*(bench.cloud.delete(bench.ref, one) for one in made))
    return time.perf_counter() - begun


async def bare_takes(bench: AzureBench, wanted: list[CreateRequest]) -> float:
    """Seconds with the SDK alone, in as many threads."""
    assert isinstance(bench.cloud, AzureCloud)
    account, clients = bench.cloud.account, bench.clients
    group = account.place.group_for(bench.ref)
    kind = orders.INTERFACES

    def make(request: CreateRequest) -> str:
        name = orders.interface_name(request)
        interface = orders.interface(account, request, "")
        machine = orders.machine(account, request, account.place.id(group, kind, name), KEY)
        nics, machines = clients.network.network_interfaces, clients.compute.virtual_machines
        nics.begin_create_or_update(group, name, interface, polling=False).result()
        put = machines.begin_create_or_update
        return str(
            put(group, request.name, machine, match_condition=MatchConditions.IfMissing, polling=False)
            .result()
            .name
        )

    def end(name: str) -> None:
        clients.compute.virtual_machines.begin_delete(group, name, polling=False).result()

    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        names = list(pool.map(make, wanted, timeout=300))
        assert len(list(clients.compute.virtual_machines.list(group))) == MACHINES
        list(pool.map(end, names, timeout=300))
    return time.perf_counter() - begun


def measured(stage: Stage, arm: Arm, way: Way) -> float:
    """One round in an empty subscription."""

    async def main() -> float:
        arm.reset()
        arm.durations(retry_after=0)
        bench = AzureBench(arm)
        assert isinstance(bench.cloud, AzureCloud)
        wanted = await requests(bench)
        bench.cloud.account.calls = Calls(translate, per_second=1e6, burst=1)
        seconds = await way(bench, wanted)
        await bench.close()
        return seconds

    return stage.run(main)


def main() -> int:
    """Print the medians in seconds and their ratio."""
    ways: dict[str, Way] = {"the SDK alone": bare_takes, "flatyard": ours_takes}
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage("bench", Path(folder))
        try:
            arm = start(stage)
            measured(stage, arm, bare_takes)  # imports, compiles and warms
            rounds = [{name: measured(stage, arm, way) for name, way in ways.items()} for _ in range(ROUNDS)]
        finally:
            stage.close()
    medians = {name: statistics.median(taken[name] for taken in rounds) for name in ways}
    for name, median in medians.items():
        print(f"{name:14} {median:6.2f} s for {MACHINES} machines")
    bare, own = medians.values()
    print(f"{'ratio':14} {own / bare:6.2f}    target: at most {TARGET}")
    return 0 if own / bare <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
