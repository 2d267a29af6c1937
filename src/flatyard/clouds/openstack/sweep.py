"""What `down` must leave empty: everything with our marks, and what CCM and CSI made for the cluster."""

from __future__ import annotations

import asyncio

from flatyard.clouds.cloud import ClusterRef, Owned
from flatyard.clouds.openstack import inventory, stash
from flatyard.clouds.openstack.client import Client
from flatyard.clouds.openstack.inventory import KINDS, id_of, machine_of, owned_things


async def sweep(client: Client, ref: ClusterRef) -> tuple[Owned, ...]:
    """Everything of every kind, in the order in which it is deleted."""
    listed = await asyncio.gather(*(owned_things(client, ref, kind.name) for kind in KINDS))
    found = [
        Owned(
            kind=kind.name,
            id=id_of(thing),
            name=getattr(thing, "name", None) or id_of(thing),
            machine_id=machine_of(kind.name, thing),
            kept=kind.name == "volume" and not machine_of("volume", thing),
            created=_stamp(getattr(thing, "created_at", None) or ""),
        )
        for kind, things in zip(KINDS, listed, strict=True)
        for thing in things
        if not _is_going(kind.name, thing)
    ]
    return (*found, *await stash.owned(client, ref))


def _is_going(kind: str, thing: object) -> bool:
    """A volume that Cinder is deleting, by itself and for a while."""
    return kind == "volume" and getattr(thing, "status", "") == "deleting"


def _stamp(text: str) -> str:
    """Cinder's and Octavia's have no zone, and are UTC."""
    return text if not text or text.endswith("Z") or "+" in text else f"{text}Z"


async def delete_owned(client: Client, ref: ClusterRef, owned: Owned) -> None:
    """Delete one thing that `sweep` reported; a missing one is fine."""
    if owned.kind == stash.KIND:
        await stash.delete(client, ref)
        return
    await inventory.delete(client, owned.kind, owned.id, owned.name)
