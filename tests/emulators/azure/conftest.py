"""One emulator for all tests of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from emulators.azure.clients import Azure
from emulators.azure.place import Arm, start
from emulators.stage import Stage


@pytest.fixture(scope="module")
def arm(new_stage: Callable[[str], Stage]) -> Iterator[Arm]:
    """Azure Resource Manager on a stage of its own."""
    stage = new_stage("azure")
    try:
        yield start(stage)
    finally:
        stage.close()


@pytest.fixture(scope="module")
def azure(arm: Arm) -> Azure:
    """The SDK's clients for it."""
    return Azure(arm)
