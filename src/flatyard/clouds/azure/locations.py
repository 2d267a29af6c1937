"""Where Azure is: the locations that the subscription sees, and which of them are near one another."""

from __future__ import annotations

import math
from dataclasses import dataclass

from azure.core.rest import HttpRequest

from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.reading import Shown, items, part, text

API_VERSION = "2022-12-01"
NEAREST = 4


@dataclass(frozen=True, slots=True)
class Location:
    """`zones` as the subscription sees them; empty where the location has none."""

    name: str
    title: str
    paired: tuple[str, ...]
    zones: tuple[str, ...]
    geography: str
    latitude: float
    longitude: float


async def locations(account: Account) -> dict[str, Location]:
    """By name; one call for each process."""
    kept = account.kept.get(("locations", ""))
    if isinstance(kept, dict):
        return kept
    path = f"/subscriptions/{account.place.subscription}/locations?api-version={API_VERSION}"
    rows = await account.read("listing locations", lambda: get(account, path))
    physical = [row for row in items(rows, "value") if text(row, "metadata", "regionType") != "Logical"]
    made = {location.name: location for location in map(_location, physical)}
    account.kept["locations", ""] = made
    return made


def get(account: Account, path: str) -> Shown:
    """A GET below the API's root that the SDK has no method for."""
    client = account.clients.resource
    answer = client.send_request(HttpRequest("GET", f"{account.place.manager}{path}"))
    answer.raise_for_status()
    found = answer.json()
    return found if isinstance(found, dict) else {}


def _location(row: Shown) -> Location:
    return Location(
        name=text(row, "name"),
        title=text(row, "displayName"),
        paired=tuple(text(pair, "name") for pair in items(row, "metadata", "pairedRegion")),
        zones=tuple(text(zone, "logicalZone") for zone in items(row, "availabilityZoneMappings")),
        geography=text(row, "metadata", "geographyGroup"),
        latitude=_number(part(row, "metadata", "latitude")),
        longitude=_number(part(row, "metadata", "longitude")),
    )


def _number(found: object) -> float:
    try:
        return float(str(found))
    except ValueError:
        return 0.0


def near(known: dict[str, Location], name: str) -> list[Location]:
    """The paired ones first, then the nearest on the globe."""
    here = known.get(name)
    if here is None:
        return []
    others = [location for location in known.values() if location.name != name]
    others.sort(key=lambda there: (there.name not in here.paired, _distance(here, there)))
    return others[:NEAREST]


def told(location: Location, paired: bool) -> str:
    """One alternative in words."""
    zones = f"zones {', '.join(location.zones)}" if location.zones else "no zones"
    return f"{location.name} ({'paired, ' if paired else ''}{zones})"


def _distance(a: Location, b: Location) -> float:
    """Of the great circle, on a globe of radius 1."""
    first, second = math.radians(a.latitude), math.radians(b.latitude)
    turn = math.radians(b.longitude - a.longitude)
    cosine = math.sin(first) * math.sin(second) + math.cos(first) * math.cos(second) * math.cos(turn)
    return math.acos(max(-1.0, min(1.0, cosine)))
