"""The first-boot config of a control plane counts on the name that etcd's disk has on a machine of that size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flatyard.clouds.aws.facts import FACTS
from flatyard.engine.commands import bring_up


@pytest.mark.parametrize(
    ("pattern", "device"), [("t3[.].*", "/dev/disk/by-id/other"), ("m6i[.].*", FACTS.etcd_device)]
)
def test_control_planes_boot_where_their_size_calls_the_disk_otherwise(
    simulate, example, monkeypatch: pytest.MonkeyPatch, pattern: str, device: str
):
    other = replace(FACTS, etcd_devices=((pattern, "/dev/disk/by-id/other"),))
    monkeypatch.setattr("flatyard.clouds.aws.facts.FACTS", other)

    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, 3600.0)
        assert outcome.done, outcome.waits
        return {m.hardware.devices for m in life.region.machines.machines.values()}

    assert simulate(main, example("aws.yaml")) == {(FACTS.root_device, device), (FACTS.root_device,)}
