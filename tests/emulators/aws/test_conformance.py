"""The AWS adapter keeps every promise of the protocol, on the real SDK against the emulated API."""

from __future__ import annotations

import pytest

from emulators.aws.emulated import AwsBench, Emulated
from flatyard.clouds import conformance

pytestmark = pytest.mark.emulated


@pytest.mark.parametrize("named", conformance.CHECKS, ids=lambda c: c.__name__)
def test_aws_conforms(aws: Emulated, named: conformance.Check) -> None:
    bench = AwsBench(aws)
    if named.__name__ in bench.cannot:
        pytest.skip(bench.cannot[named.__name__])

    async def main() -> None:
        try:
            await named(bench)
        finally:
            await bench.close()

    aws.stage.run(main)


def test_what_aws_cannot_show_is_little_and_has_reasons() -> None:
    assert conformance.excess(AwsBench.cannot) == ""
