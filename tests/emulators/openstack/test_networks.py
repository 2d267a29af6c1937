"""Networks as sites have them: shared ones, several ways out, ones that filter nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from openstack.network.v2.network import Network

from emulators.openstack.bench import OpenstackBench, held
from emulators.openstack.proxy import Reply
from emulators.openstack.services import Services
from flatyard.clouds import conformance
from flatyard.clouds.cloud import CreateRequest, Role
from flatyard.model.cluster import Cluster

pytestmark = pytest.mark.emulated


@contextmanager
def of_the_site(services: Services, name: str, cidr: str, **words: object) -> Iterator[Network]:
    """A network that the operator makes, and takes away."""
    network = services.admin().network
    made = network.create_network(name=name, **words)
    network.create_subnet(network_id=made.id, ip_version=4, cidr=cidr)
    try:
        yield made
    finally:
        for port in network.ports(network_id=made.id):
            if not port.device_owner.startswith("network:"):
                network.delete_port(port)
        network.delete_network(made)


def on(bench: OpenstackBench, network: str, endpoint: str = "dns") -> Cluster:
    """The bench's cluster on a network that is there."""
    named = bench._on(network=network)
    return replace(named, spec=replace(named.spec, endpoint=bench.with_endpoint(endpoint).spec.endpoint))


async def asked(bench: OpenstackBench, cluster: Cluster, number: int = 1) -> CreateRequest:
    network = await bench.cloud.ensure_network(bench.ref, cluster)
    return await conformance.request(bench, number, network=network)


def test_machines_are_made_on_a_network_of_somebody_else(services: Services, project: str) -> None:
    """Only its owner may choose the addresses of ports there (Neutron's policies)."""

    async def body(bench: OpenstackBench) -> None:
        with of_the_site(services, "campus", "192.0.2.0/24", is_shared=True):
            first = await asked(bench, on(bench, "campus"))
            plane = replace(first, role=Role.CONTROL_PLANE)
            made = await bench.cloud.create(plane)
            assert (await bench.restarted().create(plane)).id == made.id, "it was made twice"
            await bench.wait(60)
            (shown,) = await bench.cloud.machines(bench.ref)
            assert shown.addresses[0][1].startswith("192.0.2.")
            await bench.cloud.delete(bench.ref, shown)
            await bench.cloud.delete_network(bench.ref)
            assert await bench.cloud.sweep(bench.ref) == ()

    held(services, project, body)


def test_a_shared_address_on_a_network_of_somebody_else_is_found_by_plan(
    services: Services, project: str
) -> None:
    async def body(bench: OpenstackBench) -> None:
        with of_the_site(services, "campus", "192.0.2.0/24", is_shared=True):
            said = "\n".join(str(p) for p in await bench.cloud.preflight(on(bench, "campus", "vip")))
            assert "network campus is another project's" in said
            assert await bench.cloud.preflight(on(bench, "campus")) == ()

    held(services, project, body)


def test_a_floating_ip_is_of_the_network_that_the_router_leads_to(services: Services, project: str) -> None:
    """With two external networks and none named, the endpoint had no address outside, and nobody said so."""

    async def body(bench: OpenstackBench) -> None:
        user = bench.user.network
        with of_the_site(services, "elsewhere", "198.51.100.0/24", is_router_external=True):
            mine = user.create_network(name="mine")
            subnet = user.create_subnet(network_id=mine.id, ip_version=4, cidr="10.9.0.0/24")
            outside = user.find_network("public", ignore_missing=False)
            router = user.create_router(name="way", external_gateway_info={"network_id": outside.id})
            user.add_interface_to_router(router, subnet=subnet.id)
            cluster = on(bench, "mine", "vip")
            assert await bench.cloud.preflight(cluster) == ()
            network = await bench.cloud.ensure_network(bench.ref, cluster)
            made = await bench.cloud.ensure_endpoint(bench.ref, cluster, network, ())
            assert made.host.startswith("203.0.113.") and made.address.startswith("10.9.0.")
            await bench.cloud.delete_endpoint(bench.ref)
            await bench.cloud.delete_network(bench.ref)

    held(services, project, body)


def test_a_network_without_a_way_out_has_an_endpoint_inside(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        mine = bench.user.network.create_network(name="inside")
        bench.user.network.create_subnet(network_id=mine.id, ip_version=4, cidr="10.9.0.0/24")
        cluster = on(bench, "inside", "vip")
        network = await bench.cloud.ensure_network(bench.ref, cluster)
        made = await bench.cloud.ensure_endpoint(bench.ref, cluster, network, ())
        assert made.host == made.address and made.host.startswith("10.9.0.")
        await bench.cloud.delete_endpoint(bench.ref)
        await bench.cloud.delete_network(bench.ref)

    held(services, project, body)


def test_a_network_that_filters_nothing_takes_machines(services: Services, project: str) -> None:
    """Ports without port security may have no security groups."""

    async def body(bench: OpenstackBench) -> None:
        mine = bench.user.network.create_network(name="open", port_security_enabled=False)
        bench.user.network.create_subnet(network_id=mine.id, ip_version=4, cidr="10.9.0.0/24")
        cluster = on(bench, "open", "vip")
        first = await asked(bench, cluster)
        endpoint = await bench.cloud.ensure_endpoint(bench.ref, cluster, first.network, ())
        made = await bench.cloud.create(replace(first, role=Role.CONTROL_PLANE))
        await bench.wait(60)
        again = await bench.cloud.ensure_endpoint(bench.ref, cluster, first.network, (made.id,))
        assert again.address == endpoint.address
        await bench.cloud.delete(bench.ref, made)
        await bench.cloud.delete_endpoint(bench.ref)
        await bench.cloud.delete_network(bench.ref)

    held(services, project, body)


def test_the_projects_own_network_that_neutron_cannot_make_is_found_by_plan(
    services: Services, project: str
) -> None:
    async def body(bench: OpenstackBench) -> None:
        said = "\n".join(str(p) for p in await bench.cloud.preflight(on(bench, "auto_allocated_network")))
        assert "there is no network 'auto_allocated_network', and Neutron makes none here" in said
        assert list(bench.user.network.networks(project_id=bench.account.project_id)) == []

    held(services, project, body)


def test_machines_may_go_out_whatever_the_sites_default_rules_are(services: Services, project: str) -> None:
    async def body(bench: OpenstackBench) -> None:
        network = await bench.cloud.ensure_network(bench.ref, bench.cluster)
        user = bench.user.network
        for group in network.security_groups.values():
            for rule in user.security_group_rules(security_group_id=group, direction="egress"):
                user.delete_security_group_rule(rule)
        await bench.restarted().ensure_network(bench.ref, bench.cluster)
        for group in network.security_groups.values():
            out = user.security_group_rules(security_group_id=group, direction="egress")
            assert sorted(rule.ether_type for rule in out) == ["IPv4", "IPv6"]
        await bench.cloud.delete_network(bench.ref)

    held(services, project, body)


def test_a_new_attempt_takes_the_port_of_the_earlier_one_away(services: Services, project: str) -> None:
    """Nova leaves the ports that it did not make when it ends a server by itself."""

    async def body(bench: OpenstackBench) -> None:
        first = await conformance.request(bench)
        made = await bench.cloud.create(first)
        await bench.wait(60)
        bench.end(made)
        second = replace(first, attempt=2)
        await bench.cloud.create(second)
        mine = [
            port for port in bench.user.network.ports(network_id=first.network.id) if port.name == first.name
        ]
        assert len(mine) == 1
        await bench.wait(60)
        for shown in await bench.cloud.machines(bench.ref):
            await bench.cloud.delete(bench.ref, shown)

    held(services, project, body)


def test_a_second_up_needs_no_second_quota(services: Services, project: str) -> None:
    """`up` asks again each time it is run, and a cluster may fill its project."""

    async def body(bench: OpenstackBench) -> None:
        spec = bench.cluster.spec
        pools = (replace(spec.workers[0], replicas=1),)
        small = replace(
            bench.cluster,
            spec=replace(spec, control_plane=replace(spec.control_plane, replicas=1), workers=pools),
        )
        services.quotas(bench.account.project_id, instances=2, cores=4, router=1, network=1, port=4)
        assert await bench.cloud.preflight(small) == ()
        network = await bench.cloud.ensure_network(bench.ref, small)
        await bench.cloud.ensure_endpoint(bench.ref, small, network, ())
        for number, role in ((1, Role.CONTROL_PLANE), (2, Role.WORKER)):
            first = await conformance.request(bench, number, network=network)
            await bench.cloud.create(replace(first, role=role))
        await bench.wait(60)
        assert await bench.cloud.preflight(small) == ()
        more = replace(small, spec=replace(small.spec, workers=(replace(pools[0], replicas=2),)))
        said = "\n".join(str(problem) for problem in await bench.cloud.preflight(more))
        assert "needs 1 instances; the project may use 2 and uses 2" in said

    held(services, project, body)


def test_a_port_that_nova_takes_or_deletes_at_that_moment_is_looked_at_again(
    services: Services, project: str
) -> None:
    """Neutron refuses by its policy then, which ended a delete for good: 'the credential lacks delete_port'."""
    denied = Reply(
        403, {"NeutronError": {"message": "rule:delete_port is disallowed by policy", "type": "x"}}
    )

    def drops_a_port(method: str, path: str) -> bool:
        return method == "DELETE" and path.startswith("/v2.0/ports/")

    async def body(bench: OpenstackBench) -> None:
        made = await bench.cloud.create(await conformance.request(bench))
        services.proxy.add(drops_a_port, 1, denied)
        await bench.cloud.delete(bench.ref, made)
        assert not [thing for thing in await bench.cloud.sweep(bench.ref) if thing.kind == "port"]

    held(services, project, body)
