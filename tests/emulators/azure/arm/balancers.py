"""Microsoft.Network: load balancers."""

from __future__ import annotations

from .errors import invalid
from .kinds import Kind, register
from .network import exist, one_user, part, private_address, sku_kept
from .world import Body, Resource, World, is_part


def check_balancer(world: World, new: Resource, old: Resource | None) -> None:
    sku = new.body.setdefault("sku", {"name": "Basic"}).setdefault("name", "Basic")
    if old is not None and old.body["sku"]["name"] != sku:
        raise sku_kept(new)
    _pools(world, new, old)
    exist(world, new)
    for item in new.properties.get("frontendIPConfigurations", []):
        _frontend(world, new, old, item, sku)
    _rules(new)


def _pools(world: World, new: Resource, old: Resource | None) -> None:
    kept = {str(item["name"]).lower() for item in new.properties.get("backendAddressPools", [])}
    for item in old.properties.get("backendAddressPools", []) if old else []:
        raw = f"{new.id}/backendAddressPools/{item['name']}"
        if str(item["name"]).lower() not in kept and world.users(raw):
            raise invalid(
                "InUseBackendAddressPoolCannotBeDeleted",
                f"Backend address pool {raw} is in use by {world.users(raw)[0]} and cannot be deleted.",
            )


def _frontend(world: World, new: Resource, old: Resource | None, item: Body, sku: str) -> None:
    properties = item.setdefault("properties", {})
    source = f"{new.id}/frontendIPConfigurations/{item['name']}"
    address = properties.get("publicIPAddress", {}).get("id")
    if address:
        one_user(world, address, source)
        found = world.find(address)
        if found is not None and found.body["sku"]["name"].lower() != sku.lower():
            raise invalid(
                "PublicIPAndLBSkuDoNotMatch",
                f"{sku} sku load balancer {new.id} cannot reference {found.body['sku']['name']} sku publicIP "
                f"{address}.",
            )
    subnet = properties.get("subnet", {}).get("id")
    if not (address or subnet or properties.get("publicIPPrefix")):
        raise invalid(
            "FrontendIPConfigurationHasNoSubnetOrPublicIPAddressOrPublicIPPrefix",
            f"{source} refers to no subnet, public IP address or prefix.",
        )
    if subnet:
        before = part(old, source) if old else None
        kept = before["properties"].get("privateIPAddress") if before else None
        wanted = properties.get("privateIPAddress") or kept
        properties["privateIPAddress"] = private_address(world, subnet, wanted, source)


def _rules(new: Resource) -> None:
    seen: dict[tuple[str, str, int], str] = {}
    ports: dict[tuple[str, str, int], str] = {}
    for item in new.properties.get("loadBalancingRules", []):
        rule = item.get("properties", {})
        place = (
            str(rule.get("frontendIPConfiguration", {}).get("id", "")).lower(),
            str(rule.get("protocol", "")).lower(),
            int(rule.get("frontendPort", 0)),
        )
        if place in seen:
            raise invalid(
                "RulesUseSameFrontendPortProtocolAndIPConfig",
                f"Load balancing rules {seen[place]} and {item.get('name')} with the same frontend IP, protocol and "
                "frontend port are not allowed.",
            )
        seen[place] = str(item.get("name"))
        behind = (
            str(rule.get("backendAddressPool", {}).get("id", "")).lower(),
            place[1],
            int(rule.get("backendPort", 0)),
        )
        if behind in ports and not rule.get("enableFloatingIP"):
            raise invalid(
                "RulesUseSameBackendPortProtocolAndPool",
                f"Load balancing rules {ports[behind]} and {item.get('name')} with the same protocol use the same "
                f"backend port {behind[2]} of one pool; enable floating IP.",
            )
        ports[behind] = str(item.get("name"))


def view_balancer(world: World, resource: Resource, body: Body) -> None:
    rules = body["properties"].get("loadBalancingRules", [])
    for item in body["properties"].get("backendAddressPools", []):
        users = world.users(item["id"])
        if users:
            item["properties"]["backendIPConfigurations"] = [{"id": user} for user in users]
        uses = [{"id": rule["id"]} for rule in rules if _refers(rule, "backendAddressPool", item["id"])]
        if uses:
            item["properties"]["loadBalancingRules"] = uses


def _refers(rule: Body, name: str, raw: str) -> bool:
    return str(rule["properties"].get(name, {}).get("id", "")).lower() == raw.lower()


def balancer_gone(world: World, resource: Resource) -> None:
    """Its pools go with it, and interfaces forget them."""
    for user in list(world.resources.values()):
        if user.kind == "Microsoft.Network/networkInterfaces":
            for item in user.properties.get("ipConfigurations", []):
                pools = item["properties"].get("loadBalancerBackendAddressPools")
                if pools:
                    item["properties"]["loadBalancerBackendAddressPools"] = [
                        pool for pool in pools if not is_part(pool["id"], resource.id)
                    ]
            world.index(user)


register(
    Kind(
        "Microsoft.Network/loadBalancers",
        "network.models.LoadBalancer",
        "network.models.TagsObject",
        parts={
            "frontendIPConfigurations": "",
            "backendAddressPools": "network.models.BackendAddressPool",
            "loadBalancingRules": "",
            "probes": "",
            "inboundNatRules": "network.models.InboundNatRule",
            "outboundRules": "",
        },
        check=check_balancer,
        view=view_balancer,
        gone=balancer_gone,
    ),
)
