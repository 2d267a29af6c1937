"""OpenStack keeps every promise of the protocol: the real SDK against the real services.

Each of Neutron's and Nova's processes uses one core at a time, so the other half of the suite is a file of its own
(`test_conformance_too`), which another process may take with services of its own.
"""

from __future__ import annotations

import pytest

from emulators.openstack.bench import OpenstackBench, keeps
from emulators.openstack.services import Account, Services
from flatyard.clouds import conformance

pytestmark = [pytest.mark.emulated, pytest.mark.slow]
HALF = conformance.CHECKS[::2]


@pytest.mark.parametrize("named", HALF, ids=lambda check: check.__name__)
def test_openstack_conforms(services: Services, account: Account, named: conformance.Check) -> None:
    keeps(services, account, named)


def test_a_tenth_of_the_suite_is_left_out_at_most() -> None:
    assert conformance.excess(OpenstackBench.cannot) == ""
