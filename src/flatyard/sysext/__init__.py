"""Kubernetes as a system extension: the bakery's layout, feeds with hashes, the supported versions."""

from __future__ import annotations

from flatyard.sysext.feed import Feed, Pin, SysextImage, parse_feed
from flatyard.sysext.layout import (
    BAKERY,
    NOOP_CONF,
    extension_arch,
    image_name,
    image_url,
    minor_of,
    sums_url,
    transfer_conf,
    transfer_name,
)
from flatyard.sysext.simulated import SimulatedContents, read_simulated, simulated_feed, simulated_image
from flatyard.sysext.versions import MINORS, Minor, known, minor, sandbox_image

__all__ = [
    "BAKERY",
    "MINORS",
    "NOOP_CONF",
    "Feed",
    "Minor",
    "Pin",
    "SimulatedContents",
    "SysextImage",
    "extension_arch",
    "image_name",
    "image_url",
    "known",
    "minor",
    "minor_of",
    "parse_feed",
    "read_simulated",
    "sandbox_image",
    "simulated_feed",
    "simulated_image",
    "sums_url",
    "transfer_conf",
    "transfer_name",
]
