"""Kubernetes as a system extension: the bakery's layout, feeds with hashes, the supported versions, the bakery.

What is exported here does no I/O, since `node` imports it. `contents` and `kubernetes_tree` say what goes into an
image, `squashfs` writes it, `squashfs_read` and `inspection` look into one; `release` downloads the programs;
`feed_folder`, `mirror` and `serve` hand images out. Commands and clouds import these by their own names.
"""

from __future__ import annotations

from flatyard.sysext.feed import Feed, Pin, SysextImage, parse_feed
from flatyard.sysext.layout import (
    BAKERY,
    NOOP_CONF,
    extension_arch,
    extension_conf,
    image_name,
    image_url,
    minor_of,
    sums_url,
    transfer_conf,
    transfer_name,
)
from flatyard.sysext.simulated import SimulatedContents, read_simulated, simulated_feed, simulated_image
from flatyard.sysext.versions import MINORS, Minor, cni_version, known, minor, sandbox_image

__all__ = [
    "BAKERY",
    "MINORS",
    "NOOP_CONF",
    "Feed",
    "Minor",
    "Pin",
    "SimulatedContents",
    "SysextImage",
    "cni_version",
    "extension_arch",
    "extension_conf",
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
