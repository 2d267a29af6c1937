"""What AWS would refuse, found before anything is created, with what it would take instead."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from itertools import chain

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.aws import disks, permissions, quotas, reach, references, spot
from flatyard.clouds.aws.client import Account, Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.aws.images import arch_in, arch_of, baked, image, images, other_baked, own, size_of
from flatyard.clouds.aws.networks import given_vpc, wanted_zones
from flatyard.clouds.aws.settings import AwsSettings
from flatyard.clouds.aws.zones import offered_zones, region_zones, usable
from flatyard.clouds.cloud import Image, ImageQuery
from flatyard.clouds.pools import Pool, badly_named, pools_of, unreachable
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import AwsMachine
from flatyard.model.meant import is_placeholder

LEAST_VCPUS, LEAST_MIB = 2, 1700
OUR_TAGS = 7
"""That a machine has: its cluster, owner, machine, role, attempt, name, and the controller manager's."""
Sizes = Mapping[str, Answer | None]
"""Instance types that the cluster names, as the region has them."""
Images = Mapping[tuple[str, str], tuple[Image, ...]]
"""By instance type and the image that its spec names, what the region has for such machines, newest first."""


async def problems(
    account: Account, settings: AwsSettings, cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> tuple[Problem, ...]:
    """Everything that is wrong at once, errors and warnings. Raises CloudError when AWS cannot be asked."""
    groups = pools_of(AwsMachine, cluster, deployments)
    found = [
        *_endpoint(cluster),
        *badly_named(groups, FACTS.instance_name),
        *chain.from_iterable(map(disks.problems, groups)),
        *chain.from_iterable(map(spot.problems, groups)),
        *_tags(groups),
    ]
    if settings.region not in account.regions():
        return (*found, _region(settings.region, account.regions()))
    wrong = await permissions.credentials(account, settings)
    if wrong:
        return (*found, wrong)
    sizes = {size: await size_of(account, size) for size in sorted({pool.machine.size for pool in groups})}
    there = await _available(account, cluster, groups, sizes)
    for more in await asyncio.gather(*map(permissions.told, _checks(account, cluster, groups, sizes, there))):
        found += more
    return tuple(found)


def _checks(
    account: Account,
    cluster: Cluster,
    groups: tuple[Pool[AwsMachine], ...],
    sizes: Sizes,
    there: Images,
) -> tuple[Awaitable[list[Problem]], ...]:
    vcpus = {size: int(row["VCpuInfo"]["DefaultVCpus"]) for size, row in sizes.items() if row}
    makes = not given_vpc(cluster)
    start = next(((rows[0].reference, size) for (size, _), rows in there.items() if rows), ("", ""))
    return (
        _sizes(account, groups, sizes),
        _zones(account, cluster, groups, sizes),
        _images(account, cluster, groups, there),
        _roots(account, groups, there),
        references.network(account, cluster, groups),
        references.machines(account, cluster, groups),
        reach.problems(account, cluster, groups),
        quotas.problems(account, cluster.name, groups, vcpus, network=makes),
        permissions.problems(account, *start, network=makes),
    )


# ---- what needs no asking


def _endpoint(cluster: Cluster) -> Iterator[Problem]:
    kind = cluster.spec.endpoint.kind
    if kind not in (None, "lb"):
        what = (
            f"on {FACTS.title} the endpoint is a load balancer; a name of yours goes into spec.endpoint.host"
        )
        yield _error("spec.endpoint.kind", f"{kind}: {what}", "lb", "lb")
    yield from unreachable(cluster.spec.endpoint.port, FACTS)


def _tags(groups: tuple[Pool[AwsMachine], ...]) -> Iterator[Problem]:
    for pool in groups:
        for key, value in pool.machine.tags.items():
            if not FACTS.tags.fits(key, value):
                yield _error(pool.at(f"tags[{key}]"), f"{key}={value} is not allowed", FACTS.tags.allowed)
        room = FACTS.tags.count - OUR_TAGS
        if len(pool.machine.tags) > room:
            what = f"{len(pool.machine.tags)} tags are too many: {OUR_TAGS} are set besides"
            yield _error(pool.at("tags"), what, f"at most {room}")


def _region(name: str, known: tuple[str, ...]) -> Problem:
    near = difflib.get_close_matches(name, known, 3, 0.5)
    what = f"{FACTS.title} has no region {name!r}"
    return _error("spec.cloud.aws.region", what, ", ".join(near or known), near[0] if near else "")


# ---- what the region has


async def _sizes(account: Account, groups: tuple[Pool[AwsMachine], ...], sizes: Sizes) -> list[Problem]:
    found = []
    for pool in groups:
        row, size = sizes[pool.machine.size], pool.machine.size
        path = pool.at("instanceType")
        if row is None:
            found.append(_no_size(path, account.region, size, await _type_names(account)))
        elif pool.control_plane and _small(row):
            what = (
                f"{size} has {row['VCpuInfo']['DefaultVCpus']} vCPU and {row['MemoryInfo']['SizeInMiB']} MiB; "
                f"kubeadm wants {LEAST_VCPUS} and {LEAST_MIB} MiB"
            )
            found.append(_error(path, what, "t3.small, t3.medium, m6i.large and larger"))
    return found


def _small(row: Answer) -> bool:
    return bool(row["VCpuInfo"]["DefaultVCpus"] < LEAST_VCPUS or row["MemoryInfo"]["SizeInMiB"] < LEAST_MIB)


def _no_size(path: str, region: str, size: str, names: list[str]) -> Problem:
    near = difflib.get_close_matches(size, names, 6, 0.5)
    what = f"{region} has no instance type {size!r}"
    return _error(path, what, ", ".join(near) or ", ".join(names[:12]), near[0] if near else "")


async def _type_names(account: Account) -> list[str]:
    rows = await account.pages(
        "listing the instance types of the region",
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="region",
    )
    return sorted(row["InstanceType"] for row in rows)


async def _zones(
    account: Account, cluster: Cluster, groups: tuple[Pool[AwsMachine], ...], sizes: Sizes
) -> list[Problem]:
    rows = await region_zones(account)
    known = sorted(usable(rows, account.region))
    spanned = await wanted_zones(account, cluster)
    offered = {size: await offered_zones(account, [size]) for size, row in sizes.items() if row}
    found = list(_named_zones(account, cluster, known))
    if not spanned and not given_vpc(cluster) and len(offered) == len(sizes):
        what = f"no zone of {account.region} has all of {', '.join(sorted(sizes))}"
        found.append(_error("spec.cloud.aws.availabilityZones", what, "zones of your own choice"))
    for pool in groups:
        zone, path, size = pool.machine.zone, pool.at("availabilityZone"), pool.machine.size
        there = offered.get(size, tuple(known))
        if zone and not is_placeholder(zone):
            found += _zone(account, path, zone, known, size, there)
        elif not pool.machine.subnet_id.value and not set(spanned) <= set(there):
            missing = ", ".join(name for name in spanned if name not in there)
            what = (
                f"machines without a zone are spread over {', '.join(spanned)}, and {missing} has no {size}"
            )
            found.append(_error(path, what, ", ".join(there)))
    return found


def _zone(
    account: Account, path: str, zone: str, known: list[str], size: str, there: tuple[str, ...]
) -> Iterator[Problem]:
    if zone not in known:
        near = difflib.get_close_matches(zone, known, 1)
        what = f"{account.region} has no zone {zone!r}"
        yield _error(path, what, ", ".join(known), near[0] if near else "")
    elif zone not in there:
        yield _error(path, f"zone {zone} does not offer {size}", ", ".join(there))


def _named_zones(account: Account, cluster: Cluster, known: list[str]) -> Iterator[Problem]:
    cloud = cluster.spec.cloud.aws
    for number, zone in enumerate(cloud.availability_zones if cloud else ()):
        if zone not in known and not is_placeholder(zone):
            path = f"spec.cloud.aws.availabilityZones[{number}]"
            what = f"{account.region} has no zone {zone!r} in which a network load balancer can be"
            near = difflib.get_close_matches(zone, known, 1)
            yield _error(path, what, ", ".join(known), near[0] if near else "")


async def _available(
    account: Account, cluster: Cluster, groups: Iterable[Pool[AwsMachine]], sizes: Sizes
) -> Images:
    found: dict[tuple[str, str], tuple[Image, ...]] = {}
    for pool in groups:
        key, row = (pool.machine.size, pool.machine.image), sizes[pool.machine.size]
        if row and key not in found:
            found[key] = await images(account, _query(cluster, pool), arch_in(row))
    return found


def _query(cluster: Cluster, pool: Pool[AwsMachine]) -> ImageQuery:
    flatcar, kubernetes = cluster.spec.flatcar, cluster.spec.kubernetes
    inside = kubernetes.version if kubernetes.flavor == "image" else None
    return ImageQuery(flatcar.channel, flatcar.version, machine=pool.machine, kubernetes=inside)


async def _images(
    account: Account, cluster: Cluster, groups: tuple[Pool[AwsMachine], ...], there: Images
) -> list[Problem]:
    return [
        await _no_image(account, cluster, pool)
        for pool in groups
        if there.get((pool.machine.size, pool.machine.image)) == ()
    ]


async def _roots(account: Account, groups: tuple[Pool[AwsMachine], ...], there: Images) -> list[Problem]:
    """Root volumes that are smaller than what the image fills; only small ones are looked at."""
    found = []
    for pool in groups:
        gib, rows = pool.machine.disk_size, there.get((pool.machine.size, pool.machine.image))
        if not gib or gib >= disks.SURELY_ENOUGH or not rows:
            continue
        least = disks.least_root(await image(account, rows[0].reference) or {})
        if gib < least:
            what = f"{rows[0].name} does not fit into {gib} GiB"
            found.append(_error(pool.at("diskSize"), what, f"{least} GiB and more"))
    return found


async def _no_image(account: Account, cluster: Cluster, pool: Pool[AwsMachine]) -> Problem:
    flatcar, query, machine = cluster.spec.flatcar, _query(cluster, pool), pool.machine
    if machine.image and not is_placeholder(machine.image):
        return await _not_that_image(account, query, pool)
    if query.kubernetes:
        return await _not_baked(account, query, machine)
    bare = ImageQuery(flatcar.channel, None, machine=machine)
    there = ", ".join(image.version for image in (await images(account, bare))[:8])
    wanted = f"version {flatcar.version}" if flatcar.version else f"channel {flatcar.channel}"
    what = f"{account.region} has no Flatcar image of {wanted} that {machine.size} boots"
    return _error("spec.flatcar", what, f"{flatcar.channel}: {there or 'none'}")


async def _not_that_image(account: Account, query: ImageQuery, pool: Pool[AwsMachine]) -> Problem:
    machine, path = pool.machine, pool.at("ami")
    row = await image(account, machine.image)
    other = other_baked(row, query.kubernetes) if row else ""
    if other:
        what = f"image {machine.image} holds Kubernetes {other}, the cluster wants {query.kubernetes}"
        return _error(path, what, f"spec.kubernetes.version: {other}, or an AMI of {query.kubernetes}")
    what = f"{account.region} has no image {machine.image} that {machine.size} boots"
    return _error(path, what, "an AMI of this region and architecture, or none: the channel's newest")


async def _not_baked(account: Account, query: ImageQuery, machine: AwsMachine) -> Problem:
    """Flatcar publishes no AMIs with Kubernetes in them: they are the account's own, or there are none."""
    rows = await own(account, await arch_of(account, machine.size))
    there = ", ".join(sorted({version for version in map(baked, rows) if version}))
    wanted = f"Flatcar {query.version or query.channel} with Kubernetes {query.kubernetes}"
    what = f"the account has no image of its own in {account.region} of {wanted} that {machine.size} boots"
    allowed = (
        f"{there or 'none there'}; image-builder's build-ami-flatcar makes one, flavor sysext needs none"
    )
    return _error("spec.kubernetes.version", what, allowed)


def _error(path: str, what: str, allowed: str = "", suggestion: str = "") -> Problem:
    return Problem(Severity.ERROR, None, path, what, allowed, suggestion)
