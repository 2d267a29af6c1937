"""The emulator of OpenStack, once for the tests of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from emulators.openstack.configuration import OF_ITS_OWN
from emulators.openstack.services import Account, Services
from emulators.stage import Stage

OURS = "The ignore_missing parameter of all find_"
"""How one begins of what we should not call."""


def pytest_configure(config: pytest.Config) -> None:
    for message in OF_ITS_OWN:
        config.addinivalue_line("filterwarnings", f"ignore:{message}")
    config.addinivalue_line("filterwarnings", f"error:{OURS}")


@pytest.fixture(scope="session")
def services(new_stage: Callable[[str], Stage]) -> Iterator[Services]:
    stage = new_stage("openstack")
    made = Services(stage)
    try:
        made.start()
        yield made
    finally:
        made.close()
        stage.close()


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A name for a project of the test's own."""
    return request.node.name[-50:].strip("[]").replace("[", "-")


@pytest.fixture(scope="module")
def account(services: Services, request: pytest.FixtureRequest) -> Account:
    """One project with an image for all checks of a file: each leaves it empty, or is to blame."""

    def make() -> Account:
        made = services.account(request.module.__name__.rpartition(".")[2])
        services.image(services.user(made))
        return made

    return services.stage.inside(make)
