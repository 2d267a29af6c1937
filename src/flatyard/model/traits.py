"""What differs between clouds for one node, as data: the renderer and the planner read it, clouds declare it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum


class NodeNameRule(StrEnum):
    """Where a node's name comes from."""

    MACHINE_NAME = "machine-name"
    PRIVATE_DNS = "private-dns"
    """The instance's private DNS name (EC2)."""


class ProviderIdSource(StrEnum):
    """How a machine learns its own providerID."""

    FIXED = "fixed"
    """Known before the machine exists (rendered in)."""
    METADATA = "metadata"
    """From the cloud's metadata service through Flatcar's coreos-metadata."""
    CCM = "ccm"
    """The cloud controller manager sets it."""


class UserDataEncoding(StrEnum):
    """How user data travels."""

    PLAIN = "plain"
    BASE64 = "base64"
    GZIP_BASE64 = "gzip+base64"


class StashScheme(StrEnum):
    """How a first-boot stub fetches the rest of its config."""

    HTTPS = "https"
    S3 = "s3"
    GS = "gs"
    NONE = "none"


class MetadataBlock(StrEnum):
    """How the metadata service is closed to pods."""

    HOP_LIMIT = "hop-limit"
    HOST_RULE = "host-rule"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTraits:
    """One cloud's traits as far as a node's config depends on them."""

    cloud: str
    node_name: NodeNameRule = NodeNameRule.MACHINE_NAME
    provider_id: ProviderIdSource = ProviderIdSource.METADATA
    provider_id_format: str = ""
    """The providerID with ``{id}``, ``{zone}``, ``{name}`` … to fill in, for example ``aws:///{zone}/{id}``."""
    stash: StashScheme = StashScheme.HTTPS
    user_data_vanishes: bool = False
    """The user data is deleted once the machine has read it, so that secrets may be in it."""
    external_cloud_provider: bool = False
    """True only when the cluster runs this cloud's controller manager."""
    hairpin: bool = True
    """A load balancer's backend can reach itself through it."""
    metadata_block: MetadataBlock = MetadataBlock.HOST_RULE
    metadata_address: str = "169.254.169.254"
    etcd_device: str = ""
    """Device of the extra etcd disk; empty: the cloud has none."""
    etcd_devices: tuple[tuple[str, str], ...] = ()
    """Patterns of machine sizes, each with the etcd disk's device on those that it matches whole."""
    root_device: str = ""
    ignition_platform: str = ""
    """Flatcar's ``ignition.platform.id``."""
    architectures: tuple[str, ...] = ("amd64",)
    simulated: bool = False

    def for_size(self, size: str) -> NodeTraits:
        """The traits of machines of one size: the etcd disk has the name that it has there."""
        device = device_of_size(self.etcd_devices, size, self.etcd_device)
        return self if device == self.etcd_device else replace(self, etcd_device=device)


def device_of_size(devices: tuple[tuple[str, str], ...], size: str, otherwise: str) -> str:
    """The device of the first pattern that matches the whole size. No disk (`otherwise` empty) has no name anywhere."""
    if not otherwise:
        return ""
    return next((device for pattern, device in devices if re.fullmatch(pattern, size)), otherwise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """One cloud's limits that planning must keep."""

    user_data_bytes: int
    """The longest user data, in bytes, after ``user_data_encoding`` if ``limit_after_encoding``."""
    user_data_encoding: UserDataEncoding = UserDataEncoding.PLAIN
    limit_after_encoding: bool = False
    machine_name_length: int = 63
    tag_count: int = 50
    tag_value_length: int = 256
    create_timeout_seconds: int = 600
    list_lag_seconds: float = 30.0
    """How long a list may not show what a create made; 0 where it shows everything at once, deletions too."""
    evidence_after_seconds: float = 90.0
    """When a machine that has not joined is first asked why: not before it could have joined."""
    evidence_every_seconds: float = 60.0
    """How often it is asked again; consoles of clouds are slow, and asking them is counted."""
