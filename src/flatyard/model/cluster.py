"""The cluster file: ``flatyard.dev/v1alpha1`` Cluster (DESIGN §3 "The cluster file"). Unknown keys are errors."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from flatyard.decode.shape import Peek, Rule, Union, at_least, between, matches, meta, one_of, shape
from flatyard.decode.types import Duration, IntOrString, Raw
from flatyard.model.machine import Taint
from flatyard.model.machines import BY_CLOUD, MachineSpec
from flatyard.model.meta import DNS_LABEL, ObjectMeta
from flatyard.model.versions import DEFAULT_KUBERNETES

API_VERSION = "flatyard.dev/v1alpha1"
Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
CLOUDS = ("azure", "aws", "gcp", "openstack", "vsphere", "local", "sim")


def _is_network(value: object) -> bool:
    try:
        ipaddress.ip_network(str(value))
    except ValueError:
        return False
    return "/" in str(value)


CIDR = Rule("a network like 10.0.0.0/16, host bits zero", _is_network)
VERSION = matches(r"v1\.[0-9]{1,3}\.[0-9]{1,3}", "a version like v1.34.3")
FLATCAR_VERSION = matches(r"[0-9]{4}\.[0-9]+\.[0-9]+", "a version like 4593.2.5")
CLOCK = matches(r"([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day like 01:00, in quotes")
TIMEZONE = matches(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+){0,2}", "a time zone like Europe/Berlin")
FEED = matches(
    r"https?://[^/\s?#@]+(/[^\s?#]*)?", "an address like https://mirror.example/extensions, above kubernetes/"
)
ABSOLUTE_PATH = matches(r"/[^\x00]*", "a path from the root, like /srv/flatcar_production_image.bin.bz2")
SIZE_OF_CONTROL_PLANE = one_of(1, 3, 5)


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class AzureCloud:
    """A location of Microsoft Azure. Group and network are made unless named."""

    location: str = field(metadata=meta(doc="a location like germanywestcentral"))
    resource_group: str = ""
    subscription_id: str = field(
        default="", metadata=meta("subscriptionID", doc="Empty: AZURE_SUBSCRIPTION_ID.")
    )
    tenant_id: str = field(default="", metadata=meta("tenantID"))
    vnet_name: str = ""
    subnet_name: str = ""
    zones: tuple[str, ...] = ()

    @property
    def region(self) -> str:
        """The location."""
        return self.location


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCloud:
    """A region of AWS. The network is made unless named."""

    region: str = field(metadata=meta(doc="a region like eu-central-1"))
    availability_zones: tuple[str, ...] = ()
    vpc_id: str = ""
    subnet_ids: tuple[str, ...] = field(default=(), metadata=meta("subnetIDs"))
    profile: str = field(default="", metadata=meta(doc="Profile of the shared AWS configuration."))


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class GcpCloud:
    """A project and region of Google Cloud. The network is made unless named."""

    project: str = field(metadata=meta(doc="a project id"))
    region: str = field(metadata=meta(doc="a region like europe-west3"))
    zones: tuple[str, ...] = ()
    network: str = ""
    subnetwork: str = ""


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenstackCloud:
    """An OpenStack project, by the name of an entry in clouds.yaml or by its address."""

    cloud: str = field(
        default="", metadata=meta(doc="Entry of clouds.yaml; empty: OS_CLOUD or the OS_* variables.")
    )
    auth_url: str = field(default="", metadata=meta("authURL"))
    region: str = ""
    external_network: str = field(default="", metadata=meta(doc="Empty: the only external one."))
    dns_nameservers: tuple[str, ...] = ()
    availability_zones: tuple[str, ...] = ()
    network: str = field(default="", metadata=meta(doc="An existing network; empty: one is made."))
    subnet: str = ""
    floating_ips: bool = field(
        default=False, metadata=meta("floatingIPs", doc="Workers get addresses of their own.")
    )


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class VsphereCloud:
    """A data centre of a vCenter."""

    server: str = field(metadata=meta(doc="host name of the vCenter"))
    datacenter: str = field(metadata=meta(doc="name of the data centre"))
    cluster: str = ""
    datastore: str = ""
    network: str = ""
    folder: str = ""
    resource_pool: str = ""
    insecure: bool = field(default=False, metadata=meta(doc="Accept any certificate of the vCenter."))

    @property
    def region(self) -> str:
        """The data centre."""
        return self.datacenter


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCloud:
    """This Linux machine; nodes are systemd-nspawn containers."""

    bridge: str = ""
    image: str = field(
        default="",
        metadata=meta(
            rule=ABSOLUTE_PATH,
            doc="A Flatcar disk image (.bin or .bin.bz2), or a directory that holds usr/. "
            "Empty: FLATYARD_LOCAL_IMAGE, or else a stand-in for Flatcar.",
        ),
    )

    @property
    def region(self) -> str:
        """There is one."""
        return "local"


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class SimCloud:
    """The simulated twin of a cloud: its limits, names, regions and refusals, nothing real."""

    as_: str = field(
        metadata=meta("as", rule=one_of("aws", "azure", "gcp", "openstack", "vsphere"), doc="Whose twin.")
    )
    region: str = ""
    seed: int = 1


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class CloudChoice:
    """Exactly one cloud."""

    azure: AzureCloud | None = None
    aws: AwsCloud | None = None
    gcp: GcpCloud | None = None
    openstack: OpenstackCloud | None = None
    vsphere: VsphereCloud | None = None
    local: LocalCloud | None = None
    sim: SimCloud | None = None

    @property
    def name(self) -> str:
        """The chosen cloud: one of CLOUDS."""
        return next((cloud for cloud in CLOUDS if getattr(self, cloud) is not None), "")

    @property
    def twin(self) -> str:
        """The cloud whose machine specs apply: itself, or the one that sim imitates."""
        return self.sim.as_ if self.sim else self.name

    @property
    def simulated(self) -> bool:
        """Whether nothing real is touched."""
        return self.sim is not None

    @property
    def region(self) -> str:
        """Region, location or data centre; may be empty on OpenStack and sim."""
        chosen = (
            self.azure or self.aws or self.gcp or self.openstack or self.vsphere or self.local or self.sim
        )
        return chosen.region if chosen else ""


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """Which Kubernetes, and where it comes from."""

    version: str = field(default=DEFAULT_KUBERNETES, metadata=meta(rule=VERSION, doc="Kubernetes version."))
    flavor: str = field(
        default="sysext",
        metadata=meta(
            rule=one_of("sysext", "image"), doc="sysext: pinned extension; image: baked into the image."
        ),
    )
    feed: str = field(
        default="",
        metadata=meta(
            rule=FEED,
            doc="Where extension images are fetched; empty: FLATYARD_FEED of whoever runs flatyard, or the bakery.",
        ),
    )
    patches: str = field(
        default="manual", metadata=meta(rule=one_of("manual", "auto"), doc="Who moves to new patch releases.")
    )

    @property
    def feed_base(self) -> str:
        """The feed's address without a slash at its end; empty when the file names none."""
        return self.feed.rstrip("/")


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Flatcar:
    """Which Flatcar: a channel, resolved once and then recorded, or a version."""

    channel: str = field(default="stable", metadata=meta(rule=one_of("stable", "beta", "alpha", "lts")))
    version: str | None = field(default=None, metadata=meta(rule=FLATCAR_VERSION))


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The cluster's address ranges, which may not overlap, and its pod network."""

    pods: str = field(default="10.244.0.0/16", metadata=meta(rule=CIDR))
    services: str = field(default="10.96.0.0/12", metadata=meta(rule=CIDR))
    nodes: str = field(default="10.0.0.0/16", metadata=meta(rule=CIDR, doc="The machines' own network."))
    cni: str = field(default="flannel", metadata=meta(rule=one_of("flannel", "cilium", "calico", "none")))


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The stable name of the Kubernetes API."""

    kind: str | None = field(
        default=None, metadata=meta(rule=one_of("lb", "vip", "dns"), doc="Absent: what the cloud does best.")
    )
    host: str = field(default="", metadata=meta(doc="DNS name; needed for dns."))
    address: str = field(default="", metadata=meta(doc="The virtual address; needed for vip."))
    port: int = field(default=6443, metadata=meta(rule=between(1, 65535)))


def _by_cloud(near: Peek, document: Peek) -> str | None:
    chosen = document.keys("spec", "cloud")
    cloud = chosen[0] if len(chosen) == 1 else None
    return document.text("spec", "cloud", "sim", "as") if cloud == "sim" else cloud


_MACHINE = meta(union=Union(_by_cloud, BY_CLOUD), doc="The cloud's machine spec, as in cloudProviderSpec.")


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """The control plane's machines."""

    replicas: int = field(
        default=1, metadata=meta(rule=SIZE_OF_CONTROL_PLANE, doc="How many; an odd number.")
    )
    machine: MachineSpec | None = field(default=None, metadata=_MACHINE)


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPool:
    """Shorthand for one MachineDeployment."""

    name: str = field(metadata=meta(rule=DNS_LABEL))
    replicas: int = field(default=1, metadata=meta(rule=at_least(0)))
    machine: MachineSpec | None = field(default=None, metadata=_MACHINE)
    labels: Mapping[str, str] = field(default_factory=dict, metadata=meta(doc="Labels of the Nodes."))
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    max_surge: IntOrString = 1
    max_unavailable: IntOrString = 0


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time in which nodes may reboot or change version."""

    days: tuple[Day, ...] = field(default=(), metadata=meta(doc="Empty: every day."))
    start: str = field(metadata=meta(rule=CLOCK))
    length: Duration
    timezone: str = field(default="UTC", metadata=meta(rule=TIMEZONE))


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """How nodes stay current. ``strategy`` None means inPlace for sysext and replace for image."""

    strategy: str | None = field(default=None, metadata=meta(rule=one_of("inPlace", "replace")))
    reboots: str = field(
        default="flatyard",
        metadata=meta(rule=one_of("flatyard", "kured", "locksmith", "off"), doc="The one owner of reboots."),
    )
    max_unavailable: IntOrString = 1
    windows: tuple[Window, ...] = ()


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may log in to nodes, as user core."""

    ssh_keys: tuple[str, ...] = ()
    exosphere: bool = field(
        default=False,
        metadata=meta(doc="OpenStack: machines show as Ready in Exosphere and have its user exouser too."),
    )


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class IgnitionExtras:
    """Butane or Ignition of the user, merged last.

    An entry's Raw value is a text (Butane or Ignition), a mapping (the same, inline), or ``{"file": path}``.
    """

    all: tuple[Raw, ...] = ()
    control_plane: tuple[Raw, ...] = ()
    workers: tuple[Raw, ...] = ()


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Addon:
    """One add-on by name, with values over its computed ones."""

    name: str
    version: str = ""
    namespace: str = ""
    values: Raw | None = None
    enabled: bool = True


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """What the cluster shall be."""

    cloud: CloudChoice
    kubernetes: Kubernetes = Kubernetes()
    flatcar: Flatcar = Flatcar()
    network: Network = Network()
    endpoint: Endpoint = Endpoint()
    control_plane: ControlPlane = ControlPlane()
    workers: tuple[WorkerPool, ...] = ()
    updates: Updates = Updates()
    access: Access = Access()
    ignition: IgnitionExtras = IgnitionExtras()
    addons: tuple[Addon, ...] = ()


@shape(unknown="error")
@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One Kubernetes cluster."""

    api_version: Literal["flatyard.dev/v1alpha1"] = "flatyard.dev/v1alpha1"
    kind: Literal["Cluster"] = "Cluster"
    metadata: ObjectMeta
    spec: ClusterSpec
    status: Raw | None = None

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.metadata.name

    @property
    def update_strategy(self) -> str:
        """``inPlace`` or ``replace``: what was written, or the flavor's own."""
        return self.spec.updates.strategy or (
            "inPlace" if self.spec.kubernetes.flavor == "sysext" else "replace"
        )
