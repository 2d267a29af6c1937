"""A console that a site does not show is no reason to give a machine up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from flatyard.clouds.cloud import CloudError, Instance, InstanceState, Rejected, Role, Transient
from flatyard.clouds.openstack.answers import FORBIDDEN, NEVER
from flatyard.clouds.openstack.evidence import evidence

KNOWN = Instance("1", "M", 1, "web-1", Role.WORKER, InstanceState.RUNNING, "openstack:///1", "web-1", "nova")


class Refuses:
    def __init__(self, answer: CloudError) -> None:
        self._answer = answer

    async def read(self, what: str, call: Callable[[], object]) -> object:
        raise self._answer


@pytest.mark.parametrize(
    "answer",
    (
        Rejected("no console", code=FORBIDDEN),
        Rejected("no console", code=NEVER),
        Transient("not yet", code="conflictingRequest"),
    ),
    ids=("denied", "not implemented", "not yet"),
)
def test_no_console_is_no_evidence(answer: CloudError) -> None:
    assert asyncio.run(evidence(Refuses(answer), KNOWN)) is None  # type: ignore[arg-type]


def test_a_lost_connection_is_told() -> None:
    with pytest.raises(Transient):
        asyncio.run(evidence(Refuses(Transient("no answer")), KNOWN))  # type: ignore[arg-type]
