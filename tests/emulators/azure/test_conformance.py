"""The Azure adapter keeps every promise of the protocol, against the emulator of Azure Resource Manager."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from emulators.azure.bench import AzureBench
from emulators.azure.place import Arm, start
from emulators.stage import Stage
from flatyard.clouds import conformance

pytestmark = pytest.mark.emulated


@pytest.fixture(scope="module")
def azure(new_stage: Callable[[str], Stage]) -> Iterator[tuple[Stage, Arm]]:
    stage = new_stage("azure")
    try:
        yield stage, start(stage, blobs=True)
    finally:
        stage.close()


@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
def test_azure_conforms(azure: tuple[Stage, Arm], named: conformance.Check) -> None:
    stage, arm = azure
    if named.__name__ in AzureBench.cannot:
        pytest.skip(AzureBench.cannot[named.__name__])

    async def main() -> None:
        arm.reset()
        arm.durations(retry_after=0)
        bench = AzureBench(arm)
        try:
            await named(bench)
            await bench.wait(60)
            left = [row["id"] for row in arm.resources() if "/foreign" not in row["id"].lower()]
            assert not left, f"the check left {left}"
        finally:
            await bench.close()

    stage.run(main)


def test_what_is_left_out_is_little_and_has_a_reason() -> None:
    assert not conformance.excess(AzureBench.cannot)
