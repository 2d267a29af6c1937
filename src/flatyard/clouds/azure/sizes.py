"""What machine sizes a location has: architecture, generations, zones, restrictions (Resource SKUs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.reading import Shown, items, part, text

ARCHES = {"x64": "amd64", "arm64": "arm64"}
GENERATIONS = {"v1": "gen1", "v2": "gen2"}


@dataclass(frozen=True, slots=True)
class SizeHere:
    """One size as the location offers it to this subscription. `zones` are those without a restriction.

    `refused`: Azure's reason where the whole location is closed for it. `controllers`: of its disks, `SCSI` and
    `NVMe`; empty where Azure does not tell. `premium`: whether it takes Premium disks; `trusted`: trusted launch.
    """

    name: str
    family: str
    vcpus: int
    memory_mib: int
    arch: str
    generations: tuple[str, ...]
    zones: tuple[str, ...]
    refused: str = ""
    accelerated: bool = True
    controllers: tuple[str, ...] = ()
    premium: bool = True
    trusted: bool = True


async def sizes(account: Account, location: str = "") -> Mapping[str, SizeHere]:
    """By name in small letters. One paged call for each location and process."""
    where = location or account.place.location
    key = ("sizes", where)
    kept = account.kept.get(key)
    if isinstance(kept, Mapping):
        return kept
    api = account.clients.compute.resource_skus
    rows = await account.read(
        f"listing machine sizes in {where}", lambda: list(api.list(filter=f"location eq '{where}'"))
    )
    found = [_size(row) for row in rows if text(row, "resourceType").lower() == "virtualmachines"]
    made = {size.name.lower(): size for size in found}
    account.kept[key] = made
    return made


async def size(account: Account, name: str) -> SizeHere | None:
    return (await sizes(account)).get(name.lower())


def _size(row: Shown) -> SizeHere:
    able = {text(c, "name"): text(c, "value") for c in items(row, "capabilities")}
    zones = {str(zone) for info in items(row, "locationInfo") for zone in _list(info, "zones")}
    refused = ""
    for restriction in items(row, "restrictions"):
        if text(restriction, "type").lower() == "zone":
            zones -= set(map(str, _list(part(restriction, "restrictionInfo"), "zones")))
        else:
            refused = text(restriction, "reasonCode") or "NotAvailableForSubscription"
    arch = ARCHES.get(able.get("CpuArchitectureType", "x64").lower(), "amd64")
    generations = able.get("HyperVGenerations", "V1,V2").lower().split(",")
    return SizeHere(
        name=text(row, "name"),
        family=text(row, "family"),
        vcpus=int(float(able.get("vCPUs", "0"))),
        memory_mib=int(float(able.get("MemoryGB", "0")) * 1024),
        arch=arch,
        generations=tuple(GENERATIONS[g] for g in generations if g in GENERATIONS),
        zones=tuple(sorted(zones)),
        refused=refused,
        accelerated=able.get("AcceleratedNetworkingEnabled", "True").lower() == "true",
        controllers=controllers_in(able.get("DiskControllerTypes", "")),
        premium=able.get("PremiumIO", "True").lower() == "true",
        trusted=able.get("TrustedLaunchDisabled", "False").lower() != "true",
    )


def controllers_in(told: str) -> tuple[str, ...]:
    """From Azure's list, `SCSI, NVMe`."""
    names = (word.strip() for word in told.split(","))
    return tuple("NVMe" if name.lower() == "nvme" else name.upper() for name in names if name)


def _list(shown: object, name: str) -> list[object]:
    found = part(shown, name)
    return found if isinstance(found, list) else []
