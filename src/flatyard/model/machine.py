"""The ``cluster.k8s.io/v1alpha1`` family: MachineDeployment, MachineSet, Machine.

Fields and defaults follow machine-controller (sdk/apis/cluster/v1alpha1 and its defaulting webhook); unknown keys
are kept, so that a document survives a round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from flatyard.decode.shape import REST, Peek, Union, at_least, meta, one_of, shape
from flatyard.decode.types import JSON, IntOrString, Raw
from flatyard.model.machines import BY_PROVIDER, CLOUD_OF_PROVIDER, MachineSpec
from flatyard.model.meta import LabelSelector, ObjectMeta, TemplateMeta

API_VERSION = "cluster.k8s.io/v1alpha1"
NAMESPACE = "kube-system"


def _by_provider(near: Peek, document: Peek) -> str | None:
    return near.text("cloudProvider")


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingSystemSpec:
    """Flatcar's settings. ``cloud_init`` is not upstream's: it takes the Ignition that old guides put there."""

    disable_auto_update: bool = False
    disable_locksmith_d: bool = False
    disable_update_engine: bool = False
    provisioning_utility: str = field(default="", metadata=meta(rule=one_of("", "ignition", "cloud-init")))
    cloud_init: str = field(
        default="", metadata=meta(doc="Ignition JSON or Butane, merged after the generated config.")
    )
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """Name servers of a machine."""

    servers: tuple[str, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """A machine's static network settings."""

    cidr: str = ""
    gateway: str = ""
    dns: DnsConfig | None = None
    ip_family: str = field(
        default="", metadata=meta(rule=one_of("", "IPv4", "IPv6", "IPv4+IPv6", "IPv6+IPv4"))
    )
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """``providerSpec.value``: the cloud, its machine, the operating system and its settings."""

    ssh_public_keys: tuple[str, ...] = ()
    ca_public_key: str = ""
    cloud_provider: str = field(metadata=meta(doc="aws, azure, gce, openstack, vsphere or local."))
    cloud_provider_spec: MachineSpec | None = field(
        default=None,
        metadata=meta(
            union=Union(_by_provider, BY_PROVIDER, "cloudProvider"), doc="One machine of that cloud."
        ),
    )
    operating_system: str = field(metadata=meta(doc="Only flatcar."))
    operating_system_spec: OperatingSystemSpec = OperatingSystemSpec()
    network: NetworkConfig | None = None
    overwrite_cloud_config: str | None = field(
        default=None, metadata=meta(doc="Ignition JSON or Butane in place of the generated config.")
    )
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    @property
    def cloud(self) -> str:
        """The cloud's name in a Cluster (``gcp`` for ``gce``); empty for one that flatyard does not know."""
        return CLOUD_OF_PROVIDER.get(self.cloud_provider, "")


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpecSource:
    """Where the provider spec is: always ``value`` (``valueFrom`` was never implemented upstream)."""

    value: ProviderSpec
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """A taint that the node gets."""

    key: str
    value: str = ""
    effect: str = field(metadata=meta(rule=one_of("NoSchedule", "PreferNoSchedule", "NoExecute")))
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineVersions:
    """Kubernetes versions on the machine. An empty kubelet means the fleet's current one."""

    kubelet: str = ""
    control_plane: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpecification:
    """What one machine shall be. ``metadata`` and ``taints`` go to its Node."""

    metadata: TemplateMeta = field(default=TemplateMeta())
    taints: tuple[Taint, ...] = ()
    provider_spec: ProviderSpecSource
    versions: MachineVersions = MachineVersions()
    provider_id: str = field(default="", metadata=meta("providerID"))
    config_source: Raw | None = None
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineTemplate:
    """What each machine of a set is made from."""

    metadata: TemplateMeta = field(default=TemplateMeta())
    spec: MachineSpecification
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReference:
    """A reference to another object."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAddress:
    """One address of a machine; ``type`` is InternalIP, ExternalIP, InternalDNS, ExternalDNS or Hostname."""

    type: str = ""
    address: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of a status."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_heartbeat_time: str = ""
    last_transition_time: str = ""
    last_update_time: str = ""
    observed_generation: int = 0
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class LastOperation:
    """What was last done to a machine."""

    description: str = ""
    last_updated: str = ""
    state: str = ""
    type: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStatus:
    """What was seen of a machine."""

    node_ref: ObjectReference | None = None
    last_updated: str = ""
    versions: MachineVersions | None = None
    error_reason: str = ""
    error_message: str = ""
    provider_status: Raw | None = None
    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    last_operation: LastOperation | None = None
    phase: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSetStatus:
    """What was seen of a machine set."""

    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int = 0
    error_reason: str = ""
    error_message: str = ""
    conditions: tuple[Condition, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineDeploymentStatus:
    """What was seen of a machine deployment."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    label_selector: str = ""
    conditions: tuple[Condition, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class RollingUpdate:
    """How many machines may be above or below the wanted number; surge rounds up, unavailable down."""

    max_surge: IntOrString = field(default=1, metadata=meta(doc="A number or a percentage."))
    max_unavailable: IntOrString = field(default=0, metadata=meta(doc="A number or a percentage."))
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How machines are replaced. OnDelete replaces only what somebody deletes."""

    type: str = field(default="RollingUpdate", metadata=meta(rule=one_of("RollingUpdate", "OnDelete")))
    rolling_update: RollingUpdate = RollingUpdate()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


_DELETE_POLICY = one_of("", "Random", "Newest", "Oldest")


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSetSpec:
    """A number of equal machines."""

    replicas: int = field(default=1, metadata=meta(rule=at_least(0)))
    min_ready_seconds: int = field(default=0, metadata=meta(rule=at_least(0)))
    delete_policy: str = field(
        default="", metadata=meta(rule=_DELETE_POLICY, doc="Which machine goes first.")
    )
    selector: LabelSelector = field(default=LabelSelector())
    template: MachineTemplate
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineDeploymentSpec:
    """A number of equal machines and how they are replaced when the template changes."""

    replicas: int = field(default=1, metadata=meta(rule=at_least(0), doc="How many machines."))
    selector: LabelSelector
    template: MachineTemplate
    strategy: Strategy = Strategy()
    min_ready_seconds: int = field(default=0, metadata=meta(rule=at_least(0)))
    revision_history_limit: int = field(default=1, metadata=meta(rule=at_least(0)))
    paused: bool = False
    progress_deadline_seconds: int = field(default=600, metadata=meta(rule=at_least(1)))
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine."""

    api_version: Literal["cluster.k8s.io/v1alpha1"] = "cluster.k8s.io/v1alpha1"
    kind: Literal["Machine"] = "Machine"
    metadata: ObjectMeta = field(default=ObjectMeta())
    spec: MachineSpecification
    status: MachineStatus = MachineStatus()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSet:
    """A set of equal machines."""

    api_version: Literal["cluster.k8s.io/v1alpha1"] = "cluster.k8s.io/v1alpha1"
    kind: Literal["MachineSet"] = "MachineSet"
    metadata: ObjectMeta = field(default=ObjectMeta())
    spec: MachineSetSpec
    status: MachineSetStatus = MachineSetStatus()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape(unknown="keep")
@dataclass(frozen=True, slots=True, kw_only=True)
class MachineDeployment:
    """A rolling set of machines."""

    api_version: Literal["cluster.k8s.io/v1alpha1"] = "cluster.k8s.io/v1alpha1"
    kind: Literal["MachineDeployment"] = "MachineDeployment"
    metadata: ObjectMeta = field(default=ObjectMeta())
    spec: MachineDeploymentSpec
    status: MachineDeploymentStatus = MachineDeploymentStatus()
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)
