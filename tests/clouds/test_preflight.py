"""What preflight tells before anything is created: the whole text, as a user reads it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flatyard.base.world import SeededWorld
from flatyard.clouds.facts import Quotas
from flatyard.clouds.sim.account import UNLIMITED
from flatyard.clouds.sim.faults import parse_faults
from flatyard.clouds.sim.twin import twin
from flatyard.decode.types import ConfigVar
from flatyard.model import cluster as model
from flatyard.model.machine import (
    MachineDeployment,
    MachineDeploymentSpec,
    MachineSpecification,
    MachineTemplate,
    ProviderSpec,
    ProviderSpecSource,
)
from flatyard.model.machines import AwsMachine, AzureMachine, GcpMachine, MachineSpec, OpenstackMachine
from flatyard.model.meta import LabelSelector, ObjectMeta
from flatyard.sim.disk import MemoryDisk
from flatyard.sim.loop import VirtualLoop, run


def cluster(twin: str, machine: MachineSpec | None, region: str = "", **spec: object) -> model.Cluster:
    made = model.Cluster(
        metadata=ObjectMeta(name="prod"),
        spec=model.ClusterSpec(
            cloud=model.CloudChoice(sim=model.SimCloud(as_=twin, region=region)),
            control_plane=model.ControlPlane(replicas=3, machine=machine),
            workers=(model.WorkerPool(name="general", replicas=3, machine=machine),),
        ),
    )
    return replace(made, spec=replace(made.spec, **spec))  # type: ignore[arg-type]


def said(
    wanted: model.Cluster,
    *,
    quotas: Quotas = UNLIMITED,
    faults: tuple[str, ...] = (),
    deployments: tuple[MachineDeployment, ...] = (),
) -> list[str]:
    loop = VirtualLoop()

    async def main() -> list[str]:
        world = SeededWorld(1, loop.time)
        made = twin(wanted, world, MemoryDisk(), quotas=quotas, faults=parse_faults(faults))
        made.open()
        found = [str(problem) for problem in await made.cloud.preflight(wanted, deployments)]
        assert not made.provider.left_over(), "preflight must create nothing"
        return found

    return run(main(), loop=loop)


@pytest.mark.parametrize(
    ("name", "machine"), [("aws", AwsMachine()), ("azure", AzureMachine()), ("gcp", GcpMachine())]
)
def test_a_right_cluster_has_no_problems(name: str, machine: MachineSpec) -> None:
    assert said(cluster(name, machine)) == []


def test_an_unknown_size_names_the_field_and_the_nearest_one() -> None:
    wanted = cluster("azure", AzureMachine(vm_size=ConfigVar("Standard_B2")))
    first, second = said(wanted)
    assert first.startswith(
        "error: spec.controlPlane.machine.vmSize: Microsoft Azure has no size 'Standard_B2'; "
    )
    assert first.endswith("; did you mean 'Standard_B2s'?")
    assert second.startswith("error: spec.workers[0].machine.vmSize: ")


def test_a_missing_flavor_is_told_with_what_there_is() -> None:
    first, *_ = said(cluster("openstack", OpenstackMachine()))
    assert first.startswith(
        "error: spec.controlPlane.machine.flavor: no size is given; allowed: m3.tiny, m3.small, m3.quad"
    )


def test_a_control_plane_that_kubeadm_would_refuse() -> None:
    wanted = cluster("openstack", OpenstackMachine(flavor=ConfigVar("m3.tiny")))
    assert said(wanted) == [
        "error: spec.controlPlane.machine.flavor: m3.tiny has 1 vCPU and 3072 MiB; kubeadm wants 2 and 1700 MiB; "
        "allowed: m3.small, m1.medium"
    ]


def test_a_zone_of_another_region() -> None:
    wanted = cluster("aws", AwsMachine(availability_zone=ConfigVar("us-east-1a")), "eu-central-1")
    assert said(wanted)[0] == (
        "error: spec.controlPlane.machine.availabilityZone: eu-central-1 has no zone 'us-east-1a'; "
        "allowed: eu-central-1a, eu-central-1b, eu-central-1c"
    )


def test_an_unknown_region() -> None:
    (first,) = said(cluster("aws", AwsMachine(), "eu-centrall-1"))
    assert first.startswith(
        "error: spec.cloud.sim.region: Amazon Web Services has no region 'eu-centrall-1'; allowed: us-east-1, "
    )
    assert first.endswith("did you mean 'eu-central-1'?")


def test_the_field_of_the_region_is_the_clouds_own() -> None:
    choice = model.CloudChoice(azure=model.AzureCloud(location="germanwestcentral"))
    (first,) = said(cluster("azure", AzureMachine(), cloud=choice))
    assert first.startswith(
        "error: spec.cloud.azure.location: Microsoft Azure has no region 'germanwestcentral'"
    )


def test_a_release_that_the_marketplace_does_not_have_yet() -> None:
    wanted = cluster("azure", AzureMachine(), flatcar=model.Flatcar(version="4593.2.5"))
    first, second = said(wanted, faults=("image:lag=40",))
    assert first == (
        "error: spec.controlPlane.machine.imageReference: germanywestcentral has no Flatcar image for 4593.2.5 "
        "that Standard_B2s boots (amd64, gen1, gen2); allowed: stable 4593.2.2, stable 4593.2.0, "
        "beta 4515.1.0, stable 4459.2.3"
    )
    assert second.startswith("error: spec.workers[0].machine.imageReference: ")


def test_arm64_where_there_are_no_images() -> None:
    wanted = cluster("gcp", GcpMachine(machine_type=ConfigVar("t2a-standard-4")))
    assert said(wanted)[0] == (
        "error: spec.controlPlane.machine.customImage: us-central1 has no Flatcar image for channel stable "
        "that t2a-standard-4 boots (arm64); allowed: none for this architecture"
    )


def test_quotas_are_added_up() -> None:
    assert said(cluster("aws", AwsMachine()), quotas=Quotas(instances=5, vcpus=10)) == [
        "error: spec: the cluster needs 6 instances; the account may use 5 and uses 0; "
        "raise 'Running On-Demand Standard instances' under Service Quotas; new accounts have 5",
        "error: spec: the cluster needs 12 vCPUs; the account may use 10 and uses 0; "
        "raise 'Running On-Demand Standard instances' under Service Quotas; new accounts have 5",
    ]


def test_machine_deployments_of_the_same_file_count() -> None:
    machine = AwsMachine(instance_type=ConfigVar("t3.mediun"))
    provider = ProviderSpec(cloud_provider="aws", operating_system="flatcar", cloud_provider_spec=machine)
    template = MachineTemplate(spec=MachineSpecification(provider_spec=ProviderSpecSource(value=provider)))
    spec = MachineDeploymentSpec(replicas=9, selector=LabelSelector(), template=template)
    workers = MachineDeployment(metadata=ObjectMeta(name="flatcar-workers"), spec=spec)
    found = said(cluster("aws", AwsMachine()), quotas=Quotas(instances=10), deployments=(workers,))
    assert found[0].startswith(
        "error: MachineDeployment flatcar-workers: spec.template.spec.providerSpec.value.cloudProviderSpec."
        "instanceType: Amazon Web Services has no size 't3.mediun'"
    )
    assert "the cluster needs 15 instances" in found[-1]


def test_a_deployment_made_from_the_shorthand_counts_once_and_is_told_where_it_was_written() -> None:
    machine = AwsMachine(instance_type=ConfigVar("t3.mediun"))
    provider = ProviderSpec(cloud_provider="aws", operating_system="flatcar", cloud_provider_spec=machine)
    template = MachineTemplate(spec=MachineSpecification(provider_spec=ProviderSpecSource(value=provider)))
    spec = MachineDeploymentSpec(replicas=3, selector=LabelSelector(), template=template)
    general = MachineDeployment(metadata=ObjectMeta(name="general"), spec=spec)
    found = said(cluster("aws", machine), quotas=Quotas(instances=6), deployments=(general,))
    assert [line.split(": ")[1] for line in found] == [
        "spec.controlPlane.machine.instanceType",
        "spec.workers[0].machine.instanceType",
    ]


def test_a_load_balancer_where_the_cloud_has_none() -> None:
    wanted = cluster("vsphere", None, endpoint=model.Endpoint(kind="lb"))
    assert said(wanted) == [
        "error: spec.endpoint.kind: VMware vSphere has no load balancers of its own; "
        "allowed: vip, dns; did you mean 'vip'?"
    ]


def test_names_and_labels_that_google_cloud_refuses() -> None:
    wanted = cluster("gcp", GcpMachine(labels={"Team": "A"}))
    wanted = replace(wanted, metadata=ObjectMeta(name="1st"))
    found = said(wanted)
    assert found[0].startswith(
        "error: metadata.name: machines named after '1st' cannot be called so here; allowed: "
    )
    assert found[1].startswith(
        "error: spec.controlPlane.machine.labels[Team]: Team=A is not allowed; allowed: at most"
    )


def test_three_control_planes_without_zones_are_a_warning() -> None:
    assert said(cluster("azure", AzureMachine(), "westus")) == [
        "warning: spec.controlPlane.replicas: 3 control planes in westus share its only zone"
    ]
