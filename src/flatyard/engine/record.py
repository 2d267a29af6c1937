"""What the engine must remember outside the cluster: who it is, what was resolved, where it got to.

One small record per cluster in the store. Everything that can be observed again (instances, nodes, load
balancers) is not in it; what is in it cannot be found out again or must never change by itself: the cluster's
minted id, the Flatcar version and images resolved once, the last applied documents for the three-way apply.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from flatyard.base.errors import Refused
from flatyard.base.world import World, rfc3339, ulid
from flatyard.clouds.cloud import ClusterRef, Endpoint, Network
from flatyard.store import Store
from flatyard.sysext.feed import SysextImage

SCHEMA = 1


class Phase(StrEnum):
    """Where a cluster's life stands."""

    BOOTSTRAPPING = "bootstrapping"
    """Its intent is in the store; the API has not answered yet."""
    RUNNING = "running"
    """Its intent is in its own API."""
    DELETING = "deleting"
    """The tombstone is set: nothing is created any more."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The cloud's image for one machine spec."""

    reference: str
    arch: str


@dataclass(frozen=True, slots=True)
class Images:
    """What machines boot, resolved once (DESIGN §3 "Nodes").

    The Flatcar release, the cloud's image for each machine spec (by `images.image_key`), and the pinned
    Kubernetes extension for each `VERSION/ARCH`.
    """

    flatcar: str = ""
    by_spec: Mapping[str, Chosen] = field(default_factory=dict)
    pins: Mapping[str, SysextImage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """The engine's memory of one cluster; `stored` is the store's version of it."""

    id: str
    name: str
    cloud: str
    phase: Phase = Phase.BOOTSTRAPPING
    created: str = ""
    images: Images = Images()
    node_mask: int = 24
    """The prefix length of each node's part of the pods' network; fixed with the network."""
    network: Network | None = None
    endpoint: Endpoint | None = None
    applied: tuple[str, ...] = ()
    """The documents of the last `up`, as canonical JSON."""
    preflighted: bool = False
    planes: int = 0
    """How many control planes there were when all that were wanted had last joined: an etcd that nobody can ask has
    lost its majority when the cloud has half of them left, or fewer."""
    delete_volumes: bool = False
    deleting_since: str = ""
    owner: str = ""
    """Whose account the cluster is in, as the adapter says it: in another one nothing of the cluster is found."""
    stored: int = field(default=0, compare=False)

    @property
    def ref(self) -> ClusterRef:
        return ClusterRef(self.id, self.name)


def record_key(name: str) -> str:
    return f"clusters/{name}/record"


async def load(store: Store, name: str) -> ClusterRecord | None:
    """The record of the cluster called `name`, or None when there is no such cluster."""
    found = await store.read(record_key(name))
    return None if found is None else replace(_decode(found.value), stored=found.version)


async def create(store: Store, world: World, name: str, cloud: str) -> ClusterRecord:
    """Mint a new cluster. A record that another run has just made is returned instead."""
    record = ClusterRecord(id=ulid(world), name=name, cloud=cloud, created=rfc3339(world.now()))
    return await save(store, record, new=True)


async def save(store: Store, record: ClusterRecord, *, new: bool = False) -> ClusterRecord:
    """Write the record; raises store.Stale when somebody else wrote it meanwhile."""
    version = await store.write(
        record_key(record.name), _encode(record), expect=None if new else record.stored
    )
    return replace(record, stored=version)


async def names(store: Store) -> tuple[str, ...]:
    """Every cluster that the store knows, in order."""
    found = [key.split("/")[1] for key in await store.list("clusters/") if key.endswith("/record")]
    return tuple(sorted(found))


def _encode(record: ClusterRecord) -> bytes:
    fields = {k: v for k, v in asdict(record).items() if k != "stored"}
    return json.dumps({"schema": SCHEMA, **fields}, sort_keys=True, separators=(",", ":")).encode()


def _decode(text: bytes) -> ClusterRecord:
    found = json.loads(text)
    schema = found.pop("schema")
    if schema != SCHEMA:
        raise Refused(
            f"the record of this cluster has form {schema}, this flatyard reads form {SCHEMA}",
            next="use the release that wrote it, or a newer one",
        )
    network, endpoint = found.pop("network"), found.pop("endpoint")
    return ClusterRecord(
        **found
        | {
            "phase": Phase(found["phase"]),
            "images": _images(found["images"]),
            "applied": tuple(found["applied"]),
            "network": Network(**_tuples(network)) if network else None,
            "endpoint": Endpoint(**_tuples(endpoint)) if endpoint else None,
        }
    )


def _images(fields: dict[str, Any]) -> Images:
    return Images(
        fields["flatcar"],
        {key: Chosen(**chosen) for key, chosen in fields["by_spec"].items()},
        {key: SysextImage(**pin) for key, pin in fields["pins"].items()},
    )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
