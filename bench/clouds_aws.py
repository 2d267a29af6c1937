"""What the AWS adapter adds to the bare SDK: 200 machines made, listed and ended on the emulated API, both in turn.

    .venv/bin/python bench/clouds_aws.py [MACHINES]

Needs root, for a network namespace. Both ways make the same calls, which the emulator counts, with as many at once over
as many connections; the pace that the adapter keeps for the sake of a real account's limits is lifted. Who is first
changes from round to round. The medians of the rounds are compared; exit code 1 above the target.
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
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from emulators.aws.emulated import REGION, AwsBench, Emulated  # noqa: E402
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


@cache
def bare_client() -> Any:  # noqa: ANN401 - boto3 makes its clients from data
    """boto3 with as many connections as threads, and nothing tried again, as the adapter has it."""
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=THREADS)
    return boto3.Session(region_name=REGION).client("ec2", config=config)


async def requests(bench: AwsBench, count: int) -> list[CreateRequest]:
    """The machines that are made, in a network that is there."""
    first = await conformance.request(bench)
    return [
        replace(first, machine_id=bench.machine_id(n), name=f"general-{n:04d}") for n in range(1, count + 1)
    ]


async def ours_takes(bench: AwsBench, wanted: list[CreateRequest]) -> float:
    """Seconds with the adapter."""
    cloud = bench.cloud
    begun = time.perf_counter()
    made = await asyncio.gather(*(cloud.create(one) for one in wanted))
    assert len(await cloud.machines(bench.ref)) == len(wanted)
    await asyncio.gather(*(cloud.delete(bench.ref, one) for one in made))
    return time.perf_counter() - begun


async def bare_takes(bench: AwsBench, wanted: list[CreateRequest]) -> float:
    """Seconds with boto3 alone, in as many threads."""
    cloud = bench.cloud
    assert isinstance(cloud, AwsCloud)
    known = machines.Known()
    orders = [await machines.order_of(cloud.account, one, known) for one in wanted]
    bench.aws.control("calls")  # looking at the image was for the orders alone
    client = bare_client()

    def make(order: dict[str, object]) -> str:
        return str(client.run_instances(**order)["Instances"][0]["InstanceId"])

    def end(key: str) -> None:
        client.terminate_instances(InstanceIds=[key])

    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        keys = list(pool.map(make, orders, timeout=300))
        answer = client.describe_instances(Filters=ours(bench.ref), MaxResults=1000)
        assert len(answer["Reservations"]) == len(wanted)
        list(pool.map(end, keys, timeout=300))
    return time.perf_counter() - begun


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds by the clock, those of this process' own, and the calls that the emulator saw."""

    seconds: float
    busy: float
    calls: dict[str, int]


def measured(aws: Emulated, way: Way, count: int) -> Round:
    """One round in an empty account."""
    aws.control("reset")

    async def main() -> Round:
        bench = AwsBench(aws)
        wanted = await requests(bench, count)
        bare_client().describe_vpcs()
        await bench.cloud.machines(bench.ref)  # either way's connections and models are there
        aws.control("calls")
        begun = time.process_time()
        seconds = await way(bench, wanted)
        busy = time.process_time() - begun
        calls = aws.control("calls")
        await bench.close()
        return Round(seconds, busy, calls)

    return aws.stage.run(main)


def main(count: int = MACHINES) -> int:
    """Print the medians in seconds and their ratio."""
    os.environ.update(Emulated.ENVIRONMENT)
    ways: dict[str, Way] = {"boto3 alone": bare_takes, "flatyard": ours_takes}
    rounds: dict[str, list[Round]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage("bench", Path(folder))
        try:
            command = [str(environment("aws") / "bin/python"), str(SERVER / "server.py")]
            stage.start("aws", [*command, str(Emulated.PORT), str(SERVER / "amis.json")], port=Emulated.PORT)
            aws = Emulated(stage)
            for number in range(ROUNDS):
                for name in sorted(ways, reverse=bool(number % 2)):
                    rounds[name].append(measured(aws, ways[name], count))
        finally:
            stage.close()
    return told(rounds, count)


def told(rounds: dict[str, list[Round]], count: int) -> int:
    """The figures, and whether they are within the target."""
    medians = {}
    for name, taken in rounds.items():
        medians[name] = statistics.median(one.seconds for one in taken)
        busy = statistics.median(one.busy for one in taken)
        calls = ", ".join(f"{number} {action}" for action, number in sorted(taken[0].calls.items()))
        print(
            f"{name:12} {medians[name]:6.2f} s for {count} machines, {busy:5.2f} s of them its own: {calls}"
        )
    bare, own = medians.values()
    pairs = zip(*rounds.values(), strict=True)
    each = ", ".join(f"{after.seconds / before.seconds:.2f}" for before, after in pairs)
    print(f"{'ratio':12} {own / bare:6.2f}    target: at most {TARGET}; round by round {each}")
    return 0 if own / bare <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
