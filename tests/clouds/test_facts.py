"""The facts of each cloud hold together, and are what the documents say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flatyard.base.errors import InvalidInput, Position
from flatyard.clouds import table
from flatyard.clouds.cloud import TAG_ATTEMPT, TAG_CLUSTER, TAG_MACHINE, TAG_OWNED, TAG_ROLE
from flatyard.clouds.facts import CloudFacts, Retry, Trouble, limits, traits
from flatyard.clouds.tags import spelled
from flatyard.model.machines import BY_CLOUD
from flatyard.model.traits import NodeNameRule, StashScheme, UserDataEncoding

NAMES = ("aws", "azure", "gcp", "openstack", "vsphere", "local")
ULID = "01JGFJJZ00CCCCCCCCCCCCCCCC"


@pytest.fixture(params=NAMES)
def facts(request: pytest.FixtureRequest) -> CloudFacts:
    return table.facts(request.param)


def test_sizes_and_regions_have_names_of_their_own(facts: CloudFacts) -> None:
    assert len({size.name for size in facts.sizes}) == len(facts.sizes)
    assert len({region.name for region in facts.regions}) == len(facts.regions)
    assert all(len(set(region.zones)) == len(region.zones) >= 1 for region in facts.regions)
    assert all(size.vcpus >= 1 and size.memory_mib >= 512 for size in facts.sizes)


def test_our_tags_are_allowed_everywhere(facts: CloudFacts) -> None:
    ours = {
        TAG_CLUSTER: ULID,
        TAG_MACHINE: ULID,
        TAG_OWNED: "true",
        TAG_ROLE: "control-plane",
        TAG_ATTEMPT: "12",
    }
    assert all(facts.tags.fits(key, value) for key, value in spelled(ours, facts.tags).items())


def test_a_machine_name_of_a_deployment_is_allowed_everywhere(facts: CloudFacts) -> None:
    assert facts.instance_name.fits("flatcar-workers-7c5d9b6f4-x8zqp")
    assert not facts.instance_name.fits("x" * (facts.instance_name.longest + 1))


def test_refusals_are_said_once_and_with_known_fields(facts: CloudFacts) -> None:
    troubles = [refusal.trouble for refusal in facts.refusals]
    assert len(set(troubles)) == len(troubles)
    for refusal in facts.refusals:
        said = refusal.message.format(name="n", zone="z", limit=1, used=2, wanted=3)
        assert said and "{" not in said and refusal.code


@pytest.mark.parametrize("name", ("aws", "azure", "gcp", "openstack"))
def test_what_helps_after_a_refusal(name: str) -> None:
    facts = table.facts(name)
    assert facts.refusal(Trouble.RATE).retry is Retry.SOON
    assert facts.refusal(Trouble.QUOTA_VCPUS).retry is Retry.LATER
    assert facts.refusal(Trouble.IMAGE_NOT_FOUND).retry is Retry.NEVER


@pytest.mark.parametrize("name", NAMES)
def test_the_default_size_of_a_machine_spec_exists(name: str) -> None:
    facts, machine = table.facts(name), BY_CLOUD[name]()
    assert not facts.sizes or not machine.size or facts.size(machine.size)


@pytest.mark.parametrize(
    ("cloud", "size", "vcpus", "gib", "arch"),
    [
        ("aws", "t3.medium", 2, 4, "amd64"),
        ("aws", "t3.large", 2, 8, "amd64"),
        ("aws", "t3.2xlarge", 8, 32, "amd64"),
        ("aws", "m5.24xlarge", 96, 384, "amd64"),
        ("aws", "m6g.medium", 1, 4, "arm64"),
        ("aws", "c5.9xlarge", 36, 72, "amd64"),
        ("aws", "r5.large", 2, 16, "amd64"),
        ("azure", "Standard_B2s", 2, 4, "amd64"),
        ("azure", "Standard_D4s_v5", 4, 16, "amd64"),
        ("azure", "Standard_D4ps_v5", 4, 16, "arm64"),
        ("gcp", "e2-standard-2", 2, 8, "amd64"),
        ("gcp", "n2-highmem-4", 4, 32, "amd64"),
        ("openstack", "m3.tiny", 1, 3, "amd64"),
        ("openstack", "m3.quad", 4, 15, "amd64"),
        ("openstack", "m3.3xl", 128, 500, "amd64"),
    ],
)
def test_sizes_are_what_the_provider_says(cloud: str, size: str, vcpus: int, gib: int, arch: str) -> None:
    found = table.facts(cloud).size(size)
    assert found and (found.vcpus, found.memory_mib, found.arch) == (vcpus, gib * 1024, arch)


def test_user_data_limits_count_as_each_cloud_counts() -> None:
    aws, openstack = table.facts("aws").user_data, table.facts("openstack").user_data
    assert (aws.limit, aws.size(b"x" * 16_384)) == (16_384, 16_384)
    assert openstack.size(b"x" * 49_149) <= openstack.limit < openstack.size(b"x" * 49_153)


def test_traits_and_limits_tell_what_nodes_and_plans_need() -> None:
    aws, vsphere = table.facts("aws"), table.facts("vsphere")
    assert traits(aws).node_name is NodeNameRule.PRIVATE_DNS and not traits(aws).hairpin
    assert not traits(aws).simulated and traits(aws, simulated=True).simulated
    assert traits(vsphere).stash is StashScheme.NONE
    assert limits(vsphere).user_data_encoding is UserDataEncoding.GZIP_BASE64
    assert limits(table.facts("gcp")).machine_name_length == 63


def test_clouds_without_hairpin_are_aws_and_azure() -> None:
    assert [name for name in NAMES if not table.facts(name).hairpin] == ["aws", "azure"]


def test_an_unknown_cloud_is_a_located_error_with_the_nearest_name() -> None:
    with pytest.raises(InvalidInput) as caught:
        table.facts("openstak", position=Position("cluster.yaml", 5, 7))
    (problem,) = caught.value.problems
    assert str(problem) == (
        "cluster.yaml:5:7: error: spec.cloud: there is no cloud 'openstak'; "
        "allowed: azure, aws, gcp, openstack, vsphere, local, sim; did you mean 'openstack'?"
    )


def test_the_table_says_what_is_only_simulated() -> None:
    assert "this release only simulates Google Cloud" in table.unavailable("gcp")
    assert table.unavailable("sim") == ""


def test_sim_has_no_facts_of_its_own() -> None:
    with pytest.raises(InvalidInput, match="there is no cloud 'sim'"):
        table.facts("sim")


def test_a_size_may_call_etcds_disk_otherwise() -> None:
    cloud = replace(table.facts("aws"), etcd_devices=((r"new\..*", "/dev/new"), (r"newer\..*", "/dev/newer")))
    names = ("new.large", "newer.large", "t3.large", "anew.large")
    wanted = ["/dev/new", "/dev/newer", cloud.etcd_device, cloud.etcd_device]
    assert [cloud.etcd_device_of(name) for name in names] == wanted
    assert [traits(cloud).for_size(name).etcd_device for name in names] == wanted
    none = replace(traits(cloud), etcd_device="")
    assert none.for_size("new.large").etcd_device == ""
