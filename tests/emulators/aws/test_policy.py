"""The least policy is enough, and each of its statements is needed: what is missing is named.

The emulator looks at actions alone: resources and conditions of policy.json are not judged here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import resources
from typing import Any

import pytest

from emulators.aws.emulated import REGION, AwsBench, Emulated
from flatyard.base.errors import Severity
from flatyard.clouds import conformance
from flatyard.clouds.aws.naming import tagged
from flatyard.clouds.cloud import CloudError, StashForbidden
from flatyard.clouds.conformance.bench import persistently
from flatyard.decode.types import ConfigVar
from flatyard.model.machines import AwsMachine

pytestmark = pytest.mark.emulated
POLICY: dict[str, Any] = json.loads(
    resources.files("flatyard.clouds.aws").joinpath("policy.json").read_text()
)
STATEMENTS = {statement["Sid"]: statement for statement in POLICY["Statement"]}
SPOT = AwsMachine(instance_type=ConfigVar("t3.medium"), is_spot_instance=True)
UNSEEN = {
    "TagWhatIsMade": "moto asks for no permission to tag what is made",
    "GiveThemToMachines": "moto asks for no permission to pass a role",
    "DeleteDetachedInterfaces": "an interface that nobody deletes goes by itself",
    "DeleteBalancersOfServices": "no conditions are judged, and ChangeAndDeleteOwnedBalancers has its actions too",
    "RolesOfServices": "an account's first balancer and first spot instance make a role; moto makes none",
}


def judged(*without: str) -> str:
    """The policy as far as the emulator judges: its actions, but for those of some statements or actions."""
    actions = [
        action
        for sid, statement in STATEMENTS.items()
        if sid not in without
        for action in statement["Action"]
        if action not in without
    ]
    return json.dumps(
        {"Version": POLICY["Version"], "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    )


@contextmanager
def allowed(aws: Emulated, monkeypatch: pytest.MonkeyPatch, policy: str) -> Iterator[AwsBench]:
    """A bench of a user with that policy alone."""
    aws.call("iam", "create_user", UserName="flatyard")
    key = aws.call("iam", "create_access_key", UserName="flatyard")["AccessKey"]
    named = {"UserName": "flatyard", "PolicyName": "least", "PolicyDocument": policy}
    aws.call("iam", "put_user_policy", **named)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    aws.control("auth", on=True)
    yield AwsBench(aws)
    aws.control("auth", on=False)


async def whole_life(bench: AwsBench) -> None:
    """Everything that the adapter does in a cluster's life."""
    cloud = bench.cloud
    problems = [p for p in await cloud.preflight(bench.cluster) if p.severity is Severity.ERROR]
    assert not problems, "; ".join(map(str, problems))
    network = await cloud.ensure_network(bench.ref, bench.cluster)
    made = await cloud.create(await conformance.request(bench, network=network))
    spot = replace(await conformance.request(bench, 2, network=network), machine=SPOT)
    await cloud.create(spot)
    await bench.wait(60)
    narrow = replace(network, subnets=network.subnets[:1], zones=network.zones[:1])
    await cloud.ensure_endpoint(bench.ref, bench.cluster, narrow, ())
    await cloud.ensure_endpoint(bench.ref, bench.cluster, network, (made.id,))
    other = replace(bench.cluster.spec, endpoint=replace(bench.cluster.spec.endpoint, port=8443))
    await cloud.ensure_endpoint(bench.ref, replace(bench.cluster, spec=other), network, ())
    await cloud.stash(bench.ref, "secret", b"secret", 60)
    await cloud.unstash(bench.ref, "secret")
    await cloud.evidence(bench.ref, made)
    await cloud.restart(bench.ref, made)
    await conformance.emptied(bench)
    assert await cloud.sweep(bench.ref) == ()
    await bench.close()


def test_the_least_policy_is_enough_for_a_whole_life(aws, monkeypatch):
    with allowed(aws, monkeypatch, judged()) as bench:
        aws.stage.run(lambda: whole_life(bench))


NOT_ASKED = {
    **dict.fromkeys(
        (
            "ec2:CreateTags",
            "elasticloadbalancing:AddTags",
            "iam:TagInstanceProfile",
            "iam:TagRole",
        ),
        "moto asks for no permission to tag what is made",
    ),
    "iam:DetachRolePolicy": "only what others attached is detached",
    "iam:CreateServiceLinkedRole": UNSEEN["RolesOfServices"],
    "iam:PassRole": UNSEEN["GiveThemToMachines"],
    "s3:GetObject": "a pre-signed URL has its signer's rights, which nobody judges here",
    "s3:PutBucketPublicAccessBlock": "moto asks for no permission",
    "sts:DecodeAuthorizationMessage": "only a refusal is decoded",
}
"""Actions of the policy that the emulator does not ask for in a whole life."""
GRANTED = {"sts:GetCallerIdentity"}
"""Nobody can be denied this (IAM user guide, GetCallerIdentity)."""


def strays(bench: AwsBench) -> None:
    """One of each kind that somebody may have made for the cluster, with its tags, as an account's owner makes them."""
    aws, world = bench.aws, bench.clouds[0].account.world
    call = partial(aws.call, "ec2")

    def tagged_as(kind: str) -> Any:
        return tagged(kind, bench.ref, world, "stray")

    zone = f"{REGION}a"
    subnets = call("describe_subnets")["Subnets"]
    subnet = next(row["SubnetId"] for row in subnets if row["AvailabilityZone"] == zone)
    made = call("create_volume", AvailabilityZone=zone, Size=1, TagSpecifications=tagged_as("volume"))
    call("create_snapshot", VolumeId=made["VolumeId"], TagSpecifications=tagged_as("snapshot"))
    call("create_key_pair", KeyName="stray", TagSpecifications=tagged_as("key-pair"))
    call("create_network_interface", SubnetId=subnet, TagSpecifications=tagged_as("network-interface"))
    address = call("allocate_address", Domain="vpc", TagSpecifications=tagged_as("elastic-ip"))[
        "AllocationId"
    ]
    call(
        "create_nat_gateway", SubnetId=subnet, AllocationId=address, TagSpecifications=tagged_as("natgateway")
    )
    image = call("describe_images", Owners=["075585003325"])["Images"][0]["ImageId"]
    spot = {"LaunchSpecification": {"ImageId": image, "InstanceType": "t3.medium"}, "Type": "persistent"}
    call("request_spot_instances", **spot, TagSpecifications=tagged_as("spot-instances-request"))


async def swept(bench: AwsBench) -> None:
    """What is left, and what was kept, by the ways that `down --delete-volumes` takes."""
    for owned in await bench.cloud.sweep(bench.ref):
        await persistently(bench, lambda owned=owned: bench.cloud.delete_owned(bench.ref, owned))
    assert await bench.cloud.sweep(bench.ref) == ()


def test_the_policy_has_every_action_that_is_asked_for_and_no_other(aws, monkeypatch):
    strays(AwsBench(aws))
    with allowed(aws, monkeypatch, judged()) as bench:
        kinds = {owned.kind for owned in aws.stage.run(lambda: bench.cloud.sweep(bench.ref))}
        aws.stage.run(lambda: swept(bench))
        aws.stage.run(lambda: whole_life(bench))
        asked = set(aws.control("judged")["actions"]) - GRANTED
    policy = {action for statement in STATEMENTS.values() for action in statement["Action"]}
    assert kinds >= {"volume", "snapshot", "key-pair", "port", "address", "nat-gateway", "spot-request"}
    assert sorted(asked - policy) == []
    assert sorted(policy - asked) == sorted(NOT_ASKED)


@pytest.mark.parametrize("sid", [sid for sid in STATEMENTS if sid not in UNSEEN])
def test_without_a_statement_the_missing_permission_is_named(aws, monkeypatch, sid):
    with (
        allowed(aws, monkeypatch, judged(sid)) as bench,
        pytest.raises((CloudError, AssertionError)) as caught,
    ):
        aws.stage.run(lambda: whole_life(bench))
    said = str(caught.value)
    assert any(f"lack the permission {action} on" in said for action in STATEMENTS[sid]["Action"]), said


def test_preflight_names_each_permission_that_it_can_try(aws, monkeypatch):
    denied = ("ec2:RunInstances", "ec2:CreateVpc", "ec2:CreateSecurityGroup", "ec2:CreateInternetGateway")
    with allowed(aws, monkeypatch, judged(*denied)) as bench:
        problems = aws.stage.run(lambda: bench.cloud.preflight(bench.cluster))
    said = "\n".join(map(str, problems))
    assert all(f"lack the permission {action} on" in said for action in denied), said
    assert aws.call("ec2", "describe_instances")["Reservations"] == []


def test_a_forbidden_stash_says_so(aws, monkeypatch):
    with (
        allowed(aws, monkeypatch, judged("s3:PutObject")) as bench,
        pytest.raises(StashForbidden, match=r"s3:PutObject on arn:aws:s3:::flatyard-") as caught,
    ):
        aws.stage.run(lambda: bench.cloud.stash(bench.ref, "secret", b"secret", 60))
    assert "docs/aws.md" in caught.value.next
