"""The emulator of OpenStack, once for the tests of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from emulators.openstack.services import Services
from emulators.stage import Stage


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
