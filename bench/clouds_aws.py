"""What the AWS adapter adds to the bare SDK: 200 machines made, listed and ended on the emulated API, both in turn.

    .venv/bin/python bench/clouds_aws.py

Needs root, for a network namespace. Both ways make the same calls with as many at once; the pace that the adapter keeps
for the sake of a real account's limits is lifted. Who is first changes from round to round. The medians of the rounds
are compared; exit code 1 above the target.
"""

from __future__ import annotations

import asyncio
import os
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

from emulators.aws.emulated import AwsBench, Emulated  # noqa: E402
from emulators.stage import Stage, environment  # noqa: E402
from flatyard.clouds import conformance  # noqa: E402
from flatyard.clouds.aws import machines  # noqa: E402
from flatyard.clouds.aws.cloud import AwsCloud  # noqa: E402
from flatyard.clouds.aws.naming import ours  # noqa: E402
from flatyard.clouds.calls import THREADS  # noqa: E402
from flatyard.clouds.cloud import CreateRequest  # noqa: E402

MACHINES, ROUNDS, TARGET = 200, 6, 1.2
Way = Callable[[AwsBench, list[CreateRequest]], Awaitable[float]]
SERVER = ROOT / "tests/emulators/aws"


async def requests(bench: AwsBench) -> list[CreateRequest]:
    """The machines that are made, in a network that is there."""
    first = await conformance.request(bench)
    return [
        replace(first, machine_id=bench.machine_id(n), name=f"general-{n:04d}")
        for n in range(1, MACHINES + 1)
    ]


async def ours_takes(bench: AwsBench, wanted: list[CreateRequest]) -> float:
    """Seconds with the adapter."""
    cloud = bench.cloud
    begun = time.perf_counter()
    made = await asyncio.gather(*(cloud.create(one) for one in wanted))
    assert len(await cloud.machines(bench.ref)) == MACHINES
    await asyncio.gather(*(cloud.delete(bench.ref, one) for one in made))
    return time.perf_counter() - begun


async def bare_takes(bench: AwsBench, wanted: list[CreateRequest]) -> float:
    """Seconds with boto3 alone, in as many threads."""
    cloud = bench.cloud
    assert isinstance(cloud, AwsCloud)
    roots = machines.Roots()
    orders = [await machines.order_of(cloud.account, one, roots) for one in wanted]
    client = bench.aws.client("ec2")

    def make(order: dict[str, object]) -> str:
        return str(client.run_instances(**order)["Instances"][0]["InstanceId"])

    def end(key: str) -> None:
        filters = [{"Name": "instance-id", "Values": [key]}, {"Name": "state", "Values": ["open", "active"]}]
        client.describe_spot_instance_requests(Filters=filters)
        client.terminate_instances(InstanceIds=[key])

    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        keys = list(pool.map(make, orders, timeout=300))
        answer = client.describe_instances(Filters=ours(bench.ref), MaxResults=1000)
        assert len(answer["Reservations"]) == MACHINES
        list(pool.map(end, keys, timeout=300))
    return time.perf_counter() - begun


def measured(aws: Emulated, way: Way) -> tuple[float, float]:
    """One round in an empty account: seconds by the clock, and of the processor."""
    aws.control("reset")

    async def main() -> tuple[float, float]:
        bench = AwsBench(aws)
        wanted = await requests(bench)
        bench.aws.client("ec2").describe_vpcs()
        begun = time.process_time()
        seconds = await way(bench, wanted)
        busy = time.process_time() - begun
        await bench.close()
        return seconds, busy

    return aws.stage.run(main)


def one_round(aws: Emulated, ways: dict[str, Way], *, swapped: bool) -> dict[str, tuple[float, float]]:
    """Each way once."""
    order = sorted(ways, reverse=swapped)
    return {name: measured(aws, ways[name]) for name in order}


def main() -> int:
    """Print the medians in seconds and their ratio."""
    os.environ.update(Emulated.ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage("bench", Path(folder))
        try:
            command = [str(environment("aws") / "bin/python"), str(SERVER / "server.py")]
            stage.start("aws", [*command, str(Emulated.PORT), str(SERVER / "amis.json")], port=Emulated.PORT)
            aws = Emulated(stage)
            ways = {"boto3 alone": bare_takes, "flatyard": ours_takes}
            rounds = [one_round(aws, ways, swapped=bool(number % 2)) for number in range(ROUNDS)]
        finally:
            stage.close()
    medians = {name: statistics.median(taken[name][0] for taken in rounds) for name in ways}
    for name, median in medians.items():
        busy = statistics.median(taken[name][1] for taken in rounds)
        print(f"{name:12} {median:6.2f} s for {MACHINES} machines, {busy:5.2f} s of them this process' own")
    bare, own = medians.values()
    print(f"{'ratio':12} {own / bare:6.2f}    target: at most {TARGET}")
    return 0 if own / bare <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
