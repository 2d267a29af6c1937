"""The other half of the conformance suite on OpenStack: see `test_conformance`."""

from __future__ import annotations

import pytest

from emulators.openstack.bench import keeps
from emulators.openstack.services import Account, Services
from flatyard.clouds import conformance

pytestmark = [pytest.mark.emulated, pytest.mark.slow]
HALF = conformance.CHECKS[1::2]


@pytest.mark.parametrize("named", HALF, ids=lambda check: check.__name__)
def test_openstack_conforms(services: Services, account: Account, named: conformance.Check) -> None:
    keeps(services, account, named)
