"""OpenStack Nova: the fields of machine-controller's openstack provider (provider/openstack/types)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flatyard.decode.shape import REST, at_least, meta, shape
from flatyard.decode.types import JSON, ConfigVar, ConfigVarBool, Duration


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenstackMachine:
    """One Nova server. Empty network and region fields are filled from the cluster; there is no default flavor."""

    identity_endpoint: ConfigVar = ConfigVar()
    username: ConfigVar = ConfigVar()
    password: ConfigVar = field(default=ConfigVar(), metadata=meta(secret=True))
    application_credential_id: ConfigVar = field(
        default=ConfigVar(), metadata=meta("applicationCredentialID")
    )
    application_credential_secret: ConfigVar = field(default=ConfigVar(), metadata=meta(secret=True))
    domain_name: ConfigVar = ConfigVar()
    project_name: ConfigVar = ConfigVar()
    project_id: ConfigVar = field(default=ConfigVar(), metadata=meta("projectID"))
    tenant_name: ConfigVar = ConfigVar()
    tenant_id: ConfigVar = field(default=ConfigVar(), metadata=meta("tenantID"))
    token_id: ConfigVar = field(default=ConfigVar(), metadata=meta(secret=True))
    region: ConfigVar = ConfigVar()
    instance_ready_check_period: Duration = field(default=Duration(5))
    instance_ready_check_timeout: Duration = field(default=Duration(10))
    compute_api_version: ConfigVar = field(default=ConfigVar(), metadata=meta("computeAPIVersion"))
    image_name: ConfigVar = field(default=ConfigVar(), metadata=meta("image", doc="Image by name."))
    flavor: ConfigVar = field(default=ConfigVar(), metadata=meta(doc="For example m3.small."))
    security_groups: tuple[ConfigVar, ...] = ()
    network: ConfigVar = field(default=ConfigVar(), metadata=meta(doc="Deprecated; write networks."))
    networks: tuple[ConfigVar, ...] = field(default=(), metadata=meta(doc="The first is the primary one."))
    subnet: ConfigVar = ConfigVar()
    floating_ip_pool: ConfigVar = ConfigVar()
    availability_zone: ConfigVar = ConfigVar()
    trust_device_path: ConfigVarBool = ConfigVarBool()
    root_disk_size_gb: int | None = field(
        default=None,
        metadata=meta("rootDiskSizeGB", rule=at_least(1), doc="Set: boot from a volume of this size."),
    )
    root_disk_volume_type: ConfigVar = ConfigVar()
    node_volume_attach_limit: int | None = field(default=None, metadata=meta(rule=at_least(0)))
    server_group: ConfigVar = ConfigVar()
    config_drive: ConfigVarBool = ConfigVarBool()
    disable_port_security: ConfigVarBool = ConfigVarBool()
    tags: Mapping[str, str] = field(default_factory=dict, metadata=meta(doc="Server metadata."))
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    @property
    def size(self) -> str:
        """The flavor asked for; empty when none was."""
        return self.flavor.value

    @property
    def zone(self) -> str:
        """The availability zone asked for; empty: any."""
        return self.availability_zone.value

    @property
    def image(self) -> str:
        """The image asked for; empty: by channel or version."""
        return self.image_name.value
