"""Resource groups, and what every tracked resource must have: a group, a place, decent tags."""

from __future__ import annotations

import re

from .catalogue import PLACES
from .errors import ArmError, invalid
from .ids import Path
from .world import Body, Resource, World

GROUP = "Microsoft.Resources/resourceGroups"
NAME = re.compile(r"[-\w._()]{0,89}[-\w_()]")


class Groups:
    def __init__(self, world: World) -> None:
        self.world = world

    def exists(self, path: Path) -> Resource:
        scope = "/".join(path.raw.split("/")[:5])
        found = self.world.find(scope)
        if found is None:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{path.group}' could not be found.")
        return found

    def ready(self, path: Path) -> None:
        """It may be written into."""
        if path.group and self.exists(path).state == "Deleting":
            raise ArmError(
                409,
                "ResourceGroupBeingDeleted",
                f"The resource group '{path.group}' is in deprovisioning state and cannot perform this operation.",
            )

    def tracked(self, path: Path, body: Body, old: Resource | None) -> None:
        from .services import check_tags

        body["location"] = place(body.get("location"), path.kind)
        check_tags(body.get("tags") or {})
        if old is not None and old.location != body["location"]:
            raise ArmError(
                409,
                "InvalidResourceLocation",
                f"The resource '{path.name}' already exists in location '{old.location}' in resource group "
                f"'{path.group}'. A resource with the same name cannot be created in location '{body['location']}'. "
                "Please select a new resource name.",
            )


def place(location: object, kind: str) -> str:
    if not location:
        raise invalid("LocationRequired", "The location property is required for this definition.")
    name = str(location).lower().replace(" ", "")
    if name not in PLACES:
        raise invalid(
            "LocationNotAvailableForResourceGroup"
            if kind == GROUP
            else "LocationNotAvailableForResourceType",
            f"The provided location '{location}' is not available for "
            + ("resource group." if kind == GROUP else f"resource type '{kind}'.")
            + f" List of available regions is '{','.join(PLACES)}'.",
        )
    return name
