"""What the adapter makes on Azure lets machines out, lets clients in to the API, and nobody else to anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest

from emulators.azure.bench import AzureBench
from emulators.azure.place import Arm, start
from emulators.stage import Stage
from flatyard.clouds.cloud import Endpoint, Role
from flatyard.clouds.conformance.bench import request

pytestmark = pytest.mark.emulated


@dataclass(frozen=True)
class Made:
    ids: Mapping[Role, str]
    endpoint: Endpoint


@pytest.fixture(scope="module")
def machines(new_stage: Callable[[str], Stage]) -> Iterator[tuple[Arm, Made]]:
    """A control plane behind its endpoint, and a worker."""
    stage = new_stage("reach")
    try:
        arm = start(stage)
        yield arm, stage.run(lambda: made(arm))
    finally:
        stage.close()


async def made(arm: Arm) -> Made:
    bench = AzureBench(arm)
    try:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        worker = await request(bench, network=network)
        first = await request(bench, 2, network=network)
        first = replace(first, role=Role.CONTROL_PLANE, name="prod-control-plane-0001", pool="")
        found = {wanted.role: (await bench.cloud.create(wanted)).id for wanted in (worker, first)}
        await bench.wait(60)
        backends = (found[Role.CONTROL_PLANE],)
        endpoint = await bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, backends)
        return Made(found, endpoint)
    finally:
        await bench.close()


def inbound(machines: tuple[Arm, Made], role: Role, port: int, source: str) -> bool:
    arm, found = machines
    return arm.stage.inside(lambda: arm.inbound(found.ids[role], port, source))


@pytest.mark.parametrize("role", Role)
def test_every_machine_has_a_way_out(machines: tuple[Arm, Made], role: Role) -> None:
    arm, found = machines
    assert arm.stage.inside(lambda: arm.outbound(found.ids[role])) == "nat-gateway"


def test_the_api_is_open_on_control_planes_alone(machines: tuple[Arm, Made]) -> None:
    assert inbound(machines, Role.CONTROL_PLANE, 6443, "Internet")
    assert inbound(machines, Role.CONTROL_PLANE, 6443, "AzureLoadBalancer")
    assert not inbound(machines, Role.WORKER, 6443, "Internet")


def test_the_endpoint_leads_to_control_planes_alone(machines: tuple[Arm, Made]) -> None:
    arm, found = machines
    address = found.endpoint.address
    behind = arm.stage.inside(lambda: arm.behind(address, found.endpoint.port))
    assert [raw.lower() for raw in behind] == [found.ids[Role.CONTROL_PLANE].lower()]


@pytest.mark.parametrize("port", [22, 2379, 2380, 10250, 10257, 10259, 30000, 32767])
@pytest.mark.parametrize("role", Role)
def test_nothing_else_is_open_to_the_internet(machines: tuple[Arm, Made], role: Role, port: int) -> None:
    assert not inbound(machines, role, port, "Internet")
    assert inbound(machines, role, port, "VirtualNetwork")
