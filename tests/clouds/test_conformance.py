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
