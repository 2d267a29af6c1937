"""The default pod network: flannel with VXLAN, as objects.

Settings are those that flannel documents for Kubernetes (Documentation/kube-flannel.yml of its releases): its
own namespace, a DaemonSet on the host network that reads its pod network from a ConfigMap and needs to patch
node status. The CNI plugin is copied where Flatcar can be written.
"""

from __future__ import annotations

import json

from flatyard.kube.api import Json

VERSION = "v0.28.4"
PLUGIN_VERSION = "v1.9.1-flannel1"
NAMESPACE = "kube-flannel"
NAME = "kube-flannel-ds"
_LABELS = {"app": "flannel", "tier": "node"}


def flannel(pods: str) -> tuple[Json, ...]:
    """flannel for a cluster whose pods live in the network `pods`."""
    return (
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
        },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "flannel", "namespace": NAMESPACE},
        },
        _role(),
        _binding(),
        _config(pods),
        _daemon_set(),
    )


def _role() -> Json:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "flannel"},
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
        ],
    }


def _binding() -> Json:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "flannel"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flannel"},
        "subjects": [{"kind": "ServiceAccount", "name": "flannel", "namespace": NAMESPACE}],
    }


def _config(pods: str) -> Json:
    plugins = [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    cni = {"name": "cbr0", "cniVersion": "0.3.1", "plugins": plugins}
    network = {"Network": pods, "EnableNFTables": False, "Backend": {"Type": "vxlan"}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-flannel-cfg", "namespace": NAMESPACE, "labels": _LABELS},
        "data": {"cni-conf.json": json.dumps(cni, indent=2), "net-conf.json": json.dumps(network, indent=2)},
    }


def _daemon_set() -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS},
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": _pod()},
        },
    }


def _pod() -> Json:
    return {
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "serviceAccountName": "flannel",
        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "initContainers": [_install_plugin(), _install_config()],
        "containers": [_daemon()],
        "volumes": [
            _host_path("run", "/run/flannel"),
            _host_path("cni-plugin", "/opt/cni/bin"),
            _host_path("cni", "/etc/cni/net.d"),
            {"name": "flannel-cfg", "configMap": {"name": "kube-flannel-cfg"}},
            {**_host_path("xtables-lock", "/run/xtables.lock", "FileOrCreate")},
        ],
    }


def _install_plugin() -> Json:
    return {
        "name": "install-cni-plugin",
        "image": f"ghcr.io/flannel-io/flannel-cni-plugin:{PLUGIN_VERSION}",
        "command": ["cp"],
        "args": ["-f", "/flannel", "/opt/cni/bin/flannel"],
        "volumeMounts": [{"name": "cni-plugin", "mountPath": "/opt/cni/bin"}],
    }


def _install_config() -> Json:
    return {
        "name": "install-cni",
        "image": f"ghcr.io/flannel-io/flannel:{VERSION}",
        "command": ["cp"],
        "args": ["-f", "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist"],
        "volumeMounts": [
            {"name": "cni", "mountPath": "/etc/cni/net.d"},
            {"name": "flannel-cfg", "mountPath": "/etc/kube-flannel/"},
        ],
    }


def _daemon() -> Json:
    return {
        "name": "kube-flannel",
        "image": f"ghcr.io/flannel-io/flannel:{VERSION}",
        "command": ["/opt/bin/flanneld"],
        "args": ["--ip-masq", "--kube-subnet-mgr"],
        "resources": {"requests": {"cpu": "100m", "memory": "50Mi"}},
        "securityContext": {"privileged": False, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
        "env": [
            _from_field("POD_NAME", "metadata.name"),
            _from_field("POD_NAMESPACE", "metadata.namespace"),
            {"name": "EVENT_QUEUE_DEPTH", "value": "5000"},
        ],
        "volumeMounts": [
            {"name": "run", "mountPath": "/run/flannel"},
            {"name": "flannel-cfg", "mountPath": "/etc/kube-flannel/"},
            {"name": "xtables-lock", "mountPath": "/run/xtables.lock"},
        ],
    }


def _from_field(name: str, path: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _host_path(name: str, path: str, kind: str = "") -> Json:
    source = {"path": path, "type": kind} if kind else {"path": path}
    return {"name": name, "hostPath": source}
