"""Google Compute Engine: the fields of machine-controller's gce provider (pkg/cloudprovider/provider/gce/types)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flatyard.decode.shape import REST, at_least, meta, shape
from flatyard.decode.types import JSON, ConfigVar, ConfigVarBool

DEFAULT_SIZE = "e2-standard-2"


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class GcpMachine:
    """One Compute Engine instance. Empty project, zone and network fields are filled from the cluster."""

    service_account: ConfigVar = field(
        default=ConfigVar(), metadata=meta(secret=True, doc="JSON key, plain or base64.")
    )
    zone_name: ConfigVar = field(default=ConfigVar(), metadata=meta("zone"))
    machine_type: ConfigVar = field(default=ConfigVar(), metadata=meta(doc="For example e2-standard-2."))
    disk_size: int = field(default=25, metadata=meta(rule=at_least(1), doc="GB of the boot disk."))
    disk_type: ConfigVar = field(
        default=ConfigVar("pd-standard"), metadata=meta(doc="pd-standard or pd-ssd.")
    )
    network: ConfigVar = ConfigVar()
    subnetwork: ConfigVar = ConfigVar()
    preemptible: ConfigVarBool = ConfigVarBool()
    automatic_restart: ConfigVarBool = ConfigVarBool()
    provisioning_model: ConfigVar = ConfigVar()
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    assign_public_ip_address: ConfigVarBool = field(
        default=ConfigVarBool(), metadata=meta("assignPublicIPAddress", doc="Absent means true.")
    )
    multizone: ConfigVarBool = ConfigVarBool()
    regional: ConfigVarBool = ConfigVarBool()
    custom_image: ConfigVar = field(
        default=ConfigVar(), metadata=meta(doc="Image name; empty: by channel or version.")
    )
    disable_machine_service_account: ConfigVarBool = ConfigVarBool()
    enable_nested_virtualization: ConfigVarBool = ConfigVarBool()
    min_cpu_platform: ConfigVar = field(default=ConfigVar(), metadata=meta("minCPUPlatform"))
    guest_os_features: tuple[str, ...] = field(default=(), metadata=meta("guestOSFeatures"))
    project_id: ConfigVar = field(default=ConfigVar(), metadata=meta("projectID"))
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    @property
    def size(self) -> str:
        """The machine type asked for, or the default one."""
        return self.machine_type.value or DEFAULT_SIZE

    @property
    def zone(self) -> str:
        """The zone asked for; empty: any."""
        return self.zone_name.value

    @property
    def image(self) -> str:
        """The image asked for; empty: by channel or version."""
        return self.custom_image.value
