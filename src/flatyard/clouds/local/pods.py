"""Pod networks of a local cluster whose own network add-on is `none`: one range for each machine, routed on the bridge.

Every machine is one hop from every other, so a route for each pod range is all that a pod network needs: no daemon
and no image. A machine's range follows from its address, and the routes to all ranges that there may ever be are
written at its first boot. It stands in for a network add-on: it knows no network policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from flatyard.clouds.cloud import Rejected
from flatyard.ignition import File, file

PREFIX = 24
MOST = 64
"""Machines that have routes: host numbers from `first` on."""
CONFLIST = "/etc/cni/net.d/10-flatyard-local.conflist"


def pod_range(pods: str, network: str, address: str) -> IPv4Network:
    """The range of the machine with this address. Raises Rejected when the cluster's range has no room for it."""
    number = int(IPv4Address(address)) - int(IPv4Network(network).network_address)
    whole = IPv4Network(pods)
    start = int(whole.network_address) + number * 2 ** (32 - PREFIX)
    found = IPv4Network((start, PREFIX))
    if not found.subnet_of(whole):
        raise Rejected(
            f"the pod network {pods} has no /{PREFIX} for {address}",
            next="give a larger one as spec.network.pods, or fewer machines",
        )
    return found


def conflist(pods: str, network: str, address: str) -> File:
    """The CNI configuration of one machine: a bridge, addresses of its range, host ports."""
    own = str(pod_range(pods, network, address))
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": own}]]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    text = json.dumps({"cniVersion": "1.0.0", "name": "flatyard-local", "plugins": [bridge, ports]}, indent=1)
    return file(CONFLIST, text + "\n")


def routes(pods: str, network: str, address: str, first: int) -> Iterator[str]:
    """networkd's sections: the way to every other machine's pods."""
    hosts = IPv4Network(network)
    for number in range(first, min(first + MOST, hosts.num_addresses - 1)):
        other = str(hosts[number])
        if other == address:
            continue
        try:
            there = pod_range(pods, network, other)
        except Rejected:
            return
        yield f"\n[Route]\nDestination={there}\nGateway={other}\n"
