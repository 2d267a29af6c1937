"""Amazon EC2: the fields of machine-controller's aws provider (pkg/cloudprovider/provider/aws/types)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flatyard.decode.shape import REST, at_least, between, meta, one_of, shape
from flatyard.decode.types import JSON, ConfigVar, ConfigVarBool

DEFAULT_SIZE = "t3.medium"


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class SpotInstanceConfig:
    """How a spot instance is bought."""

    max_price: str = field(default="", metadata=meta(doc="USD per hour; empty: the on-demand price."))
    persistent_request: bool = False
    interruption_behavior: str = field(
        default="", metadata=meta(rule=one_of("", "hibernate", "stop", "terminate"))
    )
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)


@shape()
@dataclass(frozen=True, slots=True, kw_only=True)
class AwsMachine:
    """One EC2 instance. Empty region, network and image fields are filled from the cluster."""

    access_key_id: ConfigVar = field(default=ConfigVar(), metadata=meta(secret=True))
    secret_access_key: ConfigVar = field(default=ConfigVar(), metadata=meta(secret=True))
    assume_role_arn: ConfigVar = field(default=ConfigVar(), metadata=meta("assumeRoleARN"))
    assume_role_external_id: ConfigVar = field(default=ConfigVar(), metadata=meta("assumeRoleExternalID"))
    region: ConfigVar = ConfigVar()
    availability_zone: ConfigVar = ConfigVar()
    vpc_id: ConfigVar = ConfigVar()
    subnet_id: ConfigVar = ConfigVar()
    security_group_ids: tuple[ConfigVar, ...] = field(default=(), metadata=meta("securityGroupIDs"))
    instance_profile: ConfigVar = ConfigVar()
    instance_type: ConfigVar = field(default=ConfigVar(), metadata=meta(doc="For example t3.medium."))
    ami: ConfigVar = field(
        default=ConfigVar(), metadata=meta(doc="Image id; empty: by Flatcar channel or version.")
    )
    disk_size: int | None = field(default=None, metadata=meta(rule=at_least(1), doc="GB of the root volume."))
    disk_type: ConfigVar = field(
        default=ConfigVar("standard"), metadata=meta(doc="standard, io1, gp2, gp3, sc1, st1.")
    )
    disk_iops: int | None = field(default=None, metadata=meta(rule=at_least(1)))
    ebs_volume_encrypted: ConfigVarBool = ConfigVarBool()
    tags: Mapping[str, str] = field(default_factory=dict)
    assign_public_ip: bool | None = field(
        default=None, metadata=meta("assignPublicIP", doc="Absent means true.")
    )
    metadata_hop_limit: int | None = field(
        default=None,
        metadata=meta(
            rule=between(1, 64),
            doc="Not upstream's: hops of the metadata service's answers; absent means 1, which no pod reaches.",
        ),
    )
    is_spot_instance: bool | None = None
    spot_instance_config: SpotInstanceConfig | None = None
    extra: Mapping[str, JSON] = field(default_factory=dict, metadata=REST)

    @property
    def size(self) -> str:
        """The instance type asked for, or the default one."""
        return self.instance_type.value or DEFAULT_SIZE

    @property
    def zone(self) -> str:
        """The availability zone asked for; empty: any."""
        return self.availability_zone.value

    @property
    def image(self) -> str:
        """The image asked for; empty: by channel or version."""
        return self.ami.value
