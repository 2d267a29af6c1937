"""The conformance suite's bench for a real subscription: the same checks, and what they ask of the cloud's troubles is
done between the adapter's connections and Azure.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from emulators.azure.bench import FOREIGN, PLANTED_ONCE, AzureBench, read_body
from emulators.real_account import RealAccount
from flatyard.base.world import RealWorld, ulid
from flatyard.clouds.azure.answers import or_none
from flatyard.clouds.azure.cloud import AzureCloud, connect
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.cloud import ClusterRef, Instance
from flatyard.clouds.facts import Trouble

MACHINE = re.compile(r"/virtualMachines/[^/?]+\?", re.IGNORECASE)
WORDS = {"wanted": 2, "limit": 10, "used": 10, "name": "Standard_B2s", "zone": "1"}
MACHINES = re.compile(r"/virtualMachines\?", re.IGNORECASE)


class Between(HTTPAdapter):
    """What stands between the adapter and Azure's API."""

    def __init__(self) -> None:
        super().__init__(pool_connections=32, pool_maxsize=32)
        self.trouble = Trouble.RATE
        self.troubles = self.lost = 0
        self.lag = 0.0

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        url = request.url or ""
        creates = request.method == "PUT" and MACHINE.search(url) is not None
        if creates and self.troubles:
            self.troubles -= 1
            return self._refusal(request)
        answer = super().send(request, *args, **kwargs)
        if creates and self.lost and answer.ok:
            self.lost -= 1
            raise requests.ConnectionError("the reply is lost, as the test wants")
        if self.lag and request.method == "GET" and MACHINES.search(url) and answer.ok:
            return self._later(request, answer)
        return answer

    def _refusal(self, request: requests.PreparedRequest) -> requests.Response:
        no = FACTS.refusal(self.trouble)
        error = {"code": no.code, "message": no.message.format(**WORDS)}
        return self._answer(request, no.status, {"error": error})

    def _later(self, request: requests.PreparedRequest, answer: requests.Response) -> requests.Response:
        """The list without what was made just now."""
        shown = json.loads(answer.content)
        known = RealWorld().now() - timedelta(seconds=self.lag)
        made = [(row, row["properties"].get("timeCreated")) for row in shown["value"]]
        shown["value"] = [row for row, stamp in made if stamp and _stamp(stamp) < known]
        return self._answer(request, answer.status_code, shown)

    def _answer(self, request: requests.PreparedRequest, status: int, body: object) -> requests.Response:
        headers = {"Content-Type": "application/json", "Retry-After": "1"}
        text = io.BytesIO(json.dumps(body).encode())
        return self.build_response(
            request, urllib3.HTTPResponse(text, headers, status, reason="so", preload_content=False)
        )


def _stamp(text: str) -> datetime:
    """Azure writes seven digits after the point, more than Python 3.10's reader took."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00"))


class RealBench(RealAccount, AzureBench):
    """Two clusters of fresh ids in the subscription that the environment names."""

    cannot: Mapping[str, str] = {
        "an_instance_in_error_says_why": "nobody can make a machine of Azure's fail",
        "after_an_error_the_next_attempt_works": "nobody can make a machine of Azure's fail",
        "a_failed_boot_leaves_evidence": "nobody but the machine writes to its console",
        "user_data_arrives_byte_for_byte": "custom data is read by the machine alone",
        "user_data_at_the_limit_arrives": "custom data is read by the machine alone",
        "a_token_means_one_request": "custom data is read by the machine alone",
    }

    def __init__(self, environment: Mapping[str, str], *, many: int = 12, look: float = 3.0) -> None:
        """`many`: how many machines the check of many makes; `look`: seconds between two looks."""
        self.between = Between()
        self._environment, self._look, self._fetched = environment, look, False
        super().__init__(None)
        self.beyond_a_page = many
        self.world = RealWorld()
        self.ref, self.other = ClusterRef(ulid(self.world), "prod"), ClusterRef(ulid(self.world), "test")
        self._ids = [ulid(self.world) for _ in range(many + 1)]
        self.planted = tuple(plant for plant in self.planted if plant.words in PLANTED_ONCE)

    def _connect(self) -> AzureCloud:
        made = connect(self.cluster, self.world, self._environment)
        assert isinstance(made, AzureCloud)
        made.account.clients.session.mount("https://", self.between)
        self._made.append(made)
        return made

    def trouble(self, what: Trouble, count: int) -> None:
        self.between.trouble, self.between.troubles = what, count

    def fail(self, instance: Instance) -> None:
        raise AssertionError(self.cannot["an_instance_in_error_says_why"])

    def break_down(self, instance: Instance) -> None:
        raise AssertionError(self.cannot["a_failed_boot_leaves_evidence"])

    def user_data(self, instance: Instance) -> bytes:
        raise AssertionError(self.cannot["a_token_means_one_request"])

    def end(self, instance: Instance) -> None:
        group, api = instance.id.split("/")[4], self.clients.compute.virtual_machines
        api.begin_delete(group, instance.name, force_deletion=True).result()

    async def get(self, url: str) -> int:
        self._fetched = True
        verify = self._environment.get("REQUESTS_CA_BUNDLE") or True
        return (await asyncio.to_thread(requests.get, url, timeout=30, verify=verify)).status_code

    async def read(self, url: str) -> bytes:
        verify = self._environment.get("REQUESTS_CA_BUNDLE") or True
        return await asyncio.to_thread(read_body, url, verify)

    async def clean(self) -> None:
        """Remove everything, whatever a check left, and say so when that cannot be done."""
        self.between.troubles = self.between.lost = 0
        self._fetched, self.between.lag = False, 0.0
        try:
            for ref in (self.ref, self.other):
                await self.swept(ref)
            groups = self.clients.resource.resource_groups
            or_none(lambda: groups.begin_delete(FOREIGN).result())
        finally:
            await self.close()
