"""What AWS is asked for: seen with the bare SDK after the adapter did it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from emulators.aws.emulated import REGION, AwsBench, Emulated, cluster_of
from emulators.window_aws import devices
from flatyard.base.errors import Severity
from flatyard.clouds import conformance
from flatyard.clouds.aws.cloud import AwsCloud
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.preflight import OUR_TAGS
from flatyard.clouds.aws.settings import AwsSettings
from flatyard.clouds.cloud import (
    CreateRequest,
    ImageQuery,
    Instance,
    InstanceState,
    Owned,
    Rejected,
    Role,
    Transient,
)
from flatyard.decode.api import from_json
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import AwsMachine
from flatyard.model.traits import StashScheme

pytestmark = pytest.mark.emulated
GIVEN = AwsMachine(instance_type=ConfigVar("t3.medium"))


@pytest.fixture
def bench(aws: Emulated) -> AwsBench:
    return AwsBench(aws)


def made(bench: AwsBench, machine: AwsMachine, **changes: Any) -> tuple[Instance, dict[str, Any]]:
    """One machine, and what EC2 says of it."""
    bench.machine, bench.cluster = machine, cluster_of(machine)

    async def main() -> Instance:
        wanted = replace(await conformance.request(bench), **changes)
        return await bench.cloud.create(wanted)

    instance = bench.aws.stage.run(main)
    return instance, row_of(bench, instance.id)


def row_of(bench: AwsBench, key: str) -> dict[str, Any]:
    answer = bench.aws.call("ec2", "describe_instances", InstanceIds=[key])
    row: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
    return row


def volumes(bench: AwsBench) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = bench.aws.call("ec2", "describe_volumes")["Volumes"]
    return sorted(rows, key=lambda row: str(row["Attachments"][0]["Device"]))


def tags(row: dict[str, Any], key: str = "Tags") -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in row[key]}


def test_the_metadata_service_wants_tokens_and_reaches_no_pod(bench):
    _, row = made(bench, GIVEN)
    assert row["MetadataOptions"]["HttpTokens"] == "required"
    assert row["MetadataOptions"]["HttpPutResponseHopLimit"] == 1


def test_the_hop_limit_is_a_field(bench):
    _, row = made(bench, replace(GIVEN, metadata_hop_limit=3))
    assert row["MetadataOptions"]["HttpPutResponseHopLimit"] == 3


def test_disks_are_as_the_spec_says(bench):
    machine = replace(
        GIVEN, disk_size=50, disk_type=ConfigVar("gp3"), disk_iops=4000, ebs_volume_encrypted=_yes()
    )
    _, row = made(bench, machine, role=Role.CONTROL_PLANE)
    root, etcd = volumes(bench)
    assert (root["Size"], root["VolumeType"], root["Encrypted"]) == (50, "gp3", True)
    assert [disk["Ebs"]["DeleteOnTermination"] for disk in row["BlockDeviceMappings"]] == [True, True]
    assert (etcd["Size"], etcd["Encrypted"], etcd["Attachments"][0]["Device"]) == (20, True, "/dev/xvdf")


def _yes() -> Any:
    return from_json(AwsMachine, {"ebsVolumeEncrypted": True}).ebs_volume_encrypted


def test_a_worker_has_no_disk_for_etcd(bench):
    made(bench, GIVEN)
    (root,) = volumes(bench)
    assert (root["Size"], root["VolumeType"]) == (40, "standard")


def test_what_belongs_to_a_machine_carries_its_tags(bench):
    instance, row = made(bench, replace(GIVEN, tags={"KubernetesCluster": "my-cluster"}))
    (volume,) = volumes(bench)
    port = bench.aws.call("ec2", "describe_network_interfaces")["NetworkInterfaces"][0]
    for found in (tags(row), tags(volume), tags(port, "TagSet")):
        assert found["flatyard-machine"] == instance.machine_id
        assert (found["flatyard-cluster"], found["flatyard-owned"]) == (bench.ref.id, "true")
        assert found["KubernetesCluster"] == "my-cluster"
        assert found[f"kubernetes.io/cluster/{bench.ref.id}"] == "owned"


def test_a_machine_has_as_many_tags_as_plan_lets_it(bench):
    _, row = made(bench, GIVEN)
    assert len(row["Tags"]) == OUR_TAGS
    room = FACTS.tags.count - OUR_TAGS
    _, row = made(bench, tagged_with(room), machine_id=bench.machine_id(2))
    assert len(row["Tags"]) == FACTS.tags.count
    for count, said in ((room, 0), (room + 1, 2)):
        bench.cluster = cluster_of(tagged_with(count))
        problems = bench.aws.stage.run(lambda: told(bench))
        assert len([no for no in problems if "tags are too many: 7 are set besides" in no.what]) == said


def tagged_with(count: int) -> AwsMachine:
    return replace(GIVEN, tags={f"team{number}": "a" for number in range(count)})


def test_a_machine_is_called_as_its_kubelet_and_controller_manager_call_it(bench):
    instance, row = made(bench, GIVEN)
    assert instance.provider_id == f"aws:///{row['Placement']['AvailabilityZone']}/{instance.id}"
    assert instance.node_name == row["PrivateDnsName"] and instance.node_name.startswith("ip-10-0-")
    assert ("InternalIP", row["PrivateIpAddress"]) in instance.addresses


def test_a_machine_may_have_no_public_address(bench):
    _, row = made(bench, replace(GIVEN, assign_public_ip=False))
    assert "PublicIpAddress" not in row
    _, other = made(bench, replace(GIVEN, assign_public_ip=None), machine_id=bench.machine_id(2))
    assert other["PublicIpAddress"]


def test_a_spot_instance_and_its_request_go_together(bench):
    raw = {
        "instanceType": "t3.medium",
        "isSpotInstance": True,
        "spotInstanceConfig": {"persistentRequest": True, "interruptionBehavior": "stop"},
    }
    instance, row = made(bench, from_json(AwsMachine, raw))
    assert row["InstanceLifecycle"] == "spot"

    async def main() -> None:
        await bench.cloud.delete(bench.ref, instance)

    bench.aws.stage.run(main)
    assert row_of(bench, instance.id)["State"]["Name"] == "shutting-down"


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("spot", [False, True])
def test_only_what_may_have_a_spot_request_is_asked_for_it(bench, spot, restarted):
    """Two hundred machines end by as many calls; an adapter that has seen nothing of them asks before each."""
    machine = replace(GIVEN, is_spot_instance=spot)
    instance, _ = made(bench, machine)
    cloud = bench.restarted() if restarted else bench.cloud

    async def main() -> None:
        if not restarted:
            assert [one.id for one in await cloud.machines(bench.ref)] == [instance.id]
        await cloud.delete(bench.ref, instance)

    bench.aws.control("calls")
    bench.aws.stage.run(main)
    calls = bench.aws.control("calls")
    asked = calls.get("DescribeSpotInstanceRequests", 0)
    assert (asked, calls["TerminateInstances"]) == (1 if spot or restarted else 0, 1)


@pytest.mark.parametrize("later", [60, 7200])
def test_a_machine_that_was_terminated_is_told_so_by_its_token(bench, later):
    """Whoever died before it heard of the instance asks again: another attempt is due, where it was final."""

    async def main() -> Instance:
        wanted = await conformance.request(bench)
        one = await bench.cloud.create(wanted)
        await bench.cloud.delete(bench.ref, one)
        await bench.wait(later)
        return await bench.restarted().create(wanted)

    again = bench.aws.stage.run(main)
    assert (again.state, again.attempt, again.machine_id) == (
        InstanceState.TERMINATED,
        1,
        bench.machine_id(1),
    )


def test_user_data_is_what_the_machine_reads(bench):
    instance, _ = made(bench, GIVEN, user_data=b'{"ignition": {"version": "3.4.0"}}')
    assert bench.user_data(instance) == b'{"ignition": {"version": "3.4.0"}}'


def test_the_arm_image_for_an_arm_size(bench):
    machine = AwsMachine(instance_type=ConfigVar("m6g.large"))

    async def main() -> Any:
        return await bench.cloud.images(ImageQuery("stable", None, machine=machine))

    found = bench.aws.stage.run(main)
    assert [image.version for image in found] == ["4593.2.0", "4459.2.1", "4230.2.2"]
    assert {image.arch for image in found} == {"arm64"}


@pytest.mark.parametrize(
    ("name", "tags", "found"),
    [
        ("capa-ami-flatcar-stable-v1.34.3-1712345678", {"kubernetes_version": "v1.34.3"}, True),
        ("capa-ami-flatcar-stable-1.34.3-1.1-1712345678", {}, True),
        ("our-Flatcar", {"kubernetes_version": "v1.34.3", "distribution_version": "4459.2.1"}, True),
        ("capa-ami-flatcar-stable-v1.34.30-1712345678", {}, False),
        ("capa-ami-flatcar-stable-v1.34.3-1712345678", {"kubernetes_version": "v1.34.2"}, False),
        ("capa-ami-flatcar-beta-v1.34.3-1712345678", {"kubernetes_version": "v1.34.3"}, False),
        ("capa-ami-ubuntu-24.04-v1.34.3-1712345678", {"kubernetes_version": "v1.34.3"}, False),
    ],
)
def test_an_image_of_ones_own_is_known_by_the_kubernetes_in_it(bench, name, tags, found):
    made = bench.aws.bake(name, tags)

    async def main() -> Any:
        return await bench.cloud.images(ImageQuery("stable", None, machine=GIVEN, kubernetes="v1.34.3"))

    shown = [(image.reference, image.kubernetes, image.version) for image in bench.aws.stage.run(main)]
    assert shown == ([(made, "v1.34.3", tags.get("distribution_version", ""))] if found else [])


def test_the_newest_of_ones_own_images_comes_first_and_other_releases_not_at_all(bench):
    """Two that were made in the same second were in the order of their making, and the older one was taken."""
    newer, older = (
        bench.aws.bake(f"capa-ami-flatcar-stable-v1.34.3-{number}", {"distribution_version": version})
        for number, version in enumerate(("4459.2.1", "4230.2.2"))
    )

    async def main(version: str | None) -> list[str]:
        query = ImageQuery("stable", version, machine=GIVEN, kubernetes="v1.34.3")
        return [image.reference for image in await bench.cloud.images(query)]

    assert bench.aws.stage.run(lambda: main(None)) == [newer, older]
    assert bench.aws.stage.run(lambda: main("4230.2.2")) == [older]


def test_plan_says_that_there_is_no_image_with_kubernetes_in_it_and_which_there_are(bench):
    bench.aws.bake("capa-ami-flatcar-stable-v1.33.1-1712345678", {"kubernetes_version": "v1.33.1"})
    version = model.Kubernetes(version="v1.34.3", flavor="image")
    bench.cluster = cluster_of(GIVEN, kubernetes=version)

    async def main() -> Any:
        return await bench.cloud.preflight(bench.cluster)

    plane, *_ = map(str, bench.aws.stage.run(main))
    assert (
        "the account has no image of its own in eu-central-1 of Flatcar stable with Kubernetes v1.34.3"
        in plane
    )
    assert "spec.kubernetes.version" in plane and "allowed: v1.33.1; image-builder" in plane


def test_an_image_that_the_file_names_must_have_the_clusters_kubernetes(bench):
    made = bench.aws.bake("our-image", {"kubernetes_version": "v1.33.1"})
    version = model.Kubernetes(version="v1.34.3", flavor="image")
    bench.cluster = cluster_of(replace(GIVEN, ami=ConfigVar(made)), kubernetes=version)

    async def main() -> Any:
        return await bench.cloud.preflight(bench.cluster)

    plane, *_ = map(str, bench.aws.stage.run(main))
    assert f"image {made} holds Kubernetes v1.33.1, the cluster wants v1.34.3" in plane
    assert "spec.controlPlane.machine.ami" in plane


def test_plan_looks_for_the_image_of_machines_that_are_alike_once(bench):
    async def main() -> Any:
        return await bench.cloud.preflight(bench.cluster)

    bench.aws.control("calls")
    assert bench.aws.stage.run(main) == ()
    calls = bench.aws.control("calls")
    assert (calls["DescribeImages"], calls["DescribeInstanceTypes"]) == (1, 1)


def test_nobody_elses_image_passes_for_flatcars(bench):
    async def main() -> Any:
        return await bench.cloud.images(ImageQuery("stable", None))

    assert "9999.0.0" not in [image.version for image in bench.aws.stage.run(main)]


def test_listing_is_one_paged_call(bench):
    async def main() -> None:
        first = await conformance.request(bench)
        for number in range(1, 13):
            await bench.cloud.create(replace(first, machine_id=bench.machine_id(number)))
        bench.aws.control("calls")
        assert len(await bench.cloud.machines(bench.ref)) == 12

    bench.aws.stage.run(main)
    assert bench.aws.control("calls") == {"DescribeInstances": 1}


def test_a_create_is_one_call(bench):
    async def main() -> None:
        first = await conformance.request(bench)
        await bench.cloud.create(first)
        bench.aws.control("calls")
        await bench.cloud.create(replace(first, machine_id=bench.machine_id(2)))

    bench.aws.stage.run(main)
    assert bench.aws.control("calls") == {"RunInstances": 1}


def test_a_private_control_plane_has_a_private_endpoint(bench):
    bench.cluster = cluster_of(replace(GIVEN, assign_public_ip=False))

    async def main() -> None:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())

    bench.aws.stage.run(main)
    row = bench.aws.call("elbv2", "describe_load_balancers")["LoadBalancers"][0]
    assert (row["Type"], row["Scheme"], len(row["AvailabilityZones"])) == ("network", "internal", 3)


def test_the_endpoint_may_have_a_name_of_the_users(bench):
    bench.cluster = cluster_of(GIVEN, endpoint=model.Endpoint(host="api.example.com", port=443))

    async def main() -> Any:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        return await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ())

    found = bench.aws.stage.run(main)
    assert (found.host, found.port, found.hairpin) == ("api.example.com", 443, False)
    groups = bench.aws.call("ec2", "describe_security_groups")["SecurityGroups"]
    open_to_all = {
        rule["FromPort"]
        for group in groups
        for rule in group["IpPermissions"]
        if {"CidrIp": "0.0.0.0/0"} in rule.get("IpRanges", ())
    }
    assert open_to_all == {443, 6443}


def test_the_network_is_one_where_machines_have_names_and_the_world(bench):
    async def main() -> Any:
        return await bench.cloud.ensure_network(bench.ref, bench.cluster)

    network = bench.aws.stage.run(main)
    assert network.zones == (f"{REGION}a", f"{REGION}b", f"{REGION}c") and network.cidr == "10.0.0.0/16"
    names = {"VpcId": network.id, "Attribute": "enableDnsHostnames"}
    assert bench.aws.call("ec2", "describe_vpc_attribute", **names)["EnableDnsHostnames"]["Value"] is True
    tables = bench.aws.call("ec2", "describe_route_tables")["RouteTables"]
    own = next(table for table in tables if "flatyard-owned" in tags(table))
    assert any(str(route.get("GatewayId", "")).startswith("igw-") for route in own["Routes"])
    assert {row.get("SubnetId") for row in own["Associations"]} == set(network.subnets)


def test_a_zone_more_gets_its_subnet_beside_the_others(bench):
    async def main() -> Any:
        await bench.cloud.ensure_network(
            bench.ref, replace_cloud(bench, availability_zones=(f"{REGION}a", f"{REGION}b", f"{REGION}c"))
        )
        return await bench.restarted().ensure_network(bench.ref, bench.cluster)

    assert len(bench.aws.stage.run(main).subnets) == 3


def replace_cloud(bench: AwsBench, **fields: Any) -> model.Cluster:
    chosen = model.CloudChoice(aws=model.AwsCloud(region=REGION, **fields))
    return cluster_of(bench.machine, cloud=chosen)


class Place:
    """A VPC of the user's own."""

    def __init__(self, aws: Emulated) -> None:
        self.vpc = aws.call("ec2", "create_vpc", CidrBlock="172.20.0.0/16")["Vpc"]["VpcId"]
        named = {"VpcId": self.vpc, "EnableDnsHostnames": {"Value": True}}
        aws.call("ec2", "modify_vpc_attribute", **named)
        self.subnets = [
            aws.call(
                "ec2",
                "create_subnet",
                VpcId=self.vpc,
                CidrBlock=f"172.20.{number}.0/24",
                AvailabilityZone=REGION + zone,
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("ab")
        ]
        self.gateway = aws.call("ec2", "create_internet_gateway")["InternetGateway"]["InternetGatewayId"]
        aws.call("ec2", "attach_internet_gateway", VpcId=self.vpc, InternetGatewayId=self.gateway)
        rows = aws.call("ec2", "describe_route_tables", Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])
        self.table = rows["RouteTables"][0]["RouteTableId"]
        route = {"RouteTableId": self.table, "DestinationCidrBlock": "0.0.0.0/0"}
        aws.call("ec2", "create_route", GatewayId=self.gateway, **route)


def test_a_network_of_the_users_is_used_and_left(bench):
    place = Place(bench.aws)
    bench.cluster = replace_cloud(bench, vpc_id=place.vpc, subnet_ids=tuple(place.subnets))

    async def main() -> Any:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        one = await bench.cloud.create(await conformance.request(bench, network=network))
        await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, (one.id,))
        await conformance.emptied(bench)
        return network, await bench.cloud.sweep(bench.ref)

    network, left = bench.aws.stage.run(main)
    assert (network.id, network.subnets, network.adopted) == (place.vpc, tuple(place.subnets), True)
    assert left == ()
    assert place.vpc in [row["VpcId"] for row in bench.aws.call("ec2", "describe_vpcs")["Vpcs"]]
    assert len(bench.aws.call("ec2", "describe_subnets", SubnetIds=place.subnets)["Subnets"]) == 2


@pytest.mark.parametrize("given", [False, True])
def test_what_a_cluster_has_is_not_counted_against_its_quota_again(bench, given):
    """A second `up` near the quota was refused where the network was the user's."""
    place = Place(bench.aws)
    if given:
        bench.cluster = replace_cloud(bench, vpc_id=place.vpc)
    bench.aws.control("vcpus", count=6)

    async def main() -> Any:
        before = await bench.cloud.preflight(bench.cluster)
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        await bench.cloud.create(await conformance.request(bench, network=network))
        return before, await bench.cloud.preflight(bench.cluster)

    for problems in bench.aws.stage.run(main):
        assert [no for no in problems if no.severity is Severity.ERROR] == []
    bench.aws.control("vcpus", count=5)
    (no,) = [no for no in bench.aws.stage.run(lambda: told(bench)) if no.severity is Severity.ERROR]
    assert "the cluster needs 6 vCPUs; the account may use 5 in this region and uses 0" in no.what


async def told(bench: AwsBench) -> Any:
    return await bench.cloud.preflight(bench.cluster)


def test_a_subnet_that_is_not_in_the_users_network_is_named(bench):
    place = Place(bench.aws)
    bench.cluster = replace_cloud(bench, vpc_id=place.vpc, subnet_ids=("subnet-0",))

    async def main() -> Any:
        problems = await bench.cloud.preflight(bench.cluster)
        with pytest.raises(Rejected, match="has no subnet subnet-0"):
            await bench.cloud.ensure_network(bench.ref, bench.cluster)
        return problems

    said = "\n".join(map(str, bench.aws.stage.run(main)))
    assert (
        f"spec.cloud.aws.subnetIDs[0]: {place.vpc} has no subnet subnet-0; allowed: {sorted(place.subnets)[0]}"
        in said
    )


def test_a_subnet_without_its_network_or_in_another_zone_is_told(bench):
    place = Place(bench.aws)
    other = replace(GIVEN, subnet_id=ConfigVar(place.subnets[0]), availability_zone=ConfigVar(f"{REGION}b"))
    bench.cluster = cluster_of(other)

    async def main() -> Any:
        return await bench.cloud.preflight(bench.cluster)

    said = "\n".join(map(str, bench.aws.stage.run(main)))
    assert f"subnet {place.subnets[0]} is in {place.vpc} and the cluster's network is to be made" in said
    assert f"subnet {place.subnets[0]} is in zone {REGION}a and not in {REGION}b" in said


RARE = AwsMachine(instance_type=ConfigVar("c3.large"))
"""A type that two of the region's three zones have."""


def told_of_zones(bench: AwsBench, zones: tuple[str, ...], machine: AwsMachine) -> list[str]:
    """What plan says of a pool of these machines beside a control plane that every zone can have."""
    cloud = model.CloudChoice(aws=model.AwsCloud(region=REGION, availability_zones=zones))
    workers = (model.WorkerPool(name="rare", replicas=2, machine=machine),)
    bench.cluster = cluster_of(GIVEN, cloud=cloud, workers=workers)

    async def main() -> Any:
        return await bench.cloud.preflight(bench.cluster)

    return list(map(str, bench.aws.stage.run(main)))


def test_a_pool_that_is_spread_needs_its_type_in_every_zone(bench):
    zones = tuple(f"{REGION}{letter}" for letter in "abc")
    (said,) = told_of_zones(bench, zones, RARE)
    assert said.startswith(
        "error: spec.workers[0].machine.availabilityZone: machines without a zone are spread over"
    )
    assert f"and {REGION}c has no c3.large; allowed: {REGION}a, {REGION}b" in said
    assert told_of_zones(bench, zones, replace(RARE, availability_zone=ConfigVar(f"{REGION}a"))) == []
    (said,) = told_of_zones(bench, zones, replace(RARE, availability_zone=ConfigVar(f"{REGION}c")))
    assert f"zone {REGION}c does not offer c3.large; allowed: {REGION}a, {REGION}b" in said


def test_a_network_without_named_zones_is_where_every_type_is(bench):
    assert told_of_zones(bench, (), RARE) == []
    network = bench.aws.stage.run(lambda: bench.cloud.ensure_network(bench.ref, bench.cluster))
    assert network.zones == (f"{REGION}a", f"{REGION}b")


@pytest.mark.parametrize("size", ["t2.medium", "m5d.large"])
def test_etcds_disk_is_told_from_others_whatever_the_instance_type(bench, size):
    """Xen has its name as it is; an instance store has none by which Ignition could take it for etcd's."""
    _, row = made(bench, replace(GIVEN, instance_type=ConfigVar(size)), role=Role.CONTROL_PLANE)
    bench.cluster = cluster_of(AwsMachine(instance_type=ConfigVar(size)))

    async def main() -> Any:
        return await bench.cloud.preflight(bench.cluster)

    assert bench.aws.stage.run(main) == ()
    kind = bench.aws.call("ec2", "describe_instance_types", InstanceTypes=[size])["InstanceTypes"][0]
    assert bench.clouds[0].traits.for_size(size).etcd_device in devices(row, kind["Hypervisor"])


# ---- the page on Flatcar of machine-controller


def deployment(place: Place, **more: Any) -> MachineDeployment:
    """Its MachineDeployment for AWS, with ids where it has placeholders."""
    spec = {
        "region": REGION,
        "availabilityZone": f"{REGION}a",
        "instanceType": "t3.medium",
        "vpcId": place.vpc,
        "subnetId": place.subnets[0],
        "diskSize": 50,
        "tags": {"KubernetesCluster": "my-cluster"},
        **more,
    }
    value = {
        "cloudProvider": "aws",
        "cloudProviderSpec": spec,
        "operatingSystem": "flatcar",
        "operatingSystemSpec": {"disableAutoUpdate": False, "provisioningUtility": "ignition"},
    }
    return from_json(
        MachineDeployment,
        {
            "apiVersion": "cluster.k8s.io/v1alpha1",
            "kind": "MachineDeployment",
            "metadata": {"name": "flatcar-workers", "namespace": "kube-system"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"name": "flatcar-workers"}},
                "template": {
                    "metadata": {"labels": {"name": "flatcar-workers"}},
                    "spec": {"providerSpec": {"value": value}, "versions": {"kubelet": "v1.34.3"}},
                },
            },
        },
    )


def machine_in(written: MachineDeployment) -> AwsMachine:
    machine = written.spec.template.spec.provider_spec.value.cloud_provider_spec
    assert isinstance(machine, AwsMachine)
    return machine


def test_seed_001_without_security_groups_and_instance_profile_gets_sane_ones_and_is_told(bench):
    place = Place(bench.aws)
    written = deployment(place)
    bench.cluster = replace_cloud(bench, vpc_id=place.vpc)

    async def main() -> tuple[Any, Any]:
        problems = await bench.cloud.preflight(bench.cluster, (written,))
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        wanted = replace(await conformance.request(bench, network=network), machine=machine_in(written))
        return problems, await bench.cloud.create(wanted)

    problems, instance = bench.aws.stage.run(main)
    told = [problem for problem in problems if "MachineDeployment flatcar-workers" in problem.path]
    assert [problem.severity for problem in told] == [Severity.WARNING] * 2
    assert "no security groups are given" in told[0].what and "no instance profile is given" in told[1].what
    row = row_of(bench, instance.id)
    assert row["SubnetId"] == place.subnets[0] and tags(row)["KubernetesCluster"] == "my-cluster"
    (group,) = row["NetworkInterfaces"][0]["Groups"]
    assert group["GroupName"].startswith("flatyard-prod-worker")
    assert row["IamInstanceProfile"]["Arn"].endswith(
        f"/flatyard/{bench.ref.id}/flatyard-{bench.ref.id}-worker"
    )
    assert volumes(bench)[0]["Size"] == 50


def test_seed_001_own_security_groups_and_instance_profile_are_used(bench):
    place = Place(bench.aws)
    group = bench.aws.call("ec2", "create_security_group", VpcId=place.vpc, GroupName="g", Description="d")[
        "GroupId"
    ]
    bench.aws.call("iam", "create_role", RoleName="nodes", AssumeRolePolicyDocument="{}")
    bench.aws.call("iam", "create_instance_profile", InstanceProfileName="nodes")
    pair = {"InstanceProfileName": "nodes", "RoleName": "nodes"}
    bench.aws.call("iam", "add_role_to_instance_profile", **pair)
    written = deployment(place, securityGroupIDs=[group], instanceProfile="nodes")
    bench.cluster = cluster_of(machine_in(written))

    async def main() -> tuple[Any, Any]:
        problems = await bench.cloud.preflight(bench.cluster, (written,))
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        wanted = replace(await conformance.request(bench, network=network), machine=machine_in(written))
        return problems, await bench.cloud.create(wanted)

    problems, instance = bench.aws.stage.run(main)
    assert problems == ()
    row = row_of(bench, instance.id)
    assert [found["GroupId"] for found in row["NetworkInterfaces"][0]["Groups"]] == [group]
    assert row["IamInstanceProfile"]["Arn"].endswith("instance-profile/nodes")
    assert bench.aws.call("iam", "list_roles", PathPrefix="/flatyard/")["Roles"] == []


def test_machines_in_a_group_of_the_users_may_speak_to_those_in_ours(bench):
    """Workers in it, a control plane in ours: their pods did not reach each other."""
    place = Place(bench.aws)
    asked = {"VpcId": place.vpc, "GroupName": "g", "Description": "d"}
    group = bench.aws.call("ec2", "create_security_group", **asked)["GroupId"]
    bench.aws.call("ec2", "associate_vpc_cidr_block", VpcId=place.vpc, CidrBlock="100.64.0.0/16")
    theirs = replace(GIVEN, security_group_ids=(ConfigVar(group), ConfigVar("sg-2")))
    chosen = model.CloudChoice(aws=model.AwsCloud(region=REGION, vpc_id=place.vpc))
    workers = (model.WorkerPool(name="general", replicas=2, machine=theirs),)
    bench.cluster = cluster_of(GIVEN, cloud=chosen, workers=workers)

    async def main() -> Any:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        return await bench.cloud.ensure_network(bench.ref, bench.cluster) and network

    network = bench.aws.stage.run(main)
    plane = network.security_groups["control-plane"]
    (row,) = bench.aws.call("ec2", "describe_security_groups", GroupIds=[plane])["SecurityGroups"]

    def admits(port: int) -> tuple[set[str], set[str]]:
        rules = [rule for rule in row["IpPermissions"] if rule.get("FromPort") == port]
        pairs = {pair["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"]}
        return pairs, {part["CidrIp"] for rule in rules for part in rule["IpRanges"]}

    assert admits(8472) == ({*network.security_groups.values(), group}, set())
    assert admits(10250)[0] >= {group} and admits(2379) == ({plane}, set())
    assert admits(22) == (set(), {"172.20.0.0/16", "100.64.0.0/16"})


def test_seed_001_a_given_ami_is_the_one_that_starts(bench):
    images = bench.aws.call("ec2", "describe_images", Owners=["075585003325"])["Images"]
    older = next(row for row in images if row["Name"] == "Flatcar-stable-4230.2.2-hvm")["ImageId"]
    _, row = made(bench, replace(GIVEN, ami=ConfigVar(older)))
    assert row["ImageId"] == older


def test_seed_001_an_ami_of_the_other_architecture_is_refused_by_preflight(bench):
    images = bench.aws.call("ec2", "describe_images", Owners=["075585003325"])["Images"]
    arm = next(row for row in images if row["Name"] == "Flatcar-stable-4230.2.2-arm64-hvm")["ImageId"]
    bench.cluster = cluster_of(replace(GIVEN, ami=ConfigVar(arm)))

    async def main() -> Any:
        return await bench.cloud.preflight(bench.cluster)

    assert f"has no image {arm} that t3.medium boots" in "\n".join(map(str, bench.aws.stage.run(main)))


def test_seed_001_no_ami_means_the_channels_newest(bench):
    _, row = made(bench, GIVEN)
    image = bench.aws.call("ec2", "describe_images", ImageIds=[row["ImageId"]])["Images"][0]
    assert image["Name"] == "Flatcar-stable-4593.2.0-hvm" and image["OwnerId"] == "075585003325"


# ---- credentials


def test_temporary_credentials_deliver_by_the_machines_role(bench, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAEMULATOR")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")

    async def main() -> tuple[AwsCloud, Any]:
        cloud = AwsCloud(AwsSettings(REGION))
        return cloud, await cloud.stash(bench.ref, "machine-1", b"secret", 60)

    cloud, stashed = bench.aws.stage.run(main)
    assert cloud.traits.stash is StashScheme.S3
    assert stashed.url == f"s3://flatyard-{bench.ref.id.lower()}/machine-1"


def test_a_role_is_assumed(bench):
    async def main() -> Any:
        cloud = AwsCloud(AwsSettings(REGION, role="arn:aws:iam::123456789012:role/ops", external_id="42"))
        return cloud.traits.stash, await cloud.account.read("asking", "sts", "get_caller_identity")

    scheme, told = bench.aws.stage.run(main)
    assert scheme is StashScheme.S3 and told["Arn"].startswith(
        "arn:aws:sts::123456789012:assumed-role/ops/flatyard"
    )


def test_the_bucket_is_closed_and_ends_by_itself(bench):
    async def main() -> None:
        await bench.cloud.stash(bench.ref, "machine-1", b"secret", 60)

    bench.aws.stage.run(main)
    bucket = {"Bucket": f"flatyard-{bench.ref.id.lower()}"}
    closed = bench.aws.call("s3", "get_public_access_block", **bucket)["PublicAccessBlockConfiguration"]
    assert all(closed.values()) and len(closed) == 4
    rules = bench.aws.call("s3", "get_bucket_lifecycle_configuration", **bucket)["Rules"]
    assert rules[0]["Expiration"]["Days"] == 1


def test_plan_says_that_an_image_does_not_fit_on_the_disk(bench):
    image = bench.aws.bake("Flatcar-of-ours", {})
    bench.cluster = cluster_of(replace(GIVEN, ami=ConfigVar(image), disk_size=4))

    async def main() -> Any:
        return await bench.cloud.preflight(bench.cluster)

    said = str(bench.aws.stage.run(main)[0])
    row = bench.aws.call("ec2", "describe_images", ImageIds=[image])["Images"][0]
    least = row["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]
    path = "spec.controlPlane.machine.diskSize"
    assert f"{path}: Flatcar-of-ours does not fit into 4 GiB; allowed: {least} GiB and more" in said


# ---- what others made in the cluster's name


def test_a_spot_request_that_ended_is_nothing_left(bench):
    """EC2 shows it and its tags for four hours, for which `down` waited."""
    instance, _ = made(bench, replace(GIVEN, is_spot_instance=True))
    tag = [{"Key": key, "Value": value} for key, value in tags(row_of(bench, instance.id)).items()]
    image = bench.aws.call("ec2", "describe_images", Owners=["075585003325"])["Images"][0]["ImageId"]
    spec = [{"ResourceType": "spot-instances-request", "Tags": tag}]
    asked = {
        "LaunchSpecification": {"ImageId": image, "InstanceType": "t3.medium"},
        "TagSpecifications": spec,
    }
    row = bench.aws.call("ec2", "request_spot_instances", **asked)["SpotInstanceRequests"][0]

    async def kinds() -> list[str]:
        return [owned.kind for owned in await bench.cloud.sweep(bench.ref)]

    assert "spot-request" in bench.aws.stage.run(kinds)
    named = {"SpotInstanceRequestIds": [row["SpotInstanceRequestId"]]}
    bench.aws.call("ec2", "cancel_spot_instance_requests", **named)
    assert bench.aws.call("ec2", "describe_spot_instance_requests", **named)["SpotInstanceRequests"]
    assert "spot-request" not in bench.aws.stage.run(kinds)


def test_an_interface_that_is_still_attached_is_waited_for(bench):
    _, row = made(bench, GIVEN)
    port = Owned("port", row["NetworkInterfaces"][0]["NetworkInterfaceId"], "")

    async def main() -> None:
        await bench.cloud.delete_owned(bench.ref, port)

    with pytest.raises(Transient, match="is currently in use"):
        bench.aws.stage.run(main)


def test_sweep_finds_what_the_controller_manager_made(bench):
    async def network() -> Any:
        return await bench.cloud.ensure_network(bench.ref, bench.cluster)

    place = bench.aws.stage.run(network)
    tag = [{"Key": f"kubernetes.io/cluster/{bench.ref.id}", "Value": "owned"}]
    asked = {"Name": "a1b2", "Type": "network", "Subnets": [place.subnets[0]], "Tags": tag}
    arn = bench.aws.call("elbv2", "create_load_balancer", **asked)["LoadBalancers"][0]["LoadBalancerArn"]
    spec = [{"ResourceType": "security-group", "Tags": tag}]
    named = {"VpcId": place.id, "GroupName": "k8s-elb", "Description": "d", "TagSpecifications": spec}
    group = bench.aws.call("ec2", "create_security_group", **named)["GroupId"]

    async def swept() -> Any:
        return await bench.cloud.sweep(bench.ref)

    assert {arn, group} <= {owned.id for owned in bench.aws.stage.run(swept)}


def test_what_services_left_goes_before_the_network_that_it_holds(bench):
    """The API was gone, so nobody took them away: a balancer of each generation, and their security group."""

    async def network() -> Any:
        return await bench.cloud.ensure_network(bench.ref, bench.cluster)

    place = bench.aws.stage.run(network)
    tag = [
        {"Key": f"kubernetes.io/cluster/{bench.ref.id}", "Value": "owned"},
        {"Key": "kubernetes.io/service-name", "Value": "default/web"},
    ]
    spec = [{"ResourceType": "security-group", "Tags": tag[:1]}]
    named = {"VpcId": place.id, "GroupName": "k8s-elb-a1", "Description": "d", "TagSpecifications": spec}
    group = bench.aws.call("ec2", "create_security_group", **named)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 30000, "ToPort": 30000, "UserIdGroupPairs": [{"GroupId": group}]}
    worker = place.security_groups["worker"]
    bench.aws.call("ec2", "authorize_security_group_ingress", GroupId=worker, IpPermissions=[rule])
    port = {"Protocol": "TCP", "LoadBalancerPort": 80, "InstanceProtocol": "TCP", "InstancePort": 30000}
    old = {
        "LoadBalancerName": "a1",
        "Listeners": [port],
        "Subnets": place.subnets[:1],
        "SecurityGroups": [group],
    }
    bench.aws.call("elb", "create_load_balancer", **old, Tags=tag)
    others = {**old, "LoadBalancerName": "others", "Subnets": [], "SecurityGroups": []}
    bench.aws.call("elb", "create_load_balancer", **others, AvailabilityZones=[f"{REGION}a"])
    bench.aws.call(
        "elbv2", "create_load_balancer", Name="a2", Type="network", Subnets=place.subnets, Tags=tag
    )
    bench.aws.call(
        "elbv2", "create_target_group", Name="a2", Protocol="TCP", Port=80, VpcId=place.id, Tags=tag
    )

    async def down() -> Any:
        kinds = {owned.kind for owned in await bench.cloud.sweep(bench.ref)}
        await bench.cloud.delete_network(bench.ref)
        return kinds, await bench.cloud.sweep(bench.ref)

    kinds, left = bench.aws.stage.run(down)
    assert kinds >= {"classic-load-balancer", "load-balancer", "target-group", "security-group"}
    assert left == ()
    rows = bench.aws.call("elb", "describe_load_balancers")["LoadBalancerDescriptions"]
    assert [row["LoadBalancerName"] for row in rows] == ["others"]


def test_an_interface_that_a_load_balancer_left_goes_before_what_it_holds(bench):
    """They stay for up to an hour, and carry no tag; down waited for them."""

    async def network() -> Any:
        return await bench.cloud.ensure_network(bench.ref, bench.cluster)

    place = bench.aws.stage.run(network)
    held = {"SubnetId": place.subnets[0], "Groups": [place.security_groups["worker"]]}
    bench.aws.call("ec2", "create_network_interface", **held)
    other = Place(bench.aws).subnets[0]
    kept = bench.aws.call("ec2", "create_network_interface", SubnetId=other)["NetworkInterface"]
    spare = bench.aws.call("ec2", "describe_network_interfaces")["NetworkInterfaces"]
    assert [row["Status"] for row in spare] == ["available", "available"]

    async def down() -> Any:
        await bench.cloud.delete_network(bench.ref)
        return await bench.cloud.sweep(bench.ref)

    assert bench.aws.stage.run(down) == ()
    left = bench.aws.call("ec2", "describe_network_interfaces")["NetworkInterfaces"]
    assert [row["NetworkInterfaceId"] for row in left] == [kept["NetworkInterfaceId"]]


def test_a_group_that_one_of_the_users_admits_is_told_with_that_one(bench):
    """Their group must admit ours, and down said nothing but that something depends on it."""
    place = Place(bench.aws)
    bench.cluster = replace_cloud(bench, vpc_id=place.vpc)
    asked = {"VpcId": place.vpc, "GroupName": "theirs", "Description": "d"}
    theirs = bench.aws.call("ec2", "create_security_group", **asked)["GroupId"]

    async def network() -> Any:
        return await bench.cloud.ensure_network(bench.ref, bench.cluster)

    ours = bench.aws.stage.run(network).security_groups["worker"]
    rule = {"IpProtocol": "udp", "FromPort": 8472, "ToPort": 8472, "UserIdGroupPairs": [{"GroupId": ours}]}
    bench.aws.call("ec2", "authorize_security_group_ingress", GroupId=theirs, IpPermissions=[rule])

    async def down() -> None:
        await bench.cloud.delete_network(bench.ref)

    with pytest.raises(Transient, match=f"rules of {theirs} name it, and are to be revoked"):
        bench.aws.stage.run(down)
    bench.aws.call("ec2", "revoke_security_group_ingress", GroupId=theirs, IpPermissions=[rule])
    bench.aws.stage.run(down)


def test_a_role_goes_with_the_policies_that_others_gave_it(bench):
    """As the EBS driver's documents tell people to: the role stayed, and down with it."""

    async def network() -> Any:
        return await bench.cloud.ensure_network(bench.ref, bench.cluster)

    bench.aws.stage.run(network)
    roles = bench.aws.call("iam", "list_roles", PathPrefix="/flatyard/")["Roles"]
    name = roles[0]["RoleName"]
    allowed = {"Effect": "Allow", "Action": ["ec2:CreateVolume"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    made = bench.aws.call("iam", "create_policy", PolicyName="ebs", PolicyDocument=document)["Policy"]
    bench.aws.call("iam", "attach_role_policy", RoleName=name, PolicyArn=made["Arn"])
    bench.aws.call("iam", "put_role_policy", RoleName=name, PolicyName="more", PolicyDocument=document)

    async def down() -> Any:
        await bench.cloud.delete_network(bench.ref)
        return await bench.cloud.sweep(bench.ref)

    assert bench.aws.stage.run(down) == ()
    assert bench.aws.call("iam", "list_roles", PathPrefix="/flatyard/")["Roles"] == []


def test_snapshots_of_volumes_are_data_too(bench):
    """The EBS driver tags them as the cluster's: down took them although volumes were to be kept."""
    tag = [{"Key": f"kubernetes.io/cluster/{bench.ref.id}", "Value": "owned"}]
    volume = bench.aws.call("ec2", "create_volume", AvailabilityZone=f"{REGION}a", Size=8)["VolumeId"]
    spec = [{"ResourceType": "snapshot", "Tags": tag}]
    made = bench.aws.call("ec2", "create_snapshot", VolumeId=volume, TagSpecifications=spec)["SnapshotId"]

    async def swept() -> Any:
        return await bench.cloud.sweep(bench.ref)

    (found,) = bench.aws.stage.run(swept)
    assert (found.kind, found.id, found.kept) == ("snapshot", made, True)


def test_volumes_with_data_are_kept_and_those_of_machines_are_not(bench):
    tag = {
        "flatyard-cluster": bench.ref.id,
        "flatyard-owned": "true",
        "kubernetes.io/created-for/pvc/name": "data",
    }
    spec = [{"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in tag.items()]}]
    asked = {"AvailabilityZone": f"{REGION}a", "Size": 8, "TagSpecifications": spec}
    data = bench.aws.call("ec2", "create_volume", **asked)["VolumeId"]
    made(bench, GIVEN)

    async def swept() -> Any:
        return await bench.cloud.sweep(bench.ref)

    kept = Counter(
        (owned.kept, owned.id == data) for owned in bench.aws.stage.run(swept) if owned.kind == "volume"
    )
    assert kept == {(True, True): 1, (False, False): 1}


def test_a_new_profile_that_ec2_has_not_heard_of_yet_is_waited_for(bench):
    asked = {"action": "RunInstances", "code": "InvalidParameterValue", "status": 400, "count": 1}
    said = "Value (flatyard-x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"

    async def main() -> Instance:
        wanted: CreateRequest = await conformance.request(bench)
        await asyncio.to_thread(lambda: bench.aws.control("trouble", **asked, message=said))
        no = await _refusal(bench, wanted)
        assert no.retry
        return await bench.cloud.create(wanted)

    assert bench.aws.stage.run(main).id


async def _refusal(bench: AwsBench, wanted: CreateRequest) -> Any:
    try:
        await bench.cloud.create(wanted)
    except Exception as no:
        return no
    raise AssertionError("it was not refused")
