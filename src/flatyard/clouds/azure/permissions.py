"""What the caller must be allowed to do, and whether it is: by the role definition that this package brings."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable
from importlib.resources import files

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.azure import identities, locations
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import or_none
from flatyard.clouds.azure.reading import Shown, items, part, segment

API_VERSION = "2022-04-01"
LISTED = 6
IN_SUBSCRIPTION = (
    "Microsoft.Compute/locations/*",
    "Microsoft.Compute/skus/read",
    "Microsoft.Compute/virtualMachines/read",  # one call tells of all machines which have power
    "Microsoft.MarketplaceOrdering/*",
    "Microsoft.Network/locations/*",
    "Microsoft.Resources/subscriptions/locations/read",
    "Microsoft.Resources/subscriptions/providers/read",
    "Microsoft.Resources/subscriptions/resources/read",
)
"""Asked of the subscription, whatever group is given: the built-in role Reader has all of it but terms."""
OF_TERMS = "Microsoft.MarketplaceOrdering/offertypes/publishers/offers/plans/agreements/write"
"""Where the Cluster says that an image's terms are accepted."""
OF_IMAGES = (
    "Microsoft.Compute/galleries/images/read",
    "Microsoft.Compute/galleries/images/versions/read",
    "Microsoft.Compute/images/read",
)
OF_A_GROUP = (
    "Microsoft.Resources/subscriptions/resourceGroups/write",
    "Microsoft.Resources/subscriptions/resourceGroups/delete",
)
OF_OUR_NETWORK = (
    "Microsoft.Network/natGateways/*",
    "Microsoft.Network/virtualNetworks/write",
    "Microsoft.Network/virtualNetworks/delete",
)
OF_A_NETWORK = (
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/join/action",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
)


def needed() -> tuple[str, ...]:
    """The actions of role.json, the least role that flatyard works with."""
    role = json.loads(files(__package__).joinpath("role.json").read_text(encoding="utf-8"))
    return tuple(str(action) for action in role["Actions"])


async def problems(account: Account) -> list[Problem]:
    """The actions that are missing, each where it is needed: on the subscription, the given group, or the group of the
    given network.
    """
    place = account.place
    own = identities.ACTIONS if place.external and not place.identity else ()
    unused = OF_IMAGES if place.accepted else (*OF_IMAGES, OF_TERMS)
    wanted = [*(action for action in needed() if action not in unused), *own]
    whole = f"/subscriptions/{place.subscription}"
    group = await _group(account, place.group)
    found = await _of_images(account)
    if not group:
        return [*found, *_lacking(wanted, await _held(account, whole) or [], whole)]
    network = await _group(account, place.vnet_group) if place.vnet else ""
    for scope, actions in _by_scope(wanted, whole, group, network or group, given=bool(place.vnet)).items():
        found += _lacking(actions, await _held(account, scope) or [], scope)
    return found


async def _of_images(account: Account) -> list[Problem]:
    """What using an image of one's own takes, where the image is, which may be another subscription."""
    found: list[Problem] = []
    for image in dict.fromkeys(machine.image_id.value for machine in account.place.machines):
        if not image.lower().startswith("/subscriptions/"):
            continue
        scope = f"/subscriptions/{segment(image, 'subscriptions')}/resourceGroups/{segment(image, 'resourceGroups')}"
        wanted = OF_IMAGES[:-1] if segment(image, "galleries") else OF_IMAGES[-1:]
        held = await _held(account, scope)
        found += [] if held is None else _lacking(wanted, held, scope)
    return found


def _by_scope(
    wanted: Iterable[str], whole: str, group: str, network: str, *, given: bool
) -> dict[str, list[str]]:
    """Which action is needed where, in a group that is there and stays. `given`: so does the network."""
    scopes: dict[str, list[str]] = {whole: [], group: [], network: []}
    for action in wanted:
        if _any_of(action, IN_SUBSCRIPTION):
            scopes[whole].append(action)
        elif given and _any_of(action, OF_A_NETWORK):
            scopes[network].append(action)
        elif not (_any_of(action, OF_A_GROUP) or (given and _any_of(action, OF_OUR_NETWORK))):
            scopes[group].append(action)
    return scopes


async def _group(account: Account, name: str) -> str:
    """The scope of a group that is there; empty where there is none, or none that the caller may see."""
    scope = account.place.group_id(name)
    return scope if name and await _held(account, scope) is not None else ""


async def _held(account: Account, scope: str) -> list[Shown] | None:
    """What the caller may do there, with what it may do above; None where there is no such group."""
    path = f"{scope}/providers/Microsoft.Authorization/permissions?api-version={API_VERSION}"
    shown = await account.read("reading permissions", lambda: or_none(lambda: locations.get(account, path)))
    return None if shown is None else items(shown, "value")


def _lacking(wanted: Iterable[str], held: list[Shown], scope: str) -> list[Problem]:
    lacking = missing(wanted, held)
    if not lacking:
        return []
    named = ", ".join(lacking[:LISTED]) + (
        f" and {len(lacking) - LISTED} more" if len(lacking) > LISTED else ""
    )
    what = f"the caller lacks {named} on {scope}"
    allowed = "a role with these actions; docs/azure.md has the least one and the command that makes it"
    return [Problem(Severity.ERROR, None, "spec.cloud.azure", what, allowed)]


def missing(wanted: Iterable[str], held: list[Shown]) -> list[str]:
    """Those of `wanted` that no permission allows."""
    return [action for action in wanted if not any(_allows(permission, action) for permission in held)]


def _allows(permission: Shown, action: str) -> bool:
    return _any(permission, "actions", action) and not _any(permission, "notActions", action)


def _any(permission: Shown, name: str, action: str) -> bool:
    patterns = part(permission, name)
    return isinstance(patterns, list) and any(
        fnmatch.fnmatchcase(action.lower(), str(pattern).lower()) for pattern in patterns
    )


def _any_of(action: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(action, pattern) for pattern in patterns)
