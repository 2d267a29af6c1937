"""What goes wrong: asked for by a test, or because there were too many requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ArmError
from .world import World

if TYPE_CHECKING:
    from .routes import Request

MACHINES = r"PUT .*/virtualMachines/[^/]+"
BUCKETS = {"reads": (250, 25.0), "writes": (200, 10.0), "deletes": (200, 10.0)}
"""Size and refill a second, of one principal in one subscription (rules: throttling)."""


ACCEPTED = ("CAPACITY", "BREAKS")
"""What is told by the operation's end, not by its first answer."""
COUNTS = {
    "QUOTA_INSTANCES": (409, "QuotaExceeded"),
    "QUOTA_ADDRESSES": (400, "PublicIPCountLimitReached"),
    "QUOTA_NETWORKS": (400, "VnetCountLimitReached"),
    "QUOTA_LOAD_BALANCERS": (400, "LoadBalancerCountLimitReached"),
}
"""Quotas that are counts of resources."""


@dataclass
class Planned:
    kind: str
    count: int
    match: re.Pattern[str]


class Faults:
    def __init__(self) -> None:
        self.planned: list[Planned] = []
        self.throttle = False
        self.left = {name: float(size) for name, (size, _) in BUCKETS.items()}
        self.filled = 0.0
        self.last = "reads"

    def plan(self, kind: str, count: int, match: str = MACHINES) -> None:
        name = kind.upper().replace("-", "_")
        self.planned = [planned for planned in self.planned if planned.kind != name]
        self.planned.append(Planned(name, count, re.compile(match, re.IGNORECASE)))

    def apply(self, request: Request, world: World) -> str:
        """Raises what is planned for this request; "before" or "after" where its reply is to be lost."""
        for planned in self.planned:
            if planned.count > 0 and planned.match.fullmatch(f"{request.method} {request.path}"):
                planned.count -= 1
                if planned.kind.startswith("LOST_"):
                    return planned.kind.removeprefix("LOST_").lower()
                problem = trouble(planned.kind, request)
                if planned.kind not in ACCEPTED:
                    raise problem
                world.fails_next = problem
        return ""

    # ---- too many requests
    def count(self, request: Request, world: World) -> None:
        name = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(request.method, "writes")
        now = world.now()
        if self.filled:
            for bucket, (size, refill) in BUCKETS.items():
                self.left[bucket] = min(size, self.left[bucket] + refill * (now - self.filled))
        self.filled, self.last = now, name
        if not self.throttle:
            return
        if self.left[name] < 1:
            raise too_many(f"The request limit of {name} was exceeded.")
        self.left[name] -= 1

    def remaining(self) -> dict[str, str]:
        return {f"x-ms-ratelimit-remaining-subscription-{self.last}": str(max(0, int(self.left[self.last])))}


def too_many(words: str) -> ArmError:
    return ArmError(429, "TooManyRequests", f"{words} Please retry later.", headers={"Retry-After": "1"})


def trouble(kind: str, request: Request) -> ArmError:
    body = request.json() if request.raw else {}
    place, zone = body.get("location", ""), (body.get("zones") or [""])[0]
    size = (body.get("properties") or {}).get("hardwareProfile", {}).get("vmSize", "")
    name = request.path.rsplit("/", 1)[-1]
    if kind == "RATE":
        return too_many("The number of requests was exceeded for this operation.")
    if kind == "INTERNAL":
        return ArmError(500, "InternalServerError", "An internal error occurred.")
    if kind == "BREAKS":
        return ArmError(500, "InternalServerError", "An error occurred.")
    if kind == "UNAVAILABLE":
        return ArmError(503, "ServerBusy", "The server is busy.", headers={"Retry-After": "1"})
    if kind == "TIMEOUT":
        return ArmError(504, "GatewayTimeout", "The gateway did not receive a response in time.")
    if kind in COUNTS:
        return ArmError(*COUNTS[kind], "The limit of 1000 is reached.")
    if kind.startswith("QUOTA"):
        return ArmError(
            409,
            "OperationNotAllowed",
            "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. "
            f"Additional details - Deployment Model: Resource Manager, Location: {place}, Current Limit: 10, Current "
            "Usage: 10, Additional Required: 2, (Minimum) New Limit Required: 12.",
        )
    if kind.startswith("CAPACITY"):
        return allocation(size, zone)
    if kind == "SKU":
        from .compute import sku_not_available

        return sku_not_available(size, place)
    if kind == "BUSY":
        return ArmError(
            409,
            "AnotherOperationInProgress",
            f"Another operation on this or dependent resource {name} is in progress.",
        )
    raise ArmError(400, "EmulatorError", f"there is no trouble {kind}")


def allocation(size: str, zone: str) -> ArmError:
    if zone:
        return ArmError(
            409,
            "ZonalAllocationFailed",
            "Allocation failed. We do not have sufficient capacity for the requested VM size in this zone. Read more "
            "about improving likelihood of allocation success at http://aka.ms/allocation-guidance",
            target=size,
        )
    return ArmError(
        409,
        "AllocationFailed",
        "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. Read more "
        "about improving likelihood of allocation success at http://aka.ms/allocation-guidance",
        target=size,
    )
