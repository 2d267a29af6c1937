"""Which cluster a command is about, and a link to its background process."""

from __future__ import annotations

from flatyard.base.errors import Failed
from flatyard.base.world import RealWorld
from flatyard.controller.launch import link_to
from flatyard.controller.link import Link
from flatyard.controller.places import places_of
from flatyard.decode.context import nearest
from flatyard.engine import record as records
from flatyard.store import Store, open_store


def store() -> Store:
    """The store of this user."""
    return open_store(None, RealWorld())


async def all_names() -> tuple[str, ...]:
    """Every cluster that the store knows."""
    return await records.names(store())


async def is_simulated(name: str) -> bool:
    """Whether the cluster called `name` is simulated; true also for one that is not known (any more)."""
    return await cloud_of(name) in ("sim", "")


async def cloud_of(name: str) -> str:
    """The cloud of the cluster called `name`, as its file says it; empty for one that is not known (any more)."""
    record = await records.load(store(), name)
    return record.cloud if record is not None else ""


async def remark(name: str) -> str:
    """What a sentence about a cluster must add."""
    return " (simulated)" if await is_simulated(name) else ""


async def link(name: str) -> Link:
    """A link to the cluster's process, replaced if it was killed; raises Failed when there is no such cluster."""
    await known(name)
    return await link_to(places_of(name))


async def known(name: str) -> None:
    """Raises Failed when the store knows no cluster of that name."""
    names = await all_names()
    if name in names:
        return
    near = nearest(name, names)
    raise Failed(
        f"there is no cluster {name!r}",
        why=f"known: {', '.join(names) or 'none'}",
        next=f"did you mean {near}?" if near else "flatyard up FILE makes one",
    )
