"""Annotations, labels and finalizers of the machine API, and a typed reader for the kubelet's settings.

Names follow machine-controller; flatyard's own are below ``flatyard.dev/``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MACHINE_ID = "flatyard.dev/machine-id"
ROLE = "flatyard.dev/role"
CLUSTER_LABEL = "flatyard.dev/cluster"
RESTART = "flatyard.dev/restart"
"""On a Machine: restart it once for each text that this takes, mostly a stamp."""

REVISION = "machinedeployment.clusters.k8s.io/revision"
REVISION_HISTORY = "machinedeployment.clusters.k8s.io/revision-history"
DESIRED_REPLICAS = "machinedeployment.clusters.k8s.io/desired-replicas"
MAX_REPLICAS = "machinedeployment.clusters.k8s.io/max-replicas"
TEMPLATE_HASH = "machine-template-hash"
DELETE_MACHINE = "cluster.k8s.io/delete-machine"
CLUSTER_AUTOSCALER_MACHINE = "cluster.k8s.io/machine"
AUTOSCALER_MIN = "cluster.k8s.io/cluster-api-autoscaler-node-group-min-size"
AUTOSCALER_MAX = "cluster.k8s.io/cluster-api-autoscaler-node-group-max-size"
INITIALIZERS = "machine-controller.kubermatic.io/initializers"
CONTROLLER_LABEL = "machine.k8s.io/controller"
OWNED_BY = "machine-controller/owned-by"
OPERATING_SYSTEM = "v1.machine-controller.kubermatic.io/operating-system"
SKIP_EVICTION = "kubermatic.io/skip-eviction"
BYPASS_IMMUTABLE = "kubermatic.io/bypass-no-spec-mutation-requirement"
OPERATING_SYSTEM_PROFILE = "k8c.io/operating-system-profile"

FINALIZER_MACHINE = "machine-delete-finalizer"
FINALIZER_NODE = "machine-node-delete-finalizer"
FINALIZER_FOREGROUND = "foregroundDeletion"

KUBELET_CONFIG = "v1.kubelet-config.machine-controller.kubermatic.io/"
KUBELET_FLAGS = "v1.kubelet-flags.machine-controller.kubermatic.io/"
KUBELET_GATES = "v1.kubelet-featuregates.machine-controller.kubermatic.io/"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletSettings:
    """A pool's kubelet settings; empty or None means the default. Pairs are resource names to quantities."""

    system_reserved: Mapping[str, str] = field(default_factory=dict)
    kube_reserved: Mapping[str, str] = field(default_factory=dict)
    eviction_hard: Mapping[str, str] = field(default_factory=dict)
    container_log_max_size: str = ""
    container_log_max_files: int | None = None
    max_pods: int | None = None
    image_gc_high_threshold_percent: int | None = None
    image_gc_low_threshold_percent: int | None = None
    image_minimum_gc_age: str = ""
    image_maximum_gc_age: str = ""
    external_cloud_provider: bool | None = None
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    """Annotations below a known prefix whose name or value could not be used."""


_MAPS = {
    "SystemReserved": "system_reserved",
    "KubeReserved": "kube_reserved",
    "EvictionHard": "eviction_hard",
}
_TEXTS = {
    "ContainerLogMaxSize": "container_log_max_size",
    "ImageMinimumGCAge": "image_minimum_gc_age",
    "ImageMaximumGCAge": "image_maximum_gc_age",
}
_NUMBERS = {
    "ContainerLogMaxFiles": "container_log_max_files",
    "MaxPods": "max_pods",
    "ImageGCHighThresholdPercent": "image_gc_high_threshold_percent",
    "ImageGCLowThresholdPercent": "image_gc_low_threshold_percent",
}
_BOOLS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def kubelet_settings(annotations: Mapping[str, str]) -> KubeletSettings:
    """Read the kubelet annotations of a MachineDeployment; what cannot be used lands in ``ignored``."""
    read: dict[str, Any] = {}
    gates: dict[str, bool] = {}
    ignored: list[str] = []
    for name, value in sorted(annotations.items()):
        truth = _BOOLS.get(value.strip().lower())
        if name.startswith(KUBELET_CONFIG):
            field_name, found = _option(name.removeprefix(KUBELET_CONFIG), value)
            if found is None:
                ignored.append(name)
            else:
                read[field_name] = found
        elif name == KUBELET_FLAGS + "ExternalCloudProvider" and truth is not None:
            read["external_cloud_provider"] = truth
        elif name.startswith(KUBELET_GATES) and truth is not None:
            gates[name.removeprefix(KUBELET_GATES)] = truth
        elif name.startswith((KUBELET_FLAGS, KUBELET_GATES)):
            ignored.append(name)
    return KubeletSettings(**read, feature_gates=gates, ignored=tuple(ignored))


def _option(option: str, value: str) -> tuple[str, object]:
    """The field that an option sets and its value; None for what cannot be used."""
    if option in _MAPS:
        return _MAPS[option], _pairs(value)
    if option in _NUMBERS:
        return _NUMBERS[option], int(value) if re.fullmatch("[0-9]{1,9}", value) else None
    return _TEXTS.get(option, ""), (value or None) if option in _TEXTS else None


def _pairs(text: str) -> dict[str, str] | None:
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(key.strip() and sign and value.strip() for key, sign, value in parts):
        return None
    return {key.strip(): value.strip() for key, _, value in parts}
