"""OpenStack keeps every promise of the protocol: the real SDK against the real services."""

from __future__ import annotations

import pytest

from emulators.openstack.bench import OpenstackBench
from emulators.openstack.services import Account, Services
from flatyard.clouds import conformance

pytestmark = pytest.mark.emulated


@pytest.fixture(scope="module")
def account(services: Services) -> Account:
    """One project for all checks: each leaves it empty, or is to blame."""

    def make() -> Account:
        made = services.account("conformance")
        services.image(services.user(made))
        return made

    return services.stage.inside(make)


@pytest.mark.parametrize("named", conformance.CHECKS, ids=conformance.NAMES)
def test_openstack_conforms(services: Services, account: Account, named: conformance.Check) -> None:
    if named.__name__ in OpenstackBench.cannot:
        pytest.skip(OpenstackBench.cannot[named.__name__])

    async def main() -> None:
        bench = OpenstackBench(services, account)
        try:
            await named(bench)
        finally:
            services.proxy.calm()
            left = bench.wipe()
            await bench.close()
        assert not left, f"the check left {left}"

    services.stage.run(main)


def test_a_tenth_of_the_suite_is_left_out_at_most() -> None:
    assert conformance.excess(OpenstackBench.cannot) == ""
