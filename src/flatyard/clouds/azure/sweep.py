"""What carries a cluster's tags, in the order in which it can be deleted, and its deletion by resource id.

The resource group is ours when it has our tag, and goes last and only when it is empty: what others put into it
keeps it, and is nothing that a cluster leaves; volumes that are kept keep it too. Volumes in it are the cluster's
also without our tags, by the disk driver's.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from flatyard.clouds.azure import identities
from flatyard.clouds.azure.account import Account
from flatyard.clouds.azure.answers import or_none
from flatyard.clouds.azure.facts import API_VERSIONS, FACTS, KINDS
from flatyard.clouds.azure.reading import Shown, items, kind_of, last, part, tags, text
from flatyard.clouds.cloud import TAG_CLUSTER, TAG_OWNED, ClusterRef, Owned, Transient
from flatyard.clouds.tags import OWNED, machine_id

GROUP = "Microsoft.Resources/resourceGroups"
DISK = "microsoft.compute/disks"
MADE_BY, DRIVER = "k8s-azure-created-by", "kubernetes-azure-dd"
_EXPAND = "createdTime,provisioningState"
_ORDER = {kind: place for place, kind in enumerate(KINDS)}


async def sweep(account: Account, ref: ClusterRef) -> tuple[Owned, ...]:
    """Everything tagged as this cluster's and owned, and its group if that is and nobody else has anything in it."""
    inside, group = await asyncio.gather(_in_group(account, ref), _group(account, ref))
    rows = await _tagged(account, ref, inside)
    found = [owned_of(row) for row in rows]
    if group is not None:
        volumes = [row for row in inside if _is_volume(row) and row not in rows]
        found += [replace(owned_of(row), kept=True) for row in volumes]
        if all(row in rows or row in volumes for row in inside if not _is_going(row)):
            found.append(replace(owned_of(group), kept=any(one.kept for one in found)))
    return tuple(sorted(found, key=_place))


def _is_volume(row: Shown) -> bool:
    """One that Azure's disk driver made for a claim (azuredisk-csi-driver, docs/driver-parameters.md)."""
    return (
        kind_of(text(row, "id")).lower() == DISK and tags(row).get(MADE_BY) == DRIVER and not _is_going(row)
    )


async def _tagged(account: Account, ref: ClusterRef, inside: list[Shown]) -> list[Shown]:
    """What has our tags: in the cluster's group, and anywhere else in the subscription.

    A list by tag does not show tags, so what it finds outside the group is read one by one.
    """
    rows = {text(row, "id").lower(): row for row in inside}
    wanted = f"tagName eq '{TAG_CLUSTER}' and tagValue eq '{ref.id}'"
    api = account.clients.resource.resources
    found = await account.read(
        f"looking for what {ref.name} owns",
        lambda: list(api.list(filter=wanted, expand=_EXPAND)),
    )
    outside = [row for row in found if text(row, "id").lower() not in rows]
    rows |= {
        text(row, "id").lower(): row for row in await asyncio.gather(*(_whole(account, r) for r in outside))
    }
    return [row for row in rows.values() if is_ours(ref, row) and not _is_going(row)]


async def _in_group(account: Account, ref: ClusterRef) -> list[Shown]:
    group, api = account.place.group_for(ref), account.clients.resource.resources
    rows = await account.read(
        f"looking into resource group {group}",
        lambda: or_none(lambda: list(api.list_by_resource_group(group, expand=_EXPAND))),
    )
    return list(rows or ())


async def _whole(account: Account, row: Shown) -> Shown:
    """The row with its tags; as it is where it has gone meanwhile."""
    resource_id, api = text(row, "id"), account.clients.resource.resources
    version = await _api_version(account, resource_id)
    shown = await account.read(
        f"reading {last(resource_id)}",
        lambda: or_none(lambda: api.get_by_id(resource_id, api_version=version)),
    )
    return {**row, "tags": tags(shown)}


def is_ours(ref: ClusterRef, row: Shown) -> bool:
    """Whether it has this cluster's tag and is owned."""
    own = tags(row)
    return own.get(TAG_CLUSTER) == ref.id and own.get(TAG_OWNED) == OWNED


async def _group(account: Account, ref: ClusterRef) -> Shown | None:
    """The group, if it is ours and not already going."""
    name, api = account.place.group_for(ref), account.clients.resource.resource_groups
    shown = await account.read(f"looking for resource group {name}", lambda: or_none(lambda: api.get(name)))
    return shown if shown is not None and is_ours(ref, shown) and not _is_going(shown) else None


def _is_going(row: Shown) -> bool:
    state = text(row, "properties", "provisioningState") or text(row, "provisioningState")
    return state.lower() in ("deleting", "deprovisioning")


def owned_of(row: Shown) -> Owned:
    """A row of Azure's as reports have it."""
    resource_id = text(row, "id")
    kind = kind_of(resource_id)
    created, machine = part(row, "createdTime"), machine_id(tags(row), FACTS.tags)
    return Owned(
        kind=KINDS.get(kind.lower(), kind),
        id=resource_id,
        name=last(resource_id),
        machine_id=machine,
        kept=kind.lower() == DISK and not machine,
        created=str(created) if created else "",
    )


def _place(owned: Owned) -> tuple[int, str]:
    """Whatever we do not know goes before networks and after machines."""
    return _ORDER.get(kind_of(owned.id).lower(), 1), owned.id.lower()


# ---- deleting


async def delete_owned(account: Account, ref: ClusterRef, owned: Owned) -> None:
    """Delete it and wait; a missing one is fine. Raises Transient for what is still in use."""
    if owned.kind == KINDS[GROUP.lower()]:
        await _delete_group(account, ref, owned.name)
        return
    if owned.kind == KINDS[identities.KIND.lower()]:
        await identities.revoke(account, ref, owned.name)
    version = await _api_version(account, owned.id)
    api = account.clients.resource.resources
    await account.write(
        f"deleting {owned.kind} {owned.name}",
        lambda: or_none(lambda: api.begin_delete_by_id(owned.id, api_version=version).result()),
    )
    account.forget(owned.id)


async def delete_network(account: Account, ref: ClusterRef) -> None:
    """Load balancers of Services and interfaces that are left, the network, its gateway, groups, the stash's account,
    and the group if it is ours and empty. What the network refuses ends it: machines are still there.
    """
    found = await sweep(account, ref)
    for wave in (
        ("load-balancer",),  # an address goes after its load balancer
        ("port",),
        ("network",),
        ("nat-gateway", "security-group", "identity", "bucket"),
        ("address",),
    ):
        await _delete_all(account, ref, [owned for owned in found if owned.kind in wave])
    for owned in found:
        if owned.kind == KINDS[GROUP.lower()]:
            with suppress(Transient):  # what something else is in stays until the last sweep
                await delete_owned(account, ref, owned)


async def _delete_all(account: Account, ref: ClusterRef, wave: list[Owned]) -> None:
    """All of them at once; the first that fails is told, after all have ended."""
    ends = await asyncio.gather(
        *(delete_owned(account, ref, owned) for owned in wave), return_exceptions=True
    )
    for end in ends:
        if isinstance(end, BaseException):
            raise end


async def _delete_group(account: Account, ref: ClusterRef, name: str) -> None:
    api = account.clients.resource.resources
    left = await account.read(
        f"looking into resource group {name}",
        lambda: or_none(lambda: [row for row in api.list_by_resource_group(name) if not _is_going(row)]),
    )
    if left is None or await _group(account, ref) is None:
        return
    if left:
        shown = ", ".join(last(text(row, "id")) for row in left[:3])
        raise Transient(
            f"deleting resource group {name}: {shown} is still in it", code="ResourceGroupNotEmpty"
        )
    groups = account.clients.resource.resource_groups
    await account.write(
        f"deleting resource group {name}", lambda: or_none(lambda: groups.begin_delete(name).result())
    )


async def _api_version(account: Account, resource_id: str) -> str:
    """The version to delete by: ours, or the newest stable one that the type's provider names."""
    kind = kind_of(resource_id)
    if kind.lower() in API_VERSIONS:
        return API_VERSIONS[kind.lower()]
    namespace, _, name = kind.partition("/")
    shown = await account.read(
        f"asking how {kind} is deleted", lambda: account.clients.resource.providers.get(namespace)
    )
    types = [t for t in items(shown, "resourceTypes") if text(t, "resourceType").lower() == name.lower()]
    versions = part(types[0], "apiVersions") if types else None
    listed = [str(v) for v in versions] if isinstance(versions, list) else []
    stable = [version for version in listed if "preview" not in version]
    return max(stable or listed or ["2024-05-01"])
