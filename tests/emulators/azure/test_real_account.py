"""The same suite in a real subscription, on demand:

    FLATYARD_REAL_AZURE=yes .venv/bin/python -m pytest tests/emulators/azure/test_real_account.py --tier long

with credentials in the environment. It makes machines, load balancers, gateways and storage accounts, which cost money,
and removes them after each check. Its bench is tried on the emulator here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest

from emulators.azure.place import Arm, start
from emulators.azure.real import RealBench
from emulators.real_account import held
from emulators.stage import Stage
from flatyard.clouds import conformance

ACCOUNT = "FLATYARD_REAL_AZURE"
TRIED = (
    "a_lost_reply_makes_one",
    "no_capacity_is_told",
    "a_quota_is_told_and_waited_for",
    "a_late_list_makes_no_second",
    "after_an_end_the_next_attempt_works",
    "sweep_and_list_show_nothing_of_others",
    "preflight_finds_a_wrong_size",
)


@pytest.fixture(scope="module")
def azure(new_stage: Callable[[str], Stage]) -> Iterator[tuple[Stage, Arm]]:
    stage = new_stage("azure-real")
    try:
        yield stage, start(stage)
    finally:
        stage.close()


@pytest.mark.long
@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
def test_a_real_subscription_conforms(named: conformance.Check) -> None:
    if not os.environ.get(ACCOUNT):
        pytest.skip(f"{ACCOUNT} does not say that a real subscription may be used")
    if named.__name__ in RealBench.cannot:
        pytest.skip(RealBench.cannot[named.__name__])

    async def main() -> None:
        await held(RealBench(os.environ), named)

    asyncio.run(main())


@pytest.mark.emulated
@pytest.mark.parametrize("name", TRIED)
def test_the_bench_of_a_real_subscription_works(azure: tuple[Stage, Arm], name: str) -> None:
    stage, arm = azure
    (named,) = [check for check in conformance.CHECKS if check.__name__ == name]

    async def main() -> None:
        arm.reset()
        arm.durations(retry_after=0)
        await held(RealBench(arm.environment, look=0.1), named)
        assert arm.resources() == [], "the bench left something"

    stage.run(main)


def test_what_a_real_subscription_cannot_show_is_little_and_has_reasons() -> None:
    assert conformance.excess(RealBench.cannot) == ""
