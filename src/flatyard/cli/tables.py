"""Objects as tables: the columns of each kind, and one way to line them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flatyard.base.world import RealWorld
from flatyard.kube.api import Object

Cell = Callable[[Object], object]
NONE = "-"


def _at(*path: str) -> Cell:
    """The value at a path below the object."""

    def cell(object: Object) -> object:
        value: Any = object.raw
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return NONE if value is None or value == "" else value

    return cell


def _name(object: Object) -> object:
    return object.name


def _age(object: Object) -> object:
    return short(RealWorld().age(object.created)) if object.created else NONE


def short(seconds: float) -> str:
    """An age as kubectl writes it: 45s, 12m, 3h, 8d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def _address(object: Object) -> object:
    found = object.status.get("addresses") or ()
    return next((a["address"] for a in found if a.get("type") == "InternalIP"), NONE)


def _ready(object: Object) -> object:
    conditions = object.status.get("conditions") or ()
    state = next((c.get("status") for c in conditions if c.get("type") == "Ready"), "Unknown")
    word = "Ready" if state == "True" else "NotReady"
    return f"{word},SchedulingDisabled" if object.spec.get("unschedulable") else word


def _roles(object: Object) -> object:
    prefix = "node-role.kubernetes.io/"
    return ",".join(sorted(k.removeprefix(prefix) for k in object.labels if k.startswith(prefix))) or "<none>"


def _zone(object: Object) -> object:
    return object.labels.get("topology.kubernetes.io/zone", NONE)


def _about(object: Object) -> object:
    about = object.raw.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _why(object: Object) -> object:
    return str(object.status.get("errorMessage") or NONE).partition("\n")[0]


_REPLICAS = {
    "DESIRED": _at("spec", "replicas"),
    "CURRENT": _at("status", "replicas"),
    "READY": _at("status", "readyReplicas"),
}
COLUMNS: Mapping[str, Mapping[str, Cell]] = {
    "clusters": {
        "NAME": _name,
        "PHASE": _at("status", "phase"),
        "KUBERNETES": _at("status", "kubernetes"),
        "FLATCAR": _at("status", "flatcar"),
        "ENDPOINT": _at("status", "endpoint"),
        "SIMULATED": _at("status", "simulated"),
        "AGE": _age,
    },
    "machinedeployments": {
        "NAME": _name,
        **_REPLICAS,
        "KUBELET": _at("spec", "template", "spec", "versions", "kubelet"),
        "AGE": _age,
    },
    "machinesets": {"NAME": _name, **_REPLICAS, "AGE": _age},
    "machines": {
        "NAME": _name,
        "PHASE": _at("status", "phase"),
        "NODE": _at("status", "nodeRef", "name"),
        "ADDRESS": _address,
        "KUBELET": _at("status", "versions", "kubelet"),
        "AGE": _age,
        "WHY": _why,
    },
    "nodes": {
        "NAME": _name,
        "STATUS": _ready,
        "ROLES": _roles,
        "ZONE": _zone,
        "VERSION": _at("status", "nodeInfo", "kubeletVersion"),
        "OS-IMAGE": _at("status", "nodeInfo", "osImage"),
        "AGE": _age,
    },
    "events": {
        "LAST": lambda o: o.raw.get("lastTimestamp") or o.raw.get("eventTime") or NONE,
        "TYPE": _at("type"),
        "REASON": _at("reason"),
        "OBJECT": _about,
        "MESSAGE": _at("message"),
    },
    "resources": {
        "KIND": _at("spec", "kind"),
        "ID": _name,
        "NAME": _at("spec", "name"),
        "AGE": _age,
    },
    "pods": {
        "NAMESPACE": lambda o: o.namespace,
        "NAME": _name,
        "PHASE": _at("status", "phase"),
        "NODE": _at("spec", "nodeName"),
        "AGE": _age,
    },
}


def table(plural: str, found: Sequence[tuple[str, Sequence[Object]]]) -> str:
    """Every cluster's objects in one table; the first column names the cluster where there are several."""
    columns = COLUMNS[plural]
    several = len(found) > 1 and plural != "clusters"
    rows = [[*(["CLUSTER"] if several else []), *columns]]
    for name, objects in found:
        for object in _sorted(plural, objects):
            cells = [str(cell(object)) for cell in columns.values()]
            rows.append([name, *cells] if several else cells)
    return lined_up(rows) if len(rows) > 1 else ""


def _sorted(plural: str, objects: Sequence[Object]) -> list[Object]:
    if plural != "events":
        return sorted(objects, key=lambda o: (o.namespace, o.name))
    return sorted(objects, key=lambda o: (str(o.raw.get("lastTimestamp") or ""), o.name))


def lined_up(rows: Sequence[Sequence[str]]) -> str:
    """Rows with their columns under each other, three spaces apart."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
