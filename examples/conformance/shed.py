"""An adapter for a cloud that flatyard does not know: Shed, whose whole API is the class `Account` below.

It keeps flatyard.clouds.cloud.Cloud and nothing else. What is said twice here is said on purpose: by the account, as a
provider's service would, and by the adapter, which makes flatyard's errors of the account's.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.cloud import (
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_MACHINE,
    TAG_OWNED,
    TAG_ROLE,
    ClusterRef,
    CreateRequest,
    Endpoint,
    Evidence,
    Image,
    ImageQuery,
    Instance,
    InstanceState,
    Network,
    NoCapacity,
    Owned,
    QuotaExceeded,
    RateLimited,
    Rejected,
    Role,
    Stashed,
    StashForbidden,
    Transient,
)
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.traits import Limits, MetadataBlock, NodeTraits, ProviderIdSource, StashScheme
from flatyard.node.evidence import parse_console
from flatyard.node.inputs import NodeFile

# ---- the cloud: what a real adapter would reach by its SDK

KEY, REGION, ZONES, SIZES, QUOTA = "right", "shed-1", ("a", "b"), ("small", "large"), 500
IMAGES = {"4593.2.5": "flatcar-4593.2.5", "4593.2.4": "flatcar-4593.2.4"}
LONGEST_USER_DATA = 65_536
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ShedError(Exception):
    """What the cloud answers instead of doing it."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code


@dataclass
class Thing:
    """A resource: kind, tags, and what it is made of."""

    id: str
    kind: str
    tags: Mapping[str, str]
    name: str = ""
    token: str = ""
    zone: str = ""
    user_data: bytes = field(default=b"", repr=False)
    state: str = "running"
    why: str = ""
    console: list[str] = field(default_factory=list)
    backends: tuple[str, ...] = ()
    listed_at: float = 0.0


class Account:
    """A customer's account. A token makes a thing once; lists may lag."""

    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.ids = itertools.count(1)
        self.lag = 0.0
        self.answers: list[str] = []
        self.lost = 0

    def list(self, kind: str = "") -> tuple[Thing, ...]:
        now = asyncio.get_running_loop().time()
        return tuple(t for t in self.things.values() if kind in ("", t.kind) and t.listed_at <= now)

    def make(
        self,
        kind: str,
        token: str,
        name: str,
        tags: Mapping[str, str],
        *,
        zone: str = "",
        user_data: bytes = b"",
    ) -> Thing:
        """A resource, once for each token."""
        made = next((t for t in self.things.values() if t.token == token), None)
        if made is None:
            made = Thing(f"{kind}-{next(self.ids)}", kind, tags, name, token, zone, user_data)
            made.listed_at = asyncio.get_running_loop().time() + (self.lag if kind == "instance" else 0)
            self.things[made.id] = made
        return made

    def run(self, token: str, name: str, tags: Mapping[str, str], zone: str, user_data: bytes) -> Thing:
        """An instance. Raises ShedError, or ConnectionError when the reply is lost."""
        if self.answers:
            raise ShedError(self.answers.pop())
        made = self.make("instance", token, name, tags, zone=zone, user_data=user_data)
        if self.lost:
            self.lost -= 1
            raise ConnectionResetError("the connection broke")
        return made


# ---- the adapter

_STATES = {"running": InstanceState.RUNNING, "error": InstanceState.ERROR, "ended": InstanceState.TERMINATED}


@contextmanager
def _told(what: str) -> Iterator[None]:
    """The account's refusals as flatyard's errors, each with the cloud's own code."""
    try:
        yield
    except ConnectionError as broken:
        raise Transient(f"{what}: {broken}") from None
    except ShedError as no:
        if no.code == "TooManyRequests":
            raise RateLimited(f"{what}: {no}", retry_after=0.01, code=no.code) from None
        if no.code == "QuotaExceeded":
            raise QuotaExceeded(f"{what}: {no}", code=no.code, next="ask Shed for a larger quota") from None
        if no.code == "OutOfCapacity":
            raise NoCapacity(f"{what}: {no}", code=no.code) from None
        if no.code == "InternalError":
            raise Transient(f"{what}: {no}", code=no.code) from None
        raise Rejected(f"{what}: {no}", code=no.code) from None


class ShedCloud:
    """Shed, as flatyard's engine sees it. It remembers nothing between calls: all is found by tags."""

    name = "shed"
    traits = NodeTraits(
        cloud="shed",
        provider_id=ProviderIdSource.FIXED,
        provider_id_format="shed://{name}",
        stash=StashScheme.NONE,
        user_data_vanishes=True,
        metadata_block=MetadataBlock.NONE,
        ignition_platform="openstack",
    )
    limits = Limits(user_data_bytes=LONGEST_USER_DATA, list_lag_seconds=0.2)

    def __init__(self, account: Account) -> None:
        self._account = account

    def __repr__(self) -> str:
        return "ShedCloud()"

    # ---- before anything is made

    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        return tuple(Problem(Severity.ERROR, None, path, what) for path, what in self._wrong(cluster))

    def _wrong(self, cluster: Cluster) -> Iterator[tuple[str, str]]:
        spec = cluster.spec
        shed = spec.cloud.openstack
        if shed and shed.cloud != KEY:
            yield "spec.cloud.openstack.cloud", f"Shed does not take key {shed.cloud!r}"
        if shed and shed.region not in ("", REGION):
            yield "spec.cloud.openstack.region", f"Shed has no region {shed.region!r}; it has {REGION}"
        if shed and shed.subnet:
            yield "spec.cloud.openstack.subnet", f"there is no subnet {shed.subnet!r}"
        if len(cluster.metadata.name) > 40:
            yield "metadata.name", "names of clusters have 40 characters here, at most"
        if spec.flatcar.version and spec.flatcar.version not in IMAGES:
            yield "spec.flatcar.version", f"there is no image of Flatcar {spec.flatcar.version}"
        for number, pool in enumerate(spec.workers):
            at, machine = f"spec.workers[{number}]", pool.machine
            if machine and machine.size not in SIZES:
                yield f"{at}.machine.flavor", f"there is no size {machine.size!r}: take one of {SIZES}"
            if machine and machine.zone and machine.zone not in ZONES:
                yield f"{at}.machine.availabilityZone", f"there is no zone {machine.zone!r}"
            if pool.replicas > QUOTA:
                yield f"{at}.replicas", f"the account may have {QUOTA} machines, not {pool.replicas}"

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        versions = [query.version] if query.version else sorted(IMAGES, reverse=True)
        if query.channel != "stable" or query.arch != "amd64":
            return ()
        return tuple(Image(IMAGES[v], IMAGES[v], v, query.arch) for v in versions if v in IMAGES)

    # ---- network and endpoint

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network:
        made = self._account.make("network", f"{ref.id}/network", ref.name, _tags(ref))
        return Network(made.id, (made.id,), {}, ZONES, "10.0.0.0/16")

    async def delete_network(self, ref: ClusterRef) -> None:
        if any(t.state != "ended" for t in self._of(ref, "instance")):
            raise Transient(f"the network of {ref.name} still has machines", code="InUse")
        for thing in self._of(ref):
            self._account.things.pop(thing.id, None)

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        made = self._account.make("balancer", f"{ref.id}/balancer", ref.name, _tags(ref))
        made.backends = backends
        return Endpoint(
            f"{made.id}.shed.example", cluster.spec.endpoint.port, hairpin=True, backends=backends
        )

    async def delete_endpoint(self, ref: ClusterRef) -> None:
        for thing in self._of(ref, "balancer"):
            self._account.things.pop(thing.id, None)

    def node_files(self, ref: ClusterRef, network: Network) -> tuple[NodeFile, ...]:
        return ()

    # ---- machines

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        return tuple(map(_instance, self._of(ref, "instance")))

    async def create(self, request: CreateRequest) -> Instance:
        what = f"machine {request.name}"
        if not NAME.fullmatch(request.name):
            raise Rejected(f"{what}: names are letters, digits and hyphens here", code="BadName")
        if len(request.user_data) > LONGEST_USER_DATA:
            raise Rejected(f"{what}: its user data has more than {LONGEST_USER_DATA} bytes", code="TooLarge")
        ours = {TAG_MACHINE: request.machine_id, TAG_ROLE: request.role, TAG_ATTEMPT: str(request.attempt)}
        with _told(what):
            made = self._account.run(
                request.token,
                name=request.name,
                tags={**request.tags, **_tags(request.cluster), **ours},
                zone=request.zone or ZONES[0],
                user_data=request.user_data,
            )
        return _instance(made)

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        self._account.things.pop(instance.id, None)

    async def restart(self, ref: ClusterRef, instance: Instance) -> None:
        with _told(f"machine {instance.name}"):
            if instance.id not in self._account.things:
                raise ShedError("NotFound", "there is no such instance")

    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None:
        thing = self._account.things.get(instance.id)
        report = parse_console("\n".join(thing.console)) if thing else None
        return Evidence(report.unit, report.lines, "console") if report else None

    # ---- secrets, and what is left over

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed:
        raise StashForbidden(
            "Shed has no object store", next="put the secret into the user data, which it deletes"
        )

    async def unstash(self, ref: ClusterRef, key: str) -> None:
        return None

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        return tuple(
            Owned(t.kind, t.id, t.name, t.tags.get(TAG_MACHINE, ""), created="2026-01-01T00:00:00Z")
            for t in self._of(ref)
            if t.state != "ended"
        )

    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        if owned.kind == "network" and self._of(ref, "instance"):
            raise Transient(f"network {owned.id} is in use", code="InUse")
        self._account.things.pop(owned.id, None)

    def _of(self, ref: ClusterRef, kind: str = "") -> list[Thing]:
        mine = _tags(ref)
        return [t for t in self._account.list(kind) if mine.items() <= t.tags.items()]


def _tags(ref: ClusterRef) -> dict[str, str]:
    return {TAG_CLUSTER: ref.id, TAG_OWNED: "true"}


def _instance(thing: Thing) -> Instance:
    number = int(thing.id.rpartition("-")[2])
    return Instance(
        id=thing.id,
        machine_id=thing.tags[TAG_MACHINE],
        attempt=int(thing.tags[TAG_ATTEMPT]),
        name=thing.name,
        role=Role(thing.tags[TAG_ROLE]),
        state=_STATES[thing.state],
        provider_id=f"shed://{thing.name}",
        node_name=thing.name,
        zone=thing.zone,
        addresses=(("InternalIP", f"10.0.{number // 250}.{number % 250 + 1}"),),
        error=thing.why,
    )
