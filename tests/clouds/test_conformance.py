"""Every cloud that can be simulated passes the conformance suite; test_careless.py has adapters that do not."""

from __future__ import annotations

import pytest

from clouds.twins import TWINS, cannot, check
from flatyard.clouds import conformance


@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("twin", TWINS)
def test_the_simulated_twin_conforms(twin: str, named: conformance.Check) -> None:
    why = cannot(twin).get(named.__name__)
    if why:
        pytest.skip(why)
    check(twin, named)


@pytest.mark.parametrize("twin", TWINS)
def test_a_tenth_of_the_suite_is_left_out_at_most(twin: str) -> None:
    assert conformance.excess(cannot(twin)) == ""


def test_what_a_bench_leaves_out_is_known_has_a_reason_and_is_little() -> None:
    names, most = conformance.NAMES, len(conformance.NAMES) // 10
    assert conformance.excess({}) == conformance.excess(dict.fromkeys(names[:most], "no zones")) == ""
    assert conformance.excess({"create_a_lot": "no"}) == "there is no check create_a_lot"
    assert conformance.excess({names[0]: ""}) == f"no reason is given for {names[0]}"
    told = f"{most + 1} of {len(names)} checks are left out, and {most} may be"
    assert conformance.excess(dict.fromkeys(names[: most + 1], "x")) == told
