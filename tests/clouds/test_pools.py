"""The groups of machines that every preflight counts and points at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flatyard.clouds import table
from flatyard.clouds.pools import pools, pools_of, unreachable
from flatyard.decode.types import ConfigVar, KeyRef
from flatyard.model import cluster as model
from flatyard.model.machine import (
    MachineDeployment,
    MachineDeploymentSpec,
    MachineSpecification,
    MachineTemplate,
    ProviderSpec,
    ProviderSpecSource,
)
from flatyard.model.machines import AwsMachine, AzureMachine, LocalMachine, MachineSpec, OpenstackMachine
from flatyard.model.meta import LabelSelector, ObjectMeta

KINDS = (AwsMachine, AzureMachine, OpenstackMachine, LocalMachine)


def cluster(machine: MachineSpec | None) -> model.Cluster:
    return model.Cluster(
        metadata=ObjectMeta(name="prod"),
        spec=model.ClusterSpec(
            cloud=model.CloudChoice(sim=model.SimCloud(as_="aws")),
            control_plane=model.ControlPlane(replicas=3, machine=machine),
            workers=(model.WorkerPool(name="general", replicas=2, machine=machine),),
        ),
    )


def deployment(name: str, machine: MachineSpec) -> MachineDeployment:
    provider = ProviderSpec(cloud_provider="any", cloud_provider_spec=machine, operating_system="flatcar")
    template = MachineTemplate(spec=MachineSpecification(provider_spec=ProviderSpecSource(value=provider)))
    spec = MachineDeploymentSpec(replicas=4, selector=LabelSelector(), template=template)
    return MachineDeployment(metadata=ObjectMeta(name=name), spec=spec)


@pytest.mark.parametrize("kind", KINDS)
def test_machines_of_the_shorthand_are_counted_once(kind: type[MachineSpec]):
    """The engine hands over the deployments that it made from `workers` together with the users' own ones.

    OpenStack's preflight counted such machines twice, and refused a project with room for exactly one cluster.
    """
    made_from_shorthand, own = deployment("general", kind()), deployment("batch", kind())
    found = pools_of(kind, cluster(kind()), (made_from_shorthand, own))
    assert [(pool.name, pool.replicas) for pool in found] == [
        ("prod-control-plane", 3),
        ("general", 2),
        ("batch", 4),
    ]
    assert [pool.control_plane for pool in found] == [True, False, False]


def test_each_field_is_told_where_its_document_has_it():
    plane, general, batch = pools(cluster(None), (deployment("batch", AwsMachine()),))
    assert plane.at("flavor") == "spec.controlPlane.machine.flavor"
    assert general.at("flavor") == "spec.workers[0].machine.flavor"
    written = "MachineDeployment batch: spec.template.spec.providerSpec.value.cloudProviderSpec.flavor"
    assert batch.at("flavor") == written
    names = [pool.name_path for pool in (plane, general, batch)]
    assert names == ["metadata.name", "spec.workers[0].name", "MachineDeployment batch: metadata.name"]


def test_a_pool_without_a_machine_has_the_defaults_of_the_cloud():
    found = pools_of(AzureMachine, cluster(None), ())
    assert [pool.machine for pool in found] == [AzureMachine(), AzureMachine()]


def test_pools_behind_one_that_reads_from_the_cluster_are_told_where_they_are_written():
    """The pool that cannot be checked was taken out of the file, so that the next one was told at its place."""
    read = KeyRef(namespace="kube-system", name="fleet", key="size")
    some = cluster(AwsMachine())
    first = replace(some.spec.workers[0], machine=AwsMachine(instance_type=ConfigVar(secret_key_ref=read)))
    second = model.WorkerPool(name="batch", replicas=1, machine=AwsMachine())
    found = pools_of(AwsMachine, replace(some, spec=replace(some.spec, workers=(first, second))), ())
    assert [(pool.name, pool.path) for pool in found] == [
        ("prod-control-plane", "spec.controlPlane"),
        ("batch", "spec.workers[1]"),
    ]


def test_machines_of_another_cloud_are_not_counted():
    found = pools_of(AwsMachine, cluster(AwsMachine()), (deployment("strange", AzureMachine()),))
    assert [pool.name for pool in found] == ["prod-control-plane", "general"]


def test_an_endpoint_on_another_port_takes_a_load_balancer_that_hairpins():
    """`up` waited for an endpoint that no control plane reached: without hairpin each answers at its own port only."""
    found = {name: tuple(unreachable(443, table.facts(name))) for name in ("aws", "azure", "openstack")}
    assert [(name, p.path, p.allowed) for name, told in found.items() for p in told] == [
        ("aws", "spec.endpoint.port", "6443"),
        ("azure", "spec.endpoint.port", "6443"),
    ]
    assert not tuple(unreachable(6443, table.facts("aws")))
