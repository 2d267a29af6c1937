"""What would be refused, found before anything is created: region, sizes, images, zones, names, tags,
quotas.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.cloud import ImageQuery
from flatyard.clouds.facts import CloudFacts, Size
from flatyard.clouds.pools import Pool, badly_named, pools, unreachable
from flatyard.clouds.sim.addresses import room_in
from flatyard.clouds.sim.api import Provider, Usage
from flatyard.clouds.sim.endpoint import kind_of
from flatyard.clouds.sim.imagery import filter_of, images, size_of
from flatyard.clouds.sim.networks import split
from flatyard.clouds.sim.scenery import zones_of
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import (
    AwsMachine,
    AzureMachine,
    GcpMachine,
    MachineSpec,
    OpenstackMachine,
    VsphereMachine,
    named_zones,
)

_SIZE_FIELDS = {"aws": "instanceType", "azure": "vmSize", "gcp": "machineType", "openstack": "flavor"}
_ZONE_FIELDS = {"aws": "availabilityZone", "azure": "zones", "gcp": "zone", "openstack": "availabilityZone"}
_IMAGE_FIELDS = {
    "aws": "ami",
    "azure": "imageReference",
    "gcp": "customImage",
    "openstack": "image",
    "vsphere": "templateVMName",
}


async def problems(
    provider: Provider, cluster: Cluster, deployments: tuple[MachineDeployment, ...]
) -> tuple[Problem, ...]:
    """Everything that is wrong at once, errors and warnings; raises Refused when the account cannot be asked."""
    groups = pools(cluster, deployments)
    usage = await provider.usage()
    found = [
        *_region(provider, cluster),
        *_endpoint(provider, cluster),
        *badly_named(groups, provider.persona.facts.instance_name),
    ]
    asked: dict[tuple[str, str], bool] = {}
    for pool in groups:
        found += _sizes(provider, pool)
        found += _zones(provider, pool)
        found += _tags(provider.persona.facts, pool)
        found += await _images(provider, cluster, pool, asked)
    found += _room(provider, cluster, groups)
    return (*found, *_quotas(provider, groups, usage), *_zone_count(provider, cluster))


def _region(provider: Provider, cluster: Cluster) -> Iterator[Problem]:
    """The file may name another region than the account is in."""
    persona, chosen = provider.persona, cluster.spec.cloud.name
    field = {"azure": "location", "vsphere": "datacenter"}.get(chosen, "region")
    wanted = cluster.spec.cloud.region or persona.region.name
    if not persona.known or persona.facts.region(wanted) is None:
        names = [region.name for region in persona.facts.regions]
        near = difflib.get_close_matches(wanted, names, 1)
        what = f"{persona.facts.title} has no region {wanted!r}"
        yield _error(f"spec.cloud.{chosen}.{field}", what, ", ".join(names), near[0] if near else "")


def _room(
    provider: Provider, cluster: Cluster, pools: tuple[Pool[MachineSpec | None], ...]
) -> Iterator[Problem]:
    """Machines are spread over a subnet in each zone, so that each must hold its share of them."""
    nodes, zones = cluster.spec.network.nodes, len(zones_of(provider, cluster))
    machines = sum(pool.replicas for pool in pools)
    room = zones * min(room_in(part) for part in split(nodes, zones))
    if machines > room:
        what = f"{nodes} has room for {room} machines in {zones} subnet{'s' if zones > 1 else ''}"
        yield _error("spec.network.nodes", f"{what}; the cluster has {machines}", "a larger network")


def _endpoint(provider: Provider, cluster: Cluster) -> Iterator[Problem]:
    if kind_of(provider, cluster) == "lb" and not provider.persona.facts.load_balancer:
        what = f"{provider.persona.facts.title} has no load balancers of its own"
        yield _error("spec.endpoint.kind", what, "vip, dns", "vip")
    yield from unreachable(cluster.spec.endpoint.port, provider.persona.facts)


def _sizes(provider: Provider, pool: Pool[MachineSpec | None]) -> Iterator[Problem]:
    facts, machine = provider.persona.facts, pool.machine
    path = pool.at(_SIZE_FIELDS.get(facts.name, "cpus"))
    if machine is None or isinstance(machine, VsphereMachine) or not facts.sizes:
        return
    size = facts.size(machine.size)
    if size is None:
        near = difflib.get_close_matches(machine.size, facts.size_names, 1, 0.5)
        close = ", ".join(difflib.get_close_matches(machine.size, facts.size_names, 6, 0.3))
        what = f"{facts.title} has no size {machine.size!r}" if machine.size else "no size is given"
        yield _error(path, what, close or ", ".join(facts.size_names[:12]), near[0] if near else "")
    elif pool.control_plane and (size.vcpus < 2 or size.memory_mib < 1700):
        what = f"{size.name} has {size.vcpus} vCPU and {size.memory_mib} MiB; kubeadm wants 2 and 1700 MiB"
        yield _error(path, what, ", ".join(_roomy(facts, size)))


def _roomy(facts: CloudFacts, size: Size) -> list[str]:
    fits = (s.name for s in facts.sizes if s.vcpus == 2 and s.memory_mib >= 2048 and s.arch == size.arch)
    return [name for name, _ in zip(fits, range(6), strict=False)]


def _zones(provider: Provider, pool: Pool[MachineSpec | None]) -> Iterator[Problem]:
    region = provider.persona.region
    wanted = named_zones(pool.machine) if pool.machine and not provider.persona.facts.open_regions else ()
    path = pool.at(_ZONE_FIELDS.get(provider.persona.name, "cluster"))
    for zone in wanted:
        if zone in region.zones:
            continue
        near = difflib.get_close_matches(zone, region.zones, 1)
        what = f"{region.name} has no zone {zone!r}"
        yield _error(path, what, ", ".join(filter(None, region.zones)) or "none", near[0] if near else "")


def _tags(facts: CloudFacts, pool: Pool[MachineSpec | None]) -> Iterator[Problem]:
    machine, key = pool.machine, "tags"
    labels: Mapping[str, str] = {}
    if isinstance(machine, GcpMachine):
        key, labels = "labels", machine.labels
    elif isinstance(machine, AwsMachine | AzureMachine | OpenstackMachine):
        labels = machine.tags
    for name, value in labels.items():
        if not facts.tags.fits(name, value):
            what = f"{name}={value} is not allowed"
            yield _error(pool.at(f"{key}[{name}]"), what, facts.tags.allowed)


async def _images(
    provider: Provider, cluster: Cluster, pool: Pool[MachineSpec | None], asked: dict[tuple[str, str], bool]
) -> list[Problem]:
    """`asked` keeps what was found for a size and an image: pools that are alike take one call."""
    flatcar, kubernetes = cluster.spec.flatcar, cluster.spec.kubernetes
    baked = kubernetes.version if kubernetes.flavor == "image" else None
    query = ImageQuery(flatcar.channel, flatcar.version, machine=pool.machine, kubernetes=baked)
    key = (pool.machine.size, pool.machine.image) if pool.machine else ("", "")
    if key not in asked:
        asked[key] = bool(await images(provider, query))
    if asked[key]:
        return []
    path = pool.at(_IMAGE_FIELDS.get(provider.persona.name, "image"))
    wanted = flatcar.version or f"channel {flatcar.channel}"
    size = size_of(provider, pool.machine)
    fits = f" that {size.name} boots ({', '.join((size.arch, *size.generations))})" if size else ""
    what = f"{provider.persona.region.name} has no Flatcar image for {wanted}{fits}"
    there = await provider.list_images(filter_of(provider, ImageQuery("", None, machine=pool.machine)))
    allowed = ", ".join(dict.fromkeys(f"{row.channel} {row.version}" for row in there[:8]))
    return [_error(path, what, allowed or "none for this architecture")]


def _quotas(
    provider: Provider, pools: tuple[Pool[MachineSpec | None], ...], usage: Usage
) -> Iterator[Problem]:
    machines = sum(pool.replicas for pool in pools)
    vcpus = sum(pool.replicas * _vcpus(provider, pool.machine) for pool in pools)
    needs = (
        ("instances", machines, usage.instances, usage.quotas.instances),
        ("vCPUs", vcpus, usage.vcpus, usage.quotas.vcpus),
    )
    advice = provider.persona.facts.notes.get("quota", "")
    for what, wanted, used, limit in needs:
        if limit and used + wanted > limit:
            text = f"the cluster needs {wanted} {what}; the account may use {limit} and uses {used}"
            yield _error("spec", f"{text}; {advice}" if advice else text)


def _vcpus(provider: Provider, machine: MachineSpec | None) -> int:
    if isinstance(machine, VsphereMachine):
        return machine.cpus
    size = size_of(provider, machine)
    return size.vcpus if size else 0


def _zone_count(provider: Provider, cluster: Cluster) -> Iterator[Problem]:
    replicas, zones = cluster.spec.control_plane.replicas, zones_of(provider, cluster)
    one_of_many = len(provider.persona.facts.regions) > 1 and not provider.persona.facts.open_regions
    if replicas >= 3 and len(provider.persona.region.zones) == 1 and one_of_many:
        what = f"{replicas} control planes in {provider.persona.region.name} share its only zone {zones[0]!r}"
        yield Problem(Severity.WARNING, None, "spec.controlPlane.replicas", what.replace(" ''", ""))


def _error(path: str, what: str, allowed: str = "", suggestion: str = "") -> Problem:
    return Problem(Severity.ERROR, None, path, what, allowed, suggestion)
