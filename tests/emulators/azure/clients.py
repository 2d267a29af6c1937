"""The official SDK against the emulator, as the emulator's own tests use it."""

from __future__ import annotations

import functools
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from azure.core.exceptions import HttpResponseError

from emulators.azure.place import ARM, CLIENT, SECRET, SUBSCRIPTION, TENANT, Arm

HERE = "westeurope"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
SUBNET = f"{NETWORK}/virtualNetworks/net/subnets/nodes"
COMPUTE = f"{GROUP}/providers/Microsoft.Compute"
Json = dict[str, Any]


class Azure:
    """Every client, without retries and without waiting between polls. They are loaded with the first of these: who
    only looks for tests need not wait for them.
    """

    def __init__(self, arm: Arm) -> None:
        from azure.identity import ClientSecretCredential
        from azure.mgmt.authorization import AuthorizationManagementClient
        from azure.mgmt.compute import ComputeManagementClient
        from azure.mgmt.marketplaceordering import MarketplaceOrderingAgreements
        from azure.mgmt.msi import ManagedServiceIdentityClient
        from azure.mgmt.network import NetworkManagementClient
        from azure.mgmt.resource.resources import ResourceManagementClient
        from azure.mgmt.storage import StorageManagementClient

        self.arm = arm
        common: Json = {
            "base_url": ARM,
            "credential_scopes": [f"{ARM}/.default"],
            "connection_verify": str(arm.ca),
            "retry_total": 0,
            "polling_interval": 0,
        }
        self.credential = ClientSecretCredential(
            TENANT,
            CLIENT,
            SECRET,
            authority=ARM,
            disable_instance_discovery=True,
            connection_verify=str(arm.ca),
        )
        self.resource = ResourceManagementClient(self.credential, SUBSCRIPTION, **common)
        self.network = NetworkManagementClient(self.credential, SUBSCRIPTION, **common)
        self.compute = ComputeManagementClient(self.credential, SUBSCRIPTION, **common)
        self.storage = StorageManagementClient(self.credential, SUBSCRIPTION, **common)
        self.msi = ManagedServiceIdentityClient(self.credential, SUBSCRIPTION, **common)
        self.roles = AuthorizationManagementClient(self.credential, SUBSCRIPTION, **common)
        self.terms = MarketplaceOrderingAgreements(self.credential, SUBSCRIPTION, **common)

    # ---- what most tests want to be there
    def group(self, name: str = "rg", **more: object) -> None:
        self.resource.resource_groups.create_or_update(name, {"location": HERE, **more})

    def net(self, name: str = "net", **properties: object) -> Any:
        body = network(**properties)
        return self.network.virtual_networks.begin_create_or_update("rg", name, body).result()

    def nic(self, name: str = "nic", *, subnet: str = SUBNET, **properties: object) -> Any:
        body = interface(subnet, **properties)
        return self.network.network_interfaces.begin_create_or_update("rg", name, body).result()

    def address(self, name: str = "ip", **properties: object) -> Any:
        body = {
            "location": HERE,
            "sku": {"name": "Standard"},
            "properties": {"publicIPAllocationMethod": "Static", **properties},
        }
        return self.network.public_ip_addresses.begin_create_or_update("rg", name, body).result()

    def ready(self) -> None:
        self.group()
        self.net()
        self.nic()

    def vm(self, name: str = "vm", body: Json | None = None, **options: Any) -> Any:
        return self.compute.virtual_machines.begin_create_or_update(
            "rg", name, body or machine(), **options
        ).result()


def network(**properties: object) -> Json:
    return {
        "location": HERE,
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
            "subnets": [{"name": "nodes", "properties": {"addressPrefix": "10.0.1.0/24"}}],
            **properties,
        },
    }


def interface(subnet: str = SUBNET, location: str = HERE, **properties: object) -> Json:
    configuration = {"name": "main", "properties": {"subnet": {"id": subnet}, **properties}}
    return {"location": location, "properties": {"ipConfigurations": [configuration]}}


def machine(
    nic: str = "nic", *, size: str = "Standard_B2s", sku: str = "stable-gen2", **more: object
) -> Json:
    """A request for a machine; `more` is put beside its location."""
    key = {"path": "/home/core/.ssh/authorized_keys", "keyData": "ssh-ed25519 AAAAC3Nza"}
    return {
        "location": HERE,
        "properties": {
            "hardwareProfile": {"vmSize": size},
            "storageProfile": {
                "imageReference": {
                    "publisher": "kinvolk",
                    "offer": "flatcar-container-linux-corevm-amd64",
                    "sku": sku,
                    "version": "latest",
                },
                "osDisk": {"createOption": "FromImage", "deleteOption": "Delete"},
            },
            "osProfile": {
                "computerName": "vm",
                "adminUsername": "core",
                "customData": "aGVsbG8=",
                "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}},
            },
            "networkProfile": {
                "networkInterfaces": [
                    {"id": f"{NETWORK}/networkInterfaces/{nic}", "properties": {"deleteOption": "Delete"}}
                ]
            },
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
        },
        **more,
    }


def refusal(call: Callable[[], object]) -> tuple[int, str, str]:
    """(status, code, message) of what is refused, at once or by the operation."""
    try:
        call()
    except HttpResponseError as problem:
        error: Any = problem.error
        return int(problem.status_code or 0), error.code, error.message
    raise AssertionError("nothing was refused")


def raw(
    arm: Arm,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str = "",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Mapping[str, str], Any]:
    """One request as it is: (status, headers, JSON)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ARM + path, data=data, method=method, headers=dict(headers or {}))
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    context = ssl.create_default_context(cafile=str(arm.ca))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.headers, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as problem:
        return problem.code, problem.headers, json.loads(problem.read() or b"null")


def inside(test: Callable[[Azure], None]) -> Callable[[Azure], None]:
    """The test runs in the emulator's namespace, on an emulator in which nothing is."""

    @functools.wraps(test)
    def run(azure: Azure) -> None:
        def body() -> None:
            azure.arm.reset()
            azure.arm.durations(vm=0.05, delete=0.02, other=0.02, power=0.02, retry_after=0)
            test(azure)

        azure.arm.stage.inside(body)

    return run
