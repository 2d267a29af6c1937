"""What the server fills in when a built-in kind is created or changed.

Source: the defaults in kube-apiserver 1.34's API reference, checked against its recorded answers. Objects
come fresh from `types.conform`, so they are changed in place.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from flatyard.kube.api import Json, Object
from flatyard.kube.kinds import Kind
from flatyard.kube.storage import Storage

Fill = Callable[[Json, Object | None, Storage], None]
SERVICE_NETWORK = "10.96"
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
FIRST_NODE_PORT = 30_000


def fill(kind: Kind, raw: Json, old: Object | None, storage: Storage) -> None:
    """Fill in the kind's defaults."""
    filler = _FILLERS.get(kind.resource.qualified)
    if filler is not None:
        filler(raw, old, storage)


def _set(raw: Json, **defaults: object) -> None:
    for key, value in defaults.items():
        raw.setdefault(key, value)


def pod_spec(spec: Json) -> None:
    """A pod's or a pod template's spec."""
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        _container(container)
    _set(spec, restartPolicy="Always", terminationGracePeriodSeconds=30, dnsPolicy="ClusterFirst",
         securityContext={}, schedulerName="default-scheduler")  # fmt: skip
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])


def _container(container: Json) -> None:
    image = str(container.get("image", ""))
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    floating = "@" not in image and tag in ("", "latest")
    _set(container, terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File",
         imagePullPolicy="Always" if floating else "IfNotPresent")  # fmt: skip
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")


def _pod(raw: Json, old: Object | None, storage: Storage) -> None:
    spec = raw.setdefault("spec", {})
    pod_spec(spec)
    _set(spec, enableServiceLinks=True)
    if old is None:
        raw["status"] = {"phase": "Pending"}
    raw.setdefault("status", {}).setdefault("qosClass", _quality(spec))


def _quality(spec: Json) -> str:
    """BestEffort without any request, Guaranteed when limits equal requests, else Burstable."""
    resources = [c.get("resources") or {} for c in spec.get("containers") or ()]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    limits = [r.get("limits") or {} for r in resources]
    equal = all(r.get("requests", m) == m for r, m in zip(resources, limits, strict=True))
    full = all("cpu" in m and "memory" in m for m in limits)
    return "Guaranteed" if equal and full else "Burstable"


def _template(raw: Json) -> Json:
    spec: Json = raw.setdefault("spec", {})
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))
    return spec


def _deployment(raw: Json, old: Object | None, storage: Storage) -> None:
    spec = _template(raw)
    strategy = spec.setdefault("strategy", {})
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)


def _replica_set(raw: Json, old: Object | None, storage: Storage) -> None:
    _set(_template(raw), replicas=1)


def _daemon_set(raw: Json, old: Object | None, storage: Storage) -> None:
    spec = _template(raw)
    strategy = spec.setdefault("updateStrategy", {})
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy.setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)
    _set(spec, revisionHistoryLimit=10)
    annotations = raw["metadata"].setdefault("annotations", {})
    annotations.setdefault(TEMPLATE_GENERATION, "1")


def _stateful_set(raw: Json, old: Object | None, storage: Storage) -> None:
    spec = _template(raw)
    strategy = spec.setdefault("updateStrategy", {})
    _set(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy.setdefault("rollingUpdate", {}), partition=0)
    _set(spec, replicas=1, podManagementPolicy="OrderedReady", revisionHistoryLimit=10)
    _set(spec, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})


def _service(raw: Json, old: Object | None, storage: Storage) -> None:
    spec = raw.setdefault("spec", {})
    _set(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP")
        _set(port, targetPort=port.get("port"))
    if spec["type"] == "ExternalName":
        return
    _set(spec, internalTrafficPolicy="Cluster", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    _keep_address(spec, old)
    if "clusterIP" not in spec:
        spec["clusterIP"] = free_address(storage)
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _set(spec, externalTrafficPolicy="Cluster")
        _node_ports(spec, storage)
    if spec["type"] == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)


def _keep_address(spec: Json, old: Object | None) -> None:
    if old is not None and "clusterIP" in old.spec:
        _set(spec, clusterIP=old.spec["clusterIP"])


def _services(storage: Storage) -> list[Object]:
    kind = storage.kinds["v1", "Service"]
    return list(storage.shelves[kind].objects.values())


def free_address(storage: Storage) -> str:
    """The first free address of the service network, above those that are given to well-known services."""
    taken = {service.spec.get("clusterIP") for service in _services(storage)}
    number = 256
    while (address := f"{SERVICE_NETWORK}.{number >> 8}.{number & 255}") in taken:
        number += 1
    return address


def _node_ports(spec: Json, storage: Storage) -> None:
    taken = {p.get("nodePort") for service in _services(storage) for p in service.spec.get("ports") or ()}
    taken.update(p.get("nodePort") for p in spec.get("ports") or ())
    number = FIRST_NODE_PORT
    for port in spec.get("ports") or ():
        if "nodePort" not in port:
            while number in taken:
                number += 1
            port["nodePort"] = number
            taken.add(number)


def _secret(raw: Json, old: Object | None, storage: Storage) -> None:
    plain = raw.pop("stringData", None) or {}
    if plain:
        encoded = {key: base64.b64encode(str(text).encode()).decode() for key, text in plain.items()}
        raw["data"] = {**(raw.get("data") or {}), **encoded}
    _set(raw, type="Opaque")


def _node(raw: Json, old: Object | None, storage: Storage) -> None:
    spec = raw.setdefault("spec", {})
    if "podCIDR" in spec:
        _set(spec, podCIDRs=[spec["podCIDR"]])
    status = raw.setdefault("status", {})
    status.setdefault("daemonEndpoints", {"kubeletEndpoint": {"Port": 0}})
    if "capacity" in status:
        _set(status, allocatable=dict(status["capacity"]))


def _claim(raw: Json, old: Object | None, storage: Storage) -> None:
    _set(raw.setdefault("spec", {}), volumeMode="Filesystem")
    if old is None:
        raw["status"] = {"phase": "Pending"}


def _volume(raw: Json, old: Object | None, storage: Storage) -> None:
    _set(raw.setdefault("spec", {}), persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    if old is None:
        raw["status"] = {"phase": "Pending"}


def _binding(raw: Json, old: Object | None, storage: Storage) -> None:
    group = "rbac.authorization.k8s.io"
    for subject in raw.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _set(subject, apiGroup=group)
    _set(raw.setdefault("roleRef", {}), apiGroup=group)


_FILLERS: dict[str, Fill] = {
    "pods": _pod,
    "services": _service,
    "secrets": _secret,
    "nodes": _node,
    "persistentvolumeclaims": _claim,
    "persistentvolumes": _volume,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "daemonsets.apps": _daemon_set,
    "statefulsets.apps": _stateful_set,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
}
