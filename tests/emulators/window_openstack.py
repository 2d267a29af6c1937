"""The machine room's window into the emulated OpenStack: the official SDK, as the operator who sees user data."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openstack

from emulators.room import NoOther, Seen, version_in
from flatyard.sim.hardware import Hardware

AUTH_URL = "http://127.0.0.1:5000/v3"
REGION = "RegionOne"


def window() -> OpenstackWindow:
    return OpenstackWindow(Path(os.environ["ROOM_CONSOLES"]))


class OpenstackWindow(NoOther):
    """`consoles`: the folder from which Nova's fake driver reads consoles."""

    def __init__(self, consoles: Path) -> None:
        self._consoles = consoles
        self._admin = openstack.connection.Connection(
            auth_url=AUTH_URL,
            username="admin",
            password="secret",
            project_name="admin",
            user_domain_id="default",
            project_domain_id="default",
            region_name=REGION,
        )
        self._user_data: dict[str, bytes] = {}
        self._versions: dict[str, str] = {}
        self._boots: dict[tuple[str, str], int] = {}
        """By id and time of the last change: the operator's record of actions is asked once for each."""

    async def instances(self) -> tuple[Seen, ...]:
        return await asyncio.to_thread(self._instances)

    async def endpoints(self) -> Mapping[str, tuple[str, ...]]:
        return await asyncio.to_thread(self._addresses)

    async def console(self, instance_id: str, more: str) -> None:
        with (self._consoles / instance_id).open("a") as file:
            file.write(more)

    def _instances(self) -> tuple[Seen, ...]:
        servers = list(self._admin.compute.servers(all_projects=True))
        return tuple(
            self._seen(server) for server in servers if server.status in ("ACTIVE", "SHUTOFF", "REBOOT")
        )

    def _seen(self, server: Any) -> Seen:
        addresses = [
            ({"fixed": "InternalIP", "floating": "ExternalIP"}[entry["OS-EXT-IPS:type"]], entry["addr"])
            for entries in server.addresses.values()
            for entry in entries
        ]
        hardware = Hardware(
            instance_id=server.id,
            name=server.name,
            hostname=server.name.lower(),
            node_name=server.name.lower(),
            provider_id=f"openstack:///{server.id}",
            region=REGION,
            zone=server.availability_zone or "nova",
            addresses=tuple(addresses),
            devices=("/dev/vda", *(("/dev/vdb",) if server.attached_volumes else ())),
            vcpus=server.flavor.vcpus or 2,
            memory_mib=server.flavor.ram or 4096,
            image_version=self._version(server.image.id if server.image else ""),
            platform="openstack",
            user_data=self._data(server.id),
        )
        return Seen(hardware, server.status != "SHUTOFF", 1 + self._reboots(server))

    def _data(self, server_id: str) -> bytes:
        """As the metadata service and the config drive have it: decoded."""
        if server_id not in self._user_data:
            told = self._admin.compute.get_server(server_id).user_data
            self._user_data[server_id] = base64.b64decode(told or "")
        return self._user_data[server_id]

    def _version(self, image_id: str) -> str:
        if image_id not in self._versions:
            image = self._admin.image.get_image(image_id) if image_id else None
            self._versions[image_id] = version_in((image.os_version or image.name) if image else "")
        return self._versions[image_id]

    def _reboots(self, server: Any) -> int:
        key = (server.id, str(server.updated_at))
        if key not in self._boots:
            actions = self._admin.compute.server_actions(server)
            self._boots[key] = sum(1 for action in actions if action.action == "reboot")
        return self._boots[key]

    def _addresses(self) -> Mapping[str, tuple[str, ...]]:
        """Addresses that no server has by itself: control planes answer to them in turn."""
        network = self._admin.network
        servers = tuple(server.id for server in self._admin.compute.servers(all_projects=True))
        ports = {
            port.id: port.fixed_ips[0]["ip_address"]
            for port in network.ports()
            if not port.device_id and port.fixed_ips
        }
        outside = [ip.floating_ip_address for ip in network.ips() if ip.port_id in ports]
        return dict.fromkeys((*ports.values(), *outside), servers)


def inventory() -> dict[str, list[str]]:
    """What the project holds, as its own member sees it."""
    user = openstack.connect(cloud=os.environ.get("OS_CLOUD", "openstack"))
    project = user.current_project_id
    network = user.network
    return {
        "instances": [server.id for server in user.compute.servers()],
        "groups of servers": [group.id for group in user.compute.server_groups()],
        "keys": [key.name for key in user.compute.keypairs()],
        "ports": sorted(port.id for port in network.ports(project_id=project)),
        "networks": sorted(row.id for row in network.networks(project_id=project)),
        "subnets": sorted(row.id for row in network.subnets(project_id=project)),
        "routers": sorted(row.id for row in network.routers(project_id=project)),
        "security groups": sorted(row.id for row in network.security_groups(project_id=project)),
        "floating IPs": sorted(row.id for row in network.ips(project_id=project)),
        "images": sorted(image.id for image in user.image.images(visibility="private")),
        "containers": sorted(row.name for row in user.object_store.containers()),
    }


if __name__ == "__main__":
    print(json.dumps(inventory()))
