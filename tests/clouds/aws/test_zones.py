"""Which zones a network spans: those where everything of a cluster can be, its load balancer too."""

from __future__ import annotations

import asyncio
from typing import Any

from flatyard.clouds.aws.zones import is_regular, usable, zones_of
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import AwsMachine
from flatyard.model.meta import ObjectMeta

REGION = "us-east-1"
ROWS = [
    {"ZoneName": "us-east-1a", "ZoneId": "use1-az3", "State": "available"},
    {"ZoneName": "us-east-1b", "ZoneId": "use1-az1", "State": "constrained"},
    {"ZoneName": "us-east-1c", "ZoneId": "use1-az2", "State": "available"},
    {"ZoneName": "us-east-1d", "ZoneId": "use1-az4", "State": "available"},
    {"ZoneName": "us-east-1e", "ZoneId": "use1-az5", "State": "available"},
    {"ZoneName": "us-east-1-bos-1a", "ZoneId": "use1-bos1-az1", "State": "available"},
    {"ZoneName": "us-east-1-wl1-bos-wlz-1", "ZoneId": "use1-wl1-bos-wlz1", "State": "available"},
]
"""An account that has a local zone and a Wavelength zone enabled (EC2 API reference, AvailabilityZone)."""


class Region:
    """What EC2 says of zones; every zone offers every type."""

    region = REGION

    async def read(self, what: str, service: str, operation: str, **asked: object) -> Any:
        assert operation == "describe_availability_zones"
        return {"AvailabilityZones": ROWS}

    async def pages(self, what: str, service: str, operation: str, key: str, **asked: Any) -> Any:
        wanted = asked["Filters"][0]["Values"]
        return [{"Location": row["ZoneName"], "InstanceType": size} for row in ROWS for size in wanted]


def cluster(*zones: str) -> model.Cluster:
    machine = AwsMachine(instance_type=ConfigVar("t3.medium"))
    spec = model.ClusterSpec(
        cloud=model.CloudChoice(aws=model.AwsCloud(region=REGION, availability_zones=zones)),
        control_plane=model.ControlPlane(replicas=3, machine=machine),
    )
    return model.Cluster(metadata=ObjectMeta(name="prod"), spec=spec)


def picked(*named: str, there: tuple[str, ...] = ()) -> tuple[str, ...]:
    return asyncio.run(zones_of(Region(), cluster(*named), there))


def test_local_wavelength_and_constrained_zones_are_not_picked_and_the_old_one_comes_last() -> None:
    assert picked() == ("us-east-1c", "us-east-1d", "us-east-1e")
    assert picked("us-east-1a") == ("us-east-1a", "us-east-1c", "us-east-1d")


def test_a_network_that_is_there_stays_where_it_is() -> None:
    assert picked(there=("us-east-1a", "us-east-1b")) == ("us-east-1a", "us-east-1b")


def test_a_regular_zone_is_called_like_its_region_and_a_letter() -> None:
    assert usable(ROWS, REGION) == [f"us-east-1{letter}" for letter in "acde"]
    assert not is_regular("us-west-2-lax-1a", "us-west-2") and is_regular("us-gov-west-1a", "us-gov-west-1")
