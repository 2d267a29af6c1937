"""Microsoft Azure: the fields of machine-controller's azure provider (pkg/cloudprovider/provider/azure/types)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flatyard.decode.shape import REST, at_least, meta, one_of, shape
from flatyard.decode.types import JSON, ConfigVar, ConfigVarBool

DEFAULT_SIZE = "Standard_B2s"
DISKS = ("Standard_LRS", "StandardSSD_LRS", "Premium_LRS")


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """The purchase plan of a marketplace image."""

    name: str = ""
    publisher: str = ""
    product: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """A marketplace image: publisher, offer, SKU and version."""

    publisher: str = ""
    offer: str = ""
    sku: str = ""
    version: str = ""
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    @property
    def urn(self) -> str:
        """``publisher:offer:sku:version`` as the az command writes it."""
        return ":".join((self.publisher, self.offer, self.sku, self.version))


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityProfile:
    """Trusted launch."""

    security_type: str = field(default="", metadata=meta(rule=one_of("", "TrustedLaunch", "Standard")))
    secure_boot_enabled: bool | None = None
    v_tpm_enabled: bool | None = None
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class AzureMachine:
    """One virtual machine. Empty location, group and network fields are filled from the cluster."""

    subscription_id: ConfigVar = field(default=ConfigVar(), metadata=meta("subscriptionID"))
    tenant_id: ConfigVar = field(default=ConfigVar(), metadata=meta("tenantID"))
    client_id: ConfigVar = field(default=ConfigVar(), metadata=meta("clientID"))
    client_secret: ConfigVar = field(default=ConfigVar(), metadata=meta(secret=True))
    location: ConfigVar = ConfigVar()
    resource_group: ConfigVar = ConfigVar()
    vnet_resource_group: ConfigVar = ConfigVar()
    vm_size: ConfigVar = field(default=ConfigVar(), metadata=meta(doc="For example Standard_B2s."))
    vnet_name: ConfigVar = ConfigVar()
    subnet_name: ConfigVar = ConfigVar()
    load_balancer_sku: ConfigVar = ConfigVar()
    route_table_name: ConfigVar = ConfigVar()
    availability_set: ConfigVar = ConfigVar()
    assign_availability_set: bool | None = None
    security_group_name: ConfigVar = ConfigVar()
    zones: tuple[str, ...] = ()
    image_plan: ImagePlan | None = None
    image_reference: ImageReference | None = None
    image_id: ConfigVar = field(default=ConfigVar(), metadata=meta("imageID"))
    enable_accelerated_networking: bool | None = None
    enable_boot_diagnostics: bool | None = None
    os_disk_size: int | None = field(
        default=None, metadata=meta(rule=at_least(0), doc="GB; 0: the image's own.")
    )
    os_disk_sku: str | None = field(default=None, metadata=meta("osDiskSKU", rule=one_of(*DISKS)))
    data_disk_size: int | None = field(default=None, metadata=meta(rule=at_least(0), doc="GB; 0: none."))
    data_disk_sku: str | None = field(
        default=None, metadata=meta("dataDiskSKU", rule=one_of(*DISKS, "UltraSSD_LRS"))
    )
    assign_public_ip: ConfigVarBool = field(default=ConfigVarBool(), metadata=meta("assignPublicIP"))
    public_ip_sku: str | None = field(
        default=None, metadata=meta("publicIPSKU", rule=one_of("Basic", "Standard"))
    )
    tags: Mapping[str, str] = field(default_factory=dict)
    security_profile: SecurityProfile | None = None
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    @property
    def size(self) -> str:
        """The VM size asked for, or the default one."""
        return self.vm_size.value or DEFAULT_SIZE

    @property
    def zone(self) -> str:
        """The first zone asked for; empty: any."""
        return self.zones[0] if self.zones else ""

    @property
    def image(self) -> str:
        """The image asked for, by id before reference; empty: by channel or version."""
        return self.image_id.value or (self.image_reference.urn if self.image_reference else "")
