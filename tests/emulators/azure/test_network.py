"""What the emulator does of Microsoft.Network, asked by the real SDK: a test for each of its rules."""

from __future__ import annotations

import ipaddress

import pytest

from emulators.azure.clients import (
    COMPUTE,
    HERE,
    NETWORK,
    SUBNET,
    Azure,
    Json,
    inside,
    interface,
    network,
    refusal,
)

pytestmark = pytest.mark.emulated

BALANCER = f"{NETWORK}/loadBalancers/lb"
FRONT = {"id": f"{BALANCER}/frontendIPConfigurations/front"}
POOL = {"id": f"{BALANCER}/backendAddressPools/nodes"}


def balancer(
    azure: Azure, *, sku: str = "Standard", pools: tuple[str, ...] = ("nodes",), **properties: object
) -> Json:
    return {
        "location": HERE,
        "sku": {"name": sku},
        "properties": {
            "frontendIPConfigurations": [
                {
                    "name": "front",
                    "properties": {"publicIPAddress": {"id": f"{NETWORK}/publicIPAddresses/ip"}},
                }
            ],
            "backendAddressPools": [{"name": name} for name in pools],
            "probes": [{"name": "api", "properties": {"protocol": "Tcp", "port": 6443}}],
            **properties,
        },
    }


def rule(name: str = "api", port: int = 6443, pool: Json = POOL) -> Json:
    return {
        "name": name,
        "properties": {
            "protocol": "Tcp",
            "frontendPort": port,
            "backendPort": 6443,
            "frontendIPConfiguration": FRONT,
            "backendAddressPool": pool,
            "probe": {"id": f"{BALANCER}/probes/api"},
        },
    }


def make(azure: Azure, body: Json) -> object:
    return azure.network.load_balancers.begin_create_or_update("rg", "lb", body).result()


@inside
def test_references(azure: Azure) -> None:
    azure.group()
    azure.net()
    assert refusal(lambda: azure.nic(subnet=SUBNET + "x"))[:2] == (400, "InvalidResourceReference")
    far = interface(location="eastus")
    create = azure.network.network_interfaces.begin_create_or_update
    assert refusal(lambda: create("rg", "nic", far))[1] == "InvalidResourceReference"


@inside
def test_not_provisioned(azure: Azure) -> None:
    azure.group()
    azure.arm.durations(other=30)
    azure.network.virtual_networks.begin_create_or_update("rg", "net", network(), polling=False)
    status, code, _ = refusal(azure.nic)
    assert (status, code) == (429, "RetryableError")
    azure.arm.speed(100_000)
    azure.arm.trouble("breaks", 1, match="PUT .*/virtualNetworks/[^/]+")
    refusal(azure.net)
    assert refusal(azure.nic)[:2] == (429, "RetryableError")


@inside
def test_subnet_in_use(azure: Azure) -> None:
    azure.ready()
    delete = azure.network.subnets.begin_delete
    assert refusal(lambda: delete("rg", "net", "nodes"))[:2] == (400, "InUseSubnetCannotBeDeleted")
    nets = azure.network.virtual_networks.begin_delete
    assert refusal(lambda: nets("rg", "net"))[:2] == (400, "InUseSubnetCannotBeDeleted")
    azure.network.network_interfaces.begin_delete("rg", "nic").result()
    delete("rg", "net", "nodes").result()
    nets("rg", "net").result()


@inside
def test_subnet_kept(azure: Azure) -> None:
    azure.ready()
    body: Json = {"location": HERE, "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/15"]}}}
    create = azure.network.virtual_networks.begin_create_or_update
    assert [subnet.name for subnet in create("rg", "net", body).result().subnets] == ["nodes"]
    body["properties"]["subnets"] = []
    assert refusal(lambda: create("rg", "net", body))[1] == "InUseSubnetCannotBeDeleted"


@inside
def test_subnet_ranges(azure: Azure) -> None:
    azure.group()
    outside = [{"name": "a", "properties": {"addressPrefix": "10.9.0.0/24"}}]
    assert refusal(lambda: azure.net(subnets=outside))[1] == "NetcfgInvalidSubnet"
    azure.net()
    wide = {"properties": {"addressPrefix": "10.0.0.0/20"}}
    create = azure.network.subnets.begin_create_or_update
    assert refusal(lambda: create("rg", "net", "b", wide))[1] == "NetcfgSubnetRangesOverlap"
    odd = {"properties": {"addressPrefix": "10.0.2.1/24"}}
    assert refusal(lambda: create("rg", "net", "b", odd))[1] == "InvalidAddressPrefixFormat"


@inside
def test_subnet_reserved(azure: Azure) -> None:
    azure.group()
    azure.net(subnets=[{"name": "nodes", "properties": {"addressPrefix": "10.0.1.0/29"}}])
    found = [azure.nic(f"n{n}").ip_configurations[0].private_ip_address for n in range(3)]
    assert found == ["10.0.1.4", "10.0.1.5", "10.0.1.6"]
    assert refusal(lambda: azure.nic("n3"))[1] == "SubnetIsFull"
    fixed = {"privateIPAllocationMethod": "Static", "privateIPAddress": "10.0.1.5"}
    assert refusal(lambda: azure.nic("n4", **fixed))[1] == "PrivateIPAddressIsAllocated"
    assert azure.nic("n1").ip_configurations[0].private_ip_address == "10.0.1.5"


@inside
def test_interface_in_use(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    assert refusal(lambda: azure.network.network_interfaces.begin_delete("rg", "nic"))[:2] == (
        400,
        "NicInUse",
    )
    assert azure.network.network_interfaces.get("rg", "nic").virtual_machine.id.endswith(
        "/virtualMachines/vm"
    )


@inside
def test_address_in_use(azure: Azure) -> None:
    azure.group()
    azure.net()
    address = azure.address()
    assert ipaddress.ip_address(address.ip_address) in ipaddress.ip_network("127.64.0.0/10")
    azure.nic(publicIPAddress={"id": address.id})
    delete = azure.network.public_ip_addresses.begin_delete
    assert refusal(lambda: delete("rg", "ip"))[:2] == (400, "PublicIPAddressCannotBeDeleted")
    assert refusal(lambda: azure.nic("two", publicIPAddress={"id": address.id}))[1] == "PublicIPAddressInUse"


@inside
def test_address_standard(azure: Azure) -> None:
    azure.group()
    code = refusal(lambda: azure.address(publicIPAllocationMethod="Dynamic"))[1]
    assert code == "StandardAndStandardV2SkuPublicIPAddressesMustBeStatic"


@inside
def test_dns_label(azure: Azure) -> None:
    azure.group()
    made = azure.address(dnsSettings={"domainNameLabel": "prod"})
    assert made.dns_settings.fqdn == "prod.westeurope.cloudapp.azure.com"
    assert refusal(lambda: azure.address("b", dnsSettings={"domainNameLabel": "prod"}))[1] == "DnsRecordInUse"


@inside
def test_dns_label_reserved(azure: Azure) -> None:
    azure.group()
    said = refusal(lambda: azure.address("b", dnsSettings={"domainNameLabel": "my-windows-api"}))
    assert said[:2] == (400, "DomainNameLabelReserved")


@inside
def test_group_in_use(azure: Azure) -> None:
    azure.group()
    groups = azure.network.network_security_groups
    made = groups.begin_create_or_update("rg", "g", {"location": HERE}).result()
    prefix = {"addressPrefix": "10.0.1.0/24", "networkSecurityGroup": {"id": made.id}}
    azure.net(subnets=[{"name": "nodes", "properties": prefix}])
    status, code, _ = refusal(lambda: groups.begin_delete("rg", "g"))
    assert (status, code) == (400, "InUseNetworkSecurityGroupCannotBeDeleted")


@inside
def test_security_rules(azure: Azure) -> None:
    azure.group()
    azure.network.network_security_groups.begin_create_or_update("rg", "g", {"location": HERE}).result()
    rules = azure.network.security_rules

    def put(name: str, priority: int, direction: str = "Inbound") -> object:
        body = {
            "properties": {"priority": priority, "direction": direction, "access": "Allow", "protocol": "Tcp"}
        }
        return rules.begin_create_or_update("rg", "g", name, body).result()

    put("a", 100)
    put("b", 100, "Outbound")
    assert refusal(lambda: put("c", 100))[1] == "SecurityRuleConflict"
    assert refusal(lambda: put("c", 99))[1] == "SecurityRuleInvalidPriority"
    assert [row.name for row in rules.list("rg", "g")] == ["a", "b"]


@inside
def test_parts(azure: Azure) -> None:
    azure.group()
    azure.net()
    made = azure.network.subnets.begin_create_or_update(
        "rg", "net", "more", {"properties": {"addressPrefix": "10.0.2.0/24"}}
    ).result()
    assert made.id.endswith("/virtualNetworks/net/subnets/more")
    assert [s.name for s in azure.network.virtual_networks.get("rg", "net").subnets] == ["nodes", "more"]
    azure.network.subnets.begin_delete("rg", "net", "more").result()
    assert [s.name for s in azure.network.subnets.list("rg", "net")] == ["nodes"]


@inside
def test_balancer_sku(azure: Azure) -> None:
    azure.group()
    azure.address()
    basic = balancer(azure, sku="Basic")
    assert refusal(lambda: make(azure, basic))[1] == "PublicIPAndLBSkuDoNotMatch"


@inside
def test_balancer_front(azure: Azure) -> None:
    azure.group()
    azure.address()
    bare = balancer(azure)
    bare["properties"]["frontendIPConfigurations"][0]["properties"] = {}
    wanted = "FrontendIPConfigurationHasNoSubnetOrPublicIPAddressOrPublicIPPrefix"
    assert refusal(lambda: make(azure, bare))[1] == wanted


@inside
def test_balancer_rules(azure: Azure) -> None:
    azure.group()
    azure.address()
    make(azure, balancer(azure, loadBalancingRules=[rule()]))
    pool = azure.network.load_balancer_backend_address_pools.get("rg", "lb", "nodes")
    assert [found.id for found in pool.load_balancing_rules] == [f"{BALANCER}/loadBalancingRules/api"]
    twice = balancer(azure, loadBalancingRules=[rule(), rule("again")])
    assert refusal(lambda: make(azure, twice))[1] == "RulesUseSameFrontendPortProtocolAndIPConfig"
    other = rule("other", port=6444)
    shared = balancer(azure, loadBalancingRules=[rule(), other])
    assert refusal(lambda: make(azure, shared))[1] == "RulesUseSameBackendPortProtocolAndPool"
    other["properties"]["backendPort"] = 6444
    make(azure, shared)
    lost = balancer(azure, loadBalancingRules=[rule(pool={"id": f"{BALANCER}/backendAddressPools/none"})])
    assert refusal(lambda: make(azure, lost))[1] == "InvalidResourceReference"


@inside
def test_balancer_pool(azure: Azure) -> None:
    azure.group()
    azure.net()
    azure.address()
    make(azure, balancer(azure))
    azure.nic(loadBalancerBackendAddressPools=[POOL])
    found = azure.network.load_balancers.get("rg", "lb")
    assert len(found.backend_address_pools[0].backend_ip_configurations) == 1
    bare = balancer(azure, pools=())
    assert refusal(lambda: make(azure, bare))[1] == "InUseBackendAddressPoolCannotBeDeleted"
    azure.network.load_balancers.begin_delete("rg", "lb").result()
    nic = azure.network.network_interfaces.get("rg", "nic")
    assert not nic.ip_configurations[0].load_balancer_backend_address_pools


@inside
def test_network_quota(azure: Azure) -> None:
    azure.group()
    azure.arm.quota(HERE, "PublicIPAddresses", 1)
    azure.address()
    assert refusal(lambda: azure.address("b"))[:2] == (400, "PublicIPCountLimitReached")
    usage = {u.name.value: (u.current_value, u.limit) for u in azure.network.usages.list(HERE)}
    assert usage["PublicIPAddresses"] == (1, 1)


VM = f"{COMPUTE}/virtualMachines/vm"


@inside
def test_outbound(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    assert azure.arm.outbound(VM) == ""
    azure.address()
    closed = rule()
    closed["properties"]["disableOutboundSnat"] = True
    make(azure, balancer(azure, loadBalancingRules=[closed]))
    azure.nic(loadBalancerBackendAddressPools=[POOL])
    assert azure.arm.outbound(VM) == ""
    out = {"frontendIPConfigurations": [FRONT], "backendAddressPool": POOL, "protocol": "All"}
    make(
        azure,
        balancer(azure, loadBalancingRules=[closed], outboundRules=[{"name": "out", "properties": out}]),
    )
    assert azure.arm.outbound(VM) == "load-balancer"
    gateway = azure.network.nat_gateways.begin_create_or_update(
        "rg", "nat", {"location": HERE, "sku": {"name": "Standard"}}
    ).result()
    prefix = {"addressPrefix": "10.0.1.0/24", "natGateway": {"id": gateway.id}}
    azure.net(subnets=[{"name": "nodes", "properties": prefix}])
    assert azure.arm.outbound(VM) == "nat-gateway"


@inside
def test_inbound(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    assert not azure.arm.inbound(VM, 6443, "Internet")
    assert azure.arm.inbound(VM, 6443, "VirtualNetwork")
    allow = {"priority": 200, "direction": "Inbound", "access": "Allow", "protocol": "Tcp"}
    every = {"sourceAddressPrefix": "*", "destinationPortRange": "6443", "destinationAddressPrefix": "*"}
    rules = [{"name": "api", "properties": {**allow, **every}}]
    groups = azure.network.network_security_groups
    group = groups.begin_create_or_update(
        "rg", "g", {"location": HERE, "properties": {"securityRules": rules}}
    ).result()
    prefix = {"addressPrefix": "10.0.1.0/24", "networkSecurityGroup": {"id": group.id}}
    azure.net(subnets=[{"name": "nodes", "properties": prefix}])
    assert azure.arm.inbound(VM, 6443, "Internet")
    assert azure.arm.inbound(VM, 6443, "203.0.113.7")
    assert not azure.arm.inbound(VM, 22, "Internet")
    assert azure.arm.inbound(VM, 22, "10.0.1.9")
    assert azure.arm.inbound(VM, 22, "AzureLoadBalancer")
    rules.append({"name": "no", "properties": {**allow, **every, "priority": 100, "access": "Deny"}})
    groups.begin_create_or_update(
        "rg", "g", {"location": HERE, "properties": {"securityRules": rules}}
    ).result()
    assert not azure.arm.inbound(VM, 6443, "Internet")


@inside
def test_behind(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    front = azure.address().ip_address
    make(azure, balancer(azure, loadBalancingRules=[rule()]))
    azure.nic(loadBalancerBackendAddressPools=[POOL])
    assert azure.arm.behind(front, 6443) == []
    allow = {"priority": 200, "direction": "Inbound", "access": "Allow", "protocol": "Tcp"}
    every = {"sourceAddressPrefix": "*", "destinationPortRange": "6443", "destinationAddressPrefix": "*"}
    body = {
        "location": HERE,
        "properties": {"securityRules": [{"name": "api", "properties": {**allow, **every}}]},
    }
    group = azure.network.network_security_groups.begin_create_or_update("rg", "g", body).result()
    prefix = {"addressPrefix": "10.0.1.0/24", "networkSecurityGroup": {"id": group.id}}
    net = azure.net(subnets=[{"name": "nodes", "properties": prefix}])
    assert azure.arm.behind(front, 6443) == [VM]
    assert azure.arm.behind(front, 443) == []
    nic = azure.nic()
    assert azure.arm.behind(front, 6443) == []
    address = nic.ip_configurations[0].private_ip_address
    by_address = {"name": "vm", "properties": {"ipAddress": address, "virtualNetwork": {"id": net.id}}}
    pool = {"properties": {"loadBalancerBackendAddresses": [by_address]}}
    pools = azure.network.load_balancer_backend_address_pools
    pools.begin_create_or_update("rg", "lb", "nodes", pool).result()
    assert azure.arm.behind(front, 6443) == [VM]
