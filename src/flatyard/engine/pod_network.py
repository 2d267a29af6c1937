"""How the pods' network is divided among nodes: fixed when the cluster is made, since it cannot change later.

kube-controller-manager gives every node a part of `network.pods`, a /24 by default, so that a /16 holds 256 nodes
and the next one never becomes Ready. A cluster that is made with more nodes gets smaller parts, and its kubelets
take accordingly fewer pods: half of a part's addresses, so that an address rests before it is used again.
"""

from __future__ import annotations

import ipaddress

from flatyard.base.errors import Refused

DEFAULT_MASK = 24
SMALLEST_MASK = 28
MOST_PODS = 110
"""The kubelet's own default."""


def node_mask(pods: str, nodes: int) -> int:
    """The prefix length of each node's part; raises Refused when the network is too small for so many nodes."""
    prefix = ipaddress.ip_network(pods).prefixlen
    for mask in range(max(DEFAULT_MASK, prefix), SMALLEST_MASK + 1):
        if 2 ** (mask - prefix) >= nodes:
            return mask
    raise Refused(
        f"spec.network.pods: {pods} is too small for {nodes} nodes",
        why=f"even parts of /{SMALLEST_MASK} are only {2 ** max(0, SMALLEST_MASK - prefix)}",
        next=f"choose a network of at least /{max(8, SMALLEST_MASK - (nodes - 1).bit_length())}",
    )


def most_pods(mask: int) -> int | None:
    """What a kubelet's maxPods must be with parts of that size; None: its default fits."""
    return None if mask <= DEFAULT_MASK else min(MOST_PODS, 2 ** (32 - mask) // 2)
