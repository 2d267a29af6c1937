"""The objects that `kubeadm init` leaves in a new cluster.

Names, namespaces and labels are kubeadm 1.34's; contents are cut to what tools look at.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator

import yaml

from flatyard.base.world import rfc3339
from flatyard.kube import resources as r
from flatyard.kube.api import Json
from flatyard.kube.resources import Resource
from flatyard.sim.kubernetes import tokens
from flatyard.sim.kubernetes.context import Context
from flatyard.sim.kubernetes.kubeadm import ClusterConfiguration, InitConfiguration, minor

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_COREDNS = {32: "v1.11.3", 33: "v1.12.0", 34: "v1.12.1", 35: "v1.13.1"}
_ROLE = "rbac.authorization.k8s.io"
_TOKEN_GROUP = "system:bootstrappers:kubeadm:default-node-token"
Made = tuple[Resource, Json]


def objects(context: Context, config: InitConfiguration, ca: bytes) -> Iterator[Made]:
    """Everything that a new cluster holds, namespaces first."""
    cluster = config.cluster
    for name in NAMESPACES:
        yield r.NAMESPACES, {"metadata": {"name": name}}
    yield r.SERVICES, _service(cluster)
    yield from _config_maps(config, ca)
    for token in config.tokens:
        expires = token.expires or (_later(context, token.ttl) if token.ttl else "")
        yield r.SECRETS, tokens.secret(token, expires)
    yield from _roles()
    if "addon/kube-proxy" not in config.skipped_phases and not cluster.proxy_disabled:
        yield from _proxy(cluster)
    if "addon/coredns" not in config.skipped_phases:
        yield from _dns(cluster)


def _later(context: Context, seconds: float) -> str:
    return rfc3339(context.world.later(seconds))


def _in_system(name: str, **fields: object) -> Json:
    return {"metadata": {"name": name, "namespace": "kube-system"}, **fields}


def _address(cluster: ClusterConfiguration, number: int) -> str:
    return str(ipaddress.ip_network(cluster.service_subnet.split(",")[0])[number])


def _service(cluster: ClusterConfiguration) -> Json:
    address = _address(cluster, 1)
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    }


def _config_maps(config: InitConfiguration, ca: bytes) -> Iterator[Made]:
    cluster = config.cluster
    text = yaml.dump(cluster.raw, Dumper=yaml.CSafeDumper)
    yield r.CONFIGMAPS, _in_system("kubeadm-config", data={"ClusterConfiguration": text})
    yield r.CONFIGMAPS, _in_system("kubelet-config", data={"kubelet": yaml.dump(config.kubelet or {})})
    kubeconfig = yaml.dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "",
                    "cluster": {
                        "certificate-authority-data": base64.b64encode(ca).decode(),
                        "server": f"https://{cluster.endpoint}",
                    },
                }
            ],
        }
    )
    info = {
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": kubeconfig},
    }
    yield r.CONFIGMAPS, info


def _roles() -> Iterator[Made]:
    bindings = (
        ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", _TOKEN_GROUP),
        (
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            _TOKEN_GROUP,
        ),
        (
            "kubeadm:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            "system:nodes",
        ),
        ("kubeadm:get-nodes", "kubeadm:get-nodes", _TOKEN_GROUP),
    )
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]
    yield r.CLUSTER_ROLES, {"metadata": {"name": "kubeadm:get-nodes"}, "rules": rules}
    for name, role, group in bindings:
        yield (
            r.CLUSTER_ROLE_BINDINGS,
            {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": _ROLE, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": _ROLE, "kind": "Group", "name": group}],
            },
        )


def _proxy(cluster: ClusterConfiguration) -> Iterator[Made]:
    labels = {"k8s-app": "kube-proxy"}
    yield r.SERVICE_ACCOUNTS, _in_system("kube-proxy")
    yield r.CONFIGMAPS, _in_system("kube-proxy", data={"config.conf": "", "kubeconfig.conf": ""})
    spec = {
        "selector": {"matchLabels": labels},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "containers": [
                    {
                        "name": "kube-proxy",
                        "image": f"registry.k8s.io/kube-proxy:{cluster.kubernetes_version}",
                    }
                ],
                "hostNetwork": True,
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "priorityClassName": "system-node-critical",
                "serviceAccountName": "kube-proxy",
                "tolerations": [{"operator": "Exists"}],
            },
        },
    }
    metadata = {"name": "kube-proxy", "namespace": "kube-system", "labels": labels}
    yield r.DAEMON_SETS, {"metadata": metadata, "spec": spec}


def _dns(cluster: ClusterConfiguration) -> Iterator[Made]:
    labels = {"k8s-app": "kube-dns"}
    image = f"registry.k8s.io/coredns/coredns:{_COREDNS.get(minor(cluster.kubernetes_version), 'v1.12.1')}"
    yield r.SERVICE_ACCOUNTS, _in_system("coredns")
    yield (
        r.CONFIGMAPS,
        _in_system("coredns", data={"Corefile": f".:53 {{\n    kubernetes {cluster.dns_domain}\n}}\n"}),
    )
    metadata = {"name": "coredns", "namespace": "kube-system", "labels": labels}
    yield r.DEPLOYMENTS, {"metadata": metadata, "spec": _dns_spec(labels, image)}
    address = _address(cluster, 10)
    service = _in_system(
        "kube-dns",
        spec={
            "selector": labels,
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}],
        },
    )
    service["metadata"]["labels"] = {
        **labels,
        "kubernetes.io/cluster-service": "true",
        "kubernetes.io/name": "CoreDNS",
    }
    yield r.SERVICES, service


def _dns_spec(labels: dict[str, str], image: str) -> Json:
    return {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "25%"}},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "containers": [{"name": "coredns", "image": image}],
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "priorityClassName": "system-cluster-critical",
                "serviceAccountName": "coredns",
                "tolerations": [
                    {"key": "CriticalAddonsOnly", "operator": "Exists"},
                    {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
                ],
            },
        },
    }
