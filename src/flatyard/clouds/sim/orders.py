"""What calls to the provider say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInstance:
    """What a create call says. `token` is the client token or request id where the cloud has such."""

    name: str
    token: str
    zone: str
    size: str
    image: str
    subnet: str
    groups: tuple[str, ...]
    user_data: bytes = field(repr=False)
    tags: Mapping[str, str] = field(default_factory=dict)
    port: str = ""
    group: str = ""
    """Resource group or folder."""
    public: bool = False
    etcd_gib: int = 0
    """Size of an extra disk that ends with the instance; 0: none."""
    vcpus: int = 0
    memory_mib: int = 0
    """CPUs and memory where the cloud has no sizes."""

    @property
    def print(self) -> str:
        """Digest of everything said."""
        told = (self.name, self.zone, self.size, self.image, self.subnet, self.groups, self.port, self.group)
        rest = (self.public, self.etcd_gib, self.vcpus, self.memory_mib, sorted(self.tags.items()))
        return hashlib.sha256(repr((told, rest)).encode() + self.user_data).hexdigest()
