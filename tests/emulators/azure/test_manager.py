"""What the emulator does of Azure Resource Manager itself, asked by the real SDK: a test for each of its rules."""

from __future__ import annotations

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from emulators.azure.clients import GROUP, HERE, NETWORK, Azure, inside, interface, raw, refusal
from emulators.azure.place import SUBSCRIPTION

pytestmark = pytest.mark.emulated

VERSION = "?api-version=2025-01-01"


def token(azure: Azure) -> str:
    return azure.credential.get_token("https://127.0.0.1:5443/.default").token


@inside
def test_error_envelope(azure: Azure) -> None:
    status, headers, body = raw(azure.arm, "GET", f"{GROUP}{VERSION}", token=token(azure))
    assert status == 404
    assert body["error"]["code"] == "ResourceGroupNotFound"
    assert "'rg'" in body["error"]["message"]
    assert headers["x-ms-request-id"]


@inside
def test_api_version(azure: Azure) -> None:
    assert (
        raw(azure.arm, "GET", GROUP, token=token(azure))[2]["error"]["code"] == "MissingApiVersionParameter"
    )
    body = raw(azure.arm, "GET", f"{GROUP}?api-version=latest", token=token(azure))[2]
    assert body["error"]["code"] == "InvalidApiVersionParameter"


@inside
def test_subscription(azure: Azure) -> None:
    path = f"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups{VERSION}"
    status, _, body = raw(azure.arm, "GET", path, token=token(azure))
    assert (status, body["error"]["code"]) == (404, "SubscriptionNotFound")


@inside
def test_ids_case(azure: Azure) -> None:
    azure.group("Rg")
    azure.net()
    found = azure.network.virtual_networks.get("RG", "NET")
    assert (
        found.id
        == f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/net"
    )
    assert azure.resource.resource_groups.get("rg").name == "Rg"


@inside
def test_unknown_type(azure: Azure) -> None:
    azure.group()
    for kind, code in (
        ("Microsoft.Nothing/x", "InvalidResourceNamespace"),
        ("Microsoft.Network/x", "InvalidResourceType"),
    ):
        body = raw(azure.arm, "GET", f"{GROUP}/providers/{kind}/name{VERSION}", token=token(azure))[2]
        assert body["error"]["code"] == code


@inside
def test_delete_absent(azure: Azure) -> None:
    azure.group()
    azure.network.virtual_networks.begin_delete("rg", "none").result()
    assert azure.arm.calls()[-1]["status"] == 204


@inside
def test_existence(azure: Azure) -> None:
    groups, resources = azure.resource.resource_groups, azure.resource.resources
    assert not groups.check_existence("rg")
    azure.group()
    assert groups.check_existence("rg")
    net, version = f"{NETWORK}/virtualNetworks/net", {"api_version": "2025-01-01"}
    assert not resources.check_existence_by_id(net, **version)
    azure.net()
    assert resources.check_existence_by_id(net, **version)
    assert resources.get_by_id(net, **version).location == HERE
    resources.begin_delete_by_id(net, **version).result()
    assert not resources.check_existence_by_id(net, **version)


@inside
def test_operation_status(azure: Azure) -> None:
    azure.group()
    azure.arm.durations(other=0.2)
    path = f"{NETWORK}/publicIPAddresses/ip{VERSION}"
    status, headers, body = raw(azure.arm, "PUT", path, {"location": HERE}, token=token(azure))
    assert (status, body["properties"]["provisioningState"]) == (201, "Updating")
    asked = headers["Azure-AsyncOperation"].removeprefix("https://127.0.0.1:5443")
    assert raw(azure.arm, "GET", asked, token=token(azure))[2]["status"] == "InProgress"
    azure.arm.speed(100_000)
    assert raw(azure.arm, "GET", asked, token=token(azure))[2]["status"] == "Succeeded"
    assert azure.network.public_ip_addresses.get("rg", "ip").provisioning_state == "Succeeded"


@inside
def test_operation_fails(azure: Azure) -> None:
    azure.group()
    azure.arm.trouble("breaks", 1, match="PUT .*/virtualNetworks/[^/]+")
    assert refusal(azure.net)[:2] == (200, "InternalServerError")
    assert azure.network.virtual_networks.get("rg", "net").provisioning_state == "Failed"
    azure.net()
    assert azure.network.virtual_networks.get("rg", "net").provisioning_state == "Succeeded"


@inside
def test_operation_location(azure: Azure) -> None:
    azure.group()
    azure.arm.durations(delete=0.2)
    status, headers, _ = raw(azure.arm, "DELETE", f"{GROUP}{VERSION}", token=token(azure))
    assert status == 202
    assert headers["Retry-After"] == "0"
    assert "Azure-AsyncOperation" not in headers
    asked = headers["Location"].removeprefix("https://127.0.0.1:5443")
    assert raw(azure.arm, "GET", asked, token=token(azure))[0] == 202
    azure.arm.speed(100_000)
    assert raw(azure.arm, "GET", asked, token=token(azure))[0] in (200, 204)


@inside
def test_another_operation(azure: Azure) -> None:
    azure.group()
    azure.arm.durations(other=30)
    body = {"location": HERE}
    azure.network.network_security_groups.begin_create_or_update("rg", "nsg", body, polling=False)
    rule = {"properties": {"priority": 100, "direction": "Inbound", "access": "Allow", "protocol": "*"}}
    status, code, _ = refusal(
        lambda: azure.network.security_rules.begin_create_or_update("rg", "nsg", "a", rule)
    )
    assert (status, code) == (409, "AnotherOperationInProgress")


@inside
def test_etag(azure: Azure) -> None:
    azure.group()
    nets = azure.network.network_security_groups
    path = f"{NETWORK}/networkSecurityGroups/nsg{VERSION}"
    fresh = {"If-None-Match": "*"}
    assert raw(azure.arm, "PUT", path, {"location": HERE}, token=token(azure), headers=fresh)[0] == 201
    azure.arm.speed(100_000)
    status, _, body = raw(azure.arm, "PUT", path, {"location": HERE}, token=token(azure), headers=fresh)
    assert (status, body["error"]["code"]) == (412, "PreconditionFailed")
    etag = str(nets.get("rg", "nsg").etag)
    stale = {"If-Match": etag}
    assert raw(azure.arm, "PUT", path, {"location": HERE}, token=token(azure), headers=stale)[0] == 200
    azure.arm.speed(100_000)
    assert raw(azure.arm, "PUT", path, {"location": HERE}, token=token(azure), headers=stale)[0] == 412


@inside
def test_paging(azure: Azure) -> None:
    azure.group()
    azure.arm.durations(page=2)
    for number in range(5):
        azure.network.network_security_groups.begin_create_or_update(
            "rg", f"g{number}", {"location": HERE}
        ).result()
    azure.arm.forget()
    assert [group.name for group in azure.network.network_security_groups.list("rg")] == [
        f"g{n}" for n in range(5)
    ]
    assert len(azure.arm.calls()) == 3


@inside
def test_validation(azure: Azure) -> None:
    azure.group()

    def put(body: object) -> tuple[int, str, str]:
        status, _, answer = raw(
            azure.arm, "PUT", f"{NETWORK}/virtualNetworks/net{VERSION}", body, token=token(azure)
        )
        return status, answer["error"]["code"], answer["error"].get("target", "")

    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    assert put({"location": HERE, "properties": {**space, "adress": 1}}) == (
        400,
        "InvalidRequestContent",
        "properties.adress",
    )
    read_only = {**space, "provisioningState": "Succeeded"}
    assert put({"location": HERE, "properties": read_only})[2] == "properties.provisioningState"
    assert put({"location": 5})[1:] == ("InvalidRequestContent", "location")
    assert put({"location": HERE, "tags": {"a": 1}})[2] == "tags.a"
    assert put([])[1] == "InvalidRequestContent"
    size = {"location": HERE, "properties": {}, "tags": None}
    missing = {"location": HERE, "sku": {"name": "Standard_LRS"}}
    _, code, message = refusal(lambda: azure.storage.storage_accounts.begin_create("rg", "account", missing))
    assert (code, "'kind' is missing" in message) == ("InvalidParameter", True)
    assert put(size)[1] == "InvalidRequestFormat"


@inside
def test_tags(azure: Azure) -> None:
    def code(tags: dict[str, str]) -> str:
        return refusal(lambda: azure.group(tags=tags))[1]

    assert code({f"t{n}": "" for n in range(51)}) == "TooManyTags"
    assert code({"a/b": ""}) == "InvalidTagNameCharacters"
    assert code({"a": "x" * 257}) == "InvalidTagValueLength"
    assert code({"n" * 513: ""}) == "InvalidTagKeyLength"
    azure.group(tags={"n" * 512: "ö" * 256})


@inside
def test_locations(azure: Azure) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/locations{VERSION}"
    places = {row["name"]: row for row in raw(azure.arm, "GET", path, token=token(azure))[2]["value"]}
    assert len(places["germanywestcentral"]["availabilityZoneMappings"]) == 3
    assert places["germanywestcentral"]["metadata"]["pairedRegion"][0]["name"] == "germanynorth"
    assert "availabilityZoneMappings" not in places["westus"]


@inside
def test_location(azure: Azure) -> None:
    azure.group()
    groups = azure.network.network_security_groups
    assert refusal(lambda: groups.begin_create_or_update("rg", "g", {}))[1] == "LocationRequired"
    wrong = {"location": "atlantis"}
    assert (
        refusal(lambda: groups.begin_create_or_update("rg", "g", wrong))[1]
        == "LocationNotAvailableForResourceType"
    )
    groups.begin_create_or_update("rg", "g", {"location": "West Europe"}).result()
    assert groups.get("rg", "g").location == HERE
    other = {"location": "eastus"}
    assert refusal(lambda: groups.begin_create_or_update("rg", "g", other))[:2] == (
        409,
        "InvalidResourceLocation",
    )
    assert (
        refusal(lambda: azure.resource.resource_groups.create_or_update("rg", other))[1]
        == "InvalidResourceGroupLocation"
    )


@inside
def test_registration(azure: Azure) -> None:
    azure.group()
    azure.arm.unregister("Microsoft.Network")
    assert azure.resource.providers.get("Microsoft.Network").registration_state == "NotRegistered"
    assert refusal(azure.net)[:2] == (409, "MissingSubscriptionRegistration")
    azure.resource.providers.register("Microsoft.Network")
    azure.net()


@inside
def test_policies(azure: Azure) -> None:
    azure.group()
    azure.arm.policy("Enforce-Subnet-Private")
    assert refusal(azure.net)[:2] == (403, "RequestDisallowedByPolicy")
    closed = {"addressPrefix": "10.0.1.0/24", "defaultOutboundAccess": False}
    azure.net(subnets=[{"name": "nodes", "properties": closed}])
    azure.arm.policy("Deny-Subnet-Without-Nsg")
    assert "Deny-Subnet-Without-Nsg" in refusal(azure.net)[2]
    azure.arm.policy("Deny-IP-forwarding")
    body = interface()
    body["properties"]["enableIPForwarding"] = True
    create = azure.network.network_interfaces.begin_create_or_update
    assert "Deny-IP-forwarding" in refusal(lambda: create("rg", "nic", body))[2]
    azure.nic()


@inside
def test_group_required(azure: Azure) -> None:
    assert refusal(azure.net)[:2] == (404, "ResourceGroupNotFound")


@inside
def test_group_cascade(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    azure.address()
    azure.resource.resource_groups.begin_delete("rg").result()
    assert azure.arm.resources() == []


@inside
def test_group_deleting(azure: Azure) -> None:
    azure.group()
    azure.arm.durations(delete=30)
    azure.resource.resource_groups.begin_delete("rg", polling=False)
    assert refusal(azure.net)[:2] == (409, "ResourceGroupBeingDeleted")
    assert refusal(azure.group)[:2] == (409, "ResourceGroupBeingDeleted")


@inside
def test_group_blocked(azure: Azure) -> None:
    azure.group()
    azure.net()
    azure.group("other")
    azure.network.network_interfaces.begin_create_or_update("other", "nic", interface()).result()
    with pytest.raises(HttpResponseError, match="in use by"):
        azure.resource.resource_groups.begin_delete("rg").result()
    assert azure.network.virtual_networks.get("rg", "net").provisioning_state == "Succeeded"


@inside
def test_resources_filter(azure: Azure) -> None:
    azure.group()
    azure.net()
    azure.address()
    listed = azure.resource.resources.list
    assert [r.name for r in listed(filter="resourceType eq 'Microsoft.Network/virtualNetworks'")] == ["net"]
    assert refusal(lambda: list(listed(filter="colour eq 'red'")))[1] == "InvalidFilterInQueryString"
    both = "tagName eq 'a' and resourceType eq 'Microsoft.Network/virtualNetworks'"
    assert refusal(lambda: list(listed(filter=both)))[1] == "InvalidFilterInQueryString"


@inside
def test_resources_by_tag(azure: Azure) -> None:
    azure.group()
    for name, value in (("a", "1"), ("b", "2")):
        body = {"location": HERE, "tags": {"cluster": value}}
        azure.network.network_security_groups.begin_create_or_update("rg", name, body).result()
    found = list(azure.resource.resources.list(filter="tagName eq 'Cluster' and tagValue eq '1'"))
    assert [(row.name, row.tags) for row in found] == [("a", None)]
    shown = list(
        azure.resource.resources.list_by_resource_group("rg", expand="createdTime,provisioningState")
    )
    assert [row.tags for row in shown] == [{"cluster": "1"}, {"cluster": "2"}]
    assert all(row.created_time and row.provisioning_state == "Succeeded" for row in shown)


@inside
def test_throttling(azure: Azure) -> None:
    azure.arm.throttle(True)
    azure.arm.speed(0.001)
    path = f"/subscriptions/{SUBSCRIPTION}{VERSION}"
    answers = [raw(azure.arm, "GET", path, token=token(azure)) for _ in range(300)]
    refused = [headers for status, headers, _ in answers if status == 429]
    assert refused
    assert refused[0]["Retry-After"] == "1"
    assert refused[0]["x-ms-ratelimit-remaining-subscription-reads"] == "0"
    azure.arm.speed(100_000)
    assert raw(azure.arm, "GET", path, token=token(azure))[0] == 200


@inside
def test_list_lag(azure: Azure) -> None:
    azure.group()
    azure.arm.lag(60)
    azure.net()
    assert list(azure.network.virtual_networks.list("rg")) == []
    assert azure.network.virtual_networks.get("rg", "net").name == "net"
    azure.arm.age(61)
    assert [net.name for net in azure.network.virtual_networks.list("rg")] == ["net"]


@inside
def test_lost_replies(azure: Azure) -> None:
    azure.group()
    for when, there in (("before", False), ("after", True)):
        azure.arm.lose(1, match="PUT .*/networkSecurityGroups/.*", when=when)
        groups = azure.network.network_security_groups
        with pytest.raises(Exception, match=r"(?i)connection|response"):
            groups.begin_create_or_update("rg", when, {"location": HERE})
        if there:
            assert groups.get("rg", when).name == when
        else:
            with pytest.raises(ResourceNotFoundError):
                groups.get("rg", when)


@inside
def test_trouble_for_so_many_requests(azure: Azure) -> None:
    wanted = {"RATE": 429, "INTERNAL": 500, "UNAVAILABLE": 503, "TIMEOUT": 504}
    for kind, status in wanted.items():
        azure.arm.trouble(kind, 1, match="PUT .*/resourceGroups/rg")
        assert refusal(azure.group)[0] == status
        azure.group()


@inside
def test_match_conditions_of_the_sdk(azure: Azure) -> None:
    azure.ready()
    azure.vm()
    options = {"etag": "*", "match_condition": MatchConditions.IfMissing}
    assert refusal(lambda: azure.vm(**options))[:2] == (412, "PreconditionFailed")
