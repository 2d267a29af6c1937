"""Two hundred machines are asked for as fast as EC2 takes that, and no faster."""

from __future__ import annotations

import asyncio

from flatyard.clouds.aws.pacing import Pace
from flatyard.sim.loop import run


def seconds(count: int, service: str, operation: str, faster: float = 1.0) -> float:
    """How long so many calls wait, on a virtual clock."""

    async def main() -> float:
        pace, loop = Pace(faster), asyncio.get_running_loop()
        await asyncio.sleep(3600)
        since = loop.time()
        await asyncio.gather(*(pace.turn(service, operation) for _ in range(count)))
        return loop.time() - since

    return run(main())


def test_machines_are_made_five_at_once_and_then_two_a_second() -> None:
    assert seconds(5, "ec2", "run_instances") == 0
    assert 96 <= seconds(200, "ec2", "run_instances") <= 98
    assert seconds(200, "ec2", "run_instances", faster=100) < 1


def test_each_action_has_a_bucket_of_its_own() -> None:
    async def main() -> float:
        pace, loop = Pace(), asyncio.get_running_loop()
        since = loop.time()
        for _ in range(5):
            await pace.turn("ec2", "run_instances")
            await pace.turn("ec2", "describe_instances")
            await pace.turn("ec2", "create_subnet")
        return loop.time() - since

    assert run(main()) == 0
    assert seconds(150, "ec2", "describe_instances") > 2 and seconds(150, "ec2", "create_subnet") > 19


def test_other_services_have_no_such_buckets() -> None:
    assert seconds(500, "s3", "put_object") == 0
