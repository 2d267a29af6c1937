"""kubeadm's configuration (v1beta4) and the files beside it.

Sources: kubeadm's configuration reference v1beta4, the kubelet's configuration reference v1beta1, and
Kubernetes' task page on encrypting confidential data at rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from flatyard.base.errors import Refused
from flatyard.model.annotations import KubeletSettings
from flatyard.model.traits import NodeNameRule, NodeTraits, ProviderIdSource
from flatyard.node import layout
from flatyard.node.inputs import (
    Bootstrap,
    ClusterSettings,
    Init,
    JoinControlPlane,
    MachineIdentity,
    MachineToken,
    NodeRole,
    PoolSettings,
)
from flatyard.node.yamltext import Yaml, document, documents
from flatyard.pki import ClusterSecrets, groups

DEFAULT_NODE_MASK = 24
"""kube-controller-manager's own --node-cidr-mask-size for IPv4."""
_API = "kubeadm.k8s.io/v1beta4"
_KUBELET_API = "kubelet.config.k8s.io/v1beta1"
_JOIN_TIMEOUTS: dict[str, Yaml] = {"discovery": "10m0s", "tlsBootstrap": "15m0s"}
_DOMAINS = ("kubernetes.io", "k8s.io")
_SELF_SET = frozenset(
    {
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "kubernetes.io/arch",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)


def kubeadm_config(
    cluster: ClusterSettings,
    pool: PoolSettings,
    machine: MachineIdentity,
    traits: NodeTraits,
    bootstrap: Bootstrap,
) -> str:
    """The text of `layout.KUBEADM_CONFIG` for one machine."""
    node = _registration(pool, machine, traits)
    if isinstance(bootstrap, Init):
        init = _init(bootstrap, node, pool, traits)
        return documents([init, _cluster(cluster, traits), _kubelet(traits), _kube_proxy(traits)])
    return document(_join(cluster, pool, bootstrap, node, traits))


def encryption_config(secrets: ClusterSecrets) -> str:
    """The API server's EncryptionConfiguration: Secrets sealed with secretbox, older plain ones readable."""
    key: dict[str, Yaml] = {"name": "k1", "secret": base64.b64encode(secrets.encryption_key).decode()}
    providers: list[Yaml] = [{"secretbox": {"keys": [key]}}, {"identity": {}}]
    return document(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{"resources": ["secrets"], "providers": providers}],
        }
    )


def kubelet_labels(labels: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Labels that a kubelet may give its own node, and those that only the API can (KEP-279, NodeRestriction).

    The kubelet does not start with a label of the second kind; the engine sets them on the Node.
    """
    own = {key: value for key, value in labels.items() if _may_set_itself(key)}
    return own, {key: value for key, value in labels.items() if key not in own}


def kubelet_patch(settings: KubeletSettings) -> str:
    """A pool's kubelet settings as a merge patch over the cluster's kubelet configuration; empty for none."""
    fields: dict[str, object] = {
        "systemReserved": dict(settings.system_reserved),
        "kubeReserved": dict(settings.kube_reserved),
        "evictionHard": dict(settings.eviction_hard),
        "containerLogMaxSize": settings.container_log_max_size,
        "containerLogMaxFiles": settings.container_log_max_files,
        "maxPods": settings.max_pods,
        "imageGCHighThresholdPercent": settings.image_gc_high_threshold_percent,
        "imageGCLowThresholdPercent": settings.image_gc_low_threshold_percent,
        "imageMinimumGCAge": settings.image_minimum_gc_age,
        "imageMaximumGCAge": settings.image_maximum_gc_age,
        "featureGates": dict(settings.feature_gates),
    }
    given = {key: value for key, value in fields.items() if value not in ({}, "", None)}
    return json.dumps(given, sort_keys=True) + "\n" if given else ""


def _may_set_itself(key: str) -> bool:
    domain = key.partition("/")[0] if "/" in key else ""
    if not any(domain == d or domain.endswith(f".{d}") for d in _DOMAINS):
        return True
    prefixes = ("kubelet.kubernetes.io", "node.kubernetes.io")
    return key in _SELF_SET or any(domain == p or domain.endswith(f".{p}") for p in prefixes)


def _registration(pool: PoolSettings, machine: MachineIdentity, traits: NodeTraits) -> dict[str, Yaml]:
    by_name = traits.node_name is NodeNameRule.MACHINE_NAME
    name = machine.name if by_name else layout.PLACEHOLDER_NODE_NAME
    arguments: list[Yaml] = [
        {"name": k, "value": v} for k, v in _kubelet_arguments(pool, machine, traits).items()
    ]
    node: dict[str, Yaml] = {"name": name, "criSocket": layout.CONTAINERD_SOCKET}
    if arguments:
        node["kubeletExtraArgs"] = arguments
    taints: list[Yaml] = [_taint(t.key, t.value, t.effect) for t in pool.taints]
    if pool.role is NodeRole.CONTROL_PLANE:
        taints.insert(0, _taint("node-role.kubernetes.io/control-plane", "", "NoSchedule"))
    if taints:
        node["taints"] = taints
    return node


def _taint(key: str, value: str, effect: str) -> dict[str, Yaml]:
    return {"key": key, "value": value, "effect": effect} if value else {"key": key, "effect": effect}


def _kubelet_arguments(pool: PoolSettings, machine: MachineIdentity, traits: NodeTraits) -> dict[str, str]:
    arguments: dict[str, str] = {}
    external = pool.settings.external_cloud_provider
    if traits.external_cloud_provider if external is None else external:
        arguments["cloud-provider"] = "external"
    if machine.node_ip:
        arguments["node-ip"] = machine.node_ip
    provider_id = provider_id_text(machine, traits)
    if provider_id:
        arguments["provider-id"] = provider_id
    labels, _ = kubelet_labels(pool.labels)
    if labels:
        arguments["node-labels"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return arguments


def provider_id_text(machine: MachineIdentity, traits: NodeTraits) -> str:
    """The providerID if it is known now, a placeholder if the machine learns it, empty if the CCM sets it."""
    if traits.provider_id is ProviderIdSource.FIXED:
        return machine.provider_id or _fixed(machine, traits)
    return layout.PLACEHOLDER_PROVIDER_ID if learns_provider_id(traits) else ""


def _fixed(machine: MachineIdentity, traits: NodeTraits) -> str:
    try:
        return traits.provider_id_format.format(name=machine.name)
    except KeyError as unknown:
        why = f"{traits.cloud} must know its {unknown} beforehand"
        raise Refused(f"machine {machine.name} has no providerID", why=why) from None


def learns_provider_id(traits: NodeTraits) -> bool:
    """Whether the machine asks the metadata service: where it is said to, or where no CCM runs to set it."""
    if traits.provider_id is ProviderIdSource.CCM:
        return not traits.external_cloud_provider
    return traits.provider_id is ProviderIdSource.METADATA


def etcd_data(traits: NodeTraits) -> str:
    """etcd's data directory."""
    return layout.ETCD_DISK_DATA if traits.etcd_device else layout.ETCD_DATA


def _init(bootstrap: Init, node: dict[str, Yaml], pool: PoolSettings, traits: NodeTraits) -> dict[str, Yaml]:
    ttl = f"{bootstrap.token_ttl_seconds}s"
    return {
        "apiVersion": _API,
        "kind": "InitConfiguration",
        "bootstrapTokens": [_token(token, ttl) for token in bootstrap.tokens],
        "nodeRegistration": node,
        **_patches(pool, traits),
    }


def _token(token: MachineToken, ttl: str) -> dict[str, Yaml]:
    return {
        "token": token.token.text,
        "description": f"first boot of machine {token.machine_id}",
        "ttl": ttl,
        "usages": ["signing", "authentication"],
        "groups": list(groups(token.machine_id)),
    }


def _join(
    cluster: ClusterSettings,
    pool: PoolSettings,
    bootstrap: Bootstrap,
    node: dict[str, Yaml],
    traits: NodeTraits,
) -> dict[str, Yaml]:
    assert not isinstance(bootstrap, Init)
    pin = bootstrap.secrets.pin if isinstance(bootstrap, JoinControlPlane) else bootstrap.ca_pin
    token: dict[str, Yaml] = {
        "token": bootstrap.token.text,
        "apiServerEndpoint": _endpoint(cluster),
        "caCertHashes": [pin],
    }
    config: dict[str, Yaml] = {
        "apiVersion": _API,
        "kind": "JoinConfiguration",
        "discovery": {"bootstrapToken": token},
        "nodeRegistration": node,
        "timeouts": _JOIN_TIMEOUTS,
        **_patches(pool, traits),
    }
    if isinstance(bootstrap, JoinControlPlane):
        config["controlPlane"] = {"localAPIEndpoint": {"bindPort": 6443}}
    return config


def _patches(pool: PoolSettings, traits: NodeTraits) -> dict[str, Yaml]:
    """Containers of this Linux machine always have some, which come from beside the user data."""
    if traits.cloud != "local" and not kubelet_patch(pool.settings):
        return {}
    return {"patches": {"directory": layout.PATCHES_FOLDER}}


def _cluster(cluster: ClusterSettings, traits: NodeTraits) -> dict[str, Yaml]:
    manager: list[Yaml] = [{"name": "flex-volume-plugin-dir", "value": layout.VOLUME_PLUGINS}]
    if traits.external_cloud_provider:
        manager.append({"name": "cloud-provider", "value": "external"})
    if cluster.node_mask != DEFAULT_NODE_MASK:
        manager.append({"name": "node-cidr-mask-size", "value": str(cluster.node_mask)})
    sans = dict.fromkeys(
        (cluster.endpoint_host, *((cluster.vip.address,) if cluster.vip else ()), *cluster.cert_sans)
    )
    return {
        "apiVersion": _API,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": cluster.kubernetes,
        "clusterName": cluster.name,
        "controlPlaneEndpoint": _endpoint(cluster),
        "encryptionAlgorithm": "ECDSA-P256",
        "networking": {"podSubnet": cluster.pods, "serviceSubnet": cluster.services},
        "apiServer": _api_server(list(sans)),
        "controllerManager": {"extraArgs": manager},
        "etcd": {"local": {"dataDir": etcd_data(traits)}},
    }


def _api_server(sans: list[str]) -> dict[str, Yaml]:
    folder = layout.ENCRYPTION_FOLDER
    volume: dict[str, Yaml] = {
        "name": "encryption",
        "hostPath": folder,
        "mountPath": folder,
        "readOnly": True,
        "pathType": "Directory",
    }
    return {
        "certSANs": sans,
        "extraArgs": [{"name": "encryption-provider-config", "value": layout.ENCRYPTION_CONFIG}],
        "extraVolumes": [volume],
    }


def _kubelet(traits: NodeTraits) -> dict[str, Yaml]:
    return {
        "apiVersion": _KUBELET_API,
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "rotateCertificates": True,
        "serverTLSBootstrap": True,
        # containers of this Linux machine share its kernel's tunables
        "protectKernelDefaults": traits.cloud != "local",
        "volumePluginDir": layout.VOLUME_PLUGINS,
    }


def _kube_proxy(traits: NodeTraits) -> dict[str, Yaml]:
    config: dict[str, Yaml] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
    }
    if traits.cloud == "local":
        config["conntrack"] = {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        }
    return config


def _endpoint(cluster: ClusterSettings) -> str:
    return f"{cluster.endpoint_host}:{cluster.endpoint_port}"
