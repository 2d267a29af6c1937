"""The same suite on a real project, on demand:

    OS_CLOUD=jetstream2 FLATYARD_REAL_OPENSTACK=m3.small \
        .venv/bin/python -m pytest tests/emulators/openstack/test_real_account.py --tier long

with the login in the environment or in clouds.yaml, and a flavor of two cores and 2 GiB. FLATYARD_REAL_NETWORK names
the network of an allocation whose only router is on it. It makes servers, a floating IP and a container, which cost
units, and removes them after each check; a Flatcar image must be there (`flatyard images import`). Its bench is tried
on the emulator here.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from emulators.openstack.real import RealBench
from emulators.openstack.services import AUTH_URL, Services
from emulators.real_account import held
from flatyard.clouds import conformance
from flatyard.model.cluster import OpenstackCloud

FLAVOR, NETWORK = "FLATYARD_REAL_OPENSTACK", "FLATYARD_REAL_NETWORK"
TRIED = (
    "a_lost_reply_makes_one",
    "no_capacity_is_told",
    "a_late_list_makes_no_second",
    "sweep_and_list_show_nothing_of_others",
    "sweep_spares_what_is_not_tagged_owned",
)


@pytest.mark.long
@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
def test_a_real_project_conforms(named: conformance.Check) -> None:
    if not os.environ.get(FLAVOR):
        pytest.skip(f"{FLAVOR} names no flavor of a real project")
    if named.__name__ in RealBench.cannot:
        pytest.skip(RealBench.cannot[named.__name__])
    chosen = OpenstackCloud(network=os.environ.get(NETWORK, ""))
    asyncio.run(held(RealBench(chosen, os.environ[FLAVOR]), named))


@pytest.mark.emulated
@pytest.mark.parametrize("name", TRIED)
def test_the_bench_of_a_real_project_works(
    services: Services, project: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (named,) = [check for check in conformance.CHECKS if check.__name__ == name]
    account = services.stage.inside(lambda: services.account(project))
    for key, value in {
        "OS_AUTH_URL": AUTH_URL,
        "OS_USERNAME": account.user,
        "OS_PASSWORD": account.password,
        "OS_PROJECT_NAME": account.project,
        "OS_REGION_NAME": "RegionOne",
    }.items():
        monkeypatch.setenv(key, value)

    async def main() -> None:
        user = services.user(account)
        services.image(user)
        await held(RealBench(OpenstackCloud(), "m3.small", look=0.1), named)
        left = [server.name for server in user.compute.servers() if server.metadata]
        user.close()
        assert not left, f"the bench left {left}"

    services.stage.run(main)


def test_what_a_real_project_cannot_show_is_little_and_has_reasons() -> None:
    assert conformance.excess(RealBench.cannot) == ""
