"""The endpoint's address held by the control planes themselves: kube-vip as a static pod (ARP, leader by Lease).

Source: kube-vip's documentation on static pods and its environment variables.
"""

from __future__ import annotations

from flatyard.node.inputs import ClusterSettings, Vip
from flatyard.node.yamltext import Yaml, document


def vip_manifest(cluster: ClusterSettings, vip: Vip, *, first: bool) -> str:
    """The static pod. On the first control plane it begins with super-admin.conf, because admin.conf may do
    nothing before kubeadm has bound it; the kubeadm script changes that afterwards."""
    variables = {
        "vip_arp": "true",
        "cp_enable": "true",
        "cp_namespace": "kube-system",
        "vip_leaderelection": "true",
        "vip_leasename": "plndr-cp-lock",
        "address": vip.address,
        "port": str(cluster.endpoint_port),
        **({"vip_interface": vip.interface} if vip.interface else {}),
    }
    container: dict[str, Yaml] = {
        "name": "kube-vip",
        "image": vip.image,
        "args": ["manager"],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
        "volumeMounts": [{"name": "kubeconfig", "mountPath": "/etc/kubernetes/admin.conf"}],
    }
    path = f"/etc/kubernetes/{'super-' if first else ''}admin.conf"
    spec: dict[str, Yaml] = {
        "hostNetwork": True,
        # the name of the API server inside the pod would resolve to the address that is not there yet
        "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["kubernetes"]}],
        "containers": [container],
        "volumes": [{"name": "kubeconfig", "hostPath": {"path": path, "type": "FileOrCreate"}}],
    }
    metadata: dict[str, Yaml] = {"name": "kube-vip", "namespace": "kube-system"}
    return document({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
