"""Nodes: what their kubelets report, and what kube-controller-manager makes of silence.

Readiness follows the kubelet and the node lifecycle controller of Kubernetes 1.34: a node without a CNI
configuration is not ready; one that has been silent for the grace period is unknown and tainted, and its pods
are evicted after the default tolerationSeconds. Heartbeats are not written: while a kubelet runs, its lease is
fresh whenever somebody looks (see `client`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from flatyard.kube import resources as r
from flatyard.kube.api import EventType, Json, Object
from flatyard.kube.shelf import Change
from flatyard.sim.kubernetes.context import Context, condition, join_key, tolerates
from flatyard.sim.kubernetes.kubelet import Kubelet

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_LIFECYCLE = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)
_NO_CNI = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)
_NO_CIDR = "node CIDR range exhausted: no podCIDR left for this node, so its CNI plugin cannot start"
_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


class Nodes:
    """Registers nodes, keeps their status and taints, and clears up after those that are gone."""

    def __init__(self, context: Context, ask_serving: Callable[[Kubelet], None]) -> None:
        self._context = context
        self._ask_serving = ask_serving
        """Called for each node that is new."""
        self._registering: dict[str, None] = {}
        self._cidrs: dict[str, str] = {}
        """Pod subnets in use, and by which node."""
        self._free: Iterator[str] = iter(())
        context.work.handle({"node": self.look, "node-pods": self.evict, "node-gone": self.collect})

    def resume(self) -> None:
        """Take up what the store holds; every node counts as silent from now on."""
        context = self._context
        self._cidrs = {
            str(node.spec["podCIDR"]): node.name
            for node in context.objects(r.NODES).values()
            if node.spec.get("podCIDR")
        }
        self._free = self._subnets()
        for _, name in context.objects(r.NODES):
            if name not in context.kubelets:
                self.silent(name)
        for pod in context.objects(r.PODS).values():
            bound = str(pod.spec.get("nodeName") or "")
            if bound and context.get(r.NODES, "", bound) is None:
                context.work.add("node-gone", bound, context.timings.pod_collection)

    def _subnets(self) -> Iterator[str]:
        if not self._context.pod_subnet:
            return iter(())
        network = ipaddress.ip_network(self._context.pod_subnet.split(",")[0])
        mask = min(max(self._context.node_mask, network.prefixlen), network.max_prefixlen)
        return (str(subnet) for subnet in network.subnets(new_prefix=mask))

    def register(self, kubelet: Kubelet) -> None:
        """A kubelet has started: it registers its node once the API answers."""
        self._context.kubelets[kubelet.node_name] = kubelet
        self._context.silent_since.pop(kubelet.node_name, None)
        self._registering[kubelet.node_name] = None
        self._context.work.add("node", kubelet.node_name)

    def silent(self, name: str) -> None:
        """A kubelet is not heard of any more."""
        self._context.kubelets.pop(name, None)
        self._registering.pop(name, None)
        self._context.silent_since[name] = self._context.now()
        self._context.work.add("node", name, self._context.timings.node_grace)

    def observe(self, change: Change) -> None:
        if change.kind.resource == r.NODES:
            self._observe_node(change)
        elif change.kind.resource == r.PODS and is_cni(change.object):
            self._context.work.add("node", str(change.object.spec.get("nodeName", "")))

    def _observe_node(self, change: Change) -> None:
        name = change.object.name
        if change.type is EventType.DELETED:
            self._cidrs.pop(str(change.object.spec.get("podCIDR", "")), None)
            self._free = self._subnets()
            self._context.work.add("node-gone", name, self._context.timings.pod_collection)
        elif change.previous is None or change.previous.spec != change.object.spec:
            self._context.work.add("node", name)

    def look(self, name: str) -> None:
        """Bring one node's registration, status and taints up to date."""
        context = self._context
        kubelet = context.kubelets.get(name)
        if kubelet is not None and name in self._registering:
            del self._registering[name]
            self._register(kubelet)
        node = context.get(r.NODES, "", name)
        if node is None:
            return
        self._report(node, kubelet)
        node = context.get(r.NODES, "", name)
        if node is not None:
            self._mark(node)

    def _register(self, kubelet: Kubelet) -> None:
        context = self._context
        node = context.get(r.NODES, "", kubelet.node_name)
        if node is None:
            raw = kubelet.node()
            cidr = self._cidr(kubelet.node_name)
            if cidr:
                raw["spec"].update(podCIDR=cidr, podCIDRs=[cidr])
            node = context.create(r.NODES, raw)
            self._ask_serving(kubelet)
        else:
            context.set_status(r.NODES, node, {**node.status, **kubelet.status()})
        self._lease(node)
        for pod in context.pods_on(kubelet.node_name):
            context.work.add("pod", join_key(pod.namespace, pod.name))

    def _cidr(self, name: str) -> str:
        cidr = next((subnet for subnet in self._free if subnet not in self._cidrs), "")
        if cidr:
            self._cidrs[cidr] = name
        return cidr

    def _lease(self, node: Object) -> None:
        """Each node has a lease in kube-node-lease; how fresh it is shows when somebody looks."""
        owner = {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid}
        lease = {
            "metadata": {"name": node.name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
            "spec": {
                "holderIdentity": node.name,
                "leaseDurationSeconds": 40,
                "renewTime": self._context.stamp().replace("Z", ".000001Z"),
            },
        }
        if self._context.get(r.NAMESPACES, "", "kube-node-lease") is not None:
            self._context.create_missing(r.LEASES, lease)

    def _report(self, node: Object, kubelet: Kubelet | None) -> None:
        if kubelet is not None:
            ready, reason, message = self._ready(node, kubelet)
        elif self._is_silent(node.name):
            ready, reason, message = "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."
        else:
            return
        conditions = node.status.get("conditions") or []
        if condition(conditions, "Ready").get("status") == ready and node.status.get("conditions"):
            return
        self._context.set_status(
            r.NODES, node, {**node.status, "conditions": self._conditions(ready, reason, message)}
        )
        self._after_turn(node.name, ready)

    def _after_turn(self, name: str, ready: str) -> None:
        """The node's readiness has changed: its pods follow."""
        context = self._context
        for pod in context.pods_on(name):
            context.work.add("pod", join_key(pod.namespace, pod.name))
        if ready == "Unknown":
            context.work.add("node-pods", name, context.timings.eviction)

    def _is_silent(self, name: str) -> bool:
        since = self._context.silent_since.get(name)
        return since is not None and self._context.now() - since >= self._context.timings.node_grace - 1e-3

    def _ready(self, node: Object, kubelet: Kubelet) -> tuple[str, str, str]:
        if kubelet.cni_configured:
            return "True", "KubeletReady", "kubelet is posting ready status"
        if self._context.pod_subnet and not node.spec.get("podCIDR"):
            return "False", "KubeletNotReady", _NO_CIDR
        if any(
            is_cni(pod) and pod.status.get("phase") == "Running" for pod in self._context.pods_on(node.name)
        ):
            return "True", "KubeletReady", "kubelet is posting ready status"
        return "False", "KubeletNotReady", _NO_CNI

    def _conditions(self, ready: str, reason: str, message: str) -> list[Json]:
        stamp = self._context.stamp()
        silent = ready == "Unknown"
        rows = [
            (kind, "Unknown" if silent else "False", reason if silent else why, message if silent else text)
            for kind, why, text in _PRESSURES
        ]
        return [
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": stamp,
                "reason": why,
                "message": text,
            }
            for kind, status, why, text in (*rows, ("Ready", ready, reason, message))
        ]

    def _mark(self, node: Object) -> None:
        """The taints that follow from readiness and cordoning."""
        ready = condition(node.status.get("conditions") or (), "Ready").get("status")
        key = {"False": NOT_READY, "Unknown": UNREACHABLE}.get(str(ready))
        wanted = [{"key": key, "effect": effect} for effect in ("NoSchedule", "NoExecute")] if key else []
        if node.spec.get("unschedulable"):
            wanted.append({"key": UNSCHEDULABLE, "effect": "NoSchedule"})
        old = node.spec.get("taints") or []
        bare = [
            {"key": taint["key"], "effect": taint["effect"]} for taint in old if taint["key"] in _LIFECYCLE
        ]
        if sorted(map(str, bare)) == sorted(map(str, wanted)):
            return
        stamp = self._context.stamp()
        taints = [taint for taint in old if taint["key"] not in _LIFECYCLE]
        taints += [{**taint, "timeAdded": stamp} for taint in wanted]
        spec = {key: value for key, value in node.spec.items() if key != "taints"}
        self._context.change(r.NODES, node, spec={**spec, "taints": taints} if taints else spec)

    def evict(self, name: str) -> None:
        """A node has been unreachable for the default tolerationSeconds: its pods shall run elsewhere."""
        node = self._context.get(r.NODES, "", name)
        if node is None or condition(node.status.get("conditions") or (), "Ready").get("status") != "Unknown":
            return
        for pod in self._context.pods_on(name):
            forever = [t for t in pod.spec.get("tolerations") or () if t.get("tolerationSeconds") is None]
            if (
                not pod.deleting
                and not is_mirror(pod)
                and not tolerates(forever, UNREACHABLE, "", "NoExecute")
            ):
                self._context.remove(r.PODS, pod)

    def collect(self, name: str) -> None:
        """Pods of a node that no longer exists are removed at once."""
        if self._context.get(r.NODES, "", name) is None:
            for pod in self._context.pods_on(name):
                self._context.remove(r.PODS, pod, grace=0)


def is_mirror(pod: Object) -> bool:
    """Whether the pod is the API's image of a static pod."""
    return "kubernetes.io/config.mirror" in pod.annotations


def is_cni(pod: Object) -> bool:
    """Whether the pod installs a CNI configuration on its node."""
    volumes = pod.spec.get("volumes") or ()
    return any(str((v.get("hostPath") or {}).get("path", "")).startswith("/etc/cni/net.d") for v in volumes)
