"""What a user's documents ask for, as the Kubernetes objects that carry it.

The `workers` shorthand of a Cluster becomes MachineDeployments, so that there is one kind of worker afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flatyard.decode import encode
from flatyard.engine.labels import APPLIED, NAMESPACE
from flatyard.kube.api import Json
from flatyard.kube.resources import CLUSTERS, MACHINE_DEPLOYMENTS
from flatyard.model.cluster import Cluster, WorkerPool
from flatyard.model.machine import (
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
from flatyard.model.meant import kubelet_version
from flatyard.model.meta import LabelSelector, ObjectMeta, TemplateMeta


@dataclass(frozen=True, slots=True)
class Wanted:
    """One cluster and all its MachineDeployments."""

    cluster: Cluster
    deployments: tuple[MachineDeployment, ...]

    @property
    def name(self) -> str:
        return self.cluster.metadata.name

    def objects(self) -> dict[str, Json]:
        """Every object by `Kind/name`, as it is written into the book."""
        objects = {f"Cluster/{self.name}": cluster_object(self.cluster)}
        for deployment in self.deployments:
            found = deployment_object(deployment, self.name)
            objects[f"MachineDeployment/{found['metadata']['name']}"] = found
        return objects


def wanted_of(cluster: Cluster, deployments: tuple[MachineDeployment, ...]) -> Wanted:
    """All that the documents want: the shorthand pools first, then the whole MachineDeployments."""
    pools = tuple(pool_deployment(cluster, pool) for pool in cluster.spec.workers)
    return Wanted(cluster, tuple(_with_version(cluster, d) for d in (*pools, *deployments)))


def with_replicas(wanted: Wanted, replicas: int) -> Wanted:
    """The same with `replicas` machines in the first MachineDeployment."""
    if not wanted.deployments:
        return wanted
    first, *others = wanted.deployments
    resized = replace(first, spec=replace(first.spec, replicas=replicas))
    return replace(wanted, deployments=(resized, *others))


def pool_deployment(cluster: Cluster, pool: WorkerPool) -> MachineDeployment:
    """The MachineDeployment that a `workers` entry stands for."""
    labels = {"flatyard.dev/pool": pool.name}
    twin = cluster.spec.cloud.twin
    provider = ProviderSpec(
        cloud_provider=PROVIDER_OF_CLOUD[twin],
        cloud_provider_spec=pool.machine or BY_CLOUD[twin](),
        operating_system="flatcar",
    )
    template = MachineTemplate(
        metadata=TemplateMeta(labels=labels),
        spec=MachineSpecification(
            metadata=TemplateMeta(labels=dict(pool.labels), annotations=dict(pool.annotations)),
            taints=pool.taints,
            provider_spec=ProviderSpecSource(value=provider),
            versions=MachineVersions(kubelet=cluster.spec.kubernetes.version),
        ),
    )
    rolling = RollingUpdate(max_surge=pool.max_surge, max_unavailable=pool.max_unavailable)
    return MachineDeployment(
        metadata=ObjectMeta(name=pool.name, namespace=NAMESPACE),
        spec=MachineDeploymentSpec(
            replicas=pool.replicas,
            selector=LabelSelector(match_labels=labels),
            template=template,
            strategy=Strategy(rolling_update=rolling),
        ),
    )


def _with_version(cluster: Cluster, deployment: MachineDeployment) -> MachineDeployment:
    """A pool without a kubelet version, or with a placeholder for it, gets the cluster's."""
    template = deployment.spec.template
    kubelet = kubelet_version(template.spec.versions.kubelet, cluster.spec.kubernetes.version)
    versions = replace(template.spec.versions, kubelet=kubelet)
    spec = replace(template.spec, versions=versions)
    return replace(deployment, spec=replace(deployment.spec, template=replace(template, spec=spec)))


def cluster_object(cluster: Cluster) -> Json:
    """The Cluster as it stands in the book: the user's fields, and the defaults that must not move later."""
    object: Json = dict(encode(cluster))
    object |= {"apiVersion": CLUSTERS.api_version, "kind": CLUSTERS.kind}
    spec = cluster.spec
    object["spec"] |= {
        "kubernetes": encode(spec.kubernetes, full=True),
        "network": encode(spec.network, full=True),
        "controlPlane": {"replicas": spec.control_plane.replicas, **object["spec"].get("controlPlane", {})},
    }
    object["metadata"] = {**object["metadata"], "namespace": NAMESPACE}
    object.pop("status", None)
    return object


def deployment_object(deployment: MachineDeployment, cluster: str) -> Json:
    """A MachineDeployment with the defaults that machine-controller's webhook writes, marked as applied by us."""
    object: Json = dict(encode(deployment))
    object |= {"apiVersion": MACHINE_DEPLOYMENTS.api_version, "kind": MACHINE_DEPLOYMENTS.kind}
    annotations: Mapping[str, str] = object["metadata"].get("annotations") or {}
    object["metadata"] = {
        **object["metadata"],
        "namespace": NAMESPACE,
        "annotations": {**annotations, APPLIED: cluster},
    }
    object["spec"] = _spec_defaults(deployment.spec) | object["spec"]
    object.pop("status", None)
    return object


def _spec_defaults(spec: MachineDeploymentSpec) -> Json:
    rolling = spec.strategy.rolling_update
    return {
        "replicas": spec.replicas,
        "minReadySeconds": spec.min_ready_seconds,
        "progressDeadlineSeconds": spec.progress_deadline_seconds,
        "revisionHistoryLimit": spec.revision_history_limit,
        "strategy": {
            "type": spec.strategy.type,
            "rollingUpdate": {"maxSurge": rolling.max_surge, "maxUnavailable": rolling.max_unavailable},
        },
    }
