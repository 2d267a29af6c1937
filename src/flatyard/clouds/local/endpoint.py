"""A cluster's endpoint: a name, an address of its own on the bridge, and a load balancer there.

One control plane has it too. Its own address would do for as long as it lives, but a second one, or its successor,
would have another, and every machine and certificate has the first one by then. The load balancer is a process of
this machine and stands in for a cloud's; it costs no machine a hop that it would not have elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import replace

from flatyard.clouds.cloud import ClusterRef, Endpoint, Network, Rejected, Transient
from flatyard.clouds.local import machines, networks, processes
from flatyard.clouds.local.commands import attempt, run
from flatyard.clouds.local.folders import (
    ClusterFolder,
    EndpointFile,
    NetworkFile,
    held,
    open_lock,
    try_lock,
)
from flatyard.clouds.local.settings import LocalSettings
from flatyard.model.cluster import Cluster

DOMAIN = "flatyard.internal"


def host_of(ref: ClusterRef, cluster: Cluster) -> str:
    """The endpoint's name: the file's, or one that no DNS knows; machines have it in their /etc/hosts."""
    return cluster.spec.endpoint.host or f"api.{ref.name}.{DOMAIN}"


async def ensure(
    settings: LocalSettings, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
) -> Endpoint:
    """Make the endpoint exist with exactly these backends, its load balancer running."""
    folder = networks.folder_of(settings, ref)
    place = folder.network()
    if place is None:
        raise Transient(f"making the endpoint of {ref.name}: its network is not there")
    async with held(folder.lock):
        addresses = {name: _address(folder, name) for name in backends}
        found = folder.endpoint()
        wanted = EndpointFile(
            host=host_of(ref, cluster),
            address=place.endpoint,
            port=cluster.spec.endpoint.port,
            backends=addresses,
        )
        if found is not None:
            wanted = replace(found, backends=addresses)
        if wanted != found:
            folder.write_endpoint(wanted)
        await _make(folder, place)
    return Endpoint(wanted.host, wanted.port, True, wanted.address, backends)


def _address(folder: ClusterFolder, instance: str) -> str:
    machine = folder.folder(instance).machine()
    if machine is None:
        raise Rejected(f"{instance} is no machine of this cluster")
    return machine.address


async def _make(folder: ClusterFolder, network: NetworkFile) -> None:
    await run("ip", "addr", "replace", f"{network.endpoint}/32", "dev", network.bridge)
    descriptor = open_lock(folder.endpoint_lock)
    try:
        if try_lock(descriptor):
            arguments = (str(folder.path), str(descriptor))
            machines.spawn_module(processes.BALANCER, arguments, folder.endpoint_log, descriptor)
    finally:
        os.close(descriptor)


async def delete(settings: LocalSettings, ref: ClusterRef) -> None:
    """Stop the load balancer and take its address off the bridge; what is missing is fine."""
    folder = networks.folder_of(settings, ref)
    if not folder.path.exists():
        _stop(folder)
        return
    async with held(folder.lock):
        (folder.path / "endpoint.json").unlink(missing_ok=True)
        _stop(folder)
        network = folder.network()
        if network is not None:
            await attempt("ip", "addr", "del", f"{network.endpoint}/32", "dev", network.bridge)
        for name in ("endpoint.lock", "endpoint.log"):
            (folder.path / name).unlink(missing_ok=True)


def _stop(folder: ClusterFolder) -> None:
    for pid in processes.serving(processes.BALANCER, folder.path):
        processes.end(pid)


def is_there(settings: LocalSettings, ref: ClusterRef) -> bool:
    folder = networks.folder_of(settings, ref)
    return folder.endpoint() is not None or bool(processes.serving(processes.BALANCER, folder.path))
