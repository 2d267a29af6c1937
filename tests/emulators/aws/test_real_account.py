"""The same suite on a real account, on demand:

    FLATYARD_REAL_AWS=eu-central-1 .venv/bin/python -m pytest tests/emulators/aws/test_real_account.py --tier long

with credentials in the environment. It makes machines, a load balancer and a bucket, which cost money, and removes them
after each check. Its bench is tried on the emulator here.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from emulators.aws.emulated import REGION, Emulated
from emulators.aws.real import RealBench
from emulators.real_account import held
from flatyard.clouds import conformance

ACCOUNT = "FLATYARD_REAL_AWS"
TRIED = (
    "a_lost_reply_makes_one",
    "no_capacity_is_told",
    "a_late_list_makes_no_second",
    "after_an_end_the_next_attempt_works",
    "sweep_and_list_show_nothing_of_others",
    "preflight_finds_a_quota",
)


@pytest.mark.long
@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
def test_a_real_account_conforms(named: conformance.Check) -> None:
    if not os.environ.get(ACCOUNT):
        pytest.skip(f"{ACCOUNT} names no region of a real account")
    bench = RealBench(os.environ[ACCOUNT])
    if named.__name__ in bench.cannot:
        pytest.skip(bench.cannot[named.__name__])
    asyncio.run(held(bench, named))


@pytest.mark.emulated
@pytest.mark.parametrize("name", TRIED)
def test_the_bench_of_a_real_account_works(aws: Emulated, name: str) -> None:
    (named,) = [check for check in conformance.CHECKS if check.__name__ == name]
    aws.stage.run(lambda: held(RealBench(REGION, look=0.2), named))
    left = [key for key, row in aws.control("instances").items() if row["state"] != "shutting-down"]
    assert not left, f"the bench left {left}"


def test_what_a_real_account_cannot_show_is_little_and_has_reasons() -> None:
    assert conformance.excess(RealBench.cannot) == ""
