"""Types of the built-in kinds: which fields they have, and how the real server writes an object back.

`types.json` holds each type's fields, as Kubernetes' own OpenAPI document has them. What a Go server adds to
that, empty values that it leaves out and zero values that it always writes, is in the two tables here.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import cast

from flatyard.kube.api import Json
from flatyard.kube.kinds import Kind
from flatyard.kube.merge import clone

Fields = dict[str, str]
_MODULES = {
    "": "core_v1",
    "rbac.authorization.k8s.io": "rbac_v1",
    "coordination.k8s.io": "coordination_v1",
    "certificates.k8s.io": "certificates_v1",
    "apiextensions.k8s.io": "apiextensions_v1",
}
_NODE_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion",
    "kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip
_EVENT: Json = {"source": {}, "firstTimestamp": None, "lastTimestamp": None, "eventTime": None}
_REPORTER: Json = {"reportingComponent": "", "reportingInstance": ""}
_DAEMONS = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
_BUDGET = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
ALWAYS: dict[str, Json] = {
    "core_v1.Container": {"resources": {}},
    "core_v1.PodCondition": {"lastProbeTime": None, "lastTransitionTime": None},
    "core_v1.NodeCondition": {"lastHeartbeatTime": None, "lastTransitionTime": None},
    "core_v1.NodeStatus": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": {}},
    "core_v1.NodeSystemInfo": dict.fromkeys(_NODE_INFO, ""),
    "core_v1.ContainerStatus": {"state": {}, "lastState": {}, "ready": False, "restartCount": 0,
                                "image": "", "imageID": ""},
    "core_v1.Event": {**_EVENT, **_REPORTER},
    "core_v1.Service": {"status": {"loadBalancer": {}}},
    "core_v1.ServiceStatus": {"loadBalancer": {}},
    "apps_v1.Deployment": {"status": {}},
    "apps_v1.DaemonSet": {"status": dict.fromkeys(_DAEMONS, 0)},
    "apps_v1.DaemonSetStatus": dict.fromkeys(_DAEMONS, 0),
    "apps_v1.ReplicaSet": {"status": {"replicas": 0}},
    "apps_v1.ReplicaSetStatus": {"replicas": 0},
    "apps_v1.StatefulSet": {"status": {"replicas": 0, "availableReplicas": 0}},
    "apps_v1.StatefulSetStatus": {"replicas": 0, "availableReplicas": 0},
    "policy_v1.PodDisruptionBudget": {"status": dict.fromkeys(_BUDGET, 0)},
    "policy_v1.PodDisruptionBudgetStatus": dict.fromkeys(_BUDGET, 0),
    "meta_v1.Condition": {"message": "", "reason": ""},
}  # fmt: skip
"""Fields that are written even when they are empty."""

OMITTED_ZEROS = {
    "core_v1.NodeSpec": ("unschedulable",),
    "core_v1.PodSpec": ("hostNetwork", "hostPID", "hostIPC"),
    "core_v1.ServiceSpec": ("publishNotReadyAddresses",),
    "core_v1.ContainerStatus": (),
    "core_v1.ServicePort": ("nodePort",),
    "core_v1.Event": ("count",),
    "apps_v1.DeploymentSpec": ("paused", "minReadySeconds"),
    "apps_v1.DeploymentStatus": ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas",
                                 "availableReplicas", "unavailableReplicas"),
    "apps_v1.DaemonSetStatus": ("observedGeneration", "updatedNumberScheduled", "numberAvailable",
                                "numberUnavailable"),
    "policy_v1.PodDisruptionBudgetStatus": ("observedGeneration",),
}  # fmt: skip
"""Numbers and booleans that are left out when they are zero or false; pointers are written."""

KEPT_EMPTY = {
    "core_v1.PersistentVolumeClaimSpec": ("storageClassName",),
    "core_v1.NodeSystemInfo": _NODE_INFO,
    "core_v1.ContainerStatus": ("image", "imageID"),
    "core_v1.Event": ("reportingComponent", "reportingInstance"),
    "core_v1.Taint": (),
    "rbac_v1.PolicyRule": ("apiGroups",),
    "coordination_v1.LeaseSpec": ("holderIdentity",),
}
"""Texts and lists that are written although empty."""

_PYTHON = {"string": (str,), "integer": (int,), "boolean": (bool,), "number": (int, float)}
_MICROTIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class WrongType(Exception):
    """A value that cannot stand in its field; `why` is what a Go decoder says about it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@cache
def _table() -> dict[str, Fields]:
    text = files("flatyard.sim.apiserver").joinpath("types.json").read_text()
    return cast(dict[str, Fields], json.loads(text))


def type_name(kind: Kind) -> str:
    """The name of a built-in kind's type."""
    group, version = kind.resource.group, kind.resource.version
    return f"{_MODULES.get(group, f'{group}_{version}')}.{kind.resource.kind}"


def fields(name: str) -> Fields:
    """A type's fields; empty for what has none."""
    return _table().get(name, {})


def conform(name: str, value: Json, unknown: list[str]) -> Json:
    """A new object as the real server would write it; unknown fields' paths are added to `unknown`.

    Raises WrongType.
    """
    return _struct(name, value, "", unknown)


def _struct(name: str, value: Json, path: str, unknown: list[str]) -> Json:
    known = fields(name)
    made: Json = clone(ALWAYS.get(name, {}))
    for key, item in value.items():
        shape = known.get(key)
        if shape == "string" and item and isinstance(item, str):
            made[key] = item  # as it would come out below, for most of what is in an object
            continue
        at = f"{path}.{key}" if path else key
        if shape is None:
            unknown.append(at)
        elif item is not None:
            found = _value(shape, item, at, unknown)
            if not _left_out(name, key, shape, found):
                made[key] = found
    return made


def _left_out(name: str, key: str, shape: str, value: object) -> bool:
    if (value in ("", []) and shape != "any") or (value == {} and shape == "map"):
        return key not in KEPT_EMPTY.get(name, ()) and key not in ALWAYS.get(name, {})
    if value is False or (value == 0 and isinstance(value, int)):
        return key in OMITTED_ZEROS.get(name, ())
    return False


def _value(shape: str, value: object, at: str, unknown: list[str]) -> object:
    if shape.startswith("[]"):
        if not isinstance(value, list):
            raise WrongType(_mismatch(value, at, shape))
        return [_value(shape[2:], item, f"{at}[{i}]", unknown) for i, item in enumerate(value)]
    if "." in shape:
        if not isinstance(value, dict):
            raise WrongType(_mismatch(value, at, shape))
        return _struct(shape, value, at, unknown)
    return _plain(shape, value, at)


def _plain(shape: str, value: object, at: str) -> object:
    if shape == "map":
        if not isinstance(value, dict):
            raise WrongType(_mismatch(value, at, shape))
        return clone(value)
    if shape == "quantity":
        return str(value)
    wanted = _PYTHON.get(shape)
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and shape != "boolean")):
        raise WrongType(_mismatch(value, at, shape))
    if shape == "microtime" and not _MICROTIME.fullmatch(str(value)):
        layout = "2006-01-02T15:04:05.000000Z07:00"
        rest = str(value)[19:]
        raise WrongType(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as ".000000"')
    if shape == "time" and not _TIME.fullmatch(str(value)):
        layout = "2006-01-02T15:04:05Z07:00"
        raise WrongType(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"')
    return clone(value)


_GO = {
    "string": "string",
    "integer": "int32",
    "boolean": "bool",
    "number": "float64",
    "map": "map[string]string",
}


def _mismatch(value: object, at: str, shape: str) -> str:
    names = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
    shown = names.get(type(value), "null")
    wanted = _GO.get(shape, shape.replace("_", "."))
    return f"json: cannot unmarshal {shown} into Go struct field {at} of type {wanted}"
