"""The cluster's authorities and keys in the store, made once."""

from __future__ import annotations

from flatyard.base.errors import Failed
from flatyard.base.world import World
from flatyard.pki import ClusterSecrets, new_secrets
from flatyard.store import Stale, Store


def secrets_key(name: str) -> str:
    return f"clusters/{name}/secrets"


async def ensure(store: Store, world: World, name: str) -> ClusterSecrets:
    """The cluster's secrets; made if there are none."""
    found = await store.read(secrets_key(name))
    if found is None:
        made = new_secrets(world)
        try:
            await store.write(secrets_key(name), made.encode(), expect=None)
        except Stale:
            return await load(store, name)
        return made
    return ClusterSecrets.decode(found.value)


async def load(store: Store, name: str) -> ClusterSecrets:
    """The cluster's secrets; raises Failed when it has none."""
    found = await store.read(secrets_key(name))
    if found is None:
        raise Failed(f"the store has no secrets of cluster {name}", next="restore the store from a backup")
    return ClusterSecrets.decode(found.value)
