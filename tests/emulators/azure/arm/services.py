"""Storage accounts, identities, role assignments; and what holds for every service: tags and counts."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from typing import TYPE_CHECKING

from .compute import system_principal
from .errors import ArmError, invalid
from .kinds import Kind, register
from .world import Body, Resource, World

if TYPE_CHECKING:
    from .app import Arm

FORBIDDEN = re.compile(r"[<>%&\\?/]")
COUNTED = {
    "Microsoft.Network/publicIPAddresses": (
        "PublicIPAddresses",
        "PublicIPCountLimitReached",
        "Cannot create more than {limit} public IP addresses for this subscription in this region.",
    ),
    "Microsoft.Network/virtualNetworks": (
        "VirtualNetworks",
        "VnetCountLimitReached",
        "Cannot create more than {limit} virtual networks for this subscription in this region.",
    ),
    "Microsoft.Network/loadBalancers": (
        "LoadBalancers",
        "LoadBalancerCountLimitReached",
        "Cannot create more than {limit} load balancers for this subscription in this region.",
    ),
    "Microsoft.Compute/virtualMachines": (
        "virtualMachines",
        "QuotaExceeded",
        "The number of virtual machines in this region would go beyond the limit of {limit}.",
    ),
}


def check_tags(tags: Body) -> None:
    """rules: tags"""
    if len(tags) > 50:
        raise invalid("TooManyTags", f"A resource may have 50 tags, this one has {len(tags)}.")
    lowered = [name.lower() for name in tags]
    if len(set(lowered)) < len(lowered):
        raise invalid("InvalidTags", "Tag names are case-insensitive and must differ.")
    for name, value in tags.items():
        if FORBIDDEN.search(name):
            raise invalid(
                "InvalidTagNameCharacters", f"The tag name '{name}' has characters out of '<,>,%,&,\\,?,/'."
            )
        if not 1 <= len(name) <= 512:
            raise invalid("InvalidTagKeyLength", f"The tag name '{name[:40]}…' has more than 512 characters.")
        if len(value or "") > 256:
            raise invalid("InvalidTagValueLength", f"The value of tag '{name}' has more than 256 characters.")


def counted(world: World, kind: str, location: str) -> int:
    return sum(1 for found in world.of_kind(kind) if found.location == location)


def quota(arm: Arm, new: Resource, old: Resource | None) -> None:
    if old is not None or new.kind not in COUNTED:
        return
    name, code, words = COUNTED[new.kind]
    limit = arm.market.limit(new.location, name)
    if counted(arm.world, new.kind, new.location) >= limit:
        status = 409 if new.kind.startswith("Microsoft.Compute") else 400
        raise ArmError(status, code, words.format(limit=limit))


# ---- storage accounts
ACCOUNT = "Microsoft.Storage/storageAccounts"


def check_account(world: World, new: Resource, old: Resource | None) -> None:
    if not re.fullmatch(r"[a-z0-9]{3,24}", new.name):
        raise invalid(
            "AccountNameInvalid",
            f"{new.name} is not a valid storage account name. Storage account name must be between 3 and 24 characters "
            "in length and use numbers and lower-case letters only.",
        )
    for other in world.of_kind(ACCOUNT):
        if other.name == new.name and other.key != new.key:
            raise ArmError(
                409, "StorageAccountAlreadyTaken", f"The storage account named {new.name} is already taken."
            )
    if old is not None and old.body.get("kind") != new.body.get("kind"):
        raise ArmError(409, "StorageAccountOperationInProgress", "The kind of an account cannot be changed.")
    new.properties.setdefault("minimumTlsVersion", "TLS1_2")
    new.properties.setdefault("supportsHttpsTrafficOnly", True)
    new.hidden["key"] = old.hidden["key"] if old else account_key(new.id)


def account_key(raw: str) -> str:
    return base64.b64encode(hashlib.sha512(raw.lower().encode()).digest()).decode()


def view_account(world: World, resource: Resource, body: Body) -> None:
    body["properties"] |= {
        "primaryEndpoints": {"blob": f"{world.blobs}/{resource.name}/"},
        "primaryLocation": resource.location,
        "statusOfPrimary": "available",
        "creationTime": world.text(resource.created),
    }
    body["sku"] = {**body.get("sku", {}), "tier": "Standard"}


def account_there(world: World, resource: Resource) -> None:
    world.accounts.add(resource.name, resource.hidden["key"])


def account_gone(world: World, resource: Resource) -> None:
    world.accounts.remove(resource.name)


def check_container(world: World, new: Resource, old: Resource | None) -> None:
    if not re.fullmatch(r"[a-z0-9](-?[a-z0-9]){2,62}", new.name):
        raise invalid("InvalidResourceName", f"{new.name} is not a container's name: 3 to 63 of a-z, 0-9, -.")


def container_there(world: World, resource: Resource) -> None:
    world.accounts.make(account_of(resource), resource.name)


def container_gone(world: World, resource: Resource) -> None:
    world.accounts.drop(account_of(resource), resource.name)


def account_of(container: Resource) -> str:
    return container.id.split("/")[8]


# ---- identities and roles
def check_identity(world: World, new: Resource, old: Resource | None) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}", new.name):
        raise invalid(
            "InvalidIdentityName",
            f"{new.name} is not the name of an identity: 3 to 128 letters, digits, -, _.",
        )
    for word in ("principalId", "clientId"):
        new.hidden[word] = old.hidden[word] if old else str(uuid.uuid5(uuid.NAMESPACE_URL, word + new.key))


def view_identity(world: World, resource: Resource, body: Body) -> None:
    body["properties"] = {
        "tenantId": "22222222-2222-2222-2222-222222222222",
        "principalId": resource.hidden["principalId"],
        "clientId": resource.hidden["clientId"],
    }


def check_assignment(world: World, new: Resource, old: Resource | None) -> None:
    if not is_uuid(new.name):
        raise invalid(
            "InvalidRoleAssignmentId", f"The role assignment ID '{new.name}' is not valid. It must be a GUID."
        )
    wanted = new.properties
    scope = new.id.rsplit("/providers/Microsoft.Authorization/", 1)[0]
    known = {
        i.hidden["principalId"] for i in world.of_kind("Microsoft.ManagedIdentity/userAssignedIdentities")
    }
    known |= {system_principal(vm) for vm in world.of_kind("Microsoft.Compute/virtualMachines")}
    if wanted["principalId"] not in known and wanted.get("principalType") != "ServicePrincipal":
        raise invalid(
            "PrincipalNotFound",
            f"Principal {wanted['principalId'].replace('-', '')} does not exist in the directory. If this was just "
            "created, set principalType to ServicePrincipal.",
        )
    if not role_known(world, wanted["roleDefinitionId"]):
        raise ArmError(
            404,
            "RoleDefinitionDoesNotExist",
            f"The specified role definition with ID '{wanted['roleDefinitionId']}' does not exist.",
        )
    same = ("principalId", "roleDefinitionId")
    for other in world.of_kind(new.kind, scope):
        if other.key == new.key or scope_of(other) != scope.lower():
            continue
        if all(other.properties[word].lower() == wanted[word].lower() for word in same):
            raise ArmError(409, "RoleAssignmentExists", "The role assignment already exists.")
    if old is not None and any(old.properties[word] != wanted[word] for word in same):
        raise invalid(
            "RoleAssignmentUpdateNotPermitted",
            "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
        )


def scope_of(assignment: Resource) -> str:
    return assignment.key.rsplit("/providers/microsoft.authorization/", 1)[0]


def view_assignment(world: World, resource: Resource, body: Body) -> None:
    body["properties"]["scope"] = resource.id.rsplit("/providers/", 1)[0]


ASSIGNED = re.compile(r"(?:principalId eq|assignedTo\()\s*'([^']+)'\)?")


def assigned(found: list[Resource], text: str) -> list[Resource]:
    """Role assignments of one principal, where a filter asks for them."""
    match = ASSIGNED.fullmatch(text)
    return [row for row in found if row.properties.get("principalId") == match[1]] if match else found


def is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


ROLES = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": ("Owner", ["*"], []),
    "b24988ac-6180-42a0-ab88-20f7382dd24c": (
        "Contributor",
        ["*"],
        ["Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write"],
    ),
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": ("Reader", ["*/read"], []),
    "9980e02c-c2be-4d73-94e8-173b1dc7cf3c": (
        "Virtual Machine Contributor",
        ["Microsoft.Compute/virtualMachines/*", "Microsoft.Network/networkInterfaces/*"],
        [],
    ),
    "4d97b98b-1d4f-4787-a291-c67834d212e7": (
        "Network Contributor",
        ["Microsoft.Network/*", "Microsoft.Resources/subscriptions/resourceGroups/read"],
        [],
    ),
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": (
        "Storage Blob Data Reader",
        ["Microsoft.Storage/storageAccounts/blobServices/containers/read"],
        [],
    ),
}
"""Built-in roles with their published ids (rules: built-in-roles)."""


def role_known(world: World, raw: str) -> bool:
    return raw.rsplit("/", 1)[-1].lower() in ROLES or world.find(raw) is not None


register(
    Kind(
        ACCOUNT,
        "storage.models.StorageAccountCreateParameters",
        "storage.models.StorageAccountUpdateParameters",
        accepted=True,
        delete_takes="",
        check=check_account,
        view=view_account,
        done=account_there,
        gone=account_gone,
    ),
    Kind(
        f"{ACCOUNT}/blobServices/containers",
        "storage.models.BlobContainer",
        tracked=False,
        takes="",
        delete_takes="",
        check=check_container,
        done=container_there,
        gone=container_gone,
    ),
    Kind(
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        "msi.models.Identity",
        "msi.models.IdentityUpdate",
        takes="",
        delete_takes="",
        check=check_identity,
        view=view_identity,
    ),
    Kind(
        "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        "msi.models.FederatedIdentityCredential",
        tracked=False,
        takes="",
        delete_takes="",
    ),
    Kind(
        "Microsoft.Authorization/roleAssignments",
        "authorization.v2022_04_01.models.RoleAssignmentCreateParameters",
        tracked=False,
        takes="",
        delete_takes="",
        check=check_assignment,
        view=view_assignment,
    ),
    Kind(
        "Microsoft.Authorization/roleDefinitions",
        "authorization.v2022_04_01.models.RoleDefinition",
        tracked=False,
        takes="",
        delete_takes="",
    ),
)
