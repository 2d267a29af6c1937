"""The conformance suite's bench for Azure: the adapter as it is, against the emulator of Azure Resource Manager."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import requests
from azure.mgmt.compute import models as vm
from azure.mgmt.network import models as net
from azure.mgmt.resource.resources import models as res

from flatyard.base.world import CROCKFORD, RealWorld
from flatyard.clouds.azure.client import AzureClients
from flatyard.clouds.azure.cloud import AzureCloud, connect
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.cloud import TAG_CLUSTER, Cloud, ClusterRef, Instance
from flatyard.clouds.conformance import Planted
from flatyard.clouds.facts import Trouble
from flatyard.clouds.tags import cluster_tags
from flatyard.decode.types import ConfigVar
from flatyard.ignition.fetch import FetchError
from flatyard.model import cluster as model
from flatyard.model.machines import AzureMachine, MachineSpec
from flatyard.model.meta import ObjectMeta
from flatyard.node.evidence import Report, format_report

if TYPE_CHECKING:
    from emulators.azure.place import Arm

LOCATION = "germanywestcentral"
SHORT, AHEAD = 60.0, 1.5
"""The shortest signed URL that checks ask for, in seconds, and how long it lives by the bench's clock."""
POLL = 0.05
FOREIGN = "foreign"
B2S = AzureMachine()
_UNDER_WAY = ("Creating", "Updating", "Deleting")


class EarlyWorld(RealWorld):
    """A clock so late that the shortest signed URL ends after a second and a half: nobody waits a minute for it."""

    signed = 0.0

    def now(self) -> datetime:
        self.signed = asyncio.get_running_loop().time()
        return super().now() - timedelta(seconds=SHORT - AHEAD)


def cluster(
    *, name: str = "prod", azure: Mapping[str, object] | None = None, machine: AzureMachine = B2S
) -> model.Cluster:
    """Three control planes and two workers in the location that the emulator has the most in."""
    cloud = replace(model.AzureCloud(location=LOCATION), **dict(azure or {}))  # type: ignore[arg-type]
    return model.Cluster(
        metadata=ObjectMeta(name=name),
        spec=model.ClusterSpec(
            cloud=model.CloudChoice(azure=cloud),
            control_plane=model.ControlPlane(replicas=3, machine=machine),
            workers=(model.WorkerPool(name="general", replicas=2, machine=machine),),
        ),
    )


def _planted() -> tuple[Planted, ...]:
    plain = cluster()
    many = replace(plain.spec.workers[0], replicas=1500)
    four = replace(plain.spec.workers[0], replicas=4)
    old = model.Flatcar(channel="stable", version="1000.2.0")
    return (
        Planted(
            "region", cluster(azure={"location": "germanywestcentrall"}), "did you mean 'germanywestcentral'"
        ),
        Planted(
            "size",
            cluster(machine=AzureMachine(vm_size=ConfigVar("Standard_B2sx"))),
            "did you mean 'Standard_B2s'",
        ),
        Planted("size", cluster(machine=AzureMachine(vm_size=ConfigVar("Standard_B1s"))), "kubeadm wants 2"),
        Planted(
            "size",
            cluster(
                azure={"location": "germanynorth"}, machine=AzureMachine(vm_size=ConfigVar("Standard_D2s_v6"))
            ),
            "the same in germanywestcentral (paired",
        ),
        Planted(
            "image",
            replace(plain, spec=replace(plain.spec, flatcar=old)),
            "has no Flatcar image for 1000.2.0",
        ),
        Planted("zone", cluster(machine=AzureMachine(zones=("9",))), "has no zone '9'"),
        Planted(
            "zone",
            cluster(machine=AzureMachine(vm_size=ConfigVar("Standard_D2ps_v5"), zones=("3",))),
            "not offered in zone 3",
        ),
        Planted(
            "subnet",
            cluster(azure={"resource_group": FOREIGN, "vnet_name": "nowhere"}),
            "no network 'nowhere'",
        ),
        Planted(
            "subnet",
            replace(plain, spec=replace(plain.spec, network=model.Network(nodes="10.0.0.0/29"))),
            "/28",
        ),
        Planted(
            "subnet",
            replace(
                plain, spec=replace(plain.spec, network=model.Network(nodes="10.0.0.0/28"), workers=(four,))
            ),
            "10.0.0.8/29 has room for 3 machines in 1 subnet",
        ),
        Planted(
            "quota", replace(plain, spec=replace(plain.spec, workers=(many,))), "the cluster needs 3006 of"
        ),
        Planted("name", cluster(name="prod.example"), "cannot be called so here"),
        Planted(
            "credential",
            cluster(azure={"tenant_id": "99999999-0000-0000-0000-000000000000"}),
            "does not accept the credentials",
        ),
    )


PLANTED_ONCE = (
    "did you mean 'germanywestcentral'",
    "did you mean 'Standard_B2s'",
    "has no Flatcar image for 1000.2.0",
    "has no zone '9'",
    "no network 'nowhere'",
    "the cluster needs 3006 of",
    "cannot be called so here",
    "does not accept the credentials",
)
"""Those that hold wherever the sizes of a location change."""


class AzureBench:
    """Two clusters in one emulated subscription."""

    beyond_a_page = 200
    cannot: Mapping[str, str] = {}

    def __init__(self, arm: Arm | None) -> None:
        self._arm = arm
        self.early = EarlyWorld()
        self.world: RealWorld = self.early
        self.cluster = cluster()
        self.machine: MachineSpec = AzureMachine()
        self.ref = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
        self.other = ClusterRef("01JGFJJZ00BBBBBBBBBBBBBBBB", "test")
        self.planted = _planted()
        self._made: list[AzureCloud] = []
        self._lag = 0.0
        self._lagging = 0.0
        self.cloud: Cloud = self._connect()

    @property
    def arm(self) -> Arm:
        assert self._arm is not None, "this bench has no emulator"
        return self._arm

    def _connect(self) -> AzureCloud:
        made = connect(self.cluster, self.world, self.arm.environment)
        assert isinstance(made, AzureCloud)
        made.account.clients.poll = POLL
        self._made.append(made)
        return made

    @property
    def clients(self) -> AzureClients:
        return self._made[0].account.clients

    def machine_id(self, number: int) -> str:
        return f"01JGFJJZ00CCCCCCCCCCCCCC{CROCKFORD[number // 32]}{CROCKFORD[number % 32]}"

    def restarted(self) -> Cloud:
        return self._connect()

    def lose_replies(self, count: int) -> None:
        self.arm.lose(count)

    def trouble(self, what: Trouble, count: int) -> None:
        self.arm.trouble(what.value, count)

    def meter(self, on: bool) -> None:
        self.arm.throttle(on)

    def lag(self, seconds: float) -> None:
        self.arm.lag(seconds)
        self._lag = seconds

    def fail(self, instance: Instance) -> None:
        self.arm.fail(instance.id)

    def end(self, instance: Instance) -> None:
        self.arm.end(instance.id)

    def user_data(self, instance: Instance) -> bytes:
        return bytes(self.arm.user_data(instance.id))

    def stray(self) -> str:
        return self._address("stray", cluster_tags(self.ref, FACTS.tags))

    def borrowed(self) -> str:
        return self._address("borrowed", {TAG_CLUSTER: self.ref.id})

    def remains(self, id: str) -> bool:
        return id in [row.id for row in self.clients.network.public_ip_addresses.list(FOREIGN)]

    def _address(self, name: str, tags: Mapping[str, str]) -> str:
        """A public address in another group."""
        self._group()
        body = net.PublicIPAddress(
            location=LOCATION,
            tags=dict(tags),
            sku=net.PublicIPAddressSku(name="Standard"),
            properties=net.PublicIPAddressPropertiesFormat(public_ip_allocation_method="Static"),
        )
        api = self.clients.network.public_ip_addresses
        return str(api.begin_create_or_update(FOREIGN, name, body).result().id)

    def foreign(self, name: str) -> None:
        self._group()
        nic = self._interface(f"{name}-nic")
        self._machine(name, nic)

    def _group(self) -> None:
        self.clients.resource.resource_groups.create_or_update(FOREIGN, res.ResourceGroup(location=LOCATION))

    def _interface(self, name: str) -> str:
        network = self.clients.network
        space = net.AddressSpace(address_prefixes=["192.168.0.0/24"])
        inside = net.Subnet(
            name="nodes", properties=net.SubnetPropertiesFormat(address_prefix="192.168.0.0/25")
        )
        vnet = net.VirtualNetwork(
            location=LOCATION,
            properties=net.VirtualNetworkPropertiesFormat(address_space=space, subnets=[inside]),
        )
        made = network.virtual_networks.begin_create_or_update(FOREIGN, "theirs", vnet).result()
        config = net.NetworkInterfaceIPConfiguration(
            name="node",
            properties=net.NetworkInterfaceIPConfigurationPropertiesFormat(
                subnet=net.Subnet(id=f"{made.id}/subnets/nodes")
            ),
        )
        body = net.NetworkInterface(
            location=LOCATION, properties=net.NetworkInterfacePropertiesFormat(ip_configurations=[config])
        )
        return str(network.network_interfaces.begin_create_or_update(FOREIGN, name, body).result().id)

    def _machine(self, name: str, nic: str) -> None:
        body = vm.VirtualMachine(
            location=LOCATION,
            properties=vm.VirtualMachineProperties(
                hardware_profile=vm.HardwareProfile(vm_size="Standard_B2s"),
                storage_profile=vm.StorageProfile(
                    image_reference=vm.ImageReference(
                        publisher="kinvolk",
                        offer="flatcar-container-linux-corevm-amd64",
                        sku="stable-gen2",
                        version="latest",
                    ),
                    os_disk=vm.OSDisk(create_option="FromImage"),
                ),
                os_profile=vm.OSProfile(
                    computer_name=name, admin_username="core", admin_password="c0nf0rmance-Secret"
                ),
                network_profile=vm.NetworkProfile(network_interfaces=[vm.NetworkInterfaceReference(id=nic)]),
            ),
        )
        self.clients.compute.virtual_machines.begin_create_or_update(FOREIGN, name, body).result()

    def break_down(self, instance: Instance) -> None:
        report = Report("kubelet.service", "exit-code", ("kubelet: no such file or directory",))
        self.arm.say(instance.id, format_report(report))

    async def wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if seconds >= SHORT and self.early.signed:
            await asyncio.sleep(max(0.0, self.early.signed + AHEAD + 0.5 - loop.time()))
        if self._lag:
            await asyncio.sleep(min(seconds, self._lag))
        async with asyncio.timeout(seconds):
            while any(row["deleting"] or row["state"] in _UNDER_WAY for row in self.arm.resources()):
                await asyncio.sleep(0.05)

    async def get(self, url: str) -> int:
        answer = await asyncio.to_thread(requests.get, url, timeout=10, verify=str(self.arm.ca))
        return answer.status_code

    async def read(self, url: str) -> bytes:
        return await asyncio.to_thread(read_body, url, str(self.arm.ca))

    async def close(self) -> None:
        for cloud in self._made:
            await cloud.close()


def read_body(url: str, verify: str | bool) -> bytes:
    """What a GET brings. Raises FetchError for anything but 200."""
    answer = requests.get(url, timeout=30, verify=verify)
    if answer.status_code != HTTPStatus.OK:
        raise FetchError(f"HTTP status {answer.status_code}")
    return answer.content
