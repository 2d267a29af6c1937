"""Networks in which machines or the endpoint reach nobody are found by `plan`: AWS makes everything in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emulators.aws.emulated import REGION, AwsBench, Emulated, cluster_of
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machines import AwsMachine

pytestmark = pytest.mark.emulated
OPEN = AwsMachine(instance_type=ConfigVar("t3.medium"))
HIDDEN = replace(OPEN, assign_public_ip=False)


class Vpc:
    """A VPC with a public subnet in zone a, and in zone b one behind NAT and one without a way out."""

    def __init__(self, aws: Emulated) -> None:
        self.aws = aws
        self.id = self.call("create_vpc", CidrBlock="172.20.0.0/16")["Vpc"]["VpcId"]
        names = {"VpcId": self.id, "EnableDnsHostnames": {"Value": True}}
        self.call("modify_vpc_attribute", **names)
        gateway = self.call("create_internet_gateway")["InternetGateway"]["InternetGatewayId"]
        self.call("attach_internet_gateway", VpcId=self.id, InternetGatewayId=gateway)
        self.public = self.subnet(0, "a", GatewayId=gateway)
        address = self.call("allocate_address", Domain="vpc")["AllocationId"]
        asked = {"SubnetId": self.public, "AllocationId": address}
        nat = self.call("create_nat_gateway", **asked)["NatGateway"]["NatGatewayId"]
        self.behind = self.subnet(1, "b", NatGatewayId=nat)
        self.closed = self.subnet(2, "b")

    def call(self, operation: str, **asked: Any) -> Any:
        return self.aws.call("ec2", operation, **asked)

    def subnet(self, number: int, letter: str, **way: str) -> str:
        place = {"CidrBlock": f"172.20.{number}.0/24", "AvailabilityZone": REGION + letter}
        made = self.call("create_subnet", VpcId=self.id, **place)["Subnet"]["SubnetId"]
        if way:
            table = self.call("create_route_table", VpcId=self.id)["RouteTable"]["RouteTableId"]
            self.call("associate_route_table", RouteTableId=table, SubnetId=made)
            self.call("create_route", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **way)
        return str(made)


def told(aws: Emulated, machine: AwsMachine, **cloud: Any) -> list[str]:
    """What plan says of a cluster of these machines, but for groups and profiles that are made."""
    chosen = model.CloudChoice(aws=model.AwsCloud(region=REGION, **cloud))
    bench = AwsBench(aws)

    async def main() -> Any:
        return await bench.cloud.preflight(cluster_of(machine, cloud=chosen))

    return [
        str(no) for no in aws.stage.run(main) if " is given" not in no.what and " are given" not in no.what
    ]


def test_machines_without_addresses_want_a_network_with_nat(aws):
    said = told(aws, HIDDEN)
    assert len(said) == 2
    assert said[0].startswith(
        "error: spec.controlPlane.machine.assignPublicIP: without public addresses the machines do not reach"
    )
    assert told(aws, OPEN) == []


def test_machines_without_addresses_live_behind_nat(aws):
    vpc = Vpc(aws)
    assert told(aws, HIDDEN, vpc_id=vpc.id, subnet_ids=(vpc.behind,)) == []
    said = told(aws, HIDDEN, vpc_id=vpc.id, subnet_ids=(vpc.public,))
    assert len(said) == 2 and f"the way out of {vpc.public} is an internet gateway" in said[0]


def test_an_endpoint_for_the_world_wants_public_subnets(aws):
    vpc = Vpc(aws)
    assert told(aws, OPEN, vpc_id=vpc.id, subnet_ids=(vpc.public,)) == []
    (said,) = told(aws, OPEN, vpc_id=vpc.id, subnet_ids=(vpc.public, vpc.behind))
    assert said.startswith(
        f"error: spec.cloud.aws.subnetIDs[1]: {vpc.behind} has no route to an internet gateway"
    )
    assert "assignPublicIP: false for an internal endpoint" in said


def test_a_subnet_without_a_default_route_is_warned_of(aws):
    vpc = Vpc(aws)
    said = told(aws, HIDDEN, vpc_id=vpc.id, subnet_ids=(vpc.closed,))
    assert len(said) == 2 and all(one.startswith("warning: ") and "no default route" in one for one in said)


def test_an_account_that_blocks_public_access_is_told(aws):
    aws.control("blocks", mode="block-bidirectional")
    (said,) = told(aws, OPEN)
    assert said.startswith(
        "error: spec.cloud.aws: the account blocks public access to its VPCs (block-bidirectional)"
    )
    vpc = Vpc(aws)
    (said,) = told(aws, OPEN, vpc_id=vpc.id, subnet_ids=(vpc.public,))
    assert said.startswith("warning: ") and "vpcId of a VPC that is excluded from it" in said
    assert told(aws, HIDDEN, vpc_id=vpc.id, subnet_ids=(vpc.behind,)) == []


def test_a_world_of_two_halves_is_a_way_out(aws):
    vpc = Vpc(aws)
    subnet = vpc.subnet(3, "a")
    table = vpc.call("create_route_table", VpcId=vpc.id)["RouteTable"]["RouteTableId"]
    vpc.call("associate_route_table", RouteTableId=table, SubnetId=subnet)
    gateways = vpc.call("describe_internet_gateways")["InternetGateways"]
    gateway = next(row["InternetGatewayId"] for row in gateways if row["Attachments"])
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        vpc.call("create_route", RouteTableId=table, DestinationCidrBlock=half, GatewayId=gateway)
    assert told(aws, OPEN, vpc_id=vpc.id, subnet_ids=(subnet,)) == []
