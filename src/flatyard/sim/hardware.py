"""What a simulated machine consists of before it has read a byte of configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Powered(Protocol):
    """What an instance gives its machine: the attributes of `Hardware`, as the provider knows them."""

    @property
    def instance_id(self) -> str: ...
    @property
    def machine_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def node_name(self) -> str: ...
    @property
    def provider_id(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def addresses(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def devices(self) -> tuple[str, ...]: ...
    @property
    def arch(self) -> str: ...
    @property
    def vcpus(self) -> int: ...
    @property
    def memory_mib(self) -> int: ...
    @property
    def image_version(self) -> str: ...
    @property
    def kubernetes(self) -> str | None: ...
    @property
    def platform(self) -> str: ...
    @property
    def user_data(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One machine. `node_name` and `provider_id` are what the cloud's metadata service tells it about itself.

    `addresses` are pairs of Kubernetes address type and value, `devices` the block devices that exist besides
    the root disk's own labels; `kubernetes` is the version baked into the image, None for plain Flatcar.
    `user_data_limit` in bytes, 0: the cloud has refused what is too long already.
    """

    instance_id: str
    machine_id: str = ""
    name: str = ""
    hostname: str = ""
    node_name: str = ""
    provider_id: str = ""
    region: str = ""
    zone: str = ""
    addresses: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = ()
    arch: str = "amd64"
    vcpus: int = 2
    memory_mib: int = 4096
    image_version: str = "4593.2.5"
    kubernetes: str | None = None
    platform: str = "qemu"
    user_data: bytes = field(default=b"", repr=False)
    user_data_limit: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    """More of what the metadata service says, by the name that coreos-metadata gives it."""

    @property
    def address(self) -> str:
        """The machine's own address in its network."""
        return next((value for kind, value in self.addresses if kind == "InternalIP"), "")

    @classmethod
    def of(cls, power: Powered) -> Hardware:
        """The machine in an instance."""
        return cls(
            instance_id=power.instance_id,
            machine_id=power.machine_id,
            name=power.name,
            hostname=power.hostname,
            node_name=power.node_name,
            provider_id=power.provider_id,
            region=power.region,
            zone=power.zone,
            addresses=power.addresses,
            devices=power.devices,
            arch=power.arch,
            vcpus=power.vcpus,
            memory_mib=power.memory_mib,
            image_version=power.image_version,
            kubernetes=power.kubernetes,
            platform=power.platform,
            user_data=power.user_data,
        )
