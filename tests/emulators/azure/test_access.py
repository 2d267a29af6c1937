"""Who may do what in the emulator of Azure: credentials as azure-identity has them, roles, denied actions."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from emulators.azure.clients import GROUP, HERE, SUBNET, Azure, inside, machine, raw, refusal
from emulators.azure.place import ARM, CLIENT, FEDERATED, PLAIN, SUBSCRIPTION, TENANT

pytestmark = pytest.mark.emulated

SCOPE = f"{ARM}/.default"
OTHER = "55555555-5555-5555-5555-555555555555"
NETWORK_CONTRIBUTOR = "4d97b98b-1d4f-4787-a291-c67834d212e7"


def said(call: Callable[[], object]) -> str:
    with pytest.raises(ClientAuthenticationError) as problem:
        call()
    return str(problem.value)


@inside
def test_token(azure: Azure) -> None:
    common = {"authority": ARM, "disable_instance_discovery": True, "connection_verify": str(azure.arm.ca)}

    def get(tenant: str, client: str, secret: str) -> object:
        return ClientSecretCredential(tenant, client, secret, **common).get_token(SCOPE)

    with pytest.raises(Exception, match="double check your tenant"):
        get(OTHER, CLIENT, "emulated-secret")
    assert "AADSTS700016" in said(lambda: get(TENANT, OTHER, "emulated-secret"))
    assert "AADSTS7000215" in said(lambda: get(TENANT, CLIENT, "wrong"))
    assert get(TENANT, CLIENT, "emulated-secret")


@inside
def test_federation(azure: Azure) -> None:
    file = azure.arm.stage.folder / "token"
    common = {"authority": ARM, "disable_instance_discovery": True, "connection_verify": str(azure.arm.ca)}
    for text, right in ((FEDERATED, True), ("another", False)):
        file.write_text(text)
        credential = WorkloadIdentityCredential(
            tenant_id=TENANT, client_id=CLIENT, token_file_path=str(file), **common
        )
        if right:
            assert credential.get_token(SCOPE).token
        else:
            assert "AADSTS700027" in said(lambda: credential.get_token(SCOPE))  # noqa: B023


def certificate(folder: Path) -> tuple[Path, str]:
    """A key with its certificate in one file, and the certificate alone."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    start = datetime.datetime(2020, 1, 1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2060))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "client.pem").write_bytes(private + made.public_bytes(pem))
    return folder / "client.pem", made.public_bytes(pem).decode()


@inside
def test_certificate(azure: Azure) -> None:
    file, text = certificate(azure.arm.stage.folder)
    common = {"authority": ARM, "disable_instance_discovery": True, "connection_verify": str(azure.arm.ca)}
    azure.arm.client(OTHER, certificate=text)
    assert CertificateCredential(TENANT, OTHER, certificate_path=str(file), **common).get_token(SCOPE).token
    azure.arm.client(OTHER, certificate=certificate(azure.arm.stage.folder)[1])
    file.write_bytes((azure.arm.stage.folder / "client.pem").read_bytes())
    azure.arm.client(OTHER, certificate=text)
    wrong = CertificateCredential(TENANT, OTHER, certificate_path=str(file), **common)
    assert "AADSTS700027" in said(lambda: wrong.get_token(SCOPE))


@inside
def test_managed_identity(azure: Azure) -> None:
    with mock.patch.dict(os.environ, {"AZURE_POD_IDENTITY_AUTHORITY_HOST": PLAIN}):
        found = ManagedIdentityCredential(retry_total=0).get_token(SCOPE).token
    assert (
        raw(azure.arm, "GET", f"/subscriptions/{SUBSCRIPTION}?api-version=2022-12-01", token=found)[0] == 200
    )


@inside
def test_authentication(azure: Azure) -> None:
    path = f"{GROUP}?api-version=2025-01-01"
    status, headers, body = raw(azure.arm, "GET", path)
    assert (status, body["error"]["code"]) == (401, "AuthenticationFailed")
    assert headers["WWW-Authenticate"].startswith("Bearer")
    status, _, body = raw(azure.arm, "GET", path, token="stolen")
    assert (status, body["error"]["code"]) == (401, "InvalidAuthenticationToken")


@inside
def test_authorization(azure: Azure) -> None:
    azure.group()
    azure.arm.role(
        CLIENT,
        {
            "Name": "little",
            "Actions": ["Microsoft.Network/*", "Microsoft.Resources/subscriptions/resourceGroups/read"],
            "NotActions": ["Microsoft.Network/publicIPAddresses/write"],
        },
    )
    azure.net()
    status, code, message = refusal(azure.address)
    assert (status, code) == (403, "AuthorizationFailed")
    assert "'Microsoft.Network/publicIPAddresses/write'" in message
    assert "/publicIPAddresses/ip'" in message
    assert refusal(azure.vm)[1] == "AuthorizationFailed"
    azure.arm.allow()
    azure.arm.deny("Microsoft.Compute/*/read", GROUP)
    assert refusal(lambda: list(azure.compute.virtual_machines.list("rg")))[0] == 403
    azure.address()


@inside
def test_linked_authorization(azure: Azure) -> None:
    azure.group()
    azure.net()
    azure.arm.deny("Microsoft.Network/virtualNetworks/subnets/join/action")
    status, code, message = refusal(azure.nic)
    assert (status, code) == (403, "LinkedAuthorizationFailed")
    assert "subnets/join/action" in message
    assert SUBNET in message


@inside
def test_permissions(azure: Azure) -> None:
    azure.group()
    assert next(iter(azure.roles.permissions.list_for_resource_group("rg"))).actions == ["*"]
    azure.arm.role(CLIENT, {"Actions": ["*/read"], "NotActions": ["Microsoft.Compute/*"]})
    found = next(iter(azure.roles.permissions.list_for_resource_group("rg")))
    assert (found.actions, found.not_actions) == (["*/read"], ["Microsoft.Compute/*"])


@inside
def test_scopes(azure: Azure) -> None:
    azure.group()
    azure.group("rg2")
    azure.arm.role(CLIENT, {"Actions": ["*/read"]})
    azure.arm.role(CLIENT, {"Actions": ["Microsoft.Network/*"]}, GROUP, more=True)
    azure.address()
    create = azure.network.public_ip_addresses.begin_create_or_update
    assert refusal(lambda: create("rg2", "ip", {"location": HERE}))[1] == "AuthorizationFailed"
    held = azure.roles.permissions.list_for_resource_group
    assert [row.actions for row in held("rg")] == [["*/read"], ["Microsoft.Network/*"]]
    assert [row.actions for row in held("rg2")] == [["*/read"]]
    assert refusal(lambda: list(held("nowhere")))[:2] == (404, "ResourceGroupNotFound")


@inside
def test_identities(azure: Azure) -> None:
    azure.ready()
    made = azure.msi.user_assigned_identities.create_or_update("rg", "nodes", {"location": HERE})
    assert uuid.UUID(made.principal_id) != uuid.UUID(made.client_id)
    identity = {"type": "UserAssigned", "userAssignedIdentities": {made.id: {}}}
    vm = azure.vm(body=machine(identity=identity))
    assert next(iter(vm.identity.user_assigned_identities.values())).client_id == made.client_id
    missing = {"type": "UserAssigned", "userAssignedIdentities": {made.id + "x": {}}}
    azure.nic("second")
    wrong = machine("second", identity=missing)
    assert refusal(lambda: azure.vm("second", wrong))[1] == "FailedIdentityOperation"


@inside
def test_role_assignments(azure: Azure) -> None:
    azure.group()
    made = azure.msi.user_assigned_identities.create_or_update("rg", "nodes", {"location": HERE})
    role = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{NETWORK_CONTRIBUTOR}"
    create = azure.roles.role_assignments.create
    body = {"properties": {"roleDefinitionId": role, "principalId": made.principal_id}}
    name = "66666666-6666-6666-6666-666666666666"
    assert create(GROUP, name, body).scope == GROUP
    assert create(GROUP, name, body).name == name
    again = name.replace("6", "7")
    assert refusal(lambda: create(GROUP, again, body))[:2] == (409, "RoleAssignmentExists")
    assert refusal(lambda: create(GROUP, "nodes", body))[1] == "InvalidRoleAssignmentId"
    nobody = {"properties": {"roleDefinitionId": role, "principalId": OTHER}}
    assert refusal(lambda: create(GROUP, again, nobody))[1] == "PrincipalNotFound"
    nothing = {"properties": {"roleDefinitionId": role[:-1] + "0", "principalId": made.principal_id}}
    assert refusal(lambda: create(GROUP, again, nothing))[1] == "RoleDefinitionDoesNotExist"
    assert [row.name for row in azure.roles.role_assignments.list_for_resource_group("rg")] == [name]
    of_nobody = azure.roles.role_assignments.list_for_resource_group("rg", filter=f"principalId eq '{OTHER}'")
    assert list(of_nobody) == []
    azure.roles.role_assignments.delete(GROUP, name)
    assert list(azure.roles.role_assignments.list_for_resource_group("rg")) == []


@inside
def test_built_in_roles(azure: Azure) -> None:
    found = azure.roles.role_definitions.list(GROUP, filter="roleName eq 'Network Contributor'")
    assert [row.name for row in found] == [NETWORK_CONTRIBUTOR]
