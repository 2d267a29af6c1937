"""What is asked of a resource by POST, and what only one resource has: power, console, keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import compute
from .errors import ArmError, invalid, not_found
from .ids import parse
from .operations import async_headers
from .routes import Answer, Request, special
from .services import ACCOUNT
from .world import Resource, where

if TYPE_CHECKING:
    from .app import Arm

Match = re.Match[str]
MACHINE = r"(/subscriptions/[^/]+/resourcegroups/[^/]+/providers/Microsoft\.Compute/virtualMachines/[^/]+)"
KEYS = r"(/subscriptions/[^/]+/resourcegroups/[^/]+/providers/Microsoft\.Storage/storageAccounts/[^/]+)"
CHANGES = {
    "start": ("running", "starting", "running"),
    "restart": ("", "", ""),
    "poweroff": ("", "stopping", "stopped"),
    "deallocate": ("", "deallocating", "deallocated"),
    "redeploy": ("", "starting", "running"),
}


def found(arm: Arm, raw: str, kind: str) -> Resource:
    resource = arm.world.find(raw)
    if resource is not None and resource.kind == compute.VM and resource.state == "Deleting":
        raise compute.marked(resource, raw.rsplit("/", 1)[-1])
    if resource is None or resource.state == "Deleting":
        path = parse(raw)
        arm.groups.exists(path)
        raise not_found(path.name, path.group, kind)
    return resource


def power(word: str) -> None:
    @special("POST", MACHINE + "/" + word, f"{compute.VM}/{word}/action")
    def change(arm: Arm, request: Request, match: Match) -> Answer:
        vm = found(arm, match[1], compute.VM)
        if vm.busy:
            raise ArmError(
                409, "Conflict", f"The request failed due to conflict with a concurrent request on {vm.id}."
            )
        _, during, after = CHANGES[word.lower()]
        if word == "restart" and vm.hidden["power"] in ("stopped", "deallocated"):
            raise ArmError(
                409, "OperationNotAllowed", f"Cannot restart VM '{vm.name}' since it is not running."
            )
        vm.hidden["power"] = during or vm.hidden["power"]
        vm.hidden["boots"] = int(vm.hidden.get("boots", 1)) + (word in ("restart", "start", "redeploy"))

        def end(failure: ArmError | None) -> None:
            vm.hidden["power"] = after or vm.hidden["power"]

        operation = arm.world.operate(where(vm.id, vm.location), arm.world.durations["power"], end)
        vm.operation = operation
        return Answer(202, None, async_headers(arm.world, request, operation, location=True))


for _word in ("start", "restart", "powerOff", "deallocate", "redeploy"):
    power(_word)


@special("GET", MACHINE + "/instanceView", f"{compute.VM}/instanceView/read")
def instance_view(arm: Arm, request: Request, match: Match) -> Answer:
    return Answer(200, compute.instance_view(arm.world, found(arm, match[1], compute.VM)))


@special("POST", MACHINE + "/retrieveBootDiagnosticsData", f"{compute.VM}/retrieveBootDiagnosticsData/action")
def boot_diagnostics(arm: Arm, request: Request, match: Match) -> Answer:
    vm = found(arm, match[1], compute.VM)
    if not compute.at(vm.properties, "diagnosticsProfile.bootDiagnostics.enabled"):
        raise ArmError(
            409,
            "OperationNotAllowed",
            f"Boot diagnostics is not enabled for VM '{vm.name}'.",
            target="bootDiagnostics",
        )
    base = f"{request.base}/_diagnostics/{vm.hidden['vmId']}"
    minutes = int(request.query.get("sasUriExpirationTimeInMinutes") or 120)
    if not 1 <= minutes <= 1440:
        raise invalid(
            "InvalidParameter", "sasUriExpirationTimeInMinutes is 1 to 1440.", "sasUriExpirationTimeInMinutes"
        )
    query = f"se={int(arm.world.now() + minutes * 60)}&sig={vm.hidden['vmId'][:8]}"
    return Answer(
        200,
        {
            "consoleScreenshotBlobUri": f"{base}/screenshot.bmp?{query}",
            "serialConsoleLogBlobUri": f"{base}/serialconsole.log?{query}",
        },
    )


@special("POST", KEYS + "/listKeys", f"{ACCOUNT}/listKeys/action")
def list_keys(arm: Arm, request: Request, match: Match) -> Answer:
    account = found(arm, match[1], ACCOUNT)
    if account.body.get("properties", {}).get("allowSharedKeyAccess") is False:
        raise ArmError(
            409, "KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted."
        )
    keys = [
        {"keyName": name, "permissions": "FULL", "value": account.hidden["key"]} for name in ("key1", "key2")
    ]
    return Answer(200, {"keys": keys})


@special(
    "POST",
    r"(/subscriptions/[^/]+)/providers/Microsoft\.Storage/checkNameAvailability",
    "Microsoft.Storage/checkNameAvailability/read",
)
def name_availability(arm: Arm, request: Request, match: Match) -> Answer:
    name = str(request.json().get("name", ""))
    if not re.fullmatch(r"[a-z0-9]{3,24}", name):
        return Answer(
            200, {"nameAvailable": False, "reason": "AccountNameInvalid", "message": f"{name} is not valid."}
        )
    taken = any(account.name == name for account in arm.world.of_kind(ACCOUNT))
    if taken:
        words = f"The storage account named {name} is already taken."
        return Answer(200, {"nameAvailable": False, "reason": "AlreadyExists", "message": words})
    return Answer(200, {"nameAvailable": True})
