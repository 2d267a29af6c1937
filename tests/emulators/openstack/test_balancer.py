"""The endpoint by Octavia: the real SDK and real servers and ports; Octavia itself is this project's small one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from emulators.openstack.balancers import Balancers
from emulators.openstack.bench import OpenstackBench
from emulators.openstack.services import Services
from flatyard.clouds.cloud import Endpoint, Transient
from flatyard.clouds.conformance.bench import emptied, request
from flatyard.clouds.openstack.cloud import OpenstackAdapter

pytestmark = pytest.mark.emulated
PORT = 28876
T = TypeVar("T")


async def patiently(act: Callable[[], Awaitable[T]]) -> T:
    """As the engine's queue does: what is busy is asked again."""
    for _ in range(20):
        try:
            return await act()
        except Transient:
            continue
    raise AssertionError("busy for ever")


def with_octavia(bench: OpenstackBench) -> Balancers:
    """Octavia for this bench's adapter alone: it is in no catalog."""

    def make_port(subnet: str) -> tuple[str, str]:
        found = bench.user.network.get_subnet(subnet)
        port = bench.user.network.create_port(network_id=found.network_id, fixed_ips=[{"subnet_id": subnet}])
        return str(port.id), str(port.fixed_ips[0]["ip_address"])

    return Balancers(PORT, make_port)


async def adapter_of(bench: OpenstackBench) -> OpenstackAdapter:
    made = bench.restarted()
    assert isinstance(made, OpenstackAdapter)
    await made.client.log_in()
    made.client.services = (made.client.services or frozenset()) | {"load-balancer"}
    made.client.sdk.config.config["load_balancer_endpoint_override"] = f"http://127.0.0.1:{PORT}/v2.0"
    return made


def test_octavia_has_exactly_these_backends(services: Services, project: str) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        services.image(bench.user)
        octavia = with_octavia(bench)
        octavia.start()
        try:
            await check(bench, octavia)
        finally:
            octavia.close()
            bench.wipe()
            await bench.close()

    services.stage.run(main)


async def check(bench: OpenstackBench, octavia: Balancers) -> None:
    bench.cloud = await adapter_of(bench)
    network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
    one = await bench.cloud.create(await request(bench, 1, network=network))
    two = await bench.cloud.create(await request(bench, 2, network=network))
    await bench.wait(300)

    async def ensure(*backends: str) -> Endpoint:
        again = await adapter_of(bench)
        return await again.ensure_endpoint(bench.ref, bench.cluster, network, backends)

    first = await patiently(lambda: ensure(one.id))
    both = await patiently(lambda: ensure(one.id, two.id))
    assert (first.host, first.port, first.held) == (both.host, 6443, False)
    assert first.host.startswith("203.0.113."), "it is known outside by a floating IP"
    assert set(both.backends) == {one.id, two.id}
    less = await patiently(lambda: ensure(two.id))
    assert less.backends == (two.id,) and less.host == first.host
    addresses = {a for i in await bench.cloud.machines(bench.ref) if i.id == two.id for _, a in i.addresses}
    (member,) = octavia.members.values()
    assert member["address"] in addresses and member["protocol_port"] == 6443
    assert len(octavia.rows) == 1
    kinds = {owned.kind for owned in await bench.cloud.sweep(bench.ref)}
    assert "load-balancer" in kinds
    await patiently(lambda: bench.cloud.delete_endpoint(bench.ref))
    assert not octavia.rows and not octavia.members
    for port in bench.user.network.ports(project_id=bench.account.project_id):
        if not port.device_owner and not port.description:
            bench.user.network.delete_port(port)  # Octavia takes its own port along
    await emptied(bench)
    assert not await bench.cloud.sweep(bench.ref)


def test_a_site_without_octavia_refuses_lb(services: Services, project: str) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        try:
            services.image(bench.user)
            wanted = bench.with_endpoint("lb")
            said = "\n".join(str(problem) for problem in await bench.cloud.preflight(wanted))
            assert "this site has no load balancers (Octavia)" in said and "did you mean 'vip'?" in said
        finally:
            await bench.close()

    services.stage.run(main)


def test_the_small_octavia_refuses_what_octavia_refuses() -> None:
    octavia = Balancers(0, lambda _: ("port", "10.0.0.9"))
    pool = {"name": "p", "protocol": "TCP"}
    asked = {"name": "lb", "vip_subnet_id": "s", "listeners": [{"default_pool": pool}]}
    _, made = octavia.answer("POST", "/v2.0/lbaas/loadbalancers", {"loadbalancer": asked})
    key = made["loadbalancer"]["id"]  # type: ignore[index]
    (pool_id,) = octavia.pools
    member = {"member": {"name": "a", "address": "10.0.0.5", "protocol_port": 6443}}
    path = f"/v2.0/lbaas/pools/{pool_id}/members"
    assert octavia.answer("POST", path, member)[0] == 409, "it is pending"
    for _ in range(octavia.slow):
        octavia.answer("GET", f"/v2.0/lbaas/loadbalancers/{key}", {})
    assert octavia.answer("POST", path, member)[0] == 201
    assert octavia.answer("DELETE", f"/v2.0/lbaas/loadbalancers/{key}?cascade=True", {})[0] == 409
    for _ in range(octavia.slow):
        octavia.answer("GET", f"/v2.0/lbaas/loadbalancers/{key}", {})
    assert octavia.answer("POST", path, member)[0] == 409, "the address is there once"
    assert octavia.answer("DELETE", f"/v2.0/lbaas/loadbalancers/{key}", {})[0] == 400
    assert octavia.answer("DELETE", f"/v2.0/lbaas/loadbalancers/{key}?cascade=True", {})[0] == 204
    assert not octavia.rows and not octavia.members


@pytest.mark.parametrize("watching", (True, False))
def test_octavia_by_ovn_balances_as_that_can(services: Services, project: str, watching: bool) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        octavia = with_octavia(bench)
        octavia.driver, octavia.watching = "ovn", watching
        octavia.start()
        try:
            bench.cloud = await adapter_of(bench)
            network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
            await patiently(lambda: bench.cloud.ensure_endpoint(bench.ref, bench.cluster, network, ()))
            (pool,) = octavia.pools.values()
            assert pool["lb_algorithm"] == "SOURCE_IP_PORT" and ("healthmonitor" in pool) == watching
        finally:
            octavia.close()
            bench.wipe()
            await bench.close()

    services.stage.run(main)


def test_a_login_without_octavias_role_is_told_and_may_take_everything_down(
    services: Services, project: str
) -> None:
    async def main() -> None:
        bench = OpenstackBench(services, services.account(project))
        services.image(bench.user)
        octavia = with_octavia(bench)
        octavia.closed = True
        octavia.start()
        try:
            bench.cloud = await adapter_of(bench)
            said = "\n".join(str(problem) for problem in await bench.cloud.preflight(bench.cluster))
            assert "load-balancer_member" in said and "GET /v2.0/lbaas/loadbalancers" in said
            assert "endpoint" not in str(await bench.cloud.preflight(bench.with_endpoint("vip")))
            assert await bench.cloud.sweep(bench.ref) == ()
            await bench.cloud.delete_endpoint(bench.ref)
        finally:
            octavia.close()
            await bench.close()

    services.stage.run(main)
