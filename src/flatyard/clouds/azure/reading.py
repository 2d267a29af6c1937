"""Reading what Azure answers: its models are mappings with the wire's names, and any part may be missing."""

from __future__ import annotations

from collections.abc import Mapping

Shown = Mapping[str, object]


def part(shown: object, *path: str) -> object:
    """What is at the path; None where any step is missing."""
    for key in path:
        if not isinstance(shown, Mapping):
            return None
        shown = shown.get(key)
    return shown


def text(shown: object, *path: str) -> str:
    """The text at the path, empty where there is none."""
    found = part(shown, *path)
    return "" if found is None else str(found)


def items(shown: object, *path: str) -> list[Shown]:
    """The list of objects at the path."""
    found = part(shown, *path)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list | tuple) else []


def tags(shown: object) -> dict[str, str]:
    found = part(shown, "tags")
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def last(resource_id: str) -> str:
    """The name at a resource id's end."""
    return resource_id.rpartition("/")[2]


def segment(resource_id: str, before: str) -> str:
    """The segment that follows `before`, whatever the case: Azure does not keep to one."""
    parts = resource_id.split("/")
    folded = [word.lower() for word in parts]
    place = folded.index(before.lower()) + 1 if before.lower() in folded else len(parts)
    return parts[place] if place < len(parts) else ""


def kind_of(resource_id: str) -> str:
    """Provider and types of an id, as in Microsoft.Network/virtualNetworks/subnets."""
    parts = resource_id.strip("/").split("/")
    folded = [word.lower() for word in parts]
    if "providers" not in folded:
        return "Microsoft.Resources/resourceGroups"
    after = parts[len(folded) - folded[::-1].index("providers") :]
    return "/".join((after[0], *after[1::2]))
