"""Pods on their nodes: what every kubelet does, and the static pods of control planes.

A bound pod starts after a while when its node's network is there, ends within its grace period when it is
deleted, and comes back after a reboot. A pod that is not meant to be restarted succeeds. Nothing runs in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from flatyard.kube import resources as r
from flatyard.kube.api import EventType, Json, Object
from flatyard.kube.shelf import Change
from flatyard.sim.kubernetes.context import Context, condition, join_key, split_key
from flatyard.sim.kubernetes.kubelet import Kubelet
from flatyard.sim.kubernetes.nodes import is_mirror

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_TYPES = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


class Pods:
    """Plays every kubelet's part in the life of its pods."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._starting: dict[str, None] = {}
        self._ending: dict[str, None] = {}
        self._addresses: dict[str, int] = {}
        context.work.handle(
            {
                "pod": self.look,
                "pod-run": self.run,
                "pod-done": self.done,
                "pod-end": self.end,
                "static-pods": self.mirror,
            }
        )

    def resume(self) -> None:
        """After a restart each kubelet looks at its pods again."""
        for namespace, name in self._context.objects(r.PODS):
            self._context.work.add("pod", join_key(namespace, name))

    def observe(self, change: Change) -> None:
        if change.kind.resource != r.PODS:
            return
        pod = change.object
        if change.type is EventType.DELETED:
            self._starting.pop(pod.uid, None)
            self._ending.pop(pod.uid, None)
            if is_mirror(pod) and pod.spec.get("nodeName") in self._context.kubelets:
                self._context.work.add("static-pods", str(pod.spec["nodeName"]), after=1.0)
        elif pod.spec.get("nodeName"):
            before = change.previous
            bound = before is None or before.spec.get("nodeName") != pod.spec["nodeName"]
            if bound or (before is not None and before.deleting != pod.deleting):
                self._context.work.add("pod", join_key(pod.namespace, pod.name))

    def look(self, key: str) -> None:
        """Decide what a pod's kubelet does next."""
        pod = self._context.get(r.PODS, *split_key(key))
        if pod is None or not pod.spec.get("nodeName"):
            return
        kubelet = self._context.kubelets.get(str(pod.spec["nodeName"]))
        if kubelet is None:
            self._lost(pod)
        elif pod.deleting:
            self._begin_end(pod, key)
        elif pod.status.get("phase") in ("Succeeded", "Failed"):
            return
        elif not self._runs(pod, kubelet) and self._may_start(pod):
            self._begin_start(pod, key)

    def _lost(self, pod: Object) -> None:
        """The node lifecycle controller's word on the pods of a node that fell silent."""
        node = self._context.get(r.NODES, "", str(pod.spec["nodeName"]))
        if node is None or condition(node.status.get("conditions") or (), "Ready").get("status") != "Unknown":
            return
        conditions = pod.status.get("conditions") or []
        if condition(conditions, "Ready").get("status") == "True":
            stamp = self._context.stamp()
            changed = [
                {**c, "status": "False", "lastTransitionTime": stamp, "reason": "NodeNotReady"}
                if c["type"] == "Ready"
                else c
                for c in conditions
            ]
            self._context.set_status(r.PODS, pod, {**pod.status, "conditions": changed})

    def _runs(self, pod: Object, kubelet: Kubelet) -> bool:
        """Whether the pod was started since its machine's last boot."""
        ready = condition(pod.status.get("conditions") or (), "Ready").get("status") == "True"
        return ready and pod.status.get("phase") == "Running" and _booted(pod, kubelet)

    def _may_start(self, pod: Object) -> bool:
        if pod.uid in self._starting:
            return False
        if pod.spec.get("hostNetwork"):
            return True
        node = self._context.get(r.NODES, "", str(pod.spec["nodeName"]))
        return (
            node is not None
            and condition(node.status.get("conditions") or (), "Ready").get("status") == "True"
        )

    def _begin_start(self, pod: Object, key: str) -> None:
        self._starting[pod.uid] = None
        spread = self._context.timings.static_pods if is_mirror(pod) else self._context.timings.pod_start
        self._context.work.add("pod-run", f"{key}@{pod.uid}", spread.draw(self._context.random()))

    def _begin_end(self, pod: Object, key: str) -> None:
        if pod.uid in self._ending:
            return
        self._ending[pod.uid] = None
        grace = float(pod.metadata.get("deletionGracePeriodSeconds") or 0)
        wait = min(grace, self._context.timings.pod_stop.draw(self._context.random()))
        self._context.work.add("pod-end", f"{key}@{pod.uid}", wait)

    def _here(self, key: str) -> tuple[Object, Kubelet] | None:
        """The pod of a timer, if it is still that pod and its kubelet runs."""
        address, _, uid = key.partition("@")
        pod = self._context.get(r.PODS, *split_key(address))
        if pod is None or pod.uid != uid:
            return None
        kubelet = self._context.kubelets.get(str(pod.spec.get("nodeName", "")))
        if kubelet is None:
            self._starting.pop(uid, None)
            self._ending.pop(uid, None)
            return None
        return pod, kubelet

    def run(self, key: str) -> None:
        """The pod's containers have started."""
        found = self._here(key)
        if found is None:
            return
        pod, kubelet = found
        self._starting.pop(pod.uid, None)
        if pod.deleting:
            return
        self._context.set_status(r.PODS, pod, self._running(pod, kubelet))
        if pod.spec.get("restartPolicy", "Always") != "Always":
            self._context.work.add("pod-done", key, 5 * self._context.timings.pod_start.high)

    def done(self, key: str) -> None:
        """A pod that runs to completion has done so."""
        found = self._here(key)
        if found is None or found[0].deleting:
            return
        pod = found[0]
        conditions = [
            {**c, "status": "False", "reason": "PodCompleted"}
            if c["type"] in ("Ready", "ContainersReady")
            else c
            for c in pod.status.get("conditions") or ()
        ]
        self._context.set_status(r.PODS, pod, {**pod.status, "phase": "Succeeded", "conditions": conditions})

    def end(self, key: str) -> None:
        """The pod's containers have ended: the kubelet confirms the deletion."""
        found = self._here(key)
        if found is not None and found[0].deleting:
            self._context.remove(r.PODS, found[0], grace=0)

    def _running(self, pod: Object, kubelet: Kubelet) -> Json:
        stamp = self._context.stamp()
        address = kubelet.address if pod.spec.get("hostNetwork") else self._address(pod)
        before = {s["name"]: s for s in pod.status.get("containerStatuses") or ()}
        restarts = 1 if before and not _booted(pod, kubelet) else 0
        status: Json = {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": stamp}
                for kind in _TYPES
            ],
            "hostIP": kubelet.address,
            "hostIPs": [{"ip": kubelet.address}],
            "startTime": pod.status.get("startTime") or stamp,
            "containerStatuses": [
                _container(container, stamp, kubelet.boot_id, before, restarts)
                for container in pod.spec.get("containers") or ()
            ],
            "qosClass": "BestEffort",
        }
        if address:
            status.update(podIP=address, podIPs=[{"ip": address}])
        return status

    def _address(self, pod: Object) -> str:
        if pod.status.get("podIP"):
            return str(pod.status["podIP"])
        node = str(pod.spec["nodeName"])
        found = self._context.get(r.NODES, "", node)
        cidr = str(found.spec.get("podCIDR", "")) if found else ""
        if not cidr:
            return ""
        network = ipaddress.ip_network(cidr)
        if node not in self._addresses:
            self._addresses[node] = self._highest(node, network)
        self._addresses[node] = 2 + (self._addresses[node] - 1) % max(network.num_addresses - 3, 1)
        return str(network[self._addresses[node]])

    def _highest(self, node: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> int:
        """The highest pod address in use on a node, counted from the network's own."""
        used = [
            int(ipaddress.ip_address(pod.status["podIP"])) - int(network.network_address)
            for pod in self._context.pods_on(node)
            if pod.status.get("podIP") and not pod.spec.get("hostNetwork")
        ]
        return max([1, *used])

    def mirror(self, node_name: str) -> None:
        """The API's images of a control plane's static pods."""
        kubelet = self._context.kubelets.get(node_name)
        node = self._context.get(r.NODES, "", node_name)
        if kubelet is None or node is None or not kubelet.control_plane:
            return
        for component in COMPONENTS:
            self._context.create_missing(r.PODS, _static_pod(component, node, kubelet.version))


def _booted(pod: Object, kubelet: Kubelet) -> bool:
    """Whether the pod's containers belong to the machine's present boot, which their ids name."""
    statuses = pod.status.get("containerStatuses") or ()
    return all(str(s.get("containerID", "")).startswith(f"simulated://{kubelet.boot_id}/") for s in statuses)


def _container(container: Json, stamp: str, boot: str, before: Mapping[str, Json], restarts: int) -> Json:
    name = str(container["name"])
    return {
        "name": name,
        "image": container.get("image", ""),
        "imageID": "",
        "containerID": f"simulated://{boot}/{name}",
        "ready": True,
        "started": True,
        "restartCount": int(before.get(name, {}).get("restartCount", 0)) + restarts,
        "state": {"running": {"startedAt": stamp}},
        "lastState": {},
    }


def _static_pod(component: str, node: Object, version: str) -> Json:
    image = (
        "registry.k8s.io/etcd:3.6.5-0" if component == "etcd" else f"registry.k8s.io/{component}:{version}"
    )
    owner = {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid, "controller": True}
    return {
        "metadata": {
            "name": f"{component}-{node.name}",
            "namespace": "kube-system",
            "labels": {"component": component, "tier": "control-plane"},
            "annotations": {
                "kubernetes.io/config.mirror": f"{component}-{node.name}",
                "kubernetes.io/config.source": "file",
            },
            "ownerReferences": [owner],
        },
        "spec": {
            "containers": [{"name": component, "image": image, "command": [component]}],
            "hostNetwork": True,
            "nodeName": node.name,
            "priorityClassName": "system-node-critical",
            "restartPolicy": "Always",
            "tolerations": [{"operator": "Exists", "effect": "NoExecute"}],
        },
    }
