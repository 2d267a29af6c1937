"""What the Cluster names that must be there already: network, subnet, security group, availability set, identity."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Callable, Iterable

from azure.core.exceptions import HttpResponseError

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.azure import sizes
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import or_none
from flatyard.clouds.azure.reading import Shown, items, last, part, segment, text
from flatyard.clouds.azure.settings import IDENTITY
from flatyard.clouds.pools import Pool
from flatyard.model.machines import AzureMachine
from flatyard.model.meant import is_placeholder

_CLOUD = "spec.cloud.azure"
_OTHERS = ("/communitygalleries/", "/sharedgalleries/")
_OWN_IMAGE = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Compute"
    r"(?:/galleries/([^/]+))?/images/([^/]+)(?:/versions/([^/]+))?",
    re.IGNORECASE,
)


async def problems(account: Account, groups: tuple[Pool[AzureMachine], ...]) -> list[Problem]:
    """One problem for each thing that is not there, with what is."""
    asked = [_network(account), _identity(account)]
    asked += [_security_group(account, pool) for pool in groups]
    asked += [_availability_set(account, pool) for pool in groups]
    asked += [_own_image(account, pool) for pool in groups]
    return [problem for found in await asyncio.gather(*asked) for problem in found]


async def _network(account: Account) -> list[Problem]:
    place, api = account.place, account.clients.network.virtual_networks
    if not place.vnet:
        if place.subnet:
            return [_error(f"{_CLOUD}.subnetName", f"subnet {place.subnet} is of no network", "vnetName too")]
        return []
    group = place.vnet_group
    if not group:
        return [
            _error(f"{_CLOUD}.resourceGroup", f"network {place.vnet} is in no resource group that is named")
        ]
    found = await account.read(
        f"looking for network {place.vnet}", lambda: or_none(lambda: api.get(group, place.vnet))
    )
    if found is None:
        rows = await account.read(
            f"listing networks in {group}", lambda: or_none(lambda: list(api.list(group)))
        )
        there = [text(row, "name") for row in rows or ()]
        what = f"resource group {group} has no network {place.vnet!r}"
        return [_error(f"{_CLOUD}.vnetName", what, ", ".join(there) or "none", _near(place.vnet, there))]
    if text(found, "location") != place.location:
        what = f"network {place.vnet} is in {text(found, 'location')}, the cluster in {place.location}"
        return [_error(f"{_CLOUD}.vnetName", what)]
    there = [text(subnet, "name") for subnet in items(found, "properties", "subnets")]
    if place.subnet and place.subnet not in there:
        what = f"network {place.vnet} has no subnet {place.subnet!r}"
        return [_error(f"{_CLOUD}.subnetName", what, ", ".join(there) or "none", _near(place.subnet, there))]
    subnets = items(found, "properties", "subnets")
    named = [subnet for subnet in subnets if text(subnet, "name") == place.subnet]
    chosen = named or subnets[:1]  # networks._adopted takes the first one where none is named
    return _way_out(account, chosen[0]) if chosen else []


def _way_out(account: Account, subnet: Shown) -> list[Problem]:
    """A warning of a subnet that nothing leads out of: networks made since March 2026 have no way out by themselves."""
    has = any(part(subnet, "properties", way) for way in ("natGateway", "routeTable"))
    if has or part(subnet, "properties", "defaultOutboundAccess") is not False:
        return []
    if account.place.machines and all(m.assign_public_ip.value for m in account.place.machines):
        return []
    name = text(subnet, "name")
    what = (
        f"subnet {name} has neither a NAT gateway nor a route table, and no way out by default: machines in it can "
        "hardly download Kubernetes"
    )
    allowed = (
        f"az network vnet subnet update --vnet-name {account.place.vnet} --name {name} --nat-gateway NAME"
    )
    return [Problem(Severity.WARNING, None, f"{_CLOUD}.subnetName", what, allowed)]


async def _identity(account: Account) -> list[Problem]:
    wanted = account.place.identity
    if not wanted:
        return []
    group, api = segment(wanted, "resourceGroups"), account.clients.identity.user_assigned_identities

    def look() -> bool:
        try:
            return or_none(lambda: api.get(group, last(wanted))) is not None
        except HttpResponseError as problem:
            if problem.status_code == 404:
                return False
            raise

    there = bool(group) and await account.read(f"looking for identity {last(wanted)}", look)
    if there:
        return []
    return [_error(f"metadata.annotations[{IDENTITY}]", f"there is no identity {wanted}")]


async def _security_group(account: Account, pool: Pool[AzureMachine]) -> list[Problem]:
    name = pool.machine.security_group_name.value
    group = pool.machine.vnet_resource_group.value or account.place.group
    if not name or is_placeholder(name) or not group:
        return []
    api = account.clients.network.network_security_groups
    rows = await account.read(
        f"listing security groups in {group}", lambda: or_none(lambda: list(api.list(group)))
    )
    there = [text(row, "name") for row in rows or ()]
    if name.lower() in (one.lower() for one in there):
        return []
    what = f"resource group {group} has no security group {name!r}"
    return [_error(pool.at("securityGroupName"), what, ", ".join(there) or "none", _near(name, there))]


async def _availability_set(account: Account, pool: Pool[AzureMachine]) -> list[Problem]:
    name, group = pool.machine.availability_set.value, account.place.group
    if not name or is_placeholder(name) or not group:
        return []
    api = account.clients.compute.availability_sets
    rows = await account.read(
        f"listing availability sets in {group}", lambda: or_none(lambda: list(api.list(group)))
    )
    there = [text(row, "name") for row in rows or ()]
    if name.lower() in (one.lower() for one in there):
        return []
    what = f"resource group {group} has no availability set {name!r}"
    return [_error(pool.at("availabilitySet"), what, ", ".join(there) or "none", _near(name, there))]


async def _own_image(account: Account, pool: Pool[AzureMachine]) -> list[Problem]:
    """An image of the user's own; those of another subscription are not looked at."""
    image, path = pool.machine.image_id.value, pool.at("imageID")
    if not image or is_placeholder(image) or image.lower().startswith(_OTHERS):
        return []
    found = _OWN_IMAGE.fullmatch(image)
    if found is None:
        allowed = "…/providers/Microsoft.Compute/galleries/GALLERY/images/NAME, …/images/NAME, /communityGalleries/…"
        return [_error(path, f"{image!r} is the id of no image", allowed)]
    subscription, group, gallery, name, version = found.groups(default="")
    if subscription.lower() != account.place.subscription.lower():
        return []
    shown = await account.read(f"looking at image {name}", _look(account, group, gallery, name, version))
    if shown is None:
        return [_error(path, f"there is no image {image}", "az image list, az sig image-version list")]
    regions = [text(one, "name") for one in items(shown, "properties", "publishingProfile", "targetRegions")]
    there = [region.lower().replace(" ", "") for region in regions or [text(shown, "location")]]
    if account.place.location not in there and not (gallery and not regions):
        return [_error(path, f"image {name} is not in {account.place.location}", ", ".join(there))]
    if gallery and version:  # what it boots on stands with the image, not with each version
        shown = await account.read(f"looking at image {name}", _look(account, group, gallery, name, ""))
    size = await sizes.size(account, pool.machine.size)
    return _boots(path, name, shown, size) if size is not None else []


def _boots(path: str, name: str, shown: Shown | None, size: sizes.SizeHere) -> list[Problem]:
    """Whether the size boots an image of that generation and architecture, as far as the image tells."""
    generation = sizes.GENERATIONS.get(text(shown, "properties", "hyperVGeneration").lower(), "")
    arch = sizes.ARCHES.get(text(shown, "properties", "architecture").lower(), "")
    if generation and generation not in size.generations:
        what = f"image {name} is {generation}, and {size.name} boots {' and '.join(size.generations)}"
        return [_error(path, what, "another image or size")]
    if arch and arch != size.arch:
        return [
            _error(
                path, f"image {name} is for {arch}, and {size.name} is {size.arch}", "another image or size"
            )
        ]
    return []


def _look(account: Account, group: str, gallery: str, name: str, version: str) -> Callable[[], Shown | None]:
    """A version of a gallery's image, the image itself where the newest version is meant, or a managed image."""
    compute = account.clients.compute
    if gallery and version and version.lower() != "latest":
        return lambda: or_none(lambda: compute.gallery_image_versions.get(group, gallery, name, version))
    if gallery:
        return lambda: or_none(lambda: compute.gallery_images.get(group, gallery, name))
    return lambda: or_none(lambda: compute.images.get(group, name))


def _near(name: str, there: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(there), 1)
    return close[0] if close else ""


def _error(path: str, what: str, allowed: str = "", suggestion: str = "") -> Problem:
    return Problem(Severity.ERROR, None, path, what, allowed, suggestion)
