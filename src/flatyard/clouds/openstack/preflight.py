"""What would be refused, found before anything is created, each with what there is instead."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator

from openstack.compute.v2.flavor import Flavor

from flatyard.base.errors import Problem, Refused, Severity
from flatyard.clouds.cloud import Image, ImageQuery, Rejected
from flatyard.clouds.openstack import balancer, endpoint, images, networks, ports, quotas, stash, volumes
from flatyard.clouds.openstack.client import Client, connect
from flatyard.clouds.openstack.facts import FACTS
from flatyard.clouds.openstack.settings import settings
from flatyard.clouds.pools import Pool, badly_named, crowded, pools_of
from flatyard.model.cluster import Cluster, OpenstackCloud
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import OpenstackMachine
from flatyard.model.meant import is_placeholder

CLOUD = "spec.cloud.openstack"
LEAST_CORES, LEAST_MIB = 2, 1700
"""What kubeadm wants of a control plane."""
RESERVED = 5
"""Addresses of a subnet that no machine gets: its first and last, the router's, one for DHCP, the endpoint's."""


async def problems(
    client: Client, cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> tuple[Problem, ...]:
    """Everything at once; a wrong login and a wrong region end the asking. Nothing is made."""
    chosen = cluster.spec.cloud.openstack or OpenstackCloud()
    early = await _login(client, cluster)
    if not early:
        await client.log_in()
        early = _region(client, chosen)
    if early:
        return tuple(early)
    pools = pools_of(OpenstackMachine, cluster, deployments)
    flavors = await client.read("listing flavors", lambda: list(client.sdk.compute.flavors()))
    found = [*badly_named(pools, FACTS.instance_name), *_tags(pools), *await _zones(client, chosen, pools)]
    for pool in pools:
        found += [*_flavor(pool, flavors), *_ephemeral(client, pool, flavors)]
        found += await _named_things(client, pool)
    found += await _images(client, cluster, pools, flavors)
    found += await _network(client, cluster, chosen)
    if not chosen.network:
        nodes = cluster.spec.network.nodes
        found += crowded(nodes, sum(pool.replicas for pool in pools), (nodes,), RESERVED)
    found += await _secrets(client)
    found += await quotas.problems(client, cluster, chosen, pools, flavors)
    return tuple(found)


async def _login(client: Client, cluster: Cluster) -> list[Problem]:
    """The login that this file names, where it is not the one that the adapter was made with."""
    login = settings(cluster)
    if login == client.login or not login.says_who:
        return []
    try:
        other = connect(login, client.world, cluster.spec.cloud.openstack or OpenstackCloud())
    except Refused as no:
        return [error(CLOUD, no.what, no.why)]
    try:
        await other.log_in()
    except Rejected as no:
        return [error(CLOUD, no.what, no.next)]
    finally:
        await other.close()
    return []


def _region(client: Client, chosen: OpenstackCloud) -> list[Problem]:
    if not chosen.region or chosen.region in client.regions:
        return []
    return [unknown(f"{CLOUD}.region", "region", chosen.region, client.regions)]


def _tags(pools: Iterable[Pool[OpenstackMachine]]) -> Iterator[Problem]:
    for pool in pools:
        for key, value in pool.machine.tags.items():
            if not FACTS.tags.fits(key, value):
                yield error(pool.at(f"tags[{key}]"), f"{key}={value} is not allowed", FACTS.tags.allowed)


async def _zones(
    client: Client, chosen: OpenstackCloud, pools: Iterable[Pool[OpenstackMachine]]
) -> list[Problem]:
    there = await networks.zones(client, OpenstackCloud())
    asked = [(f"{CLOUD}.availabilityZones", zone) for zone in chosen.availability_zones]
    asked += [(p.at("availabilityZone"), p.machine.zone) for p in pools if p.machine.zone]
    return [
        unknown(path, "zone", zone, there)
        for path, zone in asked
        if zone not in there and not is_placeholder(zone)
    ]


def _flavor(pool: Pool[OpenstackMachine], flavors: list[Flavor]) -> Iterator[Problem]:
    name, path = pool.machine.flavor.value, pool.at("flavor")
    found = flavor_of(pool, flavors)
    if found is None:
        yield unknown(path, "flavor", name, [str(flavor.name) for flavor in flavors])
        return
    if pool.control_plane and ((found.vcpus or 0) < LEAST_CORES or (found.ram or 0) < LEAST_MIB):
        roomy = [str(f.name) for f in flavors if (f.vcpus or 0) >= LEAST_CORES and (f.ram or 0) >= LEAST_MIB]
        what = f"{name} has {found.vcpus} vCPU and {found.ram} MiB; kubeadm wants 2 and 1700 MiB"
        yield error(path, what, ", ".join(roomy[:6]))


def _ephemeral(client: Client, pool: Pool[OpenstackMachine], flavors: list[Flavor]) -> Iterator[Problem]:
    """A flavor's further disks come before volumes (Nova's libvirt driver, blockinfo), so etcd's has another name."""
    found = flavor_of(pool, flavors)
    if found is None or not pool.control_plane or not client.has(volumes.SERVICE):
        return
    if found.ephemeral or found.swap:
        what = f"flavor {found.name} has a disk of its own besides, so etcd's is not {FACTS.etcd_device}"
        names = [
            str(f.name) for f in flavors if not f.ephemeral and not f.swap and (f.vcpus or 0) >= LEAST_CORES
        ]
        yield error(pool.at("flavor"), what, ", ".join(names[:6]))


def flavor_of(pool: Pool[OpenstackMachine], flavors: Iterable[Flavor]) -> Flavor | None:
    """The pool's flavor by name or id."""
    asked = pool.machine.flavor.value
    return next((flavor for flavor in flavors if asked in (flavor.name, flavor.id)), None)


async def _images(
    client: Client, cluster: Cluster, pools: Iterable[Pool[OpenstackMachine]], flavors: list[Flavor]
) -> list[Problem]:
    flatcar, kubernetes = cluster.spec.flatcar, cluster.spec.kubernetes
    baked = kubernetes.version if kubernetes.flavor == "image" else None
    found: list[Problem] = []
    known: dict[str, tuple[Image, ...]] = {}
    for pool in pools:
        query = ImageQuery(flatcar.channel, flatcar.version, machine=pool.machine, kubernetes=baked)
        is_new = pool.machine.image not in known
        if is_new:
            known[pool.machine.image] = await images.images(client, query)
        there = known[pool.machine.image]
        if there:
            found += await _disk(client, pool, there[0].reference, flavor_of(pool, flavors))
        elif is_new:
            found.append(await _no_image(client, pool, query))
    return found


async def _no_image(client: Client, pool: Pool[OpenstackMachine], query: ImageQuery) -> Problem:
    named = pool.machine.image
    if named and not is_placeholder(named):
        names = await client.read(
            "listing images", lambda: [str(image.name) for image in client.sdk.image.images(status="active")]
        )
        return unknown(pool.at("image"), "image", named, names)
    wanted = query.version or f"channel {query.channel}"
    there = ", ".join(images.newest(await images.flatcar(client))[:8])
    what = (
        f"the project has no Flatcar image for {wanted}; flatyard images import --cloud openstack uploads it"
    )
    return error(pool.at("image"), what, there or "none is there")


async def _disk(
    client: Client, pool: Pool[OpenstackMachine], image: str, flavor: Flavor | None
) -> list[Problem]:
    """Whether the image fits on the flavor's disk, or on the volume."""
    shown = await client.read("reading the image", lambda: client.sdk.image.get_image(image))
    found = list(_bus(client, pool, shown))
    least = int(getattr(shown, "min_disk", 0) or 0)
    given = pool.machine.root_disk_size_gb or (flavor.disk if flavor else 0) or 0
    if not pool.machine.root_disk_size_gb and flavor is not None and not flavor.disk:
        what = f"flavor {flavor.name} has no disk of its own"
        found.append(error(pool.at("rootDiskSizeGB"), what, "a size: it boots from a volume then"))
    if given and given < least:
        found.append(error(pool.at("rootDiskSizeGB"), f"the image wants {least} GB", f"{least} or more"))
    return found


def _bus(client: Client, pool: Pool[OpenstackMachine], image: object) -> Iterator[Problem]:
    """A volume on another bus than virtio has another name than the one under which etcd's disk is mounted."""
    bus = getattr(image, "hw_disk_bus", None) or "virtio"
    if pool.control_plane and bus != "virtio" and client.has("block-storage"):
        name, disk = getattr(image, "name", ""), FACTS.etcd_device
        what = f"image {name} has hw_disk_bus={bus}, so etcd's disk is not {disk}"
        yield error(
            pool.at("image"), what, "an image with hw_disk_bus=virtio, as flatyard images import makes"
        )


async def _named_things(client: Client, pool: Pool[OpenstackMachine]) -> list[Problem]:
    """Networks, security groups, server group, floating IP pool that the spec names."""
    machine, network, compute = pool.machine, client.sdk.network, client.sdk.compute
    nets = [n.value for n in machine.networks] or [machine.network.value]
    groups = [group.value for group in machine.security_groups]
    asked: list[tuple[str, str, list[str], Callable[[], list[str]]]] = [
        ("networks", "network", nets, lambda: _both(network.networks())),
        ("subnet", "subnet", [machine.subnet.value], lambda: _both(network.subnets())),
        ("securityGroups", "security group", groups, lambda: _both(network.security_groups())),
        ("serverGroup", "server group", [machine.server_group.value], lambda: _both(compute.server_groups())),
        (
            "floatingIpPool",
            "external network",
            [machine.floating_ip_pool.value],
            lambda: _both(network.networks(is_router_external=True)),
        ),
        ("rootDiskVolumeType", "volume type", [_volume_type(client, pool)], lambda: volumes.types(client)),
    ]
    found = []
    for field, kind, names, there in asked:
        wanted = [name for name in names if name and not is_placeholder(name)]
        if wanted and wanted != [networks.AUTO]:
            known = await client.read(f"listing {kind}s", there)
            found += [unknown(pool.at(field), kind, name, known) for name in wanted if name not in known]
    if machine.root_disk_size_gb and not client.has("block-storage"):
        what = "this site has no volumes to boot from"
        found.append(error(pool.at("rootDiskSizeGB"), what, "nothing: the flavor's own disk"))
    return found


def _volume_type(client: Client, pool: Pool[OpenstackMachine]) -> str:
    machine = pool.machine
    is_used = client.has(volumes.SERVICE) and (machine.root_disk_size_gb or pool.control_plane)
    return machine.root_disk_volume_type.value if is_used else ""


def _both(things: Iterable[object]) -> list[str]:
    """Names and ids."""
    return [
        str(value) for thing in things for value in (getattr(thing, "name", ""), getattr(thing, "id", ""))
    ]


async def _network(client: Client, cluster: Cluster, chosen: OpenstackCloud) -> list[Problem]:
    found = await _endpoint(client, cluster)
    named = chosen.network if not is_placeholder(chosen.network) else ""
    if named:
        found += await _given(client, cluster, chosen, named)
    if not named or chosen.external_network:
        try:
            await networks.external_network(client, chosen)
        except Rejected as no:
            found.append(_no_way_out(no))
    return found


def _no_way_out(no: Rejected) -> Problem:
    return error(f"{CLOUD}.externalNetwork", no.what, no.next.partition("one of ")[2])


async def _endpoint(client: Client, cluster: Cluster) -> list[Problem]:
    if await endpoint.kind_of(client, cluster) != endpoint.LB:
        return []
    path = "spec.endpoint.kind"
    if not client.has("load-balancer"):
        return [error(path, "this site has no load balancers (Octavia)", "vip, dns", "vip")]
    no = await balancer.refusal(client)
    wanted = "the role load-balancer_member, which Octavia wants, or vip, dns"
    return [error(path, no, wanted, "vip")] if no else []


async def _secrets(client: Client) -> list[Problem]:
    """Control planes read their keys from the object store when they boot."""
    no = await stash.refusal(client)
    if no:
        return [error(CLOUD, no, "a site with Swift or Ceph's gateway (docs/openstack.md)")]
    authority = client.sdk.session.verify
    if not isinstance(authority, str):
        return []
    what = f"machines know Flatcar's authorities and not those of {authority}: where the object store's certificate"
    what += " is of a private one, no control plane boots"
    return [Problem(Severity.WARNING, None, CLOUD, what)]


async def _given(client: Client, cluster: Cluster, chosen: OpenstackCloud, named: str) -> list[Problem]:
    network = await networks.find(client, named)
    if network is None and named == networks.AUTO:
        no = await networks.cannot_allocate(client)
        return [error(f"{CLOUD}.network", no, "another network, or none: one is made then")] if no else []
    if network is None:
        there = await client.read(
            "listing networks", lambda: [str(n.name) for n in client.sdk.network.networks()]
        )
        return [unknown(f"{CLOUD}.network", "network", named, there)]
    there = [str(subnet.name) for subnet in await networks.subnets_of(client, network, "")]
    subnet = chosen.subnet if not is_placeholder(chosen.subnet) else ""
    if not await networks.subnets_of(client, network, subnet):
        return [unknown(f"{CLOUD}.subnet", f"IPv4 subnet of {named} called", subnet, there)]
    return await _others(client, cluster, chosen, str(network.id), named)


async def _others(
    client: Client, cluster: Cluster, chosen: OpenstackCloud, network: str, named: str
) -> list[Problem]:
    """What only a network's owner may do, and where its floating IPs come from."""
    found = []
    if await ports.is_foreign(client, network) and await endpoint.kind_of(client, cluster) == endpoint.VIP:
        what = f"network {named} is another project's: control planes cannot share an address there"
        found.append(error("spec.endpoint.kind", what, "lb, dns, or a network of the project's own"))
    try:
        await networks.outside(client, chosen, network)
    except Rejected as no:
        found.append(_no_way_out(no))
    return found


def unknown(path: str, kind: str, name: str, there: Iterable[str]) -> Problem:
    """A name that the site does not know, with the nearest ones."""
    names = list(dict.fromkeys(filter(None, there)))
    near = difflib.get_close_matches(name, names, 6, 0.4) or names[:12]
    close = difflib.get_close_matches(name, names, 1, 0.6)
    what = f"there is no {kind} {name!r}" if name else f"no {kind} is given"
    return error(path, what, ", ".join(near) or "there is none", close[0] if close else "")


def error(path: str, what: str, allowed: str = "", suggestion: str = "") -> Problem:
    return Problem(Severity.ERROR, None, path, what, allowed, suggestion)
