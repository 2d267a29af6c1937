"""China and the US government's regions: other ARNs, another name of EC2, and the least policy as the page says it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import boto3
import botocore.session
import pytest

from flatyard.clouds.aws import credentials, profiles
from flatyard.clouds.aws.client import Account
from flatyard.clouds.aws.settings import AwsSettings
from flatyard.clouds.cloud import ClusterRef, Role

ROOT = Path(__file__).resolve().parents[3]
REF = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")


def account(region: str) -> Account:
    return Account(boto3.Session(region_name=region), region)


def test_regions_of_every_partition_are_known() -> None:
    known = account("eu-central-1").regions()
    assert {"eu-central-1", "cn-north-1", "us-gov-west-1"} <= set(known)


@pytest.mark.parametrize(
    ("region", "partition", "service"),
    [
        ("eu-central-1", "aws", "ec2.amazonaws.com"),
        ("cn-northwest-1", "aws-cn", "ec2.amazonaws.com.cn"),
        ("us-gov-west-1", "aws-us-gov", "ec2.amazonaws.com"),
    ],
)
def test_what_machines_may_do_is_said_in_their_partitions_words(
    region: str, partition: str, service: str
) -> None:
    assert account(region).partition == partition
    assert profiles.trust(partition)["Statement"][0]["Principal"] == {"Service": service}
    objects = profiles.policy(REF, Role.WORKER, partition)["Statement"][0]["Resource"]
    assert objects == [f"arn:{partition}:s3:::flatyard-{REF.id.lower()}/*"]


def test_a_role_is_assumed_in_its_own_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The world's STS knows nobody of China's."""
    asked: list[object] = []

    def create_client(self: object, service: str, region_name: str | None = None, **rest: object) -> None:
        asked.append((service, region_name))
        raise ConnectionError

    monkeypatch.setattr(botocore.session.Session, "create_client", create_client)
    settings = AwsSettings(
        "cn-north-1", access_key_id="a", secret_access_key="b", role="arn:aws-cn:iam::1:role/r"
    )
    found = credentials.session(settings).get_credentials()
    with pytest.raises(ConnectionError):
        found.get_frozen_credentials()
    assert asked == [("sts", "cn-north-1")]


def test_the_pages_command_makes_the_least_policy_of_another_partition() -> None:
    page = (ROOT / "docs/aws.md").read_text()
    (command,) = re.findall(r"^    (sed .*policy\.json) >", page, re.MULTILINE)
    said = subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"arn:[^:]+:", json.dumps(json.loads(said)))
    assert set(found) == {"arn:aws-cn:"} and len(found) >= 6
