"""The network load balancer, seen with the bare SDK after the adapter did it."""

from __future__ import annotations

from typing import Any

import pytest

from emulators.aws.emulated import REGION, AwsBench, Emulated, cluster_of
from flatyard.clouds.cloud import ClusterRef, Network, Transient
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import AwsMachine

pytestmark = pytest.mark.emulated
MACHINE = AwsMachine(instance_type=ConfigVar("t3.medium"))


@pytest.fixture
def bench(aws: Emulated) -> AwsBench:
    return AwsBench(aws)


def spanning(bench: AwsBench, *letters: str) -> None:
    """Let the bench's cluster name these zones."""
    zones = tuple(f"{REGION}{letter}" for letter in letters)
    cloud = model.CloudChoice(aws=model.AwsCloud(region=REGION, availability_zones=zones))
    bench.cluster = cluster_of(MACHINE, cloud=cloud)


async def ensured(bench: AwsBench) -> Network:
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())
    return network


def balancer(bench: AwsBench) -> dict[str, Any]:
    (row,) = bench.aws.call("elbv2", "describe_load_balancers")["LoadBalancers"]
    return dict(row)


def zones_of(row: dict[str, Any]) -> list[str]:
    return sorted(zone["ZoneName"][-1] for zone in row["AvailabilityZones"])


def attributes(bench: AwsBench, row: dict[str, Any]) -> dict[str, str]:
    asked = {"LoadBalancerArn": row["LoadBalancerArn"]}
    pairs = bench.aws.call("elbv2", "describe_load_balancer_attributes", **asked)["Attributes"]
    return {pair["Key"]: pair["Value"] for pair in pairs}


def test_of_two_subnets_in_a_zone_the_load_balancer_takes_the_first(bench):
    vpc = bench.aws.call("ec2", "create_vpc", CidrBlock="172.20.0.0/16")["Vpc"]["VpcId"]

    def subnet(number: int, letter: str) -> str:
        place = {"VpcId": vpc, "CidrBlock": f"172.20.{number}.0/24", "AvailabilityZone": REGION + letter}
        return str(bench.aws.call("ec2", "create_subnet", **place)["Subnet"]["SubnetId"])

    subnets = (subnet(0, "a"), subnet(1, "a"), subnet(2, "b"))
    chosen = model.AwsCloud(region=REGION, vpc_id=vpc, subnet_ids=subnets)
    bench.cluster = cluster_of(MACHINE, cloud=model.CloudChoice(aws=chosen))
    network = bench.aws.stage.run(lambda: ensured(bench))
    assert network.subnets == subnets
    found = {zone["SubnetId"] for zone in balancer(bench)["AvailabilityZones"]}
    assert found == {subnets[0], subnets[2]}


def test_a_zone_that_is_added_later_is_the_load_balancers_too(bench):
    spanning(bench, "a", "b", "c")
    cloud = model.AwsCloud(region=REGION, availability_zones=(f"{REGION}a",))
    narrow = cluster_of(MACHINE, cloud=model.CloudChoice(aws=cloud))

    async def main() -> None:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        first = Network(
            network.id, network.subnets[:1], network.security_groups, network.zones[:1], network.cidr
        )
        await bench.cloud.ensure_endpoint(bench.ref, narrow, first, ())
        await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())

    bench.aws.stage.run(main)
    assert zones_of(balancer(bench)) == ["a", "b", "c"]


def test_a_crash_before_cross_zone_balancing_is_on_leaves_it_to_the_next_run(bench):
    said = {"code": "InternalFailure", "status": 500, "message": "an internal error"}
    bench.aws.control("trouble", action="ModifyLoadBalancerAttributes", count=1, **said)

    async def main() -> None:
        with pytest.raises(Transient):
            await ensured(bench)
        await ensured(bench)

    bench.aws.stage.run(main)
    assert attributes(bench, balancer(bench))["load_balancing.cross_zone.enabled"] == "true"


def test_the_api_servers_health_is_asked_for_more_seldom_than_it_is_waited_for(bench):
    """With the default time the target group was refused, and no endpoint came to be."""
    bench.aws.stage.run(lambda: ensured(bench))
    (group,) = bench.aws.call("elbv2", "describe_target_groups")["TargetGroups"]
    assert (group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]) == (10, 5)
    assert (group["HealthCheckProtocol"], group["HealthCheckPath"]) == ("HTTPS", "/readyz")


def test_api_servers_are_asked_where_they_listen(bench):
    """With a port of its own the endpoint had no healthy backend, ever; and plan says that it can have none here."""
    bench.cluster = cluster_of(MACHINE, endpoint=model.Endpoint(port=443))

    async def main() -> Any:
        await ensured(bench)
        return await bench.cloud.preflight(bench.cluster)

    (no,) = bench.aws.stage.run(main)
    assert (no.path, no.allowed) == ("spec.endpoint.port", "6443")
    (group,) = bench.aws.call("elbv2", "describe_target_groups")["TargetGroups"]
    asked = {"LoadBalancerArn": balancer(bench)["LoadBalancerArn"]}
    (listener,) = bench.aws.call("elbv2", "describe_listeners", **asked)["Listeners"]
    assert (group["Port"], listener["Port"]) == (6443, 443)


def test_a_cluster_may_be_called_as_no_load_balancer_may(bench):
    bench.ref = ClusterRef(bench.ref.id, "internal-tools")
    bench.aws.stage.run(lambda: ensured(bench))
    bench.aws.stage.run(lambda: ensured(bench))
    assert balancer(bench)["LoadBalancerName"] == f"fy-internal-tools-{bench.ref.id[-10:].lower()}"


def test_an_endpoint_that_is_as_it_should_be_is_only_looked_at(bench):
    bench.aws.stage.run(lambda: ensured(bench))
    bench.aws.control("calls")
    bench.aws.stage.run(lambda: ensured(bench))
    calls = bench.aws.control("calls")
    assert [action for action in calls if not action.startswith(("Describe", "Get", "List"))] == []


def test_a_load_balancer_that_somebody_deletes_meanwhile_hides_none_of_ours(bench):
    async def again() -> None:
        said = {"code": "LoadBalancerNotFound", "status": 400, "message": "not found"}
        network = await ensured(bench)
        bench.aws.call("elbv2", "create_load_balancer", Name="other", Type="network", Subnets=network.subnets)
        bench.aws.control("trouble", action="DescribeTags", count=1, **said)
        bench.aws.control("calls")
        await ensured(bench)

    bench.aws.stage.run(again)
    assert "CreateLoadBalancer" not in bench.aws.control("calls")
