"""The cells of built-in kinds' tables.

They follow kube-apiserver's printers (pkg/printers/internalversion) as its recorded answers show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from flatyard.base.world import parse_stamp
from flatyard.kube.api import Json, Object

Cell = str | int | float | bool | None
Cells = Callable[[Object, datetime], list[Cell]]
NONE = "<none>"
UNKNOWN = "<unknown>"


def human(seconds: float) -> str:
    """A duration as kubectl prints ages: at most two units, coarser the longer it is."""
    whole = int(seconds)
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y{days % 365}d" if years < 8 and days % 365 else f"{years}y"


def age(stamp: object, now: datetime) -> str:
    """How long ago a stamp was."""
    return human((now - parse_stamp(stamp)).total_seconds()) if isinstance(stamp, str) else UNKNOWN


def _created(object: Object, now: datetime) -> str:
    return age(object.metadata.get("creationTimestamp"), now)


def name_and_age(object: Object, now: datetime) -> list[Cell]:
    return [object.name, _created(object, now)]


def _listed(pairs: Iterable[str]) -> str:
    return ",".join(pairs) or NONE


def _labels(labels: object) -> str:
    return _listed(f"{k}={v}" for k, v in sorted(labels.items())) if isinstance(labels, dict) else NONE


def _selector(selector: Json | None) -> str:
    selector = selector or {}
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or ():
        values = ",".join(sorted(e.get("values") or ()))
        words = {"In": f"{e['key']} in ({values})", "NotIn": f"{e['key']} notin ({values})",
                 "Exists": e["key"], "DoesNotExist": f"!{e['key']}"}  # fmt: skip
        parts.append(words[e["operator"]])
    return _listed(parts)


def _containers(object: Object) -> list[Cell]:
    template = object.spec.get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    return [",".join(c["name"] for c in containers), ",".join(c.get("image", "") for c in containers)]


def _node(object: Object, now: datetime) -> list[Cell]:
    info = object.status.get("nodeInfo") or {}
    addresses = object.status.get("addresses") or ()

    def address(type: str) -> str:
        return next((a["address"] for a in addresses if a["type"] == type), NONE)

    return [
        object.name, node_status(object), _roles(object), _created(object, now), info.get("kubeletVersion", ""),
        address("InternalIP"), address("ExternalIP"), info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN, info.get("containerRuntimeVersion") or UNKNOWN,
    ]  # fmt: skip


def node_status(object: Object) -> str:
    """Ready, NotReady or Unknown, and whether pods may be scheduled there."""
    conditions: Iterable[Json] = object.status.get("conditions") or ()
    ready = next((c for c in conditions if c["type"] == "Ready"), None)
    status = "Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if object.spec.get("unschedulable") else status


def _roles(object: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    roles = {key.removeprefix(prefix) for key in object.labels if key.startswith(prefix)}
    roles |= {value for key, value in object.labels.items() if key == "kubernetes.io/role" and value}
    return _listed(sorted(role for role in roles if role))


def _namespace(object: Object, now: datetime) -> list[Cell]:
    return [object.name, object.status.get("phase", ""), _created(object, now)]


def _pod(object: Object, now: datetime) -> list[Cell]:
    statuses = object.status.get("containerStatuses") or ()
    total = len(object.spec.get("containers") or ())
    ready = sum(1 for s in statuses if s.get("ready"))
    gates = object.spec.get("readinessGates")
    return [
        object.name, f"{ready}/{total}", pod_status(object), _restarts(statuses, now), _created(object, now),
        object.status.get("podIP") or NONE, object.spec.get("nodeName") or NONE,
        object.status.get("nominatedNodeName") or NONE, f"0/{len(gates)}" if gates else NONE,
    ]  # fmt: skip


def pod_status(object: Object) -> str:
    """What `kubectl get pods` shows as a pod's status."""
    status = object.status.get("reason") or object.status.get("phase") or ""
    for container in object.status.get("containerStatuses") or ():
        state = container.get("state") or {}
        held = (state.get("waiting") or {}).get("reason") or (state.get("terminated") or {}).get("reason")
        status = held or status
    if object.deleting:
        return "Unknown" if object.status.get("reason") == "NodeLost" else "Terminating"
    return str(status)


def _restarts(statuses: Sequence[Json], now: datetime) -> str:
    count = sum(int(s.get("restartCount") or 0) for s in statuses)
    ends = [
        ended["finishedAt"]
        for s in statuses
        if (ended := (s.get("lastState") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    return f"{count} ({age(max(ends), now)} ago)" if count and ends else str(count)


def _secret(object: Object, now: datetime) -> list[Cell]:
    return [object.name, object.raw.get("type", ""), len(object.raw.get("data") or {}), _created(object, now)]


def _config_map(object: Object, now: datetime) -> list[Cell]:
    count = len(object.raw.get("data") or {}) + len(object.raw.get("binaryData") or {})
    return [object.name, count, _created(object, now)]


def _service(object: Object, now: datetime) -> list[Cell]:
    spec = object.spec
    return [
        object.name, spec.get("type", ""), spec.get("clusterIP") or NONE, _external(object),
        _ports(spec.get("ports") or ()), _created(object, now), _labels(spec.get("selector")),
    ]  # fmt: skip


def _external(object: Object) -> str:
    spec = object.spec
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", NONE))
    if spec.get("type") == "LoadBalancer":
        points = (object.status.get("loadBalancer") or {}).get("ingress") or ()
        found = [p.get("ip") or p.get("hostname") for p in points]
        return ",".join([*found, *(spec.get("externalIPs") or ())]) or "<pending>"
    return _listed(spec.get("externalIPs") or ())


def _ports(ports: Iterable[Json]) -> str:
    return _listed(
        f"{p['port']}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}"
        for p in ports
    )


def _service_account(object: Object, now: datetime) -> list[Cell]:
    return [object.name, str(len(object.raw.get("secrets") or ())), _created(object, now)]


def _event(object: Object, now: datetime) -> list[Cell]:
    raw = object.raw
    about = raw.get("involvedObject") or {}
    source = raw.get("source") or {}
    first, last = _event_times(raw)
    subject = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    reporter = ", ".join(part for part in (source.get("component"), source.get("host")) if part)
    return [
        age(last, now), raw.get("type", ""), raw.get("reason", ""), subject,
        about.get("fieldPath", ""), reporter or raw.get("reportingComponent", ""), str(raw.get("message", "")).strip(),
        age(first, now), raw.get("count") or 1, object.name,
    ]  # fmt: skip


def _event_times(raw: Json) -> tuple[object, object]:
    first = raw.get("firstTimestamp") or raw.get("eventTime")
    series = raw.get("series") or {}
    return first, series.get("lastObservedTime") or raw.get("lastTimestamp") or first


def _deployment(object: Object, now: datetime) -> list[Cell]:
    status = object.status
    return [
        object.name, f"{status.get('readyReplicas', 0)}/{object.spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0), status.get("availableReplicas", 0), _created(object, now),
        *_containers(object), _selector(object.spec.get("selector")),
    ]  # fmt: skip


def _replica_set(object: Object, now: datetime) -> list[Cell]:
    status = object.status
    return [
        object.name, object.spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0),
        _created(object, now), *_containers(object), _selector(object.spec.get("selector")),
    ]  # fmt: skip


def _daemon_set(object: Object, now: datetime) -> list[Cell]:
    status = object.status
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
              "numberAvailable")  # fmt: skip
    template = (object.spec.get("template") or {}).get("spec") or {}
    return [
        object.name, *(status.get(name, 0) for name in counts), _labels(template.get("nodeSelector")),
        _created(object, now), *_containers(object), _selector(object.spec.get("selector")),
    ]  # fmt: skip


def _stateful_set(object: Object, now: datetime) -> list[Cell]:
    ready = f"{object.status.get('readyReplicas', 0)}/{object.spec.get('replicas', 0)}"
    return [object.name, ready, _created(object, now), *_containers(object)]


def _budget(object: Object, now: datetime) -> list[Cell]:
    spec = object.spec
    least, most = (str(spec[n]) if n in spec else "N/A" for n in ("minAvailable", "maxUnavailable"))
    return [object.name, least, most, object.status.get("disruptionsAllowed", 0), _created(object, now)]


def _lease(object: Object, now: datetime) -> list[Cell]:
    return [object.name, object.spec.get("holderIdentity", ""), _created(object, now)]


def _definition(object: Object, now: datetime) -> list[Cell]:
    return [object.name, object.metadata.get("creationTimestamp")]


def _signing_request(object: Object, now: datetime) -> list[Cell]:
    spec = object.spec
    seconds = spec.get("expirationSeconds")
    return [
        object.name, _created(object, now), spec.get("signerName", ""), spec.get("username", ""),
        human(seconds) if seconds else NONE, _signing_state(object),
    ]  # fmt: skip


def _signing_state(object: Object) -> str:
    conditions = {c["type"] for c in object.status.get("conditions") or ()}
    word = "Denied" if "Denied" in conditions else "Approved" if "Approved" in conditions else "Pending"
    if "Failed" in conditions:
        word += ",Failed"
    return f"{word},Issued" if object.status.get("certificate") else word


def _claim(object: Object, now: datetime) -> list[Cell]:
    capacity = (object.status.get("capacity") or {}).get("storage", "")
    modes = _modes(object.status.get("accessModes") or ())
    return [
        object.name, "Terminating" if object.deleting else object.status.get("phase", ""),
        object.spec.get("volumeName", ""), capacity, modes, object.spec.get("storageClassName", ""),
        object.spec.get("volumeAttributesClassName", "<unset>"), _created(object, now),
        object.spec.get("volumeMode", UNKNOWN),
    ]  # fmt: skip


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: Iterable[str]) -> str:
    return ",".join(_MODES.get(mode, mode) for mode in modes)


def _volume(object: Object, now: datetime) -> list[Cell]:
    spec = object.spec
    claim = spec.get("claimRef") or {}
    return [
        object.name, (spec.get("capacity") or {}).get("storage", ""), _modes(spec.get("accessModes") or ()),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if object.deleting else object.status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "", spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName", "<unset>"), object.status.get("reason", ""), _created(object, now),
        spec.get("volumeMode", UNKNOWN),
    ]  # fmt: skip


def _role(object: Object, now: datetime) -> list[Cell]:
    return [object.name, str(object.metadata.get("creationTimestamp"))]


def _binding(object: Object, now: datetime) -> list[Cell]:
    reference = object.raw.get("roleRef") or {}
    subjects: Iterable[Json] = object.raw.get("subjects") or ()

    def named(kind: str) -> str:
        return ", ".join(
            f"{s['namespace']}/{s['name']}" if kind == "ServiceAccount" else s["name"]
            for s in subjects
            if s.get("kind") == kind
        )

    role = f"{reference.get('kind', '')}/{reference.get('name', '')}"
    return [object.name, role, _created(object, now), named("User"), named("Group"), named("ServiceAccount")]


CELLS: dict[str, Cells] = {
    "nodes": _node,
    "namespaces": _namespace,
    "pods": _pod,
    "secrets": _secret,
    "configmaps": _config_map,
    "services": _service,
    "serviceaccounts": _service_account,
    "events": _event,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "daemonsets.apps": _daemon_set,
    "statefulsets.apps": _stateful_set,
    "poddisruptionbudgets.policy": _budget,
    "leases.coordination.k8s.io": _lease,
    "certificatesigningrequests.certificates.k8s.io": _signing_request,
    "persistentvolumeclaims": _claim,
    "persistentvolumes": _volume,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
    "roles.rbac.authorization.k8s.io": _role,
    "clusterroles.rbac.authorization.k8s.io": _role,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
}


def scale_cells(scale: Json, now: datetime) -> list[Cell]:
    """The row of a Scale object."""
    metadata = scale["metadata"]
    return [
        metadata["name"],
        scale["spec"].get("replicas", 0),
        scale["status"].get("replicas", 0),
        age(metadata.get("creationTimestamp"), now),
    ]
