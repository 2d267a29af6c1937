"""OpenStack for the conformance suite: one project on the emulator, and ways to make trouble behind the adapter."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

import httpx2
import pytest
from openstack.network.v2.router import Router

from emulators.openstack.objects import Objects
from emulators.openstack.proxy import Reply, is_create
from emulators.openstack.services import AUTH_URL, SETTLED, Account, Services
from flatyard.base.world import CROCKFORD, RealWorld
from flatyard.clouds import conformance
from flatyard.clouds.cloud import TAG_CLUSTER, Cloud, ClusterRef, Instance
from flatyard.clouds.conformance import Planted
from flatyard.clouds.facts import Trouble
from flatyard.clouds.openstack import client as clients
from flatyard.clouds.openstack import marks
from flatyard.clouds.openstack.cloud import OpenstackAdapter
from flatyard.clouds.openstack.settings import OpenstackSettings
from flatyard.decode.types import ConfigVar
from flatyard.ignition.fetch import FetchError
from flatyard.model import cluster as model
from flatyard.model.machines import MachineSpec, OpenstackMachine
from flatyard.model.meta import ObjectMeta
from flatyard.node.evidence import Report, format_report

LATE = 4.0
"""Seconds by which lists may be late here, where nothing is."""
REFUSALS = {
    Trouble.RATE: Reply(429, {"overLimit": {"code": 429, "message": "too many calls"}}, {"Retry-After": "1"}),
    Trouble.INTERNAL: Reply(500, {"computeFault": {"code": 500, "message": "Unexpected API Error."}}),
    Trouble.QUOTA_VCPUS: Reply(
        403,
        {
            "forbidden": {
                "code": 403,
                "message": "Quota exceeded for cores: Requested 2, but already used 20 of 20 cores",
            }
        },
    ),
}
"""As Nova words them."""


class Ahead(RealWorld):
    """The object store's clock, which tests move instead of waiting."""

    def __init__(self, objects: Objects) -> None:
        super().__init__()
        self._objects = objects

    def later(self, seconds: float) -> datetime:
        return super().later(seconds + self._objects.ahead)


class OpenstackBench:
    """Time passes by itself; waiting ends when no server is on its way anywhere."""

    beyond_a_page = 16
    cannot: Mapping[str, str] = {}

    def __init__(self, services: Services, account: Account) -> None:
        self.services, self.account = services, account
        self.login = OpenstackSettings(
            auth_url=AUTH_URL,
            region="RegionOne",
            username=account.user,
            password=account.password,
            project_name=account.project,
        )
        self.user = services.user(account)
        self._open: list[OpenstackAdapter] = []
        self.cloud: Cloud = self.restarted()
        self.machine: MachineSpec = OpenstackMachine(flavor=ConfigVar("m3.small"))
        self.ref = ClusterRef("01JGFJJZ00AAAAAAAAAAAAAAAA", "prod")
        self.other = ClusterRef("01JGFJJZ00BBBBBBBBBBBBBBBB", "test")
        self.cluster = model.Cluster(
            metadata=ObjectMeta(name="prod"),
            spec=model.ClusterSpec(
                cloud=model.CloudChoice(openstack=model.OpenstackCloud(region="RegionOne")),
                control_plane=model.ControlPlane(replicas=3, machine=self.machine),
                workers=(model.WorkerPool(name="general", replicas=3, machine=self.machine),),
            ),
        )
        self.planted = tuple(self._plants())
        self._lagging = 0.0
        self._borrowed = ""

    def _plants(self) -> Iterator[Planted]:
        """One wrong thing each."""
        machine = self.machine
        assert isinstance(machine, OpenstackMachine)
        yield Planted("region", self._on(region="Regionone"), "did you mean 'RegionOne'?")
        yield Planted("size", self._of(flavor=ConfigVar("m3.smal")), "did you mean 'm3.small'?")
        yield Planted("size", self._planes(flavor=ConfigVar("m3.tiny")), "kubeadm wants 2")
        yield Planted("image", self._of(image_name=ConfigVar("flatcar-1")), "there is no image 'flatcar-1'")
        yield Planted("image", self._flatcar("beta"), "no Flatcar image for channel beta")
        yield Planted("zone", self._of(availability_zone=ConfigVar("novo")), "did you mean 'nova'?")
        yield Planted("zone", self._on(availability_zones=("mars",)), "there is no zone 'mars'")
        yield Planted("subnet", self._on(network="nowhere"), "there is no network 'nowhere'")
        yield Planted(
            "subnet", self._on(network="public", subnet="none"), "no IPv4 subnet of public called 'none'"
        )
        yield Planted("subnet", self._on(external_network="out"), "there is no external network 'out'")
        yield Planted("subnet", self._nodes("10.0.0.0/29"), "10.0.0.0/29 has room for 3 machines in 1 subnet")
        yield Planted("quota", self._workers(3000), "cores; the project may use")
        yield Planted("name", self._named("müll"), "machines named after 'müll' cannot be called so")
        wrong = replace(
            machine,
            identity_endpoint=ConfigVar(AUTH_URL),
            application_credential_id=ConfigVar("0" * 32),
            application_credential_secret=ConfigVar("wrong"),
        )
        yield Planted("credential", self._machines(wrong), "the login was refused")
        yield Planted("credential", self._on(cloud="nobody"), "there are no credentials for OpenStack")

    def _nodes(self, cidr: str) -> model.Cluster:
        spec = replace(self.cluster.spec, network=model.Network(nodes=cidr))
        return replace(self.cluster, spec=spec)

    def _on(self, **words: object) -> model.Cluster:
        chosen = replace(model.OpenstackCloud(region="RegionOne"), **words)
        return replace(
            self.cluster, spec=replace(self.cluster.spec, cloud=model.CloudChoice(openstack=chosen))
        )

    def _of(self, **words: object) -> model.Cluster:
        """Workers with another spec."""
        pool = replace(self.cluster.spec.workers[0], machine=replace(self.machine, **words))
        return replace(self.cluster, spec=replace(self.cluster.spec, workers=(pool,)))

    def _planes(self, **words: object) -> model.Cluster:
        plane = replace(self.cluster.spec.control_plane, machine=replace(self.machine, **words))
        return replace(self.cluster, spec=replace(self.cluster.spec, control_plane=plane))

    def _machines(self, machine: MachineSpec) -> model.Cluster:
        plane = replace(self.cluster.spec.control_plane, machine=machine)
        return replace(self.cluster, spec=replace(self.cluster.spec, control_plane=plane))

    def _workers(self, count: int) -> model.Cluster:
        pool = replace(self.cluster.spec.workers[0], replicas=count)
        return replace(self.cluster, spec=replace(self.cluster.spec, workers=(pool,)))

    def _named(self, name: str) -> model.Cluster:
        return replace(self.cluster, metadata=ObjectMeta(name=name))

    def _flatcar(self, channel: str) -> model.Cluster:
        return replace(self.cluster, spec=replace(self.cluster.spec, flatcar=model.Flatcar(channel=channel)))

    def with_endpoint(self, kind: str) -> model.Cluster:
        return replace(self.cluster, spec=replace(self.cluster.spec, endpoint=model.Endpoint(kind=kind)))

    async def close(self) -> None:
        for adapter in self._open:
            await adapter.close()
        self.user.close()

    def held_to(self, rules: list[dict[str, str]]) -> OpenstackAdapter:
        """From now on with an application credential of the user's that may do only that."""
        made = self.user.identity.create_application_credential(
            self.account.user_id, name="flatyard", access_rules=rules
        )
        self.login = OpenstackSettings(
            auth_url=AUTH_URL,
            region="RegionOne",
            application_credential_id=made.id,
            application_credential_secret=made.secret,
        )
        adapter = self.restarted()
        self.cloud = adapter
        return adapter

    def machine_id(self, number: int) -> str:
        return f"01JGFJJZ00CCCCCCCCCCCCCC{CROCKFORD[number // 32]}{CROCKFORD[number % 32]}"

    def restarted(self) -> OpenstackAdapter:
        chosen = model.OpenstackCloud(region="RegionOne")
        made = OpenstackAdapter(clients.connect(self.login, Ahead(self.services.objects), chosen))
        made.client.settles = LATE
        self._open.append(made)
        return made

    # ---- trouble

    def lose_replies(self, count: int) -> None:
        self.services.proxy.add(is_create, count)

    def trouble(self, what: Trouble, count: int) -> None:
        if count == 0:
            self.services.proxy.calm()
        elif what is Trouble.CAPACITY:
            self.services.proxy.full(count, self._flavor("m3.huge"))
        else:
            self.services.proxy.add(is_create, count, REFUSALS[what])

    def meter(self, on: bool) -> None:
        """OpenStack's services have no rate of their own; what a provider puts before them is `trouble`'s."""

    def lag(self, seconds: float) -> None:
        self.services.proxy.lag = self._lagging = seconds

    def fail(self, instance: Instance) -> None:
        admin = self.services.admin()
        admin.compute.post(f"/servers/{instance.id}/action", json={"os-resetState": {"state": "error"}})

    def end(self, instance: Instance) -> None:
        admin = self.services.admin()
        server = admin.compute.get_server(instance.id)
        admin.compute.delete_server(server)
        self.services.settle(self.account.project_id)

    def user_data(self, instance: Instance) -> bytes:
        """As the metadata service and the config drive have it: decoded."""
        server = self.services.admin().compute.get_server(instance.id)
        return base64.b64decode(server.user_data)

    def stray(self) -> str:
        text = marks.described(self.ref)
        return str(self.user.network.create_security_group(name="stray", description=text).id)

    def borrowed(self) -> str:
        text = f"{TAG_CLUSTER}={self.ref.id}"
        self._borrowed = str(self.user.network.create_security_group(name="theirs", description=text).id)
        return self._borrowed

    def remains(self, id: str) -> bool:
        return id in [group.id for group in self.user.network.security_groups()]

    def foreign(self, name: str) -> None:
        """A server of somebody else's in the same project, on a network of theirs."""
        network = self.user.network.create_network(name="theirs")
        self.user.network.create_subnet(network_id=network.id, ip_version=4, cidr="192.168.0.0/24")
        image = next(iter(self.user.image.images()))
        self.user.compute.create_server(
            name=name,
            flavor_id=self._flavor("m3.tiny"),
            image_id=image.id,
            networks=[{"uuid": network.id}],
        )

    def break_down(self, instance: Instance) -> None:
        report = Report("kubelet.service", "exit-code", ("kubelet: no such file or directory",))
        (self.services.consoles / instance.id).write_text(format_report(report))

    def _flavor(self, name: str) -> str:
        return str(self.user.compute.find_flavor(name, ignore_missing=False).id)

    # ---- time and URLs

    async def wait(self, seconds: float) -> None:
        self.services.objects.ahead += seconds
        if self._lagging:
            await asyncio.sleep(min(seconds, self._lagging))
        async with asyncio.timeout(SETTLED):
            while self.services.busy(self.account.project_id):
                await asyncio.sleep(0.05)

    async def get(self, url: str) -> int:
        """Swift says 401 for a temporary URL that does not hold, and 404 for an object that is gone."""
        async with httpx2.AsyncClient() as client:
            status = (await client.get(url)).status_code
        return 403 if status in (401, 404) else status

    async def read(self, url: str) -> bytes:
        async with httpx2.AsyncClient() as client:
            answer = await client.get(url)
        if answer.status_code != httpx2.codes.OK:
            raise FetchError(f"HTTP status {answer.status_code}")
        return answer.content

    def wipe(self) -> list[str]:
        """Take everything away; what of it was still the cluster's."""
        if self.services.empty(self.account.project_id):
            return []
        left = []
        servers = list(self.user.compute.servers())
        long = SETTLED + 5 * len(servers)
        # what is deleted while it is built may keep its address for a while
        self.services.settle(self.account.project_id, long)
        for server in servers:
            self.user.compute.delete_server(server)
            if "flatyard-cluster" in server.metadata:
                left.append(f"server {server.name}")
        self.services.settle(self.account.project_id, long)
        network, mine = self.user.network, {"project_id": self.account.project_id}
        kinds = (
            ("ip", network.ips, network.delete_ip),
            ("router", network.routers, self._drop_router),
            ("port", network.ports, network.delete_port),
            ("subnet", network.subnets, network.delete_subnet),
            ("network", network.networks, network.delete_network),
            ("security group", network.security_groups, network.delete_security_group),
        )
        for kind, listed, delete in kinds:
            for thing in listed(**mine):
                if thing.name == "default":
                    continue
                if "flatyard" in (thing.description or "") and thing.id != self._borrowed:
                    left.append(f"{kind} {thing.name}")
                delete(thing)
        return left

    def _drop_router(self, router: Router) -> None:
        for port in self.user.network.ports(device_id=router.id):
            self.user.network.remove_interface_from_router(router, port=port.id)
        self.user.network.delete_router(router)


def keeps(services: Services, account: Account, named: conformance.Check) -> None:
    """A check passes on a bench of its own, and nothing of the cluster is left in the account."""
    if named.__name__ in OpenstackBench.cannot:
        pytest.skip(OpenstackBench.cannot[named.__name__])

    async def main() -> None:
        bench = OpenstackBench(services, account)
        try:
            await named(bench)
        finally:
            services.proxy.calm()
            left = bench.wipe()
            await bench.close()
        assert not left, f"the check left {left}"

    services.stage.run(main)


def held(services: Services, project: str, body: Callable[[OpenstackBench], Awaitable[None]]) -> None:
    """On a bench in a project of its own, with an image."""

    async def main() -> None:
        account = services.account(project)
        services.image(services.user(account))
        bench = OpenstackBench(services, account)
        try:
            await body(bench)
        finally:
            bench.wipe()
            await bench.close()

    services.stage.run(main)
