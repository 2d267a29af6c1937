"""A simulated Kubernetes cluster around an in-memory API: etcd's quorum, nodes, pods, workloads, tokens.

What kube-controller-manager, kube-scheduler, kubeadm and the kubelets do to the API is played here; nothing is
run, and nodes say `(simulated)` in their OS image and carry the label `flatyard.dev/simulated`.
"""

from __future__ import annotations

from flatyard.sim.kubernetes.client import ClusterApi
from flatyard.sim.kubernetes.cluster import SimKubernetes
from flatyard.sim.kubernetes.kubeadm import (
    InitConfiguration,
    JoinConfiguration,
    KubeadmError,
    Taint,
    read_init,
    read_join,
)
from flatyard.sim.kubernetes.kubelet import Kubelet

__all__ = [
    "ClusterApi",
    "InitConfiguration",
    "JoinConfiguration",
    "KubeadmError",
    "Kubelet",
    "SimKubernetes",
    "Taint",
    "read_init",
    "read_join",
]
