"""What the caller must be allowed to do, and whether it is: by the role definition that this package brings."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable
from importlib.resources import files

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.azure import identities, locations
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.reading import Shown, items, part

API_VERSION = "2022-04-01"
LISTED = 6


def needed() -> tuple[str, ...]:
    """The actions of role.json, the least role that flatyard works with."""
    role = json.loads(files(__package__).joinpath("role.json").read_text(encoding="utf-8"))
    return tuple(str(action) for action in role["Actions"])


async def problems(account: Account) -> list[Problem]:
    """The actions that are missing on the subscription or, where it is given, the group."""
    scope = _scope(account)
    path = f"{scope}/providers/Microsoft.Authorization/permissions?api-version={API_VERSION}"
    shown = await account.read("reading permissions", lambda: locations.get(account, path))
    own = identities.ACTIONS if account.place.external and not account.place.identity else ()
    lacking = missing((*needed(), *own), items(shown, "value"))
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


def _scope(account: Account) -> str:
    """A given group's own roles count; a group that is still to be made has the subscription's."""
    return f"/subscriptions/{account.place.subscription}"
