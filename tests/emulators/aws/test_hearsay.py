"""What was made a moment ago, and AWS has not heard of: `up` waits for it, where it ended with "does not exist"."""

from __future__ import annotations

from typing import Any

import pytest

from emulators.aws.emulated import AwsBench, Emulated
from emulators.aws.hearsay import MADE, NAMED
from flatyard.clouds import conformance
from flatyard.clouds.cloud import Transient

pytestmark = pytest.mark.emulated


@pytest.fixture
def bench(aws: Emulated) -> AwsBench:
    return AwsBench(aws)


def test_what_was_just_made_may_be_unknown_to_the_next_call(bench):
    bench.aws.control("unheard", times=2)

    async def main() -> Any:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        one = await bench.cloud.create(await conformance.request(bench, network=network))
        await bench.wait(60)
        await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, (one.id,))
        await bench.cloud.stash(bench.ref, "secret", b"secret", 60)
        return one

    bench.aws.control("calls")
    assert bench.aws.stage.run(main).id
    calls = bench.aws.control("calls")
    assert all(calls[action] >= 1 for action in (*MADE, *NAMED))
    assert calls["AuthorizeSecurityGroupIngress"] > 2 and calls["ModifyVpcAttribute"] >= 1
    assert all(calls[action] == 1 for action in ("CreateVpc", "CreateInternetGateway"))


def test_what_stays_unknown_is_looked_for_anew(bench, monkeypatch):
    monkeypatch.setattr("flatyard.clouds.aws.client._HEARD_OF", (0.0, 0.0))
    bench.aws.control("unheard", times=50)

    async def main() -> None:
        await bench.cloud.ensure_network(bench.ref, bench.cluster)

    with pytest.raises(Transient, match="does not exist"):
        bench.aws.stage.run(main)


def test_a_network_that_a_lost_reply_left_in_pieces_is_not_final(bench):
    said = {"code": "InvalidPermission.Duplicate", "status": 400, "message": "the rule already exists"}
    bench.aws.control("trouble", action="AuthorizeSecurityGroupIngress", count=1, **said)

    async def main() -> None:
        with pytest.raises(Transient, match="already exists"):
            await bench.cloud.ensure_network(bench.ref, bench.cluster)
        await bench.cloud.ensure_network(bench.ref, bench.cluster)

    bench.aws.stage.run(main)
