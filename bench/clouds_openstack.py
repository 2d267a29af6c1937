"""What the OpenStack adapter adds to the bare SDK: machines made and listed on the real services, both in turn.

    sudo .venv/bin/python bench/clouds_openstack.py [MACHINES]

Needs root, for a network namespace. Both ways make the same calls (a port, a server on it; one list) with as many at
once, against the same emulator in the same run; the pace that the adapter keeps for the sake of real sites is lifted.
Each round ends when every server was accepted and listed; what the hypervisors do then is not measured. Medians are
compared; exit code 1 above the target.
"""

from __future__ import annotations

import asyncio
import base64
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

from emulators.openstack.bench import OpenstackBench  # noqa: E402
from emulators.openstack.services import Account, Services  # noqa: E402
from emulators.stage import Stage  # noqa: E402
from flatyard.clouds import conformance  # noqa: E402
from flatyard.clouds.calls import THREADS, Calls  # noqa: E402
from flatyard.clouds.cloud import CreateRequest  # noqa: E402
from flatyard.clouds.naming import mac_of  # noqa: E402
from flatyard.clouds.openstack import marks  # noqa: E402
from flatyard.clouds.openstack.answers import translate  # noqa: E402
from flatyard.clouds.openstack.cloud import OpenstackAdapter  # noqa: E402
from flatyard.decode.types import ConfigVar  # noqa: E402
from flatyard.model.machines import OpenstackMachine  # noqa: E402

MACHINES, ROUNDS, TARGET = 200, 3, 1.2
PACE = 100_000
Way = Callable[[OpenstackBench, list[CreateRequest]], Awaitable[float]]


async def requests(bench: OpenstackBench, count: int) -> list[CreateRequest]:
    """The machines that are made, in a network that is there; small ones, for which the one host has room."""
    bench.machine = OpenstackMachine(flavor=ConfigVar("m3.tiny"))
    first = await conformance.request(bench)
    numbers = range(1, count + 1)
    return [replace(first, machine_id=bench.machine_id(n), name=f"general-{n:04d}") for n in numbers]


async def ours_takes(bench: OpenstackBench, wanted: list[CreateRequest]) -> float:
    """Seconds with the adapter."""
    cloud = bench.cloud
    assert isinstance(cloud, OpenstackAdapter)
    cloud.client.calls = Calls(translate, per_second=PACE, burst=PACE)
    begun = time.perf_counter()
    await asyncio.gather(*(cloud.create(one) for one in wanted))
    assert len(await cloud.machines(bench.ref)) == len(wanted)
    return time.perf_counter() - begun


async def bare_takes(bench: OpenstackBench, wanted: list[CreateRequest]) -> float:
    """Seconds with openstacksdk alone, in as many threads."""
    user, network = bench.user, wanted[0].network
    flavor = user.compute.find_flavor(wanted[0].machine.size, ignore_missing=False).id

    def make(one: CreateRequest) -> None:
        port = user.network.create_port(
            name=one.name,
            description=marks.described(one.cluster, one.machine_id),
            network_id=network.id,
            mac_address=mac_of(one.token),
            fixed_ips=[{"subnet_id": network.subnets[0]}],
            security_groups=[network.security_groups["worker"]],
        )
        user.compute.create_server(
            name=one.name,
            flavor_id=flavor,
            image_id=one.image,
            networks=[{"port": port.id}],
            user_data=base64.b64encode(one.user_data).decode(),
            metadata=marks.metadata(one),
            tags=marks.server_tags(one),
        )

    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(make, wanted))
    assert len(list(user.compute.servers(tags=marks.server_tag(bench.ref)))) == len(wanted)
    return time.perf_counter() - begun


def measured(services: Services, account: Account, way: Way, count: int) -> float:
    """One round, begun and ended without machines."""

    async def main() -> float:
        bench = OpenstackBench(services, account)
        try:
            return await way(bench, await requests(bench, count))
        finally:
            bench.wipe()
            await bench.close()

    return services.stage.run(main)


def main(count: int) -> int:
    """Print the medians in seconds and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage("bench", Path(folder))
        services = Services(stage)
        try:
            services.start()
            account = stage.inside(lambda: services.account("bench"))
            stage.inside(lambda: services.image(services.user(account)))
            ways: dict[str, Way] = {"openstacksdk alone": bare_takes, "flatyard": ours_takes}
            for way in ways.values():  # warm: what is loaded and cached once
                measured(services, account, way, 8)
            rounds: list[dict[str, float]] = []
            for number in range(ROUNDS):
                rounds.append({})
                for name, way in ways.items():
                    rounds[number][name] = measured(services, account, way, count)
                    print(f"round {number + 1}: {name} {rounds[number][name]:.2f} s", file=sys.stderr)
        finally:
            services.close()
            stage.close()
    medians = {name: statistics.median(taken[name] for taken in rounds) for name in ways}
    for name, median in medians.items():
        print(f"{name:19} {median:6.2f} s for {count} machines")
    bare, own = medians.values()
    print(f"{'ratio':19} {own / bare:6.2f}    target: at most {TARGET}")
    return 0 if own / bare <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else MACHINES))
