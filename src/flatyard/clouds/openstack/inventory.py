"""What of a project is a cluster's: listed by kind, picked by our marks, deleted by kind and id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from openstack.exceptions import ConflictException

from flatyard.clouds.cloud import TAG_MACHINE, ClusterRef, Rejected, Transient
from flatyard.clouds.openstack import marks
from flatyard.clouds.openstack.answers import FORBIDDEN, UNAUTHORIZED, missing_is_fine, translate
from flatyard.clouds.openstack.client import Client

Thing = object
CSI_CLUSTER = "cinder.csi.openstack.org/cluster"
"""Metadata that the Cinder CSI driver puts on its volumes: the cluster id that we gave it."""
CCM_NAME = "kube_service_{id}_"
"""How the cloud controller manager's load balancers begin, after the cluster id that we gave it."""
CCM_WORDS = (" from cluster {id}", " Service LoadBalancer in cluster {id}")
"""How the descriptions of its floating IPs and security groups end (cloud-provider-openstack, loadbalancer.go)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource: the service that has it, how it is listed and how one is deleted."""

    name: str
    service: str
    list: Callable[[Client], Iterable[Thing]]
    delete: Callable[[Client, str], object]


def _network(kind: str) -> Callable[[Client], Iterable[Thing]]:
    return lambda c: getattr(c.sdk.network, kind)(project_id=c.project)


def _drop(kind: str) -> Callable[[Client, str], object]:
    return lambda c, key: getattr(c.sdk.network, f"delete_{kind}")(key, ignore_missing=False)


def _delete_router(client: Client, key: str) -> None:
    """Its interfaces first: they are ports that only the router may let go."""
    network = client.sdk.network
    for port in network.ports(device_id=key, device_owner="network:router_interface"):
        network.remove_interface_from_router(key, port=port.id)
    network.delete_router(key, ignore_missing=False)


KINDS: tuple[Kind, ...] = (
    Kind(
        "instance",
        "compute",
        lambda c: c.sdk.compute.servers(),
        lambda c, key: c.sdk.compute.delete_server(key, ignore_missing=False),
    ),
    Kind(
        "load-balancer",
        "load-balancer",
        lambda c: c.sdk.load_balancer.load_balancers(project_id=c.project),
        lambda c, key: c.sdk.load_balancer.delete_load_balancer(key, ignore_missing=False, cascade=True),
    ),
    Kind("address", "network", _network("ips"), _drop("ip")),
    Kind("port", "network", _network("ports"), _drop("port")),
    Kind("router", "network", _network("routers"), _delete_router),
    Kind("subnet", "network", _network("subnets"), _drop("subnet")),
    Kind("network", "network", _network("networks"), _drop("network")),
    Kind("security-group", "network", _network("security_groups"), _drop("security_group")),
    Kind(
        "server-group",
        "compute",
        lambda c: c.sdk.compute.server_groups(),
        lambda c, key: c.sdk.compute.delete_server_group(key, ignore_missing=False),
    ),
    Kind(
        "volume",
        "block-storage",
        lambda c: c.sdk.block_storage.volumes(),
        lambda c, key: c.sdk.block_storage.delete_volume(key, ignore_missing=False),
    ),
)
"""In the order in which a cluster's are deleted."""
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}


async def owned_things(client: Client, ref: ClusterRef, kind: str) -> list[Thing]:
    """What the cluster has of a kind, by our marks, in the order of their ids."""
    known = BY_NAME[kind]
    await client.log_in()
    if not client.has(known.service):
        return []
    try:
        found = await client.read(f"listing what {ref.name} has of {kind}", lambda: list(known.list(client)))
    except Rejected as no:
        # Octavia wants a role of its own (load-balancer_member): who may not list there has made nothing there
        if kind == "load-balancer" and no.code in (FORBIDDEN, UNAUTHORIZED):
            return []
        raise
    return sorted((thing for thing in found if _is_of(kind, thing, ref)), key=id_of)


async def delete(client: Client, kind: str, key: str, what: str) -> None:
    """Delete one; a missing one is fine. Raises Transient at once when it is in use: others must go first."""
    words = f"deleting {kind} {what or key}"

    def attempt() -> ConflictException | None:
        try:
            BY_NAME[kind].delete(client, key)
        except ConflictException as in_use:
            return in_use
        return None

    try:
        with missing_is_fine():
            in_use = await client.read(words, attempt)
            if in_use is not None:
                raise translate(words, in_use) or in_use
    except Rejected as no:
        if kind == "port" and no.code == FORBIDDEN:  # Neutron's answer while a server has it
            raise Transient(words, why=no.why, code="portInUse") from None
        if kind == "volume" and no.code == "badRequest":  # Cinder's while it is made, attached or deleted
            raise Transient(no.what, code="volumeInUse") from None
        raise


def id_of(thing: Thing) -> str:
    return str(getattr(thing, "id", ""))


def group_name(ref: ClusterRef, role: str) -> str:
    """Server groups have neither tags nor descriptions, so the minted id is in their name."""
    return f"flatyard-{ref.id}-{role}"


def _is_of(kind: str, thing: Thing, ref: ClusterRef) -> bool:
    name = getattr(thing, "name", None) or ""
    if kind == "instance":
        return marks.is_of(getattr(thing, "metadata", None) or {}, ref)
    if kind == "server-group":
        return name.startswith(group_name(ref, ""))
    if kind == "volume":
        meta = getattr(thing, "metadata", None) or {}
        return marks.is_of(meta, ref) or meta.get(CSI_CLUSTER) == ref.id
    if kind == "load-balancer" and name.startswith(CCM_NAME.format(id=ref.id)):
        return True
    text = getattr(thing, "description", None) or ""
    if kind in ("address", "security-group") and text.endswith(tuple(w.format(id=ref.id) for w in CCM_WORDS)):
        return True
    return marks.is_of(marks.read(thing), ref)


def machine_of(kind: str, thing: Thing) -> str:
    found = (getattr(thing, "metadata", None) or {}) if kind in ("instance", "volume") else marks.read(thing)
    return found.get(TAG_MACHINE, "")
