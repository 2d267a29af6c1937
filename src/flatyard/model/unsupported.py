"""Clouds that users of machine-controller name and that flatyard does not run on, with the reason of each.

Sources: the support matrix of machine-controller (Flatcar is not supported on DigitalOcean, Hetzner and Nutanix)
and its list of providers (sdk/providerconfig); the pages of flatcar.org on each cloud.
"""

from __future__ import annotations

from collections.abc import Mapping

_NO_IMAGE = (
    "the cloud offers no Flatcar image, machine-controller does not support it there, "
    "and flatyard has no adapter"
)
_NO_ADAPTER = "flatyard has no adapter for it"
_OTHERS = "its machines are made by somebody else, and flatyard's nodes are machines that it makes"

REASONS: Mapping[str, tuple[str, str]] = {
    "digitalocean": ("DigitalOcean", _NO_IMAGE),
    "hetzner": ("Hetzner Cloud", _NO_IMAGE),
    "nutanix": ("Nutanix", _NO_IMAGE),
    "alibaba": ("Alibaba Cloud", _NO_ADAPTER),
    "anexia": ("Anexia", _NO_ADAPTER),
    "equinixmetal": ("Equinix Metal", _NO_ADAPTER),
    "packet": ("Equinix Metal", _NO_ADAPTER),
    "kubevirt": ("KubeVirt", _NO_ADAPTER),
    "linode": ("Linode", _NO_ADAPTER),
    "opennebula": ("OpenNebula", _NO_ADAPTER),
    "scaleway": ("Scaleway", _NO_ADAPTER),
    "vmware-cloud-director": ("VMware Cloud Director", _NO_ADAPTER),
    "vultr": ("Vultr", _NO_ADAPTER),
    "baremetal": ("machines of provider baremetal", _OTHERS),
    "edge": ("machines of provider edge", _OTHERS),
    "external": ("machines of provider external", _OTHERS),
    "fake": ("machines of provider fake", "it makes none; cloud: {sim: {as: aws}} simulates real ones"),
}
"""By the name in `cloudProvider`: what it is called, and why not."""


def why_not(name: str) -> str:
    """The sentence that refuses a cloud; empty for a name that nobody knows."""
    found = REASONS.get(name.lower())
    return f"flatyard does not run Flatcar on {found[0]}: {found[1]}" if found else ""
