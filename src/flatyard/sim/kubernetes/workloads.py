"""DaemonSets, ReplicaSets and Deployments, as kube-controller-manager runs them, in their simplest form.

A DaemonSet's work is per node, so that a new node costs what its own pods cost. Counted statuses are gathered
for a second before they are written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable

from flatyard.kube import resources as r
from flatyard.kube.api import EventType, Json, Object
from flatyard.kube.disruption import is_ready
from flatyard.kube.resources import Resource
from flatyard.kube.shelf import Change
from flatyard.sim.kubernetes.context import Context, join_key, owner_reference, split_key, tolerates
from flatyard.sim.kubernetes.scheduler import selected

HASH = "pod-template-hash"
REVISION = "controller-revision-hash"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_DAEMON_TOLERATIONS: list[Json] = [
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/pid-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
]


class Workloads:
    """Keeps each workload's pods as they should be."""

    def __init__(self, context: Context) -> None:
        self._context = context
        context.work.handle(
            {
                "daemon-set": self.spread,
                "daemon": self.daemon,
                "daemon-status": self.daemon_status,
                "replica-set": self.replica_set,
                "deployment": self.deployment,
            }
        )

    def resume(self) -> None:
        for what, resource in (
            ("daemon-set", r.DAEMON_SETS),
            ("replica-set", r.REPLICA_SETS),
            ("deployment", r.DEPLOYMENTS),
        ):
            for namespace, name in self._context.objects(resource):
                self._context.work.add(what, join_key(namespace, name))

    def observe(self, change: Change) -> None:
        resource = change.kind.resource
        if resource == r.PODS:
            self._observe_pod(change)
        elif resource == r.NODES:
            self._observe_node(change)
        elif resource in (r.DAEMON_SETS, r.REPLICA_SETS, r.DEPLOYMENTS):
            self._observe_workload(resource, change)

    def _observe_pod(self, change: Change) -> None:
        pod, owner = change.object, change.object.controller
        if owner is None:
            return
        key = join_key(pod.namespace, owner.name)
        if owner.kind == "ReplicaSet":
            self._context.work.add("replica-set", key)
        elif owner.kind == "DaemonSet":
            self._context.work.add("daemon-status", key, self._context.timings.status_delay)
            if change.type is EventType.DELETED:
                self._context.work.add("daemon", f"{key}@{daemon_node(pod)}")

    def _observe_node(self, change: Change) -> None:
        before, node = change.previous, change.object
        if before is not None and change.type is not EventType.DELETED:
            same = before.labels == node.labels and before.spec.get("taints") == node.spec.get("taints")
            if same and before.deleting == node.deleting:
                return
        for namespace, name in self._context.objects(r.DAEMON_SETS):
            self._context.work.add("daemon", f"{join_key(namespace, name)}@{node.name}")

    def _observe_workload(self, resource: Resource, change: Change) -> None:
        object = change.object
        key = join_key(object.namespace, object.name)
        if change.type is not EventType.DELETED and _spec_changed(change):
            what = {r.DAEMON_SETS: "daemon-set", r.REPLICA_SETS: "replica-set"}.get(resource, "deployment")
            self._context.work.add(what, key)
        owner = object.controller
        if resource == r.REPLICA_SETS and owner is not None and owner.kind == "Deployment":
            self._context.work.add("deployment", join_key(object.namespace, owner.name))

    # ---- DaemonSets

    def spread(self, key: str) -> None:
        """A new or changed DaemonSet: look at every node."""
        for _, node in self._context.objects(r.NODES):
            self._context.work.add("daemon", f"{key}@{node}")
        self._context.work.add("daemon-status", key, self._context.timings.status_delay)

    def daemon(self, key: str) -> None:
        """Bring a DaemonSet's pod on one node in order."""
        address, _, node_name = key.partition("@")
        daemon_set = self._context.get(r.DAEMON_SETS, *split_key(address))
        if daemon_set is None or daemon_set.deleting:
            return
        node = self._context.get(r.NODES, "", node_name)
        pods = [
            p for p in self._context.pods_on(node_name) if p.controller and p.controller.uid == daemon_set.uid
        ]
        wanted = node is not None and runs_daemon(daemon_set, node)
        self._context.work.add("daemon-status", address, self._context.timings.status_delay)
        if wanted and not pods:
            self._create_daemon(daemon_set, node_name)
        elif not wanted and node is not None:
            for pod in pods:
                if not pod.deleting:
                    self._context.remove(r.PODS, pod)

    def _create_daemon(self, daemon_set: Object, node: str) -> None:
        raw = _pod(daemon_set, r.DAEMON_SETS, REVISION, template_hash(daemon_set))
        spec = raw["spec"]
        spec["nodeName"] = node
        tolerations = list(spec.get("tolerations") or ())
        spec["tolerations"] = tolerations + [t for t in _DAEMON_TOLERATIONS if t not in tolerations]
        self._context.create(r.PODS, raw)

    def daemon_status(self, key: str) -> None:
        """Count a DaemonSet's pods; replace one of an older template when all others are ready."""
        daemon_set = self._context.get(r.DAEMON_SETS, *split_key(key))
        if daemon_set is None:
            return
        pods = [pod for pod in self._context.owned(daemon_set, r.PODS) if not pod.deleting]
        revision = template_hash(daemon_set)
        updated = [pod for pod in pods if pod.labels.get(REVISION) == revision]
        ready = [pod for pod in pods if is_ready(pod)]
        nodes = self._context.objects(r.NODES).values()
        desired = sum(1 for node in nodes if runs_daemon(daemon_set, node))
        status = {
            "currentNumberScheduled": len(pods),
            "desiredNumberScheduled": desired,
            "numberAvailable": len(ready),
            "numberMisscheduled": 0,
            "numberReady": len(ready),
            "numberUnavailable": max(0, desired - len(ready)),
            "observedGeneration": daemon_set.generation,
            "updatedNumberScheduled": len(updated),
        }
        shown = {name: count for name, count in status.items() if count or name in _ALWAYS}
        self._context.set_status(r.DAEMON_SETS, daemon_set, shown)
        stale = [pod for pod in pods if pod.labels.get(REVISION) != revision]
        strategy = (daemon_set.spec.get("updateStrategy") or {}).get("type", "RollingUpdate")
        if stale and strategy == "RollingUpdate" and len(ready) >= desired:
            self._context.remove(r.PODS, stale[0])

    # ---- ReplicaSets

    def replica_set(self, key: str) -> None:
        """As many pods as wanted, and the count of them."""
        found = self._context.get(r.REPLICA_SETS, *split_key(key))
        if found is None or found.deleting:
            return
        pods = [p for p in self._context.owned(found, r.PODS) if _lives(p)]
        wanted = int(found.spec.get("replicas", 1))
        for _ in range(wanted - len(pods)):
            self._context.create(r.PODS, _pod(found, r.REPLICA_SETS, "", ""))
        for pod in sorted(pods, key=_dispensable)[: max(0, len(pods) - wanted)]:
            self._context.remove(r.PODS, pod)
        ready = sum(1 for pod in pods if is_ready(pod))
        status: Json = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "observedGeneration": found.generation,
        }
        shown = {name: value for name, value in status.items() if value or name == "replicas"}
        self._context.set_status(r.REPLICA_SETS, found, shown)

    # ---- Deployments

    def deployment(self, key: str) -> None:
        """Move a Deployment's pods to the ReplicaSet of its template, within surge and unavailability."""
        found = self._context.get(r.DEPLOYMENTS, *split_key(key))
        if found is None or found.deleting:
            return
        sets = self._context.owned(found, r.REPLICA_SETS)
        current = next((s for s in sets if s.labels.get(HASH) == template_hash(found)), None)
        if current is None:
            current = self._create_set(found, len(sets))
            sets.append(current)
        old = [s for s in sets if s.uid != current.uid]
        self._scale(found, current, old)
        self._deployment_status(found, current, sets)

    def _create_set(self, deployment: Object, revision: int) -> Object:
        digest = template_hash(deployment)
        template = json.loads(json.dumps(deployment.spec["template"]))
        labels = {**(template.setdefault("metadata", {}).get("labels") or {}), HASH: digest}
        template["metadata"]["labels"] = labels
        selector = dict(deployment.spec.get("selector") or {})
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: digest}
        return self._context.create(
            r.REPLICA_SETS,
            {
                "metadata": {
                    "name": f"{deployment.name}-{digest}",
                    "namespace": deployment.namespace,
                    "labels": labels,
                    "annotations": {"deployment.kubernetes.io/revision": str(revision + 1)},
                    "ownerReferences": [owner_reference(deployment, r.DEPLOYMENTS.api_version)],
                },
                "spec": {"replicas": 0, "selector": selector, "template": template},
            },
        )

    def _scale(self, deployment: Object, current: Object, old: list[Object]) -> None:
        wanted = int(deployment.spec.get("replicas", 1))
        rolling = (deployment.spec.get("strategy") or {}).get("rollingUpdate") or {}
        surge = _share(rolling.get("maxSurge", "25%"), wanted, math.ceil)
        spare = _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
        before = sum(_replicas(s) for s in old)
        room = wanted + (surge if before else 0) - before - _replicas(current)
        self._resize(current, min(wanted, max(_replicas(current) + room, 0)))
        self._scale_down(current, old, wanted - spare)

    def _scale_down(self, current: Object, old: list[Object], floor: int) -> None:
        """Take old pods away, those that are not ready first, and never below the floor of ready ones."""
        most = sum(_replicas(s) for s in old) + _ready(current) - floor
        for replica_set in old:
            idle = min(_replicas(replica_set) - _ready(replica_set), max(0, most))
            spared = sum(_ready(s) for s in (current, *old)) - floor
            healthy = max(0, min(_ready(replica_set), most - idle, spared))
            most -= idle + healthy
            self._resize(replica_set, _replicas(replica_set) - idle - healthy)

    def _resize(self, replica_set: Object, replicas: int) -> None:
        if replicas != _replicas(replica_set):
            self._context.change(r.REPLICA_SETS, replica_set, spec={**replica_set.spec, "replicas": replicas})

    def _deployment_status(self, found: Object, current: Object, sets: list[Object]) -> None:
        wanted = int(found.spec.get("replicas", 1))
        ready = sum(int(s.status.get("readyReplicas", 0)) for s in sets)
        status: Json = {
            "replicas": sum(int(s.status.get("replicas", 0)) for s in sets),
            "updatedReplicas": int(current.status.get("replicas", 0)),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, wanted - ready),
            "observedGeneration": found.generation,
        }
        shown = {name: value for name, value in status.items() if value}
        available = ready >= wanted - _share("25%", wanted, math.floor)
        shown["conditions"] = [self._available(found, available)]
        self._context.set_status(r.DEPLOYMENTS, found, shown)

    def _available(self, deployment: Object, available: bool) -> Json:
        status = "True" if available else "False"
        before: Json = next(iter(deployment.status.get("conditions") or ()), {})
        if before.get("status") == status:
            return before
        stamp = self._context.stamp()
        return {
            "type": "Available",
            "status": status,
            "lastUpdateTime": stamp,
            "lastTransitionTime": stamp,
            "reason": f"MinimumReplicas{'Available' if available else 'Unavailable'}",
            "message": f"Deployment {'has' if available else 'does not have'} minimum availability.",
        }


_ALWAYS = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")


def template_hash(workload: Object) -> str:
    """Ten letters that change with the pod template."""
    text = json.dumps(workload.spec.get("template"), sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return "".join(_LETTERS[number // len(_LETTERS) ** place % len(_LETTERS)] for place in range(10))


def runs_daemon(daemon_set: Object, node: Object) -> bool:
    """Whether a DaemonSet wants a pod on the node."""
    spec = daemon_set.spec["template"].get("spec") or {}
    tolerations = [*(spec.get("tolerations") or ()), *_DAEMON_TOLERATIONS]
    if spec.get("hostNetwork"):
        tolerations.append({"key": "node.kubernetes.io/network-unavailable", "operator": "Exists"})
    for taint in node.spec.get("taints") or ():
        if taint["key"] in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            continue
        if taint["effect"] != "PreferNoSchedule" and not tolerates(
            tolerations, taint["key"], taint.get("value", ""), taint["effect"]
        ):
            return False
    return not node.deleting and selected(spec, node)


def daemon_node(pod: Object) -> str:
    return str(pod.spec.get("nodeName", ""))


def _spec_changed(change: Change) -> bool:
    return change.previous is None or change.previous.spec != change.object.spec


def _replicas(replica_set: Object) -> int:
    return int(replica_set.spec.get("replicas", 0))


def _ready(replica_set: Object) -> int:
    """Ready pods that stay: the status may still count some that are on their way out."""
    return min(int(replica_set.status.get("readyReplicas", 0)), _replicas(replica_set))


def _share(value: int | str, of: int, rounded: Callable[[float], int]) -> int:
    return value if isinstance(value, int) else rounded(int(value.rstrip("%")) * of / 100)


def _lives(pod: Object) -> bool:
    return not pod.deleting and pod.status.get("phase") not in ("Succeeded", "Failed")


def _dispensable(pod: Object) -> tuple[bool, bool, str]:
    """Pods without a node go first, then those that are not ready, then the youngest."""
    return bool(pod.spec.get("nodeName")), is_ready(pod), pod.name


def _pod(owner: Object, resource: Resource, label: str, value: str) -> Json:
    template = json.loads(json.dumps(owner.spec["template"]))
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), **({label: value} if label else {})}
    return {
        "metadata": {
            "generateName": f"{owner.name}-",
            "namespace": owner.namespace,
            "labels": labels,
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [owner_reference(owner, resource.api_version)],
        },
        "spec": template.get("spec") or {},
        "status": {"phase": "Pending"},
    }
