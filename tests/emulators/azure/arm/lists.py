"""What a subscription can be asked: groups, places, sizes, quotas, permissions, everything by tag."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import models
from .catalogue import PLACES, SIZES, ZONES
from .compute import used
from .errors import ArmError, invalid
from .groups import GROUP, NAME, place
from .ids import parse
from .kinds import KINDS
from .market import TITLES
from .operations import async_headers
from .routes import Answer, Request, special
from .services import COUNTED, ROLES, check_tags, counted
from .world import Body, Resource

if TYPE_CHECKING:
    from .app import Arm

Match = re.Match[str]
VERSIONS_OF = ["2025-01-01", "2024-07-01"]
"""What a namespace is said to speak; any version is taken."""
SUB = r"(/subscriptions/[^/]+)"
GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"


# ---- groups
def group_view(group: Resource) -> Body:
    return {
        **json.loads(json.dumps(group.body)),
        "id": group.id,
        "name": group.name,
        "type": GROUP,
        "properties": {"provisioningState": group.state},
    }


@special("PUT", SUB + r"/resourcegroups/([^/]+)", f"{GROUPS}/write")
def put_group(arm: Arm, request: Request, match: Match) -> Answer:
    body = request.json()
    models.check("resource.resources.models.ResourceGroup", body)
    if not NAME.fullmatch(match[2]):
        raise invalid(
            "InvalidResourceGroup", f"The provided resource group name '{match[2]}' is not allowed."
        )
    body["location"] = place(body.get("location"), GROUP)
    check_tags(body.get("tags") or {})
    old = arm.world.find(request.path)
    if old is not None and old.state == "Deleting":
        raise ArmError(
            409, "ResourceGroupBeingDeleted", f"The resource group '{old.name}' is in deprovisioning state."
        )
    if old is not None and old.location != body["location"]:
        raise ArmError(
            409,
            "InvalidResourceGroupLocation",
            f"Invalid resource group location '{body['location']}'. The Resource group already exists in location "
            f"'{old.location}'.",
        )
    raw = old.id if old else f"{match[1]}/resourceGroups/{match[2]}"
    new = Resource(raw, GROUP, body, old.created if old else arm.world.now(), state="Succeeded")
    arm.world.add(new)
    return Answer(200 if old else 201, group_view(new))


@special("PATCH", SUB + r"/resourcegroups/([^/]+)", f"{GROUPS}/write")
def patch_group(arm: Arm, request: Request, match: Match) -> Answer:
    change = request.json()
    models.check("resource.resources.models.ResourceGroupPatchable", change)
    group = arm.groups.exists(parse(request.path))
    if "tags" in change:
        check_tags(change["tags"] or {})
        group.body["tags"] = change["tags"]
    return Answer(200, group_view(group))


@special("GET", SUB + r"/resourcegroups/([^/]+)", f"{GROUPS}/read")
def get_group(arm: Arm, request: Request, match: Match) -> Answer:
    return Answer(200, group_view(arm.groups.exists(parse(request.path))))


@special("HEAD", SUB + r"/resourcegroups/([^/]+)", f"{GROUPS}/read")
def head_group(arm: Arm, request: Request, match: Match) -> Answer:
    return Answer(204 if arm.world.find(request.path) else 404)


@special("GET", SUB + r"/resourcegroups", f"{GROUPS}/read")
def list_groups(arm: Arm, request: Request, match: Match) -> Answer:
    wanted = filters(request.query.get("$filter", ""))
    found = [
        group_view(group)
        for group in arm.world.resources.values()
        if group.kind == GROUP and arm.listed(group) and has_tag(group, wanted)
    ]
    return arm.pages(request, found)


@special("DELETE", SUB + r"/resourcegroups/([^/]+)", f"{GROUPS}/delete")
def delete_group(arm: Arm, request: Request, match: Match) -> Answer:
    group = arm.groups.exists(parse(request.path))
    if not (group.state == "Deleting" and group.operation):
        group.state = "Deleting"
        inner = arm.world.below(group.id)
        for found in inner:
            found.state = "Deleting"
        problem = outside(arm, group)
        arm.world.fails_next = problem or arm.world.fails_next
        group.operation = arm.world.operate(
            "Microsoft.Resources",
            3 * arm.world.durations["delete"],
            lambda failure: ended(arm, group, failure),
        )
    return Answer(202, None, async_headers(arm.world, request, group.operation, only=True))


def outside(arm: Arm, group: Resource) -> ArmError | None:
    """What is used from another group keeps this one (rules: group-cascade)."""
    for found in arm.world.below(group.id):
        for user in [u for key in used_ids(arm, found) for u in arm.world.users(key)]:
            if not user.lower().startswith(group.key + "/"):
                return ArmError(
                    409,
                    "ResourceGroupDeletionBlocked",
                    f"Deletion of resource group '{group.name}' did not finish. Remaining resource: {found.id}, "
                    f"in use by {user}.",
                )
    return None


def used_ids(arm: Arm, found: Resource) -> list[str]:
    return [key for key in arm.world.used_by if key == found.key or key.startswith(found.key + "/")]


def ended(arm: Arm, group: Resource, failure: ArmError | None) -> None:
    if failure:
        group.state = "Succeeded"
        for found in arm.world.below(group.id):
            found.state = "Succeeded"
        return
    for found in arm.world.below(group.id):
        if found.kind.lower() in KINDS and arm.world.find(found.id):
            KINDS[found.kind.lower()].gone(arm.world, found)
        arm.world.remove(found)
    arm.world.remove(group)


# ---- everything by tag
TERM = re.compile(r"(\w+)\s+eq\s+'((?:[^']|'')*)'", re.IGNORECASE)


def filters(text: str) -> dict[str, str]:
    """`a eq 'x' and b eq 'y'` (rules: resources-filter)."""
    wanted: dict[str, str] = {}
    for term in (
        re.split(r"\s+and\s+(?=\w+\s+eq\s)", text.strip(), flags=re.IGNORECASE) if text.strip() else []
    ):
        match = TERM.fullmatch(term.strip())
        if match is None:
            raise invalid(
                "InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string."
            )
        wanted[match[1].lower()] = match[2].replace("''", "'")
    known = {"tagname", "tagvalue", "resourcetype", "location", "name", "resourcegroup", "identity", "plan"}
    tags = {"tagname", "tagvalue"} & set(wanted)
    if set(wanted) - known or ("tagvalue" in tags and "tagname" not in tags) or (tags and set(wanted) - tags):
        raise invalid(
            "InvalidFilterInQueryString", f"Invalid $filter '{text}' specified in the query string."
        )
    return wanted


def has_tag(resource: Resource, wanted: Mapping[str, str]) -> bool:
    if "tagname" not in wanted:
        return True
    tags = {name.lower(): value for name, value in (resource.body.get("tags") or {}).items()}
    name = wanted["tagname"].lower()
    return name in tags and wanted.get("tagvalue", tags[name]) == tags[name]


def passes(resource: Resource, wanted: Mapping[str, str]) -> bool:
    got = {
        "resourcetype": resource.kind,
        "location": resource.location,
        "name": resource.name,
        "resourcegroup": parse(resource.id).group,
    }
    return has_tag(resource, wanted) and all(
        got[name].lower() == value.lower() for name, value in wanted.items() if name in got
    )


@special(
    "GET", SUB + r"(/resourcegroups/([^/]+))?/resources", "Microsoft.Resources/subscriptions/resources/read"
)
def list_resources(arm: Arm, request: Request, match: Match) -> Answer:
    if match[2]:
        arm.groups.exists(parse(request.path))
    wanted = filters(request.query.get("$filter", ""))
    scope = (match[1] + (match[2] or "")).lower() + "/"
    expand = request.query.get("$expand", "").lower()
    found = [
        generic(arm, resource, "tagname" in wanted, expand)
        for key, resource in arm.world.resources.items()
        if key.startswith(scope)
        and resource.kind.lower() in KINDS
        and KINDS[resource.kind.lower()].tracked
        and arm.listed(resource)
        and passes(resource, wanted)
    ]
    return arm.pages(request, found)


def generic(arm: Arm, resource: Resource, by_tag: bool, expand: str) -> Body:
    """As resources.list shows it: without its tags where it was asked for by tag (rules: resources-by-tag)."""
    body: Body = {
        "id": resource.id,
        "name": resource.name,
        "type": resource.kind,
        "location": resource.location,
    }
    for word in ("sku", "kind", "plan", "identity", "zones"):
        if resource.body.get(word):
            body[word] = resource.body[word]
    if "by" in resource.hidden:
        body["managedBy"] = resource.hidden["by"]
    if resource.body.get("tags") and not by_tag:
        body["tags"] = resource.body["tags"]
    if "createdtime" in expand:
        body["createdTime"] = arm.world.text(resource.created)
    if "changedtime" in expand:
        body["changedTime"] = arm.world.text(resource.created)
    if "provisioningstate" in expand:
        body["provisioningState"] = resource.state
    return body


# ---- the subscription and its places
@special("GET", SUB, "Microsoft.Resources/subscriptions/read")
def subscription(arm: Arm, request: Request, match: Match) -> Answer:
    number = match[1].rsplit("/", 1)[-1]
    return Answer(
        200, {"id": match[1], "subscriptionId": number, "displayName": "emulated", "state": "Enabled"}
    )


@special("GET", SUB + "/locations", "Microsoft.Resources/subscriptions/locations/read")
def locations(arm: Arm, request: Request, match: Match) -> Answer:
    return Answer(200, {"value": [location(match[1], name) for name in PLACES]})


def location(scope: str, name: str) -> Body:
    title, geography, group, zoned, pair = PLACES[name]
    body: Body = {
        "id": f"{scope}/locations/{name}",
        "name": name,
        "type": "Region",
        "displayName": title,
        "regionalDisplayName": f"({group}) {title}",
        "metadata": {
            "regionType": "Physical",
            "regionCategory": "Recommended" if zoned else "Other",
            "geography": geography,
            "geographyGroup": group,
            "pairedRegion": [{"name": pair, "id": f"{scope}/locations/{pair}"}] if pair else [],
        },
    }
    if zoned:
        body["availabilityZoneMappings"] = [
            {"logicalZone": zone, "physicalZone": f"{name}-az{zone}"} for zone in ZONES
        ]
    return body


@special("GET", SUB + r"/providers/([^/]+)", "")
def provider(arm: Arm, request: Request, match: Match) -> Answer:
    kinds = [kind for name, kind in KINDS.items() if name.startswith(match[2].lower() + "/")]
    if not kinds:
        raise ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{match[2]}' is invalid.")
    places = [title for title, *_ in PLACES.values()]
    types = [
        {"resourceType": kind.name.split("/", 1)[1], "locations": places, "apiVersions": VERSIONS_OF}
        for kind in kinds
    ]
    namespace = kinds[0].name.split("/")[0]
    state = "NotRegistered" if namespace.lower() in arm.unregistered else "Registered"
    raw = f"{match[1]}/providers/{namespace}"
    return Answer(
        200, {"id": raw, "namespace": namespace, "registrationState": state, "resourceTypes": types}
    )


@special("POST", SUB + r"/providers/([^/]+)/register", "")
def register_provider(arm: Arm, request: Request, match: Match) -> Answer:
    arm.access.allow(request.principal, f"{match[2]}/register/action", match[1])
    arm.unregistered.discard(match[2].lower())
    return provider(arm, request, match)


# ---- sizes and quotas
@special("GET", SUB + r"/providers/Microsoft\.Compute/skus", "Microsoft.Compute/skus/read")
def skus(arm: Arm, request: Request, match: Match) -> Answer:
    wanted = filters(request.query.get("$filter", "")).get("location", "")
    places = [wanted.lower()] if wanted else list(PLACES)
    found = [sku(arm, name, place) for place in places if place in PLACES for name in SIZES]
    arm_page, arm.page = arm.page, 10_000
    try:
        return arm.pages(request, [item for item in found if item])
    finally:
        arm.page = arm_page


def sku(arm: Arm, name: str, where: str) -> Body | None:
    size = SIZES[name]
    if where in size.not_in:
        return None
    gone = [zone for zone in ZONES if (where, zone) in size.no_zone]
    closed = [zone for zone in ZONES if (name, where, zone) in arm.market.withdrawn]
    offered = [zone for zone in ZONES if zone not in gone] if PLACES[where][3] else []
    restrictions: list[Body] = []
    if (name, where, "") in arm.market.withdrawn:
        restrictions.append(
            {
                "type": "Location",
                "values": [where],
                "restrictionInfo": {"locations": [where]},
                "reasonCode": "NotAvailableForSubscription",
            }
        )
    if closed:
        restrictions.append(
            {
                "type": "Zone",
                "values": [where],
                "restrictionInfo": {"locations": [where], "zones": closed},
                "reasonCode": "NotAvailableForSubscription",
            }
        )
    capabilities = {
        "vCPUs": size.cores,
        "MemoryGB": size.memory,
        "CpuArchitectureType": size.arch,
        "HyperVGenerations": size.generations,
        "DiskControllerTypes": arm.market.controllers(size),
        "PremiumIO": arm.market.premium(size),
        "AcceleratedNetworkingEnabled": size.accelerated,
        "MaxDataDiskCount": size.disks,
        "TrustedLaunchDisabled": not size.trusted,
        "LowPriorityCapable": True,
        "MaxNetworkInterfaces": 2,
    }
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": "Standard",
        "size": size.name.removeprefix("Standard_"),
        "family": size.family,
        "locations": [where],
        "locationInfo": [{"location": where, "zones": offered, "zoneDetails": []}],
        "capabilities": [{"name": key, "value": str(value)} for key, value in capabilities.items()],
        "restrictions": restrictions,
    }


@special(
    "GET",
    SUB + r"/providers/Microsoft\.Compute/locations/([^/]+)/vmSizes",
    "Microsoft.Compute/locations/vmSizes/read",
)
def vm_sizes(arm: Arm, request: Request, match: Match) -> Answer:
    found = [
        {
            "name": s.name,
            "numberOfCores": s.cores,
            "memoryInMB": int(s.memory * 1024),
            "maxDataDiskCount": s.disks,
        }
        for s in SIZES.values()
        if match[2] not in s.not_in
    ]
    return Answer(200, {"value": found})


@special(
    "GET",
    SUB + r"/providers/Microsoft\.Compute/locations/([^/]+)/usages",
    "Microsoft.Compute/locations/usages/read",
)
def usages(arm: Arm, request: Request, match: Match) -> Answer:
    where = known(match[2])
    now = used(arm.world, where)
    names = ["cores", "virtualMachines", *dict.fromkeys(size.family for size in SIZES.values())]
    return Answer(200, {"value": [usage(arm, where, name, now.get(name, 0)) for name in names]})


@special(
    "GET",
    SUB + r"/providers/Microsoft\.Network/locations/([^/]+)/usages",
    "Microsoft.Network/locations/usages/read",
)
def network_usages(arm: Arm, request: Request, match: Match) -> Answer:
    where = known(match[2])
    found = [
        usage(arm, where, name, counted(arm.world, kind, where))
        for kind, (name, _, _) in COUNTED.items()
        if kind.startswith("Microsoft.Network")
    ]
    standard = sum(
        found.location == where and (found.body.get("sku") or {}).get("name") == "Standard"
        for found in arm.world.of_kind("Microsoft.Network/publicIPAddresses")
    )
    found.append(usage(arm, where, "IPv4StandardSkuPublicIpAddresses", standard))
    return Answer(200, {"value": found})


def known(name: str) -> str:
    where = name.lower().replace(" ", "")
    if where not in PLACES:
        raise invalid(
            "NoRegisteredProviderFound", f"No registered resource provider found for location '{name}'."
        )
    return where


def usage(arm: Arm, where: str, name: str, now: int) -> Body:
    title = TITLES.get(name, f"{name} vCPUs")
    return {
        "unit": "Count",
        "currentValue": now,
        "limit": arm.market.limit(where, name),
        "name": {"value": name, "localizedValue": title},
    }


# ---- permissions and roles
@special("GET", r"(/subscriptions/.+)/providers/Microsoft\.Authorization/permissions", "")
def permissions(arm: Arm, request: Request, match: Match) -> Answer:
    words = match[1].split("/")
    if len(words) > 4 and arm.world.find("/".join(words[:5])) is None:
        raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{words[4]}' could not be found.")
    return Answer(200, {"value": arm.access.permissions(request.principal, match[1])})


@special(
    "GET",
    r"(.*)/providers/Microsoft\.Authorization/roleDefinitions",
    "Microsoft.Authorization/roleDefinitions/read",
)
def role_definitions(arm: Arm, request: Request, match: Match) -> Answer:
    wanted = filters_of_role(request.query.get("$filter", ""))
    found = [role(match[1], number) for number in ROLES]
    found += [arm.view(made) for made in arm.world.of_kind("Microsoft.Authorization/roleDefinitions")]
    return Answer(200, {"value": [r for r in found if wanted in ("", r["properties"]["roleName"])]})


def filters_of_role(text: str) -> str:
    match = TERM.search(text)
    return match[2] if match and match[1].lower() == "rolename" else ""


def role(scope: str, number: str) -> Body:
    title, actions, excluded = ROLES[number]
    return {
        "id": f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{number}",
        "name": number,
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": title,
            "type": "BuiltInRole",
            "assignableScopes": ["/"],
            "permissions": [
                {"actions": actions, "notActions": excluded, "dataActions": [], "notDataActions": []}
            ],
        },
    }
