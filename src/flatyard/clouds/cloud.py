"""What the engine asks of a cloud: about ten idempotent verbs, keyed by cluster id and machine id (DESIGN §4).

Every verb may be called again after a crash or a lost reply and then finds what the first call made. Resources
carry the tags below; nothing is found or deleted by name. Capabilities and limits are data, so that planning
refuses early; no verb raises NotImplementedError.

CloudError
├── Transient        a failure that a later try may not see (5xx, timeouts, lost replies); the act may have happened
├── RateLimited      too many calls; `retry_after` seconds
├── QuotaExceeded    the account's limit; trying again helps only after somebody acts
├── Rejected         the request itself is wrong for this cloud (unknown image, size, subnet); final
└── StashForbidden   stashing was refused
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol

from flatyard.base.errors import Failed, Problem, Refused
from flatyard.model.cluster import Cluster
from flatyard.model.machine import MachineDeployment
from flatyard.model.machines import MachineSpec
from flatyard.model.traits import Limits, NodeTraits
from flatyard.node.inputs import NodeFile

TAG_CLUSTER = "flatyard-cluster"
TAG_MACHINE = "flatyard-machine"
TAG_OWNED = "flatyard-owned"
TAG_ROLE = "flatyard-role"
TAG_ATTEMPT = "flatyard-attempt"


class Role(StrEnum):
    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


class CloudError(Failed):
    """A cloud said no; `code` is that cloud's own error code, `request_id` its id of the call."""

    retry: ClassVar[bool] = False

    def __init__(
        self, what: str, *, code: str = "", request_id: str = "", why: str = "", next: str = ""
    ) -> None:
        super().__init__(what, why=why, next=next)
        self.code = code
        self.request_id = request_id


class Transient(CloudError):
    retry = True


class NoCapacity(Transient):
    """The zone has no room left for machines of this size; another zone may have."""


class RateLimited(CloudError):
    retry = True

    def __init__(self, what: str, *, retry_after: float, code: str = "") -> None:
        super().__init__(what, code=code)
        self.retry_after = retry_after


class QuotaExceeded(CloudError):
    retry = True


class Rejected(CloudError):
    pass


class StashForbidden(CloudError):
    pass


class NoAccount(Refused):
    """Nothing here says who asks the cloud: no SDK, no credentials at all. Who only plans may do without an account;
    credentials that are named and wrong are another thing.
    """


@dataclass(frozen=True, slots=True)
class ClusterRef:
    """The cluster a call is about: its minted id (the key) and its name (for people)."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """Which Flatcar image: channel or version, architecture, and the machine spec's own reference if any.

    `kubernetes` is set for the `image` flavor only, where the Kubernetes version is baked in.
    """

    channel: str
    version: str | None
    arch: str = "amd64"
    machine: MachineSpec | None = None
    kubernetes: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the region really has. `reference` is the cloud's own id for it."""

    reference: str
    name: str
    version: str
    arch: str
    generation: str = ""
    kubernetes: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """The cluster's network: ids of what was made or adopted, zones that may hold machines."""

    id: str
    subnets: tuple[str, ...]
    security_groups: Mapping[str, str]
    zones: tuple[str, ...]
    cidr: str
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the Kubernetes API answers: a stable name. `hairpin`: a backend can reach itself through it."""

    host: str
    port: int
    hairpin: bool
    address: str = ""
    backends: tuple[str, ...] = ()
    held: bool = False
    """The control planes hold `address` themselves (kube-vip): the cloud only keeps it free for them."""


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """Everything that one create call needs, fixed before it is sent and sent unchanged by every retry.

    `machine_id` and `attempt` make the cloud's idempotency key; `user_data` is what the machine boots with, as
    the cloud takes it (before any transport encoding of the cloud's own API).
    """

    cluster: ClusterRef
    machine_id: str
    attempt: int
    name: str
    role: Role
    pool: str
    zone: str
    image: str
    machine: MachineSpec
    network: Network
    user_data: bytes = field(repr=False)
    stash_key: str = ""
    """The stashed object that the user data points to; empty when everything is inline."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The idempotency token: machine id and attempt, at most 64 ASCII characters."""
        return f"{self.machine_id}-{self.attempt}"


class InstanceState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    DELETING = "deleting"
    TERMINATED = "terminated"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine as the cloud shows it. `provider_id` is what the node's spec.providerID will say."""

    id: str
    machine_id: str
    attempt: int
    name: str
    role: Role
    state: InstanceState
    provider_id: str
    node_name: str
    zone: str
    addresses: tuple[tuple[str, str], ...] = ()
    """Pairs of Kubernetes address type (InternalIP, ExternalIP, InternalDNS, Hostname) and value."""
    image: str = ""
    error: str = ""
    created: str = ""
    no_capacity: bool = False
    """It never came up, or was ended, since its zone had no room for its size: what `NoCapacity` says at once."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a machine did not come up, as far as the cloud can tell: the first failing unit and its last lines."""

    unit: str
    lines: tuple[str, ...]
    source: str
    """`console`, `guestinfo`, `put`: where it was read."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A resource that carries our tags: what `down` must leave empty."""

    kind: str
    id: str
    name: str
    machine_id: str = ""
    kept: bool = False
    """True for volumes that stay unless --delete-volumes is given."""
    created: str = ""
    """RFC 3339 stamp, empty where the cloud does not tell; what is young may still be somebody's create."""


@dataclass(frozen=True, slots=True)
class Stashed:
    """A short-lived object: the URL that a machine can fetch, with its scheme as the traits name it."""

    key: str
    url: str


class Cloud(Protocol):
    """One cloud account and region, as the engine sees it."""

    @property
    def name(self) -> str: ...

    @property
    def traits(self) -> NodeTraits: ...

    @property
    def limits(self) -> Limits: ...

    async def preflight(
        self, cluster: Cluster, deployments: tuple[MachineDeployment, ...] = ()
    ) -> tuple[Problem, ...]:
        """Quotas, permissions, image × region × size × arch, names and limits, before anything is created."""
        ...

    async def images(self, query: ImageQuery) -> tuple[Image, ...]:
        """What the region really has for the query, newest first; empty when it has none."""
        ...

    async def ensure_network(self, ref: ClusterRef, cluster: Cluster) -> Network: ...

    async def delete_network(self, ref: ClusterRef) -> None: ...

    async def ensure_endpoint(
        self, ref: ClusterRef, cluster: Cluster, network: Network, backends: tuple[str, ...]
    ) -> Endpoint:
        """Make the endpoint exist with exactly these backends (instance ids), without touching a right one."""
        ...

    async def delete_endpoint(self, ref: ClusterRef) -> None: ...

    def node_files(self, ref: ClusterRef, network: Network) -> tuple[NodeFile, ...]:
        """What this cloud's own controllers and drivers read on machines: no secret, no call, the same each time."""
        ...

    async def machines(self, ref: ClusterRef) -> tuple[Instance, ...]:
        """Every instance of the cluster by tag, all pages; the cloud's list may lag behind its creates."""
        ...

    async def create(self, request: CreateRequest) -> Instance:
        """Create, or return what an earlier call with the same token made."""
        ...

    async def delete(self, ref: ClusterRef, instance: Instance) -> None:
        """Start deleting; done when `machines` no longer shows it or shows it terminated."""
        ...

    async def restart(self, ref: ClusterRef, instance: Instance) -> None: ...

    async def evidence(self, ref: ClusterRef, instance: Instance) -> Evidence | None: ...

    async def stash(self, ref: ClusterRef, key: str, blob: bytes, ttl_seconds: float) -> Stashed: ...

    async def unstash(self, ref: ClusterRef, key: str) -> None: ...

    async def sweep(self, ref: ClusterRef) -> tuple[Owned, ...]:
        """Everything that carries this cluster's tags, whatever made it."""
        ...

    async def delete_owned(self, ref: ClusterRef, owned: Owned) -> None:
        """Delete one resource that `sweep` reported; a missing one is fine."""
        ...


class Adapter(Cloud, Protocol):
    """A real account, whose calls run in threads of their own."""

    async def owner(self) -> str:
        """Whose account this is, in the cloud's own terms: the same for every login to it. Raises CloudError."""
        ...

    async def close(self) -> None:
        """Wait for the calls that were begun, and end their threads."""
        ...
