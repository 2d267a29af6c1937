"""What EC2 takes of a spot configuration, said before anything is made."""

from __future__ import annotations

import pytest

from flatyard.clouds.aws import spot
from flatyard.clouds.pools import Pool
from flatyard.decode.api import from_json
from flatyard.model.machines import AwsMachine


def told(**config: object) -> list[str]:
    machine = from_json(AwsMachine, {"isSpotInstance": True, "spotInstanceConfig": config})
    return list(map(str, spot.problems(Pool("spec.workers[0]", "", "general", 1, machine))))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"persistentRequest": True},
            "persistentRequest: a persistent request wants an interruptionBehavior",
        ),
        (
            {"persistentRequest": True, "interruptionBehavior": "terminate"},
            "allowed: hibernate, stop; without persistentRequest flatyard replaces what AWS takes back",
        ),
        ({"interruptionBehavior": "stop"}, "interruptionBehavior: stop wants a persistent request"),
        ({"maxPrice": "5 cents"}, "maxPrice: '5 cents' is no price per hour"),
        ({"maxPrice": "0.0001"}, "at least 0.001"),
    ],
)
def test_what_ec2_would_refuse_is_told(config: dict[str, object], said: str) -> None:
    (found,) = told(**config)
    assert said in found and found.startswith("error: spec.workers[0].machine.spotInstanceConfig.")


def test_what_ec2_takes_is_asked_for_as_it_is_written() -> None:
    config = {"persistentRequest": True, "interruptionBehavior": "stop", "maxPrice": "0.05"}
    assert told(**config) == [] and told() == [] and told(interruptionBehavior="terminate") == []
    machine = from_json(AwsMachine, {"isSpotInstance": True, "spotInstanceConfig": config})
    asked = {"SpotInstanceType": "persistent", "MaxPrice": "0.05", "InstanceInterruptionBehavior": "stop"}
    assert spot.options(machine) == {"MarketType": "spot", "SpotOptions": asked}
