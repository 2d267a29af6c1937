"""What a node's config is made from: values for the cluster, for a pool of equal machines, and for one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from flatyard.ignition import Config
from flatyard.model.annotations import KubeletSettings
from flatyard.model.machine import OperatingSystemSpec, Taint
from flatyard.pki import BootstrapToken, ClusterSecrets
from flatyard.sysext.feed import SysextImage


class NodeRole(StrEnum):
    """What the machine becomes. Values equal those of `clouds.cloud.Role`."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Vip:
    """The endpoint's address is held by the control planes themselves (kube-vip, ARP)."""

    address: str
    image: str = "ghcr.io/kube-vip/kube-vip:v1.0.1"
    interface: str = ""
    """Empty: the one with the default route."""


@dataclass(frozen=True, slots=True)
class NodeFile:
    """A file that the cloud's own controllers and drivers read on machines."""

    path: str
    text: str = field(repr=False)
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """The same on every machine of a cluster."""

    name: str
    id: str
    kubernetes: str
    """The control plane's version, `v1.34.3`."""
    endpoint_host: str
    endpoint_port: int = 6443
    endpoint_address: str = ""
    """Where the endpoint's name leads, for clusters whose name no DNS knows: each machine gets it in /etc/hosts."""
    pods: str = "10.244.0.0/16"
    node_mask: int = 24
    """The prefix length of each node's part of `pods`."""
    services: str = "10.96.0.0/12"
    flavor: str = "sysext"
    patches: str = "manual"
    """`auto`: each node follows the patches of its minor by itself."""
    reboots: str = "flatyard"
    """The one owner of reboots: flatyard, kured, locksmith or off."""
    reboot_window: tuple[str, str] | None = None
    """For locksmith: start and length as it writes them, `("Sat 01:00", "4h")`."""
    cert_sans: tuple[str, ...] = ()
    """Further names and addresses of the API, beside the endpoint's."""
    vip: Vip | None = None
    feed: str = ""
    """Base address of the feed that sysupdate follows; empty: the bakery's."""
    files: tuple[NodeFile, ...] = ()
    """On every machine, as `clouds.cloud.Cloud.node_files` gives them."""
    exosphere: bool = False
    """Machines show as Ready in Exosphere and have its user (OpenStack only)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """The same on every machine of a MachineSet, or on every control plane."""

    role: NodeRole
    name: str
    kubelet: str
    """The kubelet's version, `v1.34.3`."""
    image: SysextImage | None
    """The pinned extension image; None with flavor `image` only."""
    flatcar: str = ""
    """The release that the machines boot, `4593.2.5`; empty where nobody knows."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the Node. Those that a kubelet may not set itself are left out (see `kubelet_labels`)."""
    taints: tuple[Taint, ...] = ()
    settings: KubeletSettings = field(default_factory=KubeletSettings)
    system: OperatingSystemSpec = field(default_factory=OperatingSystemSpec)
    ssh_keys: tuple[str, ...] = ()
    extras: tuple[Config, ...] = ()
    """The user's own configs, laid over ours in this order (read with `extras.read_extra`)."""
    overwrite: Config | None = None
    """Instead of everything here (machine-controller's overwriteCloudConfig)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineIdentity:
    """One machine. `name` is also the host name, and the node's name where the cloud's rule says so.

    `provider_id` is for clouds that know it beforehand (traits FIXED) and cannot make it of the name alone,
    `node_ip` for machines with several addresses.
    """

    id: str
    name: str
    provider_id: str = ""
    node_ip: str = ""


@dataclass(frozen=True, slots=True)
class MachineToken:
    """A bootstrap token with the id of the machine that may use it."""

    token: BootstrapToken
    machine_id: str


@dataclass(frozen=True, slots=True)
class Init:
    """The first control plane. `tokens` are those of the first machines that join; at least one, since kubeadm
    would otherwise make one of its own that anybody may use (give the machine's own when no other joins)."""

    secrets: ClusterSecrets = field(repr=False)
    tokens: tuple[MachineToken, ...]
    token_ttl_seconds: int = 1800

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError("the first control plane needs at least one bootstrap token")


@dataclass(frozen=True, slots=True)
class JoinControlPlane:
    """A further control plane. `peer` is the address of a living one, used while joining where a backend cannot
    reach itself through the endpoint."""

    secrets: ClusterSecrets = field(repr=False)
    token: BootstrapToken
    peer: str = ""


@dataclass(frozen=True, slots=True)
class JoinWorker:
    """A worker: a token of its own and the hash of the cluster's CA, `sha256:HEX`."""

    token: BootstrapToken
    ca_pin: str


Bootstrap = Init | JoinControlPlane | JoinWorker
"""How a machine becomes a node."""
