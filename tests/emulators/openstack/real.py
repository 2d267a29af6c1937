"""The bench of the conformance suite on a real OpenStack project; on demand, never in CI, and it costs money or units.

Trouble, lost replies, late lists and servers in ERROR stand between the adapter's session and Nova: nothing in the
project is set up for it, and no administrator is needed. What is made carries the marks of two clusters with fresh
ids, and is swept away after each check.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx2
import requests
from keystoneauth1.exceptions.connection import ConnectFailure

from emulators.openstack.bench import REFUSALS
from emulators.openstack.proxy import Reply, is_create, is_list
from emulators.real_account import SETTLED, RealAccount
from flatyard.base.world import RealWorld, ulid
from flatyard.clouds.cloud import TAG_CLUSTER, Cloud, ClusterRef, Instance
from flatyard.clouds.conformance import Planted
from flatyard.clouds.facts import Trouble
from flatyard.clouds.openstack import client as clients
from flatyard.clouds.openstack import marks
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.cloud import OpenstackAdapter
from flatyard.clouds.openstack.settings import settings
from flatyard.decode.types import ConfigVar
from flatyard.ignition.fetch import FetchError
from flatyard.model import cluster as model
from flatyard.model.machines import MachineSpec, OpenstackMachine
from flatyard.model.meta import ObjectMeta

FOREIGN = "theirs"
UNREADABLE = "user data is read by the machine itself and by administrators only"
NO_HOST = {"code": 500, "message": "No valid host was found. There are not enough hosts available."}
BROKEN = {"code": 500, "message": "the host is broken, as the test wants"}


class Interference:
    """What stands between the adapter's session and Nova."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.replies = self.lost = self.crowded = 0
        self.lag = 0.0
        self.broken: dict[str, Mapping[str, object]] = {}
        """Servers that are shown in ERROR, and with which fault."""
        self._born: dict[str, float] = {}

    def attach(self, client: Client) -> None:
        """`session.request` is what every service's proxy of the SDK ends in."""
        session = client.sdk.session
        ask: Callable[..., requests.Response] = session.request

        def request(url: str, method: str, **words: Any) -> requests.Response:
            creates = is_create(method, url)
            if creates and self.reply and self.replies:
                self.replies -= 1
                return _response(url, self.reply)
            found = ask(url, method, **words)
            if creates and found.ok:
                self._made(found)
            return self._shown(method, url, found)

        session.request = request

    def _made(self, found: requests.Response) -> None:
        server = found.json()["server"]["id"]
        self._born[server] = time.monotonic()
        if self.crowded:
            self.crowded -= 1
            self.broken[server] = NO_HOST
        if self.lost:
            self.lost -= 1
            raise ConnectFailure("the reply is lost, as the test wants")

    def _shown(self, method: str, url: str, found: requests.Response) -> requests.Response:
        one = method == "GET" and "/servers/" in urlsplit(url).path and not is_list(method, url)
        if not found.ok or not (one or is_list(method, url)) or not (self.broken or self.lag):
            return found
        body = found.json()
        if "servers" in body:
            body["servers"] = [self._row(row) for row in body["servers"] if self._is_listed(row["id"])]
        elif "server" in body:
            body["server"] = self._row(body["server"])
        found._content = json.dumps(body).encode()
        return found

    def _is_listed(self, server: str) -> bool:
        return time.monotonic() - self._born.get(server, -self.lag) >= self.lag

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        fault = self.broken.get(row["id"])
        return row if fault is None else {**row, "status": "ERROR", "fault": dict(fault)}


def _response(url: str, reply: Reply) -> requests.Response:
    made = requests.Response()
    made.status_code, made.url = reply.status, url
    made.headers.update({"Content-Type": "application/json", **reply.headers})
    made._content = json.dumps(reply.body).encode()
    return made


class RealBench(RealAccount):
    """Two clusters of fresh ids in the project that the environment, or an entry of clouds.yaml, names."""

    cannot: Mapping[str, str] = {
        "user_data_arrives_byte_for_byte": UNREADABLE,
        "user_data_at_the_limit_arrives": UNREADABLE,
        "a_token_means_one_request": UNREADABLE,
        "machines_boot_from_their_user_data_and_join": UNREADABLE,
        "a_config_beyond_the_limit_is_fetched_or_refused": UNREADABLE,
        "first_boot_secrets_are_gone_after_the_join": UNREADABLE,
        "a_failed_boot_leaves_evidence": "nobody but the machine writes to its console",
    }

    def __init__(
        self, cluster: model.OpenstackCloud, flavor: str, *, many: int = 8, look: float = 2.0
    ) -> None:
        """`flavor`: one with two cores and 2 GiB; `many`: how many machines the check of many makes."""
        world = RealWorld()
        self._chosen, self._look = cluster, look
        self.machine: MachineSpec = OpenstackMachine(flavor=ConfigVar(flavor))
        self.cluster = self._cluster(self.machine)
        self.beyond_a_page = many
        self.between = Interference()
        self.clouds: list[OpenstackAdapter] = []
        self.cloud: Cloud = self.restarted()
        self.ref, self.other = ClusterRef(ulid(world), "prod"), ClusterRef(ulid(world), "test")
        self._ids = [ulid(world) for _ in range(many + 1)]
        self._foreign = ("", "")
        """A server of somebody else's, and its network."""
        self._borrowed: list[str] = []
        self._fetched = False

    @property
    def planted(self) -> tuple[Planted, ...]:
        """One wrong thing each."""
        machine = self.machine
        assert isinstance(machine, OpenstackMachine)
        unknown = replace(
            machine,
            application_credential_id=ConfigVar("0" * 32),
            application_credential_secret=ConfigVar("wrong"),
            identity_endpoint=ConfigVar(str(self.clouds[0].client.sdk.config.auth["auth_url"])),
        )
        machines = {
            "size": (replace(machine, flavor=ConfigVar("no-such-flavor")), "there is no flavor"),
            "image": (replace(machine, image_name=ConfigVar("flatcar-1")), "there is no image 'flatcar-1'"),
            "zone": (replace(machine, availability_zone=ConfigVar("mars")), "there is no zone 'mars'"),
            "credential": (unknown, "the login was refused"),
        }
        crowd = (model.WorkerPool(name="general", replicas=30_000, machine=machine),)
        named = replace(self.cluster, metadata=ObjectMeta(name="müll"))
        return (
            *(Planted(name, self._cluster(wrong), words) for name, (wrong, words) in machines.items()),
            Planted("region", self._cluster(machine, region="nowhere"), "there is no region 'nowhere'"),
            Planted("subnet", self._cluster(machine, network="nowhere"), "there is no network 'nowhere'"),
            Planted("quota", self._cluster(machine, workers=crowd), "the project may use"),
            Planted("name", named, "cannot be called so"),
        )

    def restarted(self) -> Cloud:
        made = OpenstackAdapter(clients.connect(settings(self.cluster), RealWorld(), self._chosen))
        self.between.attach(made.client)
        self.clouds.append(made)
        return made

    def trouble(self, what: Trouble, count: int) -> None:
        if what is Trouble.CAPACITY:
            self.between.crowded = count
        else:
            self.between.reply, self.between.replies = REFUSALS[what], count

    def fail(self, instance: Instance) -> None:
        self.between.broken[instance.id] = BROKEN

    def break_down(self, instance: Instance) -> None:
        raise AssertionError(self.cannot["a_failed_boot_leaves_evidence"])

    def end(self, instance: Instance) -> None:
        compute = self.clouds[0].client.sdk.compute
        server = compute.get_server(instance.id)
        compute.delete_server(server)
        compute.wait_for_delete(server, interval=self._look, wait=SETTLED)

    def user_data(self, instance: Instance) -> bytes:
        raise AssertionError(UNREADABLE)

    def stray(self) -> str:
        made = self.clouds[0].client.sdk.network.create_security_group(
            name="stray", description=marks.described(self.ref)
        )
        return str(made.id)

    def borrowed(self) -> str:
        network = self.clouds[0].client.sdk.network
        text = f"{TAG_CLUSTER}={self.ref.id}"
        self._borrowed.append(str(network.create_security_group(name=FOREIGN, description=text).id))
        return self._borrowed[-1]

    def remains(self, id: str) -> bool:
        return id in [group.id for group in self.clouds[0].client.sdk.network.security_groups()]

    def foreign(self, name: str) -> None:
        """On a network of its own, as somebody else's would be."""
        sdk, machine = self.clouds[0].client.sdk, self.machine
        assert isinstance(machine, OpenstackMachine)
        network = sdk.network.create_network(name=FOREIGN)
        sdk.network.create_subnet(network_id=network.id, ip_version=4, cidr="192.168.0.0/24")
        made = sdk.compute.create_server(
            name=name,
            flavor_id=sdk.compute.find_flavor(machine.size, ignore_missing=False).id,
            image_id=next(iter(sdk.image.images(status="active"))).id,
            networks=[{"uuid": network.id}],
        )
        self._foreign = (str(made.id), str(network.id))

    async def get(self, url: str) -> int:
        """Swift says 401 for a temporary URL that does not hold, and 404 for an object that is gone."""
        self._fetched = True
        status = (await self._answer(url)).status_code
        return 403 if status in (401, 404) else status

    async def read(self, url: str) -> bytes:
        answer = await self._answer(url)
        if answer.status_code != 200:
            raise FetchError(f"{url.partition('?')[0]}: {answer.status_code}")
        return answer.content

    async def clean(self) -> None:
        """Remove everything, whatever a check left, and say so when that cannot be done."""
        self.between.replies = self.between.lost = self.between.crowded = 0
        self.between.lag, self._fetched = 0.0, False
        self.between.broken.clear()
        await asyncio.to_thread(self._drop_foreign)
        for ref in (self.ref, self.other):
            await self.swept(ref)
        for cloud in self.clouds:
            await cloud.close()

    def _drop_foreign(self) -> None:
        server, network = self._foreign
        if server:
            sdk = self.clouds[0].client.sdk
            row = sdk.compute.get_server(server)
            sdk.compute.delete_server(row)
            sdk.compute.wait_for_delete(row, interval=self._look, wait=SETTLED)
            sdk.network.delete_network(network)
        for group in self._borrowed:
            self.clouds[0].client.sdk.network.delete_security_group(group)

    async def _answer(self, url: str) -> httpx2.Response:
        async with httpx2.AsyncClient() as client:
            return await client.get(url)

    def _cluster(
        self, machine: MachineSpec, workers: tuple[model.WorkerPool, ...] = (), **changes: object
    ) -> model.Cluster:
        return model.Cluster(
            metadata=ObjectMeta(name="prod"),
            spec=model.ClusterSpec(
                cloud=model.CloudChoice(openstack=replace(self._chosen, **changes)),
                control_plane=model.ControlPlane(replicas=1, machine=machine),
                workers=workers or (model.WorkerPool(name="general", replicas=1, machine=machine),),
            ),
        )
