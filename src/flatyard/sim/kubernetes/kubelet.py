"""What one machine's kubelet tells the API about its node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from flatyard.kube.api import Json
from flatyard.sim.kubernetes.kubeadm import Taint

SIMULATED = "flatyard.dev/simulated"


@dataclass(frozen=True, slots=True)
class Kubelet:
    """A running kubelet. `cni_configured`: the machine brings its own CNI configuration, so no pod has to."""

    node_name: str
    hostname: str
    version: str
    addresses: tuple[tuple[str, str], ...]
    """Pairs of address type (InternalIP …) and address."""
    provider_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    cpus: int = 2
    memory: int = 4 << 30
    """Bytes."""
    pods: int = 110
    arch: str = "amd64"
    os_image: str = "Flatcar Container Linux by Kinvolk (simulated)"
    kernel: str = ""
    runtime: str = ""
    machine_id: str = ""
    boot_id: str = ""
    cri_socket: str = "unix:///var/run/containerd/containerd.sock"
    cni_configured: bool = False
    control_plane: bool = False

    @property
    def address(self) -> str:
        """The node's own address."""
        return next((value for kind, value in self.addresses if kind == "InternalIP"), "")

    def encode(self) -> str:
        """As JSON, to be kept."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> Kubelet:
        """What `encode` wrote."""
        raw = json.loads(text)
        raw["addresses"] = tuple((kind, value) for kind, value in raw["addresses"])
        raw["taints"] = tuple(Taint(**taint) for taint in raw["taints"])
        return cls(**raw)

    def node(self) -> Json:
        """The Node that the kubelet registers."""
        labels = {
            "beta.kubernetes.io/arch": self.arch,
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": self.arch,
            "kubernetes.io/hostname": self.hostname,
            "kubernetes.io/os": "linux",
            SIMULATED: "true",
            **self.labels,
        }
        annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
        spec: Json = {"providerID": self.provider_id} if self.provider_id else {}
        if self.taints:
            spec["taints"] = [taint.to_json() for taint in self.taints]
        metadata = {"name": self.node_name, "labels": labels, "annotations": annotations}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": metadata,
            "spec": spec,
            "status": self.status(),
        }

    def status(self) -> Json:
        """The part of the status that does not change while the kubelet runs."""
        capacity = {
            "cpu": str(self.cpus),
            "ephemeral-storage": "36805060Ki",
            "hugepages-2Mi": "0",
            "memory": f"{self.memory >> 10}Ki",
            "pods": str(self.pods),
        }
        allocatable = {**capacity, "memory": f"{(self.memory >> 10) - 102_400}Ki"}
        return {
            "capacity": capacity,
            "allocatable": allocatable,
            "addresses": [{"type": kind, "address": value} for kind, value in self.addresses],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": self._node_info(),
        }

    def _node_info(self) -> Json:
        return {
            "architecture": self.arch,
            "bootID": self.boot_id,
            "containerRuntimeVersion": self.runtime,
            "kernelVersion": self.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": self.version,
            "machineID": self.machine_id,
            "operatingSystem": "linux",
            "osImage": self.os_image,
            "systemUUID": self.machine_id,
        }
