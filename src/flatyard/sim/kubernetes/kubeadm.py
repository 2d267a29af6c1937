"""The part of kubeadm's configuration that a simulated `kubeadm init` or `join` depends on.

Follows the reference of kubeadm.k8s.io/v1beta4 (Kubernetes 1.31 and later). Documents of other kinds that
kubeadm accepts in the same file (KubeletConfiguration, KubeProxyConfiguration) are kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

API_VERSION = "kubeadm.k8s.io/v1beta4"
TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
DEFAULT_GROUP = "system:bootstrappers:kubeadm:default-node-token"
DAY = 86_400.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
Json = dict[str, Any]


class KubeadmError(Exception):
    """kubeadm stopped; the text is what it prints, `phase` the phase that failed."""

    def __init__(self, phase: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase
        self.message = message


@dataclass(frozen=True, slots=True)
class Taint:
    """A node's taint."""

    key: str
    effect: str
    value: str = ""

    def to_json(self) -> dict[str, str]:
        shown = {"key": self.key, "value": self.value, "effect": self.effect}
        return {key: value for key, value in shown.items() if value}


CONTROL_PLANE_TAINT = Taint("node-role.kubernetes.io/control-plane", "NoSchedule")


@dataclass(frozen=True, slots=True)
class BootstrapToken:
    """A token that InitConfiguration creates; `ttl` in seconds, 0 for ever; `expires` (RFC 3339) beats it."""

    token: str
    ttl: float = DAY
    expires: str = ""
    usages: tuple[str, ...] = ("signing", "authentication")
    groups: tuple[str, ...] = (DEFAULT_GROUP,)
    description: str = ""


@dataclass(frozen=True, slots=True)
class NodeRegistration:
    """How the node registers; `taints` None leaves kubeadm's default."""

    name: str = ""
    taints: tuple[Taint, ...] | None = None
    kubelet_args: tuple[tuple[str, str], ...] = ()
    cri_socket: str = "unix:///var/run/containerd/containerd.sock"
    ignored_errors: tuple[str, ...] = ()

    def argument(self, name: str) -> str:
        """The last value of a kubelet flag, or nothing."""
        return next((value for key, value in reversed(self.kubelet_args) if key == name), "")


@dataclass(frozen=True, slots=True)
class ClusterConfiguration:
    """What all machines share. `raw` is the document as given."""

    kubernetes_version: str
    cluster_name: str = "kubernetes"
    endpoint: str = ""
    pod_subnet: str = ""
    service_subnet: str = "10.96.0.0/12"
    dns_domain: str = "cluster.local"
    node_cidr_mask_size: int = 24
    proxy_disabled: bool = False
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class InitConfiguration:
    """Everything `kubeadm init --config` read."""

    cluster: ClusterConfiguration
    node: NodeRegistration
    tokens: tuple[BootstrapToken, ...] = ()
    advertise_address: str = ""
    bind_port: int = 6443
    skipped_phases: tuple[str, ...] = ()
    timeouts: Mapping[str, float] = field(default_factory=dict)
    kubelet: Json = field(default_factory=dict, repr=False)
    proxy: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class JoinConfiguration:
    """Everything `kubeadm join --config` read; `endpoint` is host:port."""

    node: NodeRegistration
    endpoint: str
    token: str
    tls_token: str
    ca_hashes: tuple[str, ...] = ()
    skip_ca: bool = False
    control_plane: bool = False
    timeouts: Mapping[str, float] = field(default_factory=dict)


def read_init(text: str) -> InitConfiguration:
    """Reads an init file; raises KubeadmError for what kubeadm would refuse."""
    documents = _documents(text)
    init = documents.get("InitConfiguration", {})
    if "InitConfiguration" not in documents and "ClusterConfiguration" not in documents:
        raise KubeadmError(
            "preflight", "no InitConfiguration or ClusterConfiguration kind was found in the YAML file"
        )
    address = _map(init, "localAPIEndpoint")
    return InitConfiguration(
        cluster=_cluster(documents.get("ClusterConfiguration", {})),
        node=_node(init),
        tokens=tuple(_token(entry) for entry in _maps(init, "bootstrapTokens")),
        advertise_address=str(address.get("advertiseAddress", "")),
        bind_port=int(address.get("bindPort", 6443)),
        skipped_phases=_strings(init, "skipPhases"),
        timeouts=_timeouts(init),
        kubelet=documents.get("KubeletConfiguration", {}),
        proxy=documents.get("KubeProxyConfiguration", {}),
    )


def read_join(text: str) -> JoinConfiguration:
    """Reads a join file; raises KubeadmError for what kubeadm would refuse."""
    documents = _documents(text)
    if "JoinConfiguration" not in documents:
        raise KubeadmError("preflight", "no JoinConfiguration found in the YAML file")
    join = documents["JoinConfiguration"]
    discovery = _map(join, "discovery")
    bootstrap = _map(discovery, "bootstrapToken")
    token = str(bootstrap.get("token", ""))
    if not bootstrap:
        raise KubeadmError("preflight", 'discovery: Invalid value: "": bootstrapToken or file must be set')
    _check_token(token, "discovery.bootstrapToken.token")
    return JoinConfiguration(
        node=_node(join),
        endpoint=str(bootstrap.get("apiServerEndpoint", "")),
        token=token,
        tls_token=str(discovery.get("tlsBootstrapToken", "") or token),
        ca_hashes=_strings(bootstrap, "caCertHashes"),
        skip_ca=bool(bootstrap.get("unsafeSkipCAVerification", False)),
        control_plane=join.get("controlPlane") is not None,
        timeouts=_timeouts(join),
    )


def minor(version: str) -> int:
    """`v1.34.3` → 34; raises ValueError for anything else."""
    found = re.fullmatch(r"v?1\.(\d+)(?:\.\d+)?(?:[-+].*)?", version)
    if not found:
        raise ValueError(f"{version!r} is no version of Kubernetes 1.x")
    return int(found[1])


def check_versions(kubeadm: str, kubelet: str, cluster: str) -> None:
    """kubeadm's version skew checks before it does anything; raises KubeadmError."""
    try:
        tool, node, wanted = minor(kubeadm), minor(kubelet), minor(cluster)
    except ValueError as problem:
        raise KubeadmError("preflight", f"couldn't parse Kubernetes version: {problem}") from None
    if wanted > tool:
        raise KubeadmError(
            "preflight",
            f"[ERROR KubernetesVersion]: Kubernetes version {cluster} is greater than kubeadm version {kubeadm}",
        )
    if wanted < tool - 1:
        raise KubeadmError(
            "preflight",
            f"this version of kubeadm only supports deploying clusters with the control plane version "
            f">= 1.{tool - 1}.0. Current version: {cluster}",
        )
    if node > wanted:
        raise KubeadmError(
            "preflight",
            f"[ERROR KubeletVersion]: the kubelet version is higher than the control plane version. This is not a "
            f"supported version skew and may lead to a malfunctional cluster. Kubelet version: {kubelet!r} "
            f"Control plane version: {cluster!r}",
        )
    if node < wanted - 3:
        raise KubeadmError("preflight", f"[ERROR KubeletVersion]: kubelet {kubelet} is too old for {cluster}")


def seconds(text: str) -> float:
    """A Go duration as metav1.Duration writes it; raises KubeadmError for anything else."""
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text and text != "0":
        raise KubeadmError("preflight", f'time: invalid duration "{text}"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _documents(text: str) -> dict[str, Json]:
    found: dict[str, Json] = {}
    try:
        loaded = list(yaml.load_all(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as problem:
        raise KubeadmError("preflight", f"error converting YAML to JSON: {problem}") from None
    for document in loaded:
        if document is None:
            continue
        if not isinstance(document, dict) or not document.get("kind"):
            raise KubeadmError(
                "preflight", "invalid configuration: kind and apiVersion is mandatory information"
            )
        _check_version(document)
        found[str(document["kind"])] = document
    return found


def _check_version(document: Json) -> None:
    version, kind = str(document.get("apiVersion", "")), document["kind"]
    if version.startswith("kubeadm.k8s.io/") and version != API_VERSION:
        raise KubeadmError(
            "preflight",
            f'your configuration file uses an old API spec: "{version}" (kind: "{kind}"); '
            f"this simulation reads {API_VERSION} only",
        )
    if not version:
        raise KubeadmError("preflight", f'no "apiVersion" in the document of kind "{kind}"')


def _cluster(raw: Json) -> ClusterConfiguration:
    networking = _map(raw, "networking")
    arguments = dict(_arguments(_map(raw, "controllerManager"), "extraArgs"))
    version = str(raw.get("kubernetesVersion", ""))
    if not version:
        raise KubeadmError(
            "preflight", "kubernetesVersion: without it kubeadm asks the internet for the newest"
        )
    return ClusterConfiguration(
        kubernetes_version=version,
        cluster_name=str(raw.get("clusterName", "kubernetes")),
        endpoint=str(raw.get("controlPlaneEndpoint", "")),
        pod_subnet=str(networking.get("podSubnet", "")),
        service_subnet=str(networking.get("serviceSubnet", "10.96.0.0/12")),
        dns_domain=str(networking.get("dnsDomain", "cluster.local")),
        node_cidr_mask_size=int(arguments.get("node-cidr-mask-size", 24)),
        proxy_disabled=bool(_map(raw, "proxy").get("disabled", False)),
        raw=raw,
    )


def _node(raw: Json) -> NodeRegistration:
    node = _map(raw, "nodeRegistration")
    taints = node.get("taints")
    return NodeRegistration(
        name=str(node.get("name", "")),
        taints=None if taints is None else tuple(_taint(taint) for taint in taints),
        kubelet_args=_arguments(node, "kubeletExtraArgs"),
        cri_socket=str(node.get("criSocket", "unix:///var/run/containerd/containerd.sock")),
        ignored_errors=_strings(node, "ignorePreflightErrors"),
    )


def _taint(raw: Json) -> Taint:
    return Taint(str(raw.get("key", "")), str(raw.get("effect", "")), str(raw.get("value", "")))


def _token(raw: Json) -> BootstrapToken:
    token = str(raw.get("token", ""))
    _check_token(token, "bootstrapTokens.token")
    return BootstrapToken(
        token=token,
        ttl=seconds(str(raw.get("ttl", "24h0m0s"))),
        expires=str(raw.get("expires", "")),
        usages=_strings(raw, "usages") or ("signing", "authentication"),
        groups=_strings(raw, "groups") or (DEFAULT_GROUP,),
        description=str(raw.get("description", "")),
    )


def _check_token(token: str, where: str) -> None:
    if not TOKEN.fullmatch(token):
        raise KubeadmError(
            "preflight",
            f'{where}: Invalid value: "{token}": the bootstrap token is invalid: it must be of the form '
            '"[a-z0-9]{6}.[a-z0-9]{16}"',
        )


def _arguments(raw: Json, key: str) -> tuple[tuple[str, str], ...]:
    value = raw.get(key) or []
    if not isinstance(value, list):
        raise KubeadmError(
            "preflight", f"json: cannot unmarshal object into Go struct field .{key} of type []Arg"
        )
    return tuple((str(entry["name"]), str(entry.get("value", ""))) for entry in value)


def _timeouts(raw: Json) -> Mapping[str, float]:
    return {name: seconds(str(value)) for name, value in _map(raw, "timeouts").items()}


def _map(raw: Json, key: str) -> Json:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise KubeadmError(
            "preflight", f"json: cannot unmarshal {type(value).__name__} into Go struct field .{key}"
        )
    return cast(Json, value)


def _maps(raw: Json, key: str) -> Sequence[Json]:
    return cast(Sequence[Json], raw.get(key) or ())


def _strings(raw: Json, key: str) -> tuple[str, ...]:
    return tuple(str(item) for item in raw.get(key) or ())
