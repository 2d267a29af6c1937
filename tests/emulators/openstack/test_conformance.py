"""OpenStack keeps every promise of the protocol: the real SDK against the real services.

The whole suite takes ten minutes on an idle machine, and the services, which keep everything in SQLite here, answer a
busy one with errors of their own: most checks are of tier `long`, and a dozen that reach every verb run each time.
"""

from __future__ import annotations

import pytest

from emulators.openstack.bench import OpenstackBench
from emulators.openstack.services import Account, Services
from flatyard.clouds import conformance

EACH_TIME = (
    "preflight_finds_nothing_wrong",
    "images_come_newest_first",
    "the_network_is_made_once",
    "the_endpoint_has_exactly_these_backends",
    "create_makes_what_was_asked_for",
    "create_twice_makes_one",
    "a_lost_reply_makes_one",
    "a_new_process_adopts_by_tag",
    "user_data_arrives_byte_for_byte",
    "a_failed_boot_leaves_evidence",
    "a_stash_ends",
    "sweep_is_empty_after_deleting",
)
EVERY = [
    pytest.param(check, id=name, marks=pytest.mark.emulated if name in EACH_TIME else pytest.mark.long)
    for name, check in zip(conformance.NAMES, conformance.CHECKS, strict=True)
]


@pytest.fixture(scope="module")
def account(services: Services) -> Account:
    """One project for all checks: each leaves it empty, or is to blame."""

    def make() -> Account:
        made = services.account("conformance")
        services.image(services.user(made))
        return made

    return services.stage.inside(make)


@pytest.mark.parametrize("named", EVERY)
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


@pytest.mark.emulated
def test_a_tenth_of_the_suite_is_left_out_at_most() -> None:
    assert conformance.excess(OpenstackBench.cannot) == ""


@pytest.mark.emulated
def test_what_runs_each_time_is_of_the_suite() -> None:
    assert set(EACH_TIME) <= set(conformance.NAMES)
