"""OpenStack keeps every promise of the protocol: the real SDK against the real services."""

from __future__ import annotations

import pytest

from emulators.openstack.bench import OpenstackBench
from emulators.openstack.services import Services
from flatyard.clouds import conformance

pytestmark = pytest.mark.emulated


@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
def test_openstack_conforms(services: Services, project: str, named: conformance.Check) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        try:
            services.image(bench.user)
            await named(bench)
            left = bench.wipe()
        finally:
            services.proxy.calm()
            await bench.close()
        assert not left, f"the check left {left}"

    services.stage.run(main)
