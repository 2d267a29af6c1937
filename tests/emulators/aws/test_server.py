"""What the emulator enforces beside moto, asked for with the bare SDK: each rule as Amazon's documents have it."""

from __future__ import annotations

import base64
import os
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from emulators.aws.emulated import REGION, Emulated

pytestmark = pytest.mark.emulated
ONCE = Config(retries={"total_max_attempts": 1}, read_timeout=5)


@cache
def once(service: str, key: str) -> Any:
    """A client that tries once, for each key that a test has."""
    config = ONCE.merge(Config(signature_version="s3v4")) if service == "s3" else ONCE
    return boto3.Session(region_name=REGION).client(service, config=config)


class Bare:
    """boto3, once and in the stage."""

    def __init__(self, aws: Emulated) -> None:
        self.aws = aws

    def __call__(self, service: str, operation: str, **parameters: object) -> Any:
        client = once(service, os.environ["AWS_ACCESS_KEY_ID"])
        return self.aws.stage.inside(lambda: getattr(client, operation)(**parameters))

    def refused(self, service: str, operation: str, **parameters: object) -> tuple[str, int]:
        """Code and status of a refusal."""
        with pytest.raises(ClientError) as caught:
            self(service, operation, **parameters)
        said = caught.value.response
        return said["Error"]["Code"], said["ResponseMetadata"]["HTTPStatusCode"]

    def launch(self, **parameters: object) -> Any:
        image = self("ec2", "describe_images", Owners=["075585003325"])["Images"][0]["ImageId"]
        wanted = {"ImageId": image, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, **parameters}
        return self("ec2", "run_instances", **wanted)["Instances"][0]

    def state(self, key: str) -> str:
        found = self("ec2", "describe_instances", InstanceIds=[key])["Reservations"]
        return str(found[0]["Instances"][0]["State"]["Name"])

    def ids(self, **parameters: object) -> list[str]:
        rows = self("ec2", "describe_instances", **parameters)["Reservations"]
        return [instance["InstanceId"] for row in rows for instance in row["Instances"]]

    def place(self) -> tuple[str, str, str]:
        """A VPC, a subnet in it and a security group."""
        vpc = self("ec2", "create_vpc", CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = self("ec2", "create_subnet", VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        group = self("ec2", "create_security_group", VpcId=vpc, GroupName="g", Description="d")["GroupId"]
        return vpc, subnet, group


@pytest.fixture
def bare(aws: Emulated) -> Bare:
    aws.control("takes", seconds=25)
    return Bare(aws)


def test_a_client_token_makes_one_instance(bare):
    first = bare.launch(ClientToken="t-1", UserData="hello")
    again = bare.launch(ClientToken="t-1", UserData="hello")
    other = bare.launch(ClientToken="t-2", UserData="hello")
    assert first["InstanceId"] == again["InstanceId"] != other["InstanceId"]
    assert bare.ids(Filters=[{"Name": "client-token", "Values": ["t-2"]}]) == [other["InstanceId"]]


def test_a_client_token_with_other_parameters_is_refused(bare):
    bare.launch(ClientToken="t-1", UserData="hello")
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        bare.launch(ClientToken="t-1", UserData="others")


def test_a_token_tells_the_state_of_now(bare):
    made = bare.launch(ClientToken="t-1")
    assert made["State"]["Name"] == "pending"
    bare("ec2", "terminate_instances", InstanceIds=[made["InstanceId"]])
    assert bare.launch(ClientToken="t-1")["State"]["Name"] == "shutting-down"
    bare.aws.control("advance", seconds=60)
    wanted = {"ImageId": made["ImageId"], "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    no = bare.refused("ec2", "run_instances", ClientToken="t-1", **wanted)
    assert no == ("IdempotentInstanceTerminated", 400)


@pytest.mark.parametrize(("size", "taken"), [(16_384, True), (16_385, False)])
def test_user_data_ends_at_16_kib(bare, size, taken):
    if taken:
        made = bare.launch(UserData=b"x" * size)
        kept = bare("ec2", "describe_instance_attribute", InstanceId=made["InstanceId"], Attribute="userData")
        assert base64.b64decode(kept["UserData"]["Value"]) == b"x" * size
        return
    with pytest.raises(ClientError, match="limited to 16384 bytes"):
        bare.launch(UserData=b"x" * size)


def test_an_instance_lives_in_time(bare):
    key = bare.launch()["InstanceId"]
    assert bare.state(key) == "pending"
    bare.aws.control("advance", seconds=30)
    assert bare.state(key) == "running"
    bare("ec2", "terminate_instances", InstanceIds=[key])
    assert bare.state(key) == "shutting-down"
    bare.aws.control("advance", seconds=30)
    assert bare.state(key) == "terminated"
    bare("ec2", "terminate_instances", InstanceIds=[key])
    bare.aws.control("advance", seconds=4000)
    assert bare.refused("ec2", "terminate_instances", InstanceIds=[key]) == (
        "InvalidInstanceID.NotFound",
        400,
    )


def test_a_list_shows_late_what_was_made(bare):
    bare.aws.control("lag", seconds=5)
    key = bare.launch()["InstanceId"]
    assert bare.ids() == []
    bare.aws.control("advance", seconds=6)
    assert bare.ids() == [key]


def test_what_is_in_use_stays(bare):
    vpc, subnet, group = bare.place()
    other = bare("ec2", "create_security_group", VpcId=vpc, GroupName="h", Description="d")["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupId": other}]}
    bare("ec2", "authorize_security_group_ingress", GroupId=group, IpPermissions=[rule])
    key = bare.launch(SubnetId=subnet, SecurityGroupIds=[group])["InstanceId"]
    no = ("DependencyViolation", 400)
    assert bare.refused("ec2", "delete_security_group", GroupId=other) == no
    assert bare.refused("ec2", "delete_security_group", GroupId=group) == no
    assert bare.refused("ec2", "delete_subnet", SubnetId=subnet) == no
    assert bare.refused("ec2", "delete_vpc", VpcId=vpc) == no
    bare("ec2", "terminate_instances", InstanceIds=[key])
    assert bare.refused("ec2", "delete_subnet", SubnetId=subnet) == no
    bare.aws.control("advance", seconds=60)
    for one in (group, other):
        bare("ec2", "delete_security_group", GroupId=one)
    bare("ec2", "delete_subnet", SubnetId=subnet)
    bare("ec2", "delete_vpc", VpcId=vpc)


def test_a_gateway_stays_while_machines_are_behind_it(bare):
    vpc, subnet, _ = bare.place()
    gateway = bare("ec2", "create_internet_gateway")["InternetGateway"]["InternetGatewayId"]
    pair = {"InternetGatewayId": gateway, "VpcId": vpc}
    bare("ec2", "attach_internet_gateway", **pair)
    bare.launch(SubnetId=subnet)
    assert bare.refused("ec2", "detach_internet_gateway", **pair) == ("DependencyViolation", 400)


@pytest.mark.parametrize(
    ("code", "status"),
    [("RequestLimitExceeded", 503), ("VcpuLimitExceeded", 400), ("InsufficientInstanceCapacity", 500)],
)
def test_what_a_test_wants_refused_is_refused_so_often(bare, code, status):
    asked = {"action": "DescribeVpcs", "code": code, "status": status, "message": "no", "count": 2}
    bare.aws.control("trouble", **asked)
    seen = []
    for _ in range(3):
        try:
            bare("ec2", "describe_vpcs")
            seen.append("")
        except ClientError as no:
            seen.append(no.response["Error"]["Code"])
    assert seen == [code, code, ""]


def test_each_action_has_a_bucket_of_its_own_when_calls_are_counted(bare):
    bare.aws.control("meter", faster=0.001)
    for _ in range(5):
        bare.launch()
    wanted = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    assert bare.refused("ec2", "run_instances", **wanted) == ("RequestLimitExceeded", 503)
    assert len(bare.ids()) == 5
    bare.aws.control("meter", faster=1000)
    bare.launch()
    bare.aws.control("meter", faster=0)
    assert len(bare.ids()) == 6


def test_a_lost_reply_was_an_act(bare):
    bare.aws.control("lose", action="CreateVpc", count=1)
    before = len(bare("ec2", "describe_vpcs")["Vpcs"])
    with pytest.raises(HTTPClientError):
        bare("ec2", "create_vpc", CidrBlock="10.0.0.0/16")
    assert len(bare("ec2", "describe_vpcs")["Vpcs"]) == before + 1


def test_a_signed_url_ends_and_cannot_be_changed(bare):
    bare("s3", "create_bucket", Bucket="bbb", CreateBucketConfiguration={"LocationConstraint": REGION})
    bare("s3", "put_object", Bucket="bbb", Key="a/ü b.ign", Body=b"{}")
    asked = {"Params": {"Bucket": "bbb", "Key": "a/ü b.ign"}, "ExpiresIn": 60}
    url = bare("s3", "generate_presigned_url", ClientMethod="get_object", **asked)
    assert bare.aws.get(url) == 200
    assert bare.aws.get(url[:-1] + ("0" if url[-1] != "0" else "1")) == 403
    assert bare.aws.get(url.replace("Expires=60", "Expires=6000")) == 403
    assert bare.aws.get(url.replace("/a/", "/b/")) == 403
    assert bare.aws.get(url.partition("?")[0]) == 403
    bare.aws.control("advance", seconds=61)
    assert bare.aws.get(url) == 403


def test_a_load_balancer_is_made_once_and_becomes_active(bare):
    _, subnet, _ = bare.place()
    asked = {"Name": "api", "Type": "network", "Subnets": [subnet], "Scheme": "internal"}
    first = bare("elbv2", "create_load_balancer", **asked)["LoadBalancers"][0]
    again = bare("elbv2", "create_load_balancer", **asked)["LoadBalancers"][0]
    assert first["LoadBalancerArn"] == again["LoadBalancerArn"] and first["State"]["Code"] == "provisioning"
    other = {**asked, "Scheme": "internet-facing"}
    assert bare.refused("elbv2", "create_load_balancer", **other)[0] == "DuplicateLoadBalancerName"
    assert bare.refused("ec2", "delete_subnet", SubnetId=subnet)[0] == "DependencyViolation"
    bare.aws.control("advance", seconds=60)
    assert bare("elbv2", "describe_load_balancers")["LoadBalancers"][0]["State"]["Code"] == "active"


def test_the_cloud_ends_and_stops_instances_with_a_reason(bare):
    ended, stopped = bare.launch()["InstanceId"], bare.launch()["InstanceId"]
    bare.aws.control("end", instance=ended, code="Server.SpotInstanceTermination", message="taken back")
    bare.aws.control("stop", instance=stopped, code="Server.ScheduledStop", message="retired")
    assert (bare.state(ended), bare.state(stopped)) == ("terminated", "stopped")
    row = bare("ec2", "describe_instances", InstanceIds=[stopped])["Reservations"][0]["Instances"][0]
    assert row["StateReason"] == {"Code": "Server.ScheduledStop", "Message": "retired"}


def test_a_console_shows_what_a_test_wrote(bare):
    key = bare.launch()["InstanceId"]
    assert bare("ec2", "get_console_output", InstanceId=key)["Output"] == ""
    bare.aws.control("console", instance=key, text="kernel: hello ü\n")
    assert bare("ec2", "get_console_output", InstanceId=key)["Output"] == "kernel: hello ü\n"


def test_tags_go_with_what_carried_them(bare):
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "k", "Value": "v"}]}]
    vpc = bare("ec2", "create_vpc", CidrBlock="10.0.0.0/16", TagSpecifications=tags)["Vpc"]["VpcId"]
    asked = {"Filters": [{"Name": "key", "Values": ["k"]}]}
    assert [row["ResourceId"] for row in bare("ec2", "describe_tags", **asked)["Tags"]] == [vpc]
    bare("ec2", "delete_vpc", VpcId=vpc)
    assert bare("ec2", "describe_tags", **asked)["Tags"] == []


def test_keys_that_nobody_has_are_refused(bare, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
    assert bare.refused("ec2", "describe_vpcs") == ("AuthFailure", 401)
    assert bare.refused("sts", "get_caller_identity") == ("InvalidClientTokenId", 403)
    assert bare.refused("s3", "list_buckets") == ("InvalidAccessKeyId", 403)


def test_quotas_are_told(bare):
    bare.aws.control("vcpus", count=5)
    asked = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
    assert bare("service-quotas", "get_service_quota", **asked)["Quota"]["Value"] == 5


def test_a_registered_image_is_as_asked(bare):
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}
    given = {"Architecture": "arm64", "RootDeviceName": "/dev/xvda", "VirtualizationType": "hvm"}
    made = bare("ec2", "register_image", Name="mine", BlockDeviceMappings=[disk], **given)["ImageId"]
    (row,) = bare("ec2", "describe_images", Owners=["self"])["Images"]
    assert (row["ImageId"], {key: row[key] for key in given}) == (made, given)


def test_a_key_pair_goes_by_its_id_and_takes_its_tags_along(bare):
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "mine", "Value": "yes"}]}]
    made = bare("ec2", "create_key_pair", KeyName="mine", TagSpecifications=tags)["KeyPairId"]
    assert [row["ResourceId"] for row in bare("ec2", "describe_tags")["Tags"]] == [made]
    bare("ec2", "delete_key_pair", KeyPairId=made)
    assert bare("ec2", "describe_key_pairs")["KeyPairs"] == []
    assert bare("ec2", "describe_tags")["Tags"] == []


def test_what_was_just_made_is_not_heard_of_when_a_test_says_so(bare):
    bare.aws.control("unheard", times=1)
    vpc = bare("ec2", "create_vpc", CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    wanted = {"VpcId": vpc, "CidrBlock": "10.0.1.0/24"}
    assert bare("ec2", "describe_vpcs", Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Vpcs"]
    assert bare.refused("ec2", "create_subnet", **wanted) == ("InvalidVpcID.NotFound", 400)
    subnet = bare("ec2", "create_subnet", **wanted)["Subnet"]["SubnetId"]
    gateway = bare("ec2", "create_internet_gateway")["InternetGateway"]["InternetGatewayId"]
    pair = {"VpcId": vpc, "InternetGatewayId": gateway}
    assert bare.refused("ec2", "attach_internet_gateway", **pair) == (
        "InvalidInternetGatewayID.NotFound",
        400,
    )
    bare("ec2", "attach_internet_gateway", **pair)
    bare.refused("ec2", "describe_subnets", SubnetIds=[subnet])
    balancer = {"Name": "a", "Type": "network", "Scheme": "internet-facing", "Subnets": [subnet]}
    assert bare.refused("elbv2", "create_load_balancer", **balancer) == ("InvalidSubnet", 400)
    assert bare("elbv2", "create_load_balancer", **balancer)["LoadBalancers"]
    bare("iam", "create_role", RoleName="r", AssumeRolePolicyDocument="{}")
    named = {"RoleName": "r", "PolicyName": "p", "PolicyDocument": "{}"}
    assert bare.refused("iam", "put_role_policy", **named) == ("NoSuchEntity", 404)
    place = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    bare("s3", "create_bucket", Bucket="b-1", **place)
    assert bare.refused("s3", "put_object", Bucket="b-1", Key="k", Body=b"") == ("NoSuchBucket", 404)
    bare("s3", "put_object", Bucket="b-1", Key="k", Body=b"")


def test_a_persistent_spot_instance_is_one_that_stops(bare):
    def market(kind: str, end: str) -> dict[str, Any]:
        asked = {"SpotInstanceType": kind, "InstanceInterruptionBehavior": end}
        return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": asked}}

    assert bare.launch(**market("persistent", "stop"))["InstanceId"]
    image = {"ImageId": "ami-0f1a7ca7000000001", "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    for kind, end in (("persistent", "terminate"), ("one-time", "stop")):
        no = bare.refused("ec2", "run_instances", **image, **market(kind, end))
        assert no == ("InvalidParameterCombination", 400)


def test_a_health_check_is_over_before_the_next_and_a_name_is_free(bare):
    vpc, subnet, _ = bare.place()
    group = {"Name": "g", "Protocol": "TCP", "Port": 6443, "VpcId": vpc, "HealthCheckProtocol": "HTTPS"}
    no = bare.refused("elbv2", "create_target_group", **group, HealthCheckIntervalSeconds=10)
    assert no == ("ValidationError", 400)
    asked = {"HealthCheckIntervalSeconds": 10, "HealthCheckTimeoutSeconds": 5}
    assert bare("elbv2", "create_target_group", **group, **asked)["TargetGroups"]
    balancer = {"Name": "internal-a", "Type": "network", "Subnets": [subnet]}
    assert bare.refused("elbv2", "create_load_balancer", **balancer) == ("ValidationError", 400)


def test_what_the_account_blocks_is_told(bare):
    def mode() -> str:
        answer = bare("ec2", "describe_vpc_block_public_access_options")
        return str(answer["VpcBlockPublicAccessOptions"]["InternetGatewayBlockMode"])

    assert mode() == "off"
    bare.aws.control("blocks", mode="block-ingress")
    assert mode() == "block-ingress"
