"""The workers shorthand written out: one MachineDeployment for each pool."""

from __future__ import annotations

from flatyard.model.cluster import Cluster, WorkerPool
from flatyard.model.machine import (
    NAMESPACE,
    MachineDeployment,
    MachineDeploymentSpec,
    MachineSpecification,
    MachineTemplate,
    MachineVersions,
    ProviderSpec,
    ProviderSpecSource,
    RollingUpdate,
    Strategy,
)
from flatyard.model.machines import BY_CLOUD, PROVIDER_OF_CLOUD
from flatyard.model.meta import LabelSelector, ObjectMeta, TemplateMeta

POOL_LABEL = "flatyard.dev/pool"


def deployments(cluster: Cluster) -> tuple[MachineDeployment, ...]:
    """What ``spec.workers`` stands for, in order."""
    return tuple(_deployment(cluster, pool) for pool in cluster.spec.workers)


def _deployment(cluster: Cluster, pool: WorkerPool) -> MachineDeployment:
    labels = {POOL_LABEL: pool.name}
    twin = cluster.spec.cloud.twin
    provider = ProviderSpec(
        cloud_provider=PROVIDER_OF_CLOUD[twin],
        cloud_provider_spec=pool.machine or BY_CLOUD[twin](),
        operating_system="flatcar",
    )
    machine = MachineSpecification(
        metadata=TemplateMeta(labels=pool.labels),
        taints=pool.taints,
        provider_spec=ProviderSpecSource(value=provider),
        versions=MachineVersions(kubelet=cluster.spec.kubernetes.version),
    )
    rolling = RollingUpdate(max_surge=pool.max_surge, max_unavailable=pool.max_unavailable)
    return MachineDeployment(
        metadata=ObjectMeta(name=pool.name, namespace=NAMESPACE, annotations=pool.annotations),
        spec=MachineDeploymentSpec(
            replicas=pool.replicas,
            selector=LabelSelector(match_labels=labels),
            template=MachineTemplate(metadata=TemplateMeta(labels=labels), spec=machine),
            strategy=Strategy(rolling_update=rolling),
        ),
    )
