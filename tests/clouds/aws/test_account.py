"""Which account is meant, and by whose credentials."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from flatyard.base.errors import Refused
from flatyard.base.world import RealWorld
from flatyard.clouds.aws import credentials
from flatyard.clouds.aws.cloud import AwsCloud, connect
from flatyard.clouds.aws.permissions import path_of
from flatyard.clouds.aws.settings import AwsSettings, settings_of
from flatyard.decode.types import ConfigVar, KeyRef
from flatyard.model import cluster as model
from flatyard.model.machines import AwsMachine
from flatyard.model.meta import ObjectMeta
from flatyard.model.traits import MetadataBlock, NodeNameRule, StashScheme

KEYS = AwsMachine(access_key_id=ConfigVar("AKIAFILE"), secret_access_key=ConfigVar("s3cret-in-file"))


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without credentials."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def cluster(machine: AwsMachine | None = None, **cloud: str) -> model.Cluster:
    chosen = model.CloudChoice(aws=model.AwsCloud(region="eu-central-1", **cloud))
    plane = model.ControlPlane(machine=machine)
    return model.Cluster(
        metadata=ObjectMeta(name="prod"), spec=model.ClusterSpec(cloud=chosen, control_plane=plane)
    )


def test_the_file_names_region_and_profile() -> None:
    assert settings_of(cluster(profile="ops"), {}) == AwsSettings("eu-central-1", "ops")


def test_keys_and_roles_of_a_machine_spec_are_used() -> None:
    machine = replace(
        KEYS, assume_role_arn=ConfigVar("arn:aws:iam::1:role/r"), assume_role_external_id=ConfigVar("42")
    )
    found = settings_of(cluster(machine), {})
    assert (found.access_key_id, found.role, found.external_id) == ("AKIAFILE", "arn:aws:iam::1:role/r", "42")


def test_keys_that_are_refused_are_told_where_they_stand() -> None:
    pools = (model.WorkerPool(name="a"), model.WorkerPool(name="b", machine=KEYS))
    plain = cluster()
    found = settings_of(replace(plain, spec=replace(plain.spec, workers=pools)), {})
    assert path_of(found) == "spec.workers[1].machine.accessKeyId"
    assert path_of(settings_of(cluster(KEYS), {})) == "spec.controlPlane.machine.accessKeyId"
    assert path_of(settings_of(cluster(profile="ops"), {})) == "spec.cloud.aws.profile"


def test_a_reference_to_a_secret_is_left_to_the_environment() -> None:
    held = ConfigVar(secret_key_ref=KeyRef("kube-system", "aws", "key"))
    found = settings_of(cluster(AwsMachine(access_key_id=held, secret_access_key=held)), {})
    assert found.access_key_id == ""


def test_the_role_may_come_from_the_environment_as_machine_controller_has_it() -> None:
    environment = {"AWS_ASSUME_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_ASSUME_ROLE_EXTERNAL_ID": "42"}
    found = settings_of(cluster(), environment)
    assert (found.role, found.external_id) == ("arn:aws:iam::1:role/r", "42")


def test_credentials_show_nowhere() -> None:
    found = settings_of(cluster(KEYS), {})
    cloud = AwsCloud(found)
    assert "s3cret-in-file" not in repr(found) + repr(cloud) + repr(cloud.account) + repr(vars(cloud))


def test_without_credentials_it_says_what_to_do() -> None:
    with pytest.raises(Refused, match="there are no AWS credentials") as caught:
        connect(cluster(), RealWorld())
    assert "aws sso login" in caught.value.next


def test_an_unknown_profile_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile ops]\nregion = eu-west-1\n[profile dev]\n")
    with pytest.raises(Refused, match="no AWS profile 'opps'") as caught:
        connect(cluster(profile="opps"), RealWorld())
    assert "ops" in caught.value.why and "dev" in caught.value.why


def test_a_profile_is_read_as_the_aws_command_reads_it(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = x\n")
    session = credentials.session(AwsSettings("eu-central-1", "ops"))
    found = session.get_credentials()
    assert found is not None and found.access_key == "AKIAOPS" and not credentials.temporary(session)


@pytest.mark.parametrize(
    ("token", "scheme"), [("", StashScheme.HTTPS), ("token", StashScheme.S3)], ids=("lasting", "temporary")
)
def test_how_secrets_travel_follows_the_credentials(
    monkeypatch: pytest.MonkeyPatch, token: str, scheme: StashScheme
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    assert connect(cluster(), RealWorld()).traits.stash is scheme


def test_an_assumed_role_is_temporary_before_it_is_assumed() -> None:
    settings = replace(settings_of(cluster(KEYS), {}), role="arn:aws:iam::1:role/r")
    assert AwsCloud(settings).traits.stash is StashScheme.S3


@pytest.mark.parametrize("region", ("eu-central-1", "us-east-1"))
def test_a_signed_url_names_the_regions_own_host(region: str) -> None:
    """The global one answers with a redirect for a new bucket, which the signature forbids."""
    settings = replace(settings_of(cluster(KEYS), {}), region=region)
    url = asyncio.run(AwsCloud(settings).account.sign("flatyard-x", "machine-1", 60))
    assert url.startswith(f"https://flatyard-x.s3.{region}.amazonaws.com/machine-1?")


def test_what_nodes_must_know_of_aws() -> None:
    traits = AwsCloud(settings_of(cluster(KEYS), {})).traits
    assert traits.node_name is NodeNameRule.PRIVATE_DNS and not traits.hairpin and not traits.simulated
    assert (
        traits.metadata_block is MetadataBlock.HOP_LIMIT and traits.provider_id_format == "aws:///{zone}/{id}"
    )
