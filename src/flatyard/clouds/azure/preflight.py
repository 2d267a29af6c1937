"""What Azure would refuse, found before anything is created, with what it would take instead."""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import replace

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.azure import (
    images,
    locations,
    networks,
    permissions,
    quotas,
    references,
    registrations,
    sizes,
    terms,
)
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.facts import FACTS, nvme
from flatyard.clouds.azure.locations import Location
from flatyard.clouds.azure.settings import ACCEPT_TERMS
from flatyard.clouds.azure.sizes import SizeHere
from flatyard.clouds.cloud import CloudError, Image, ImageQuery, NoAccount, Rejected
from flatyard.clouds.pools import Pool, badly_named, crowded, pools_of, unreachable
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import AzureMachine

LOCATION = "spec.cloud.azure.location"
SMALLEST_NETWORK, RESERVED = 28, 5
LEAST_VCPUS, LEAST_MIB = 2, 1700
Sizes = Mapping[str, SizeHere]


async def problems(
    account: Account, cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> tuple[Problem, ...]:
    """Everything that is wrong at once, errors and warnings. Raises CloudError when Azure cannot be asked.

    Raises NoAccount where there are no credentials.
    """
    try:
        known = await locations.locations(account)
    except Rejected as no:
        if not no.code:  # nobody was asked: there is nothing to ask with
            raise NoAccount("there are no credentials for Azure", why=no.why, next=no.next) from None
        return (_refused("spec.cloud.azure", no),)
    groups = pools_of(AzureMachine, cluster, deployments)
    found = [
        *badly_named(groups, FACTS.instance_name),
        *_endpoint(cluster),
        *_room(account, cluster, groups),
        *_tags(groups),
        *_retired(groups),
    ]
    if account.place.location not in known:
        return (*found, _location(account.place.location, known))
    unregistered = await registrations.problems(account)
    if unregistered:
        return (*found, *unregistered)
    here = await sizes.sizes(account)
    found += await _machines(account, known, groups, here)
    checks = (
        _images(account, cluster, groups, here),
        quotas.problems(account, cluster.name, groups, here),
        references.problems(account, groups),
        permissions.problems(account),
    )
    for more in await asyncio.gather(*map(_told, checks)):
        found += more
    return tuple(found)


async def _told(asking: Awaitable[list[Problem]]) -> list[Problem]:
    """What one check finds; that it may not ask is a problem of its own."""
    try:
        return await asking
    except Rejected as no:
        return [_refused("spec.cloud.azure", no)]


def _refused(path: str, no: CloudError) -> Problem:
    words = f"{no.what}: {no.why}" if no.why else no.what
    return _error(path, words, no.next)


# ---- names, tags, kinds


def _room(account: Account, cluster: Cluster, groups: tuple[Pool[AzureMachine], ...]) -> Iterator[Problem]:
    """The network that is to be made has a half for control planes and one for workers. Azure keeps five addresses of
    each subnet, and makes none below /29 (Virtual Network FAQ).
    """
    nodes = cluster.spec.network.nodes
    if account.place.vnet:
        return
    if ipaddress.ip_network(nodes).prefixlen > SMALLEST_NETWORK:
        what = f"{nodes} cannot be parted into a subnet for control planes and one for workers"
        yield _error("spec.network.nodes", what, f"/{SMALLEST_NETWORK} or larger")
        return
    for half, is_plane in zip(account.halves(nodes), (True, False), strict=True):
        machines = sum(pool.replicas for pool in groups if pool.control_plane is is_plane)
        yield from crowded(half, machines, (half,), RESERVED)


def _endpoint(cluster: Cluster) -> Iterator[Problem]:
    kind = cluster.spec.endpoint.kind
    if kind not in (None, "lb"):
        yield _error("spec.endpoint.kind", f"{kind!r} is not for {FACTS.title}", "lb", "lb")
    yield from unreachable(cluster.spec.endpoint.port, FACTS)


def _tags(groups: Iterable[Pool[AzureMachine]]) -> Iterator[Problem]:
    for pool in groups:
        for name, value in pool.machine.tags.items():
            if not FACTS.tags.fits(name, value):
                yield _error(pool.at(f"tags[{name}]"), f"{name}={value} is not allowed", FACTS.tags.allowed)


def _retired(groups: Iterable[Pool[AzureMachine]]) -> Iterator[Problem]:
    """What machine-controller's documents still have, and Azure has no more: what was meant is done."""
    for pool in groups:
        if pool.machine.public_ip_sku == "Basic":
            what = "Basic addresses are retired since 30 September 2025; a Standard one is made"
            yield Problem(Severity.WARNING, None, pool.at("publicIPSKU"), what, "Standard", "Standard")


# ---- the location


def _location(name: str, known: Mapping[str, Location]) -> Problem:
    close = difflib.get_close_matches(name, list(known), 1, 0.5)
    alternatives = (
        [known[close[0]], *locations.near(dict(known), close[0])] if close else list(known.values())
    )
    allowed = ", ".join(locations.told(there, False) for there in alternatives[:6])
    what = f"{FACTS.title} has no location {name!r} for this subscription"
    return _error(LOCATION, what, allowed, close[0] if close else "")


# ---- sizes and zones


async def _machines(
    account: Account, known: Mapping[str, Location], groups: Iterable[Pool[AzureMachine]], here: Sizes
) -> list[Problem]:
    found: list[Problem] = []
    chosen = await networks.zones_of(account)
    for pool in groups:
        size = here.get(pool.machine.size.lower())
        if size is None or size.refused:
            found.append(await _no_size(account, known, pool, size, here))
            continue
        found += _small(pool, size, here)
        found += _zones(account, known[account.place.location], pool, size, chosen)
        found += _abilities(pool, size)
        found += _disks(pool, size, here)
    return found


async def _no_size(
    account: Account,
    known: Mapping[str, Location],
    pool: Pool[AzureMachine],
    size: SizeHere | None,
    here: Sizes,
) -> Problem:
    """With the sizes nearest to it that are here, and the nearest locations that have it."""
    wanted, where = pool.machine.size, account.place.location
    there = [*_alike(wanted, here), *await _elsewhere(account, known, wanted)]
    why = f": {size.refused}" if size is not None else ""
    near = difflib.get_close_matches(wanted, [s.name for s in here.values()], 1, 0.5)
    what = f"{where} has no size {wanted!r} for this subscription{why}"
    return _error(pool.at("vmSize"), what, ", ".join(there), near[0] if near and size is None else "")


def _alike(wanted: str, here: Sizes) -> list[str]:
    usable = [size.name for size in here.values() if not size.refused]
    return difflib.get_close_matches(wanted, usable, 4, 0.3) or usable[:4]


async def _elsewhere(account: Account, known: Mapping[str, Location], wanted: str) -> list[str]:
    near = locations.near(dict(known), account.place.location)
    paired = known[account.place.location].paired
    listed = await asyncio.gather(*(sizes.sizes(account, location.name) for location in near))
    return [
        f"the same in {locations.told(location, location.name in paired)}"
        for location, there in zip(near, listed, strict=True)
        if wanted.lower() in there and not there[wanted.lower()].refused
    ]


def _small(pool: Pool[AzureMachine], size: SizeHere, here: Sizes) -> Iterator[Problem]:
    if pool.control_plane and (size.vcpus < LEAST_VCPUS or size.memory_mib < LEAST_MIB):
        roomy = [
            other.name
            for other in here.values()
            if other.vcpus == LEAST_VCPUS and other.memory_mib >= LEAST_MIB and other.arch == size.arch
        ]
        what = f"{size.name} has {size.vcpus} vCPU and {size.memory_mib} MiB; kubeadm wants 2 and 1700 MiB"
        yield _error(pool.at("vmSize"), what, ", ".join(roomy[:6]))


def _zones(
    account: Account, location: Location, pool: Pool[AzureMachine], size: SizeHere, chosen: tuple[str, ...]
) -> Iterator[Problem]:
    """`chosen`: the zones that machines are made in whose spec names none."""
    machine = pool.machine
    if machine.availability_set.value and machine.assign_availability_set is not False:
        return
    asked = [(pool.at("zones"), zone) for zone in machine.zones]
    if not asked:
        asked = [("spec.cloud.azure.zones", zone) for zone in account.place.zones]
    if not asked:
        without = [zone for zone in chosen if zone and zone not in size.zones]
        if without:
            what = (
                f"{size.name} is not offered in zone {' and '.join(without)} of {location.name} (SkuNotAvailable), "
                f"and the cluster's machines are made in zones {', '.join(chosen)}"
            )
            yield _error(pool.at("zones"), what, ", ".join(size.zones) or "another size")
    for path, zone in asked:
        if zone not in location.zones:
            allowed = ", ".join(location.zones) or "none: leave zones out"
            yield _error(path, f"{location.name} has no zone {zone!r}", allowed)
        elif zone not in size.zones:
            what = f"{size.name} is not offered in zone {zone} of {location.name} (SkuNotAvailable)"
            yield _error(path, what, ", ".join(size.zones) or "another size")


def _abilities(pool: Pool[AzureMachine], size: SizeHere) -> Iterator[Problem]:
    machine = pool.machine
    if machine.enable_accelerated_networking and not size.accelerated:
        what = f"{size.name} has no accelerated networking"
        yield _error(pool.at("enableAcceleratedNetworking"), what, "false")
    wanted = machine.security_profile
    if wanted is not None and wanted.security_type == "TrustedLaunch" and "gen2" not in size.generations:
        yield _error(pool.at("securityProfile"), f"{size.name} is Gen1 and boots no trusted launch")
    elif wanted is not None and wanted.security_type == "TrustedLaunch" and not size.trusted:
        yield _error(pool.at("securityProfile"), f"{size.name} has no trusted launch", "leave it out")
    for field, sku in (("osDiskSKU", machine.os_disk_sku), ("dataDiskSKU", machine.data_disk_sku)):
        if sku == "Premium_LRS" and not size.premium:
            yield _error(pool.at(field), f"{size.name} takes no Premium disks", "StandardSSD_LRS")


def _disks(pool: Pool[AzureMachine], size: SizeHere, here: Sizes) -> Iterator[Problem]:
    """Where Azure's own list of sizes differs from what the name of etcd's disk is chosen by."""
    wanted = "NVMe" if nvme(size.name) else "SCSI"
    if not size.controllers or wanted in size.controllers or not (pool.control_plane or nvme(size.name)):
        return
    has = " and ".join(size.controllers)
    what = f"{size.name} has {has} disks, and etcd's disk would be looked for as {wanted}"
    yield _error(pool.at("vmSize"), what, ", ".join(_with_disks(wanted, size, here)))


def _with_disks(controller: str, size: SizeHere, here: Sizes) -> list[str]:
    """Sizes like it with such disks."""
    alike = [s.name for s in here.values() if (s.vcpus, s.arch) == (size.vcpus, size.arch) and not s.refused]
    fit = [name for name in alike if controller in (here[name.lower()].controllers or ("SCSI",))]
    named = [name for name in fit if nvme(name) == (controller == "NVMe")]
    return difflib.get_close_matches(size.name, named, 4, 0.3)


# ---- images and their terms


async def _images(
    account: Account, cluster: Cluster, groups: tuple[Pool[AzureMachine], ...], here: Sizes
) -> list[Problem]:
    """Pools that are alike are looked up once."""
    flatcar, kubernetes = cluster.spec.flatcar, cluster.spec.kubernetes
    baked = kubernetes.version if kubernetes.flavor == "image" else None
    found: list[Problem] = []
    seen: dict[tuple[str, str, int | None], bool] = {}
    for pool in groups:
        key = (pool.machine.size, pool.machine.image, pool.machine.os_disk_size)
        size = here.get(pool.machine.size.lower())
        if key in seen or size is None:
            continue
        seen[key] = True
        query = ImageQuery(flatcar.channel, flatcar.version, machine=pool.machine, kubernetes=baked)
        there = await images.images(account, query)
        if there:
            found += await _fits(account, pool, size, there[0], here)
        else:
            found.append(await _no_image(account, pool, size, query))
    return found


async def _fits(
    account: Account, pool: Pool[AzureMachine], size: SizeHere, image: Image, here: Sizes
) -> list[Problem]:
    field = pool.at("imageID" if pool.machine.image_id.value else "imageReference")
    found = []
    if image.generation and image.generation not in size.generations:
        what = f"{image.name} is {image.generation}, and {size.name} boots {' and '.join(size.generations)}"
        found.append(_error(field, what, _sku_of(pool, size)))
    found += await _boots(account, pool, size, image, here)
    found += await _system_disk(account, pool, image)
    plan = terms.plan_of(pool.machine, image.reference)
    link = await terms.missing(account, plan) if plan else ""
    if plan and link and not terms.is_accepted(account, plan):
        what = f"nobody has accepted the terms of {':'.join(plan)}, which are at {link}"
        consent = f"{terms.command(plan)}, or annotate the Cluster with {ACCEPT_TERMS}: {':'.join(plan)}"
        found.append(_error(field, what, f"an offer without a plan, or consent: {consent}"))
    return found


async def _boots(
    account: Account, pool: Pool[AzureMachine], size: SizeHere, image: Image, here: Sizes
) -> list[Problem]:
    """An image says which disks it boots from; Azure refuses one that does not say NVMe on a size without SCSI."""
    if "SCSI" in (size.controllers or ("SCSI",)):
        return []
    told = await images.controllers(account, image.reference)
    if "NVMe" in told:
        return []
    says = (
        f"says that it boots from {' and '.join(told)} disks"
        if told
        else "does not say that it boots from NVMe disks"
    )
    what = f"{image.name} {says}, and {size.name} has no others than NVMe"
    severity = Severity.ERROR if told else Severity.WARNING
    return [Problem(severity, None, pool.at("vmSize"), what, ", ".join(_with_disks("SCSI", size, here)))]


async def _system_disk(account: Account, pool: Pool[AzureMachine], image: Image) -> list[Problem]:
    asked = pool.machine.os_disk_size
    least = await images.disk_gb(account, image.reference) if asked else 0
    if not asked or asked >= least:
        return []
    return [
        _error(
            pool.at("osDiskSize"), f"{image.name} has {least} GB, and the disk {asked}", f"at least {least}"
        )
    ]


def _sku_of(pool: Pool[AzureMachine], size: SizeHere) -> str:
    named = pool.machine.image_reference
    base = (named.sku if named else "stable").removesuffix("-gen2")
    return f"{base}-gen2" if "gen2" in size.generations else base


async def _no_image(account: Account, pool: Pool[AzureMachine], size: SizeHere, query: ImageQuery) -> Problem:
    wanted = query.version or f"channel {query.channel}"
    baked = f" with Kubernetes {query.kubernetes}" if query.kubernetes else ""
    what = f"{account.place.location} has no Flatcar image for {wanted}{baked} that {size.name} boots"
    if pool.machine.image:
        what = f"{account.place.location} has no image {pool.machine.image}"
    plain = replace(pool.machine, image_reference=None, image_id=type(pool.machine.image_id)())
    there = await images.images(account, replace(query, channel="", version=None, machine=plain))
    allowed = ", ".join(dict.fromkeys(image.version for image in there)) or "another location"
    field = "imageID" if pool.machine.image_id.value else "imageReference"
    path = pool.at(field) if pool.machine.image else "spec.flatcar"
    return _error(path, what, allowed)


def _error(path: str, what: str, allowed: str = "", suggestion: str = "") -> Problem:
    return Problem(Severity.ERROR, None, path, what, allowed, suggestion)
