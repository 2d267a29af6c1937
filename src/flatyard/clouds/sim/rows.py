"""What the simulated provider remembers, as typed rows, written through to a disk that outlives the
process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Generic, TypeVar, get_type_hints

from flatyard.clouds.cloud import InstanceState
from flatyard.sim.disk import Disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing in the account. `seq` orders rows by creation; `created` is an RFC 3339 stamp.

    Other stamps are seconds since the Unix epoch on the world's clock, 0 for none.
    """

    id: str
    seq: int
    name: str = ""
    created: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What people call it."""
        return KINDS[type(self)]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow(Row):
    cidr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetRow(Row):
    network: str
    zone: str
    cidr: str
    hosts: int = 0
    """Host numbers handed out so far, counted from the first usable one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow(Row):
    network: str
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerRow(Row):
    host: str
    address: str
    port: int
    subnets: tuple[str, ...]
    ready: float
    """From when on it forwards."""
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRow(Row):
    address: str
    subnet: str = ""
    """Empty for a public address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRow(Row):
    """A DNS record: `name` answers with the addresses of the instances in `targets`."""

    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRow(Row):
    subnet: str
    mac: str
    address: str
    instance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRow(Row):
    zone: str
    gib: int
    instance: str = ""
    ends_with_instance: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRow(Row):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow(Row):
    bucket: str
    size: int
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow(Row):
    version: str
    channel: str
    arch: str
    generation: str = ""
    kubernetes: str = ""
    assumed: bool = False
    """True for an image that the user named and that the simulation takes to exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow(Row):
    zone: str
    size: str
    vcpus: int
    image: str
    network: str
    subnet: str
    groups: tuple[str, ...]
    address: str
    token: str
    print: str
    """Digest of everything that the create call said."""
    state: InstanceState
    number: int = 0
    """How many instances the account had created, this one included."""
    public: str = ""
    port: str = ""
    fault: str = ""
    visible: float = 0.0
    """From when on lists show it."""
    due: float = 0.0
    """When its state changes next."""
    memory_mib: int = 0
    group: str = ""
    """Resource group or folder, where the cloud has such."""
    boots: int = 0


KINDS: dict[type[Row], str] = {
    NetworkRow: "network",
    SubnetRow: "subnet",
    GroupRow: "security-group",
    BalancerRow: "load-balancer",
    AddressRow: "address",
    NameRow: "dns-record",
    PortRow: "port",
    VolumeRow: "volume",
    BucketRow: "bucket",
    ObjectRow: "object",
    ImageRow: "image",
    InstanceRow: "instance",
}

R = TypeVar("R", bound=Row)


class Shelf(Generic[R]):
    """All rows of one kind, in the order of their creation; every change is on the disk when the call
    returns.
    """

    def __init__(self, disk: Disk, kind: type[R]) -> None:
        self._disk = disk
        self._prefix = f"cloud/{KINDS[kind]}/"
        self._codec = _Codec(kind)
        loaded = (self._codec.decode(value) for _, value in disk.items(self._prefix))
        self.version = 0
        """Grows with every change, so that what is derived from the rows can be kept until then."""
        self._rows: dict[str, R] = {row.id: row for row in sorted(loaded, key=lambda row: row.seq)}

    def put(self, row: R) -> R:
        self._disk.put(self._prefix + row.id, self._codec.encode(row))
        self._rows[row.id] = row
        self.version += 1
        return row

    def remove(self, row_id: str) -> None:
        if self._rows.pop(row_id, None) is not None:
            self._disk.delete(self._prefix + row_id)
            self.version += 1

    def get(self, row_id: str) -> R | None:
        return self._rows.get(row_id)

    def __iter__(self) -> Iterator[R]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def tagged(self, tags: Mapping[str, str]) -> tuple[R, ...]:
        """The rows that carry all these tags."""
        wanted = tags.items()
        return tuple(row for row in self._rows.values() if wanted <= row.tags.items())


class _Codec(Generic[R]):
    """Rows to JSON and back; fields are text, numbers, booleans, tuples of text, text mappings and enums."""

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        hints = get_type_hints(kind)
        self._names = tuple(f.name for f in fields(kind))
        self._defaults = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
        self._repair: dict[str, Callable[[object], object]] = {}
        for name in self._names:
            if isinstance(hints[name], type) and issubclass(hints[name], StrEnum):
                self._repair[name] = hints[name]
            elif str(hints[name]).startswith("tuple"):
                self._repair[name] = _tuple

    def encode(self, row: R) -> bytes:
        values = {name: getattr(row, name) for name in self._names}
        told = {k: v for k, v in values.items() if k not in self._defaults or v != self._defaults[k]}
        return json.dumps(told, separators=(",", ":")).encode()

    def decode(self, value: bytes) -> R:
        told = json.loads(value)
        for name, repair in self._repair.items():
            if name in told:
                told[name] = repair(told[name])
        return self._kind(**told)


def _tuple(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list) else ()
