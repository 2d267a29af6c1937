"""What is true of a cloud whoever talks to it: limits, names, sizes, refusals, durations; as data.

Each cloud's facts.py fills one `CloudFacts`. Preflight refuses by it, the simulated twin behaves by it, the
adapter translates error codes by it, and `traits` and `limits` tell nodes and plans what they must know.
Figures are the providers' documented ones where a document gives them; durations are typical observations and
vary by region and day.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from flatyard.model.traits import (
    Limits,
    MetadataBlock,
    NodeNameRule,
    NodeTraits,
    ProviderIdSource,
    StashScheme,
    UserDataEncoding,
    device_of_size,
)


class Idempotency(StrEnum):
    """How a repeated create is kept from making a second machine."""

    CLIENT_TOKEN = "client-token"
    """The API remembers a token and answers with the first result (EC2 ClientToken)."""
    PUT_BY_NAME = "put-by-name"
    """Creating is PUT of a named resource; the same PUT again changes nothing (Azure Resource Manager)."""
    REQUEST_ID = "request-id"
    """A request id as a token, and names are unique besides (GCP)."""
    PORT = "port"
    """A port made beforehand with a MAC address of our choice takes one server only (Nova, Neutron)."""
    UNIQUE_NAME = "unique-name"
    """A second machine of the same name in the same folder is refused (vSphere)."""


BIND_PORT = 6443
"""Where API servers listen, whatever the endpoint's own port is."""


class Trouble(StrEnum):
    """What a cloud's API can answer instead of doing it, by meaning; each cloud has its own code for it."""

    RATE = "rate"
    INTERNAL = "internal"
    QUOTA_INSTANCES = "quota-instances"
    QUOTA_VCPUS = "quota-vcpus"
    QUOTA_ADDRESSES = "quota-addresses"
    QUOTA_NETWORKS = "quota-networks"
    QUOTA_LOAD_BALANCERS = "quota-load-balancers"
    QUOTA_VOLUMES = "quota-volumes"
    CAPACITY = "capacity"
    IMAGE_NOT_FOUND = "image-not-found"
    SIZE_NOT_FOUND = "size-not-found"
    SIZE_NOT_IN_ZONE = "size-not-in-zone"
    ARCH_MISMATCH = "arch-mismatch"
    NOT_FOUND = "not-found"
    USER_DATA_TOO_LARGE = "user-data-too-large"
    INVALID_NAME = "invalid-name"
    INVALID_TAG = "invalid-tag"
    PARAMETERS_DIFFER = "parameters-differ"
    NAME_TAKEN = "name-taken"
    IN_USE = "in-use"
    NOT_ALLOWED = "not-allowed"


class Retry(StrEnum):
    """What helps after a refusal."""

    SOON = "soon"
    """The same call, after a back-off."""
    LATER = "later"
    """The same call, once somebody acted or capacity came back."""
    NEVER = "never"
    """Only another request."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How this cloud says a `Trouble`. `message` may hold fields such as `{limit}` and `{name}`.

    `late`: the create call succeeds and the instance turns to ERROR afterwards (Nova's scheduler).
    """

    trouble: Trouble
    code: str
    status: int
    message: str
    retry: Retry
    late: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    name: str
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """One machine size. Memory in MiB; `generations` of the virtual hardware that it boots, where that
    matters.
    """

    name: str
    vcpus: int
    memory_mib: int
    arch: str = "amd64"
    generations: tuple[str, ...] = ()
    disk_gib: int = 0
    """Disk that comes with the size; 0 where the disk is chosen apart."""


@dataclass(frozen=True, slots=True)
class NameRule:
    """What an instance may be called: the whole name must match `pattern` and have at most `longest`
    characters.
    """

    pattern: str
    longest: int
    allowed: str
    """The rule in words, for messages."""

    def fits(self, name: str) -> bool:
        return len(name) <= self.longest and re.fullmatch(self.pattern, name) is not None


@dataclass(frozen=True, slots=True)
class TagRule:
    """What tags (labels, metadata) may look like; `lower_only` where upper case is refused (GCP labels)."""

    count: int
    key_longest: int
    value_longest: int
    key_pattern: str
    value_pattern: str
    allowed: str
    lower_only: bool = False

    def fits(self, key: str, value: str) -> bool:
        short = len(key) <= self.key_longest and len(value) <= self.value_longest
        return (
            short
            and bool(re.fullmatch(self.key_pattern, key))
            and bool(re.fullmatch(self.value_pattern, value))
        )


@dataclass(frozen=True, slots=True)
class UserDataRule:
    """How much user data an instance takes, in bytes; after base64 where `after_encoding` says so.

    `encoding`: how it travels in the cloud's own API, or what Ignition undoes by itself (vSphere). `vanishes`:
    it is deleted once the machine has read it (guestinfo, by ignition-delete-config), so secrets may be in it.
    """

    limit: int
    after_encoding: bool = False
    encoding: UserDataEncoding = UserDataEncoding.PLAIN
    vanishes: bool = False

    def size(self, user_data: bytes) -> int:
        """Bytes that count against `limit`."""
        return -(-len(user_data) // 3) * 4 if self.after_encoding else len(user_data)


@dataclass(frozen=True, slots=True)
class StashRule:
    """Short-lived delivery of first-boot secrets; scheme NONE where the cloud has no object store.

    `url` holds `{bucket}`, `{key}`, `{region}`; `signature` is the query of a signed URL with `{expires}` and
    `{signature}`. Times to live in seconds.
    """

    scheme: StashScheme = StashScheme.NONE
    url: str = ""
    signature: str = ""
    longest_ttl: float = 0
    object_limit: int = 0


@dataclass(frozen=True, slots=True)
class Spell:
    """How long something takes, in seconds: typically `mean`, give or take up to `spread`."""

    mean: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Durations:
    """Typical durations of the acts of one cloud."""

    read: Spell
    """A call that only looks."""
    write: Spell
    """A call that changes something, until its reply."""
    running: Spell
    """From the create call's reply until the instance is shown as running."""
    load_balancer: Spell
    """From the create call's reply until the load balancer forwards."""
    terminated: Spell
    """From the delete call's reply until the instance is gone."""
    restart: Spell
    """From the restart call's reply until the machine boots again."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """What a new account gets in one region, before anybody asks for more; 0 means that there is no such
    quota.
    """

    instances: int = 0
    vcpus: int = 0
    addresses: int = 0
    networks: int = 0
    load_balancers: int = 0
    volumes: int = 0


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where Flatcar images come from on this cloud.

    `reference` is the id's form and `name` the name's, with `{channel}`, `{version}`, `{dashed}`, `{arch}`,
    `{offer}`, `{sku}`, `{digest}` (17 hex digits) and `{uuid}`. `generations`: the virtual hardware that images
    are made for, `gen1` and `gen2`, or one empty text. `lag_days`: how long after a release the image shows up.
    """

    publisher: str
    reference: str
    name: str
    arches: tuple[str, ...] = ("amd64", "arm64")
    generations: tuple[str, ...] = ("",)
    lag_days: float = 0.0
    provided: bool = True
    """False where the cloud has none and somebody uploads it."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the API behaves in time."""

    idempotency: Idempotency
    page: int
    list_lag: float
    """Seconds, as a rule at most, until a list shows what was just created."""
    terminated_visible: float
    """Seconds for which a terminated instance is still listed."""
    calls_per_second: float
    burst: int
    list_lag_bound: float = 30.0
    """Seconds after which a created instance that no list shows counts as gone. Far above `list_lag`, because
    taking a late one for gone makes a second machine."""


@dataclass(frozen=True, slots=True)
class LoginFile:
    """A file that an SDK reads once: the variable that names it, and where it is otherwise."""

    variable: str
    at_home: str = ""
    """Below the home folder."""
    here: str = ""
    """In the folder of the command, where it is read before the one at home."""


@dataclass(frozen=True, slots=True)
class Login:
    """How a cloud's own command finds out who asks: by which variables and files."""

    variables: tuple[str, ...] = ()
    files: tuple[LoginFile, ...] = ()
    paths: tuple[str, ...] = ()
    """Further variables that name files or folders, which are read again and again."""


@dataclass(frozen=True, slots=True)
class CloudFacts:
    """Everything that is true of one cloud."""

    name: str
    title: str
    regions: tuple[Region, ...]
    open_regions: bool
    """True where installations choose their own region and zone names, so that a list cannot refuse."""
    sizes: tuple[Size, ...]
    open_sizes: bool
    """True where installations define further sizes (OpenStack flavors) or machines have none (vSphere)."""
    instance_name: NameRule
    tags: TagRule
    user_data: UserDataRule
    stash: StashRule
    images: ImageSource
    quotas: Quotas
    behaviour: Behaviour
    durations: Durations
    node_name: NodeNameRule
    ignition_platform: str
    """Flatcar's `ignition.platform.id`."""
    provider_id_source: ProviderIdSource
    provider_id: str
    """Form of the node's providerID with `{region}`, `{zone}`, `{id}`, `{name}`, `{account}`, `{group}`."""
    instance_id: str
    """Form of an instance id: `i-{hex17}`, `{uuid}`, `{name}` …"""
    hairpin: bool
    """Whether a backend of the internal load balancer reaches itself through it."""
    networks: bool
    """Whether networks, subnets and security groups can be made through the cloud's API."""
    load_balancer: bool
    """Whether the cloud itself has load balancers; the endpoint is a `vip` otherwise."""
    load_balancer_host: str
    """Form of the endpoint's host name with `{name}`, `{digest}`, `{region}`; empty: the address itself."""
    etcd_device: str
    """What a machine calls its etcd disk while Ignition runs; empty where there is none."""
    root_device: str
    cloud_controller: str
    """Name of the external cloud controller manager, empty where there is none."""
    metadata_block: MetadataBlock
    console: bool
    """Whether the cloud offers the serial console's text."""
    create_timeout: int = 600
    """Seconds after which a create call that brought nothing is given up."""
    evidence_after: float = 90.0
    evidence_every: float = 60.0
    """Seconds from a create, and between two looks, for the evidence of a machine that has not joined."""
    etcd_devices: tuple[tuple[str, str], ...] = ()
    """Patterns of sizes whose machines call the etcd disk otherwise, each with that name."""
    login: Login = Login()
    """How the cloud's own command finds its credentials."""
    refusals: tuple[Refusal, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    def refusal(self, trouble: Trouble) -> Refusal:
        """How this cloud says it; every cloud has an answer to every trouble that it can cause."""
        for refusal in self.refusals:
            if refusal.trouble is trouble:
                return refusal
        return Refusal(trouble, trouble.value, 400, trouble.value.replace("-", " "), Retry.NEVER)

    def region(self, name: str) -> Region | None:
        """The region, None if this cloud has none of that name; open clouds know every name."""
        for region in self.regions:
            if region.name == name:
                return region
        if self.open_regions:
            return Region(name, self.regions[0].zones if self.regions else ("",))
        return None

    def size(self, name: str) -> Size | None:
        """The size, None if it is not in the list."""
        return next((size for size in self.sizes if size.name == name), None)

    def etcd_device_of(self, size: str) -> str:
        """What a machine of this size calls its etcd disk."""
        return device_of_size(self.etcd_devices, size, self.etcd_device)

    @property
    def size_names(self) -> tuple[str, ...]:
        return tuple(size.name for size in self.sizes)


def traits(facts: CloudFacts, *, simulated: bool = False, external: bool = False) -> NodeTraits:
    """What a node's config must know of this cloud; `external`: the cluster runs its controller manager."""
    return NodeTraits(
        cloud=facts.name,
        node_name=facts.node_name,
        provider_id=facts.provider_id_source,
        provider_id_format=facts.provider_id,
        stash=facts.stash.scheme,
        user_data_vanishes=facts.user_data.vanishes,
        external_cloud_provider=external,
        hairpin=facts.hairpin,
        metadata_block=facts.metadata_block,
        etcd_device=facts.etcd_device,
        etcd_devices=facts.etcd_devices,
        root_device=facts.root_device,
        ignition_platform=facts.ignition_platform,
        architectures=facts.images.arches,
        simulated=simulated,
    )


def limits(facts: CloudFacts) -> Limits:
    """What planning must keep to on this cloud."""
    return Limits(
        user_data_bytes=facts.user_data.limit,
        user_data_encoding=facts.user_data.encoding,
        limit_after_encoding=facts.user_data.after_encoding,
        machine_name_length=min(63, facts.instance_name.longest),
        tag_count=facts.tags.count,
        tag_value_length=facts.tags.value_longest,
        create_timeout_seconds=facts.create_timeout,
        list_lag_seconds=facts.behaviour.list_lag_bound,
        evidence_after_seconds=facts.evidence_after,
        evidence_every_seconds=facts.evidence_every,
    )


def family(
    form: str,
    steps: Mapping[str, int],
    gib_per_vcpu: float,
    *,
    arch: str = "amd64",
    generations: tuple[str, ...] = (),
) -> tuple[Size, ...]:
    """Sizes of one family: `form` with `{}` for each key of `steps`, which gives the vCPUs."""
    return tuple(
        Size(form.format(step), vcpus, int(vcpus * gib_per_vcpu * 1024), arch, generations)
        for step, vcpus in steps.items()
    )
