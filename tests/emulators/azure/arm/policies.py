"""Built-in policies that many subscriptions are under: RequestDisallowedByPolicy (rules: policies)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .errors import ArmError
from .world import Body, Resource

Broken = Callable[[Resource], bool]


def subnets(new: Resource) -> Iterator[Body]:
    if new.kind == "Microsoft.Network/virtualNetworks":
        yield from (item.get("properties") or {} for item in new.properties.get("subnets") or ())


def forwards(new: Resource) -> bool:
    return new.kind == "Microsoft.Network/networkInterfaces" and bool(
        new.properties.get("enableIPForwarding")
    )


POLICIES: dict[str, Broken] = {
    "Deny-IP-forwarding": forwards,
    "Deny-Subnet-Without-Nsg": lambda new: any(not s.get("networkSecurityGroup") for s in subnets(new)),
    "Enforce-Subnet-Private": lambda new: any(
        s.get("defaultOutboundAccess") is not False for s in subnets(new)
    ),
}


def check(assigned: set[str], new: Resource) -> None:
    for name in sorted(assigned):
        if POLICIES[name](new):
            raise ArmError(
                403,
                "RequestDisallowedByPolicy",
                f"Resource '{new.name}' was disallowed by policy. Policy identifiers: '{name}'.",
                target=new.name,
            )
