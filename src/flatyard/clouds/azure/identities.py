"""The identity by which machines act for the cloud controller manager: given, or made with two built-in roles.

Only clusters that run the controller manager have one, since pods of a machine can act as it. Making one takes
Microsoft.Authorization/roleAssignments/write, which the least role has not: with that role, give an identity.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

from azure.core.exceptions import HttpResponseError
from azure.mgmt.authorization.v2022_04_01 import models as rights
from azure.mgmt.msi.v2024_11_30 import models as msi

from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import code_of, or_none
from flatyard.clouds.azure.facts import FACTS
from flatyard.clouds.azure.settings import IDENTITY
from flatyard.clouds.cloud import ClusterRef, Rejected
from flatyard.clouds.tags import cluster_tags

KIND = "Microsoft.ManagedIdentity/userAssignedIdentities"
NETWORK = "Network Contributor"
ROLES = {
    "Virtual Machine Contributor": "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",
    NETWORK: "4d97b98b-1d4f-4787-a291-c67834d212e7",
}
"""What cloud-provider-azure and the disk driver act with, on the cluster's group; the second one on a given network of
another group too.
"""
ACTIONS = (
    "Microsoft.Authorization/roleAssignments/delete",
    "Microsoft.Authorization/roleAssignments/read",
    "Microsoft.Authorization/roleAssignments/write",
    "Microsoft.ManagedIdentity/userAssignedIdentities/write",
    "Microsoft.ManagedIdentity/userAssignedIdentities/delete",
)
"""What making one takes beside the least role."""


def identity_of(account: Account, ref: ClusterRef) -> str:
    """Resource id of the identity that machines get; empty where they get none."""
    place = account.place
    if place.identity or not place.external:
        return place.identity
    return place.id(place.group_for(ref), KIND, account.named(ref, "machines"))


async def ensure(account: Account, ref: ClusterRef) -> None:
    """Make our own with its roles, where machines need one and none is given. A second call changes nothing."""
    place = account.place
    if place.identity or not place.external:
        return
    group, name = place.group_for(ref), account.named(ref, "machines")
    api = account.clients.identity.user_assigned_identities
    look: Callable[[], msi.Identity | None] = lambda: or_none(lambda: api.get(group, name))  # noqa: E731
    found = await account.read(f"looking for identity {name}", look)
    if found is None:
        body = msi.Identity(location=place.location, tags=cluster_tags(ref, FACTS.tags))
        make: Callable[[], msi.Identity] = lambda: api.create_or_update(group, name, body)  # noqa: E731
        found = await account.write(f"creating identity {name}", make)
    for title, number in ROLES.items():
        await _assign(account, place.group_id(group), str(found.principal_id), title, number)
    for scope in _elsewhere(account, group):
        await _assign(account, scope, str(found.principal_id), NETWORK, ROLES[NETWORK])


async def revoke(account: Account, ref: ClusterRef, name: str) -> None:
    """Take the roles of an identity that is about to go: in a given group or on a network they would outlive it."""
    group = account.place.group_for(ref)
    scopes = (account.place.group_id(group), *_elsewhere(account, group))
    users = account.clients.identity.user_assigned_identities
    look: Callable[[], msi.Identity | None] = lambda: or_none(lambda: users.get(group, name))  # noqa: E731
    found = await account.read(f"looking for identity {name}", look)
    if found is None:
        return
    api, wanted = account.clients.authorization.role_assignments, f"principalId eq '{found.principal_id}'"
    for scope in scopes:

        def held(scope: str = scope) -> list[rights.RoleAssignment] | None:
            return or_none(lambda: list(api.list_for_scope(scope, filter=wanted)))

        for one in await account.read(f"listing the roles of {name}", held) or ():
            if str(one.scope).lower() == scope.lower():  # what else it was given, somebody else has to take
                await account.write(f"taking a role of {name}", partial(api.delete_by_id, str(one.id)))


def _elsewhere(account: Account, group: str) -> list[str]:
    """A given network in another group: whoever puts a machine behind a load balancer writes its interface anew, and
    that takes subnets/join/action (cloud-provider-azure, pkg/provider/azure_standard.go).
    """
    place = account.place
    other = place.vnet and place.vnet_group and place.vnet_group.lower() != group.lower()
    return [place.id(place.vnet_group, "Microsoft.Network/virtualNetworks", place.vnet)] if other else []


async def _assign(account: Account, scope: str, principal: str, title: str, number: str) -> None:
    # the same name each time, so that assigning again is no second assignment
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scope.lower()}/{principal}/{number}"))
    definition = (
        f"/subscriptions/{account.place.subscription}/providers/Microsoft.Authorization/roleDefinitions"
    )
    body = rights.RoleAssignmentCreateParameters(
        role_definition_id=f"{definition}/{number}",
        principal_id=principal,
        principal_type="ServicePrincipal",
    )
    api = account.clients.authorization.role_assignments

    def call() -> None:
        try:
            api.create(scope, name, body)
        except HttpResponseError as problem:
            if code_of(problem) != "RoleAssignmentExists":
                raise

    try:
        await account.write(f"giving the role {title}", call)
    except Rejected as no:
        said = f"or give an identity that has it: annotate the Cluster with {IDENTITY}: RESOURCE-ID"
        raise Rejected(
            no.what, code=no.code, request_id=no.request_id, why=no.why, next=f"{no.next}; {said}"
        ) from None
