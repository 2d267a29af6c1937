"""The machine room's window into the emulated Azure: the official SDK, and what the emulator tells beside its API."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient

from emulators.room import NoOther, Seen
from flatyard.sim.hardware import Hardware

CONTROL = "http://127.0.0.1:5080/_emulator/"


def window() -> AzureWindow:
    return AzureWindow()


class AzureWindow(NoOther):
    def __init__(self) -> None:
        manager = os.environ["AZURE_RESOURCE_MANAGER_ENDPOINT"]
        credential = ClientSecretCredential(
            os.environ["AZURE_TENANT_ID"],
            os.environ["AZURE_CLIENT_ID"],
            os.environ["AZURE_CLIENT_SECRET"],
            authority=os.environ["AZURE_AUTHORITY_HOST"],
            disable_instance_discovery=True,
        )
        place = {"base_url": manager, "credential_scopes": [f"{manager}/.default"]}
        subscription = os.environ["AZURE_SUBSCRIPTION_ID"]
        self._compute = ComputeManagementClient(credential, subscription, **place)
        self._network = NetworkManagementClient(credential, subscription, **place)

    async def instances(self) -> tuple[Seen, ...]:
        return await asyncio.to_thread(self._instances)

    async def endpoints(self) -> Mapping[str, tuple[str, ...]]:
        return await asyncio.to_thread(self._balancers)

    async def console(self, instance_id: str, more: str) -> None:
        await asyncio.to_thread(_say, "say", id=instance_id, text=more)

    def _instances(self) -> tuple[Seen, ...]:
        rows = [
            row.as_dict()
            for row in self._compute.virtual_machines.list_all()
            if row.provisioning_state not in ("Deleting", "Failed", "Creating")
        ]
        nics = {n.id.lower(): n for n in self._network.network_interfaces.list_all()}
        addresses = {a.id.lower(): a.ip_address or "" for a in self._network.public_ip_addresses.list_all()}
        return tuple(self._seen(row, nics, addresses) for row in rows)

    def _seen(self, raw: Mapping[str, Any], nics: Mapping[str, Any], addresses: Mapping[str, str]) -> Seen:
        row: Mapping[str, Any] = raw.get("properties") or raw
        row_id, name = str(raw["id"]), str(raw["name"])
        found: list[tuple[str, str]] = []
        for reference in _get(row, "networkProfile", "networkInterfaces") or ():
            for config in nics[str(reference["id"]).lower()].ip_configurations:
                found.append(("InternalIP", config.private_ip_address))
                if config.public_ip_address:
                    found.append(("ExternalIP", addresses[config.public_ip_address.id.lower()]))
        image = _get(row, "storageProfile", "imageReference") or {}
        disks = _get(row, "storageProfile", "dataDisks") or ()
        zones = raw.get("zones") or ()
        hardware = Hardware(
            instance_id=row_id,
            name=name,
            hostname=_get(row, "osProfile", "computerName") or name,
            node_name=(_get(row, "osProfile", "computerName") or name).lower(),
            provider_id=f"azure://{row_id}",
            region=raw["location"],
            zone=f"{raw['location']}-{zones[0]}" if zones else "",
            addresses=tuple((kind, address) for kind, address in found if address),
            devices=devices(_get(row, "storageProfile", "diskControllerType"), disks),
            image_version=_version(image),
            kubernetes=_kubernetes(image),
            platform="azure",
            user_data=base64.b64decode(_say("user_data", id=row_id)),
        )
        return Seen(hardware, running=True, boots=int(_say("boots", id=row_id)))

    def _balancers(self) -> Mapping[str, tuple[str, ...]]:
        addresses = {a.id.lower(): a for a in self._network.public_ip_addresses.list_all()}
        machines: dict[str, str] = {}
        members: dict[str, list[str]] = {}
        for nic in self._network.network_interfaces.list_all():
            for config in nic.ip_configurations or ():
                if nic.virtual_machine:
                    machines[config.private_ip_address] = nic.virtual_machine.id
                    for pool in config.load_balancer_backend_address_pools or ():
                        members.setdefault(pool.id.lower(), []).append(nic.virtual_machine.id)
        found: dict[str, tuple[str, ...]] = {}
        for balancer in self._network.load_balancers.list_all():
            behind = [
                machine
                for pool in balancer.backend_address_pools or ()
                for machine in (
                    *members.get(pool.id.lower(), ()),
                    *(machines.get(a.ip_address, "") for a in pool.load_balancer_backend_addresses or ()),
                )
                if machine
            ]
            for front in balancer.frontend_ip_configurations or ():
                public = (
                    addresses.get(front.public_ip_address.id.lower()) if front.public_ip_address else None
                )
                names = [front.private_ip_address] if public is None else [public.ip_address]
                if public is not None and public.dns_settings:
                    names.append(public.dns_settings.fqdn)
                found |= {name: tuple(behind) for name in names if name}
        return found


def devices(controller: str | None, disks: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the disks are called while Ignition runs: a link for each lun on SCSI (66-azure-storage.rules); on NVMe the
    system's disk is namespace 1 and lun N is namespace N + 2 (azure-vm-utils, disk-identification.md).
    """
    luns = [int(disk.get("lun", 0)) for disk in disks]
    if controller != "NVMe":
        return ("/dev/sda", *(f"/dev/disk/azure/scsi1/lun{lun}" for lun in luns))
    model, serial = "MSFT NVMe Accelerator v1.0", "SN: 000001"
    name = f"{model}_{serial}".replace(" ", "_")
    return ("/dev/nvme0n1", *(f"/dev/disk/by-id/nvme-{name}_{lun + 2}" for lun in luns))


def _get(row: Mapping[str, Any], *path: str) -> Any:
    """A field of what the SDK shows, whichever way this version of it spells fields."""
    found: Any = row
    for step in path:
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in step)
        found = (found or {}).get(step) or (found or {}).get(snake)
    return found


def _version(image: Mapping[str, Any]) -> str:
    version = str(image.get("exactVersion") or image.get("exact_version") or image.get("version") or "")
    if version.count(".") == 2:
        return version
    return _gallery(image).rpartition("/versions/")[2]


def _gallery(image: Mapping[str, Any]) -> str:
    """The id of a community gallery's image in small letters: Azure's ids have no case."""
    found = image.get("communityGalleryImageId") or image.get("community_gallery_image_id") or ""
    return str(found).lower()


def _kubernetes(image: Mapping[str, Any]) -> str | None:
    """The version that is baked into an image of the community gallery (`…-capi-v1.34.3`)."""
    name = _gallery(image).partition("/versions/")[0]
    return f"v{name.rpartition('-v')[2]}" if "-capi-v" in name else None


def _say(what: str, **asked: object) -> Any:
    body = json.dumps(asked).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(CONTROL + what, body, {"Content-Type": "application/json"})
    with opener.open(request, timeout=30) as answer:
        return json.loads(answer.read())["result"]


def inventory() -> dict[str, list[str]]:
    """Every resource and group in the emulated subscription."""
    rows = _say("resources")
    machines = [row["id"] for row in rows if row["type"].lower().endswith("/virtualmachines")]
    return {"instances": machines, "resources": sorted(row["id"] for row in rows)}


def end(provider_id: str) -> None:
    """Somebody else deletes a machine."""
    _say("end", id=provider_id.removeprefix("azure://"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["end"]:
        end(sys.argv[2])
    else:
        print(json.dumps(inventory()))
