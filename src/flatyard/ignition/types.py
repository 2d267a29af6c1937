"""The Ignition configuration, specifications 3.0 to 3.6, as frozen values.

One model holds every 3.x document: older documents are read into it (`parse`), newer fields are simply
absent. Names are the specification's in snake_case. `None` means that the document does not give the field;
a given `False`, `0` or `""` is kept apart from that, because merging treats them differently. Fields which
the specification has without that distinction (names, paths, devices, partition numbers) are plain and count
as absent when empty.

The fields of each class stand in the order in which the reference implementation writes them; `encode`
relies on it. Source: coreos.github.io/ignition, "Configuration v3.5 specification".
"""

from __future__ import annotations

from flatyard.base.values import dataclass


@dataclass(frozen=True, slots=True)
class Verification:
    """What fetched bytes must hash to: `sha512-HEX` or `sha256-HEX`, taken after decompression."""

    hash: str | None = None


@dataclass(frozen=True, slots=True)
class HttpHeader:
    """One request header; a `None` value in a child config removes the parent's header of that name."""

    name: str = ""
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """Where bytes come from: a URL (`data:`, `https:`, `s3:` …), its compression, headers and hash."""

    compression: str | None = None
    http_headers: tuple[HttpHeader, ...] = ()
    source: str | None = None
    verification: Verification = Verification()


@dataclass(frozen=True, slots=True)
class ConfigRefs:
    """Other configs: `replace` stands in for this one, `merge` are laid over it in order."""

    merge: tuple[Resource, ...] = ()
    replace: Resource = Resource()


@dataclass(frozen=True, slots=True)
class Proxy:
    """Proxies used while fetching."""

    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate authorities trusted in addition while fetching."""

    certificate_authorities: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True)
class Security:
    """Security settings while fetching."""

    tls: Tls = Tls()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Fetch deadlines in whole seconds; 0 is none."""

    http_response_headers: int | None = None
    http_total: int | None = None


@dataclass(frozen=True, slots=True)
class Ignition:
    """About the document itself: its version and how to fetch what it points at."""

    config: ConfigRefs = ConfigRefs()
    proxy: Proxy = Proxy()
    security: Security = Security()
    timeouts: Timeouts = Timeouts()
    version: str = ""


@dataclass(frozen=True, slots=True)
class KernelArguments:
    """Kernel arguments to be present or absent (3.3)."""

    should_exist: tuple[str, ...] = ()
    should_not_exist: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A group account."""

    gid: int | None = None
    name: str = ""
    password_hash: str | None = None
    should_exist: bool | None = None
    system: bool | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A user account."""

    gecos: str | None = None
    groups: tuple[str, ...] = ()
    home_dir: str | None = None
    name: str = ""
    no_create_home: bool | None = None
    no_log_init: bool | None = None
    no_user_group: bool | None = None
    password_hash: str | None = None
    primary_group: str | None = None
    ssh_authorized_keys: tuple[str, ...] = ()
    shell: str | None = None
    should_exist: bool | None = None
    system: bool | None = None
    uid: int | None = None


@dataclass(frozen=True, slots=True)
class Passwd:
    """Accounts."""

    groups: tuple[Group, ...] = ()
    users: tuple[User, ...] = ()


@dataclass(frozen=True, slots=True)
class Owner:
    """A file's user or group, by number or by name, never both."""

    id: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory; `mode` is the number, so 0o755 here is 493 in JSON."""

    group: Owner = Owner()
    overwrite: bool | None = None
    path: str = ""
    user: Owner = Owner()
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: whole contents, appended pieces, or both."""

    group: Owner = Owner()
    overwrite: bool | None = None
    path: str = ""
    user: Owner = Owner()
    append: tuple[Resource, ...] = ()
    contents: Resource = Resource()
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link, or a hard link when `hard` is true."""

    group: Owner = Owner()
    overwrite: bool | None = None
    path: str = ""
    user: Owner = Owner()
    hard: bool | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; sizes in MiB, 0 meaning the rest of the disk."""

    guid: str | None = None
    label: str | None = None
    number: int = 0
    resize: bool | None = None
    should_exist: bool | None = None
    size_mib: int | None = None
    start_mib: int | None = None
    type_guid: str | None = None
    wipe_partition_entry: bool | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk and its partition table."""

    device: str = ""
    partitions: tuple[Partition, ...] = ()
    wipe_table: bool | None = None


@dataclass(frozen=True, slots=True)
class Raid:
    """A software RAID array."""

    devices: tuple[str, ...] = ()
    level: str | None = None
    name: str = ""
    options: tuple[str, ...] = ()
    spares: int | None = None


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A filesystem on a device. `path` is where Ignition itself mounts it while it writes files;
    mounting it at boot needs a unit."""

    device: str = ""
    format: str | None = None
    label: str | None = None
    mount_options: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    path: str | None = None
    uuid: str | None = None
    wipe_filesystem: bool | None = None


@dataclass(frozen=True, slots=True)
class Tang:
    """A Tang server that can unlock a volume."""

    advertisement: str | None = None
    thumbprint: str | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class ClevisCustom:
    """A Clevis pin given literally."""

    config: str | None = None
    needs_network: bool | None = None
    pin: str | None = None


@dataclass(frozen=True, slots=True)
class Clevis:
    """How a LUKS volume is unlocked by itself."""

    custom: ClevisCustom = ClevisCustom()
    tang: tuple[Tang, ...] = ()
    threshold: int | None = None
    tpm2: bool | None = None


@dataclass(frozen=True, slots=True)
class Cex:
    """IBM CEX secure keys (3.5, s390x only)."""

    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Luks:
    """An encrypted volume."""

    cex: Cex = Cex()
    clevis: Clevis = Clevis()
    device: str | None = None
    discard: bool | None = None
    key_file: Resource = Resource()
    label: str | None = None
    name: str = ""
    open_options: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    uuid: str | None = None
    wipe_volume: bool | None = None


@dataclass(frozen=True, slots=True)
class Storage:
    """Disks and what is written to them."""

    directories: tuple[Directory, ...] = ()
    disks: tuple[Disk, ...] = ()
    files: tuple[File, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()
    links: tuple[Link, ...] = ()
    luks: tuple[Luks, ...] = ()
    raid: tuple[Raid, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropin:
    """A fragment laid over a unit, `NAME.conf`."""

    contents: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """A systemd unit: its text, drop-ins, preset (`enabled`) and mask."""

    contents: str | None = None
    dropins: tuple[Dropin, ...] = ()
    enabled: bool | None = None
    mask: bool | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Systemd:
    """Units."""

    units: tuple[Unit, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """A whole Ignition config."""

    ignition: Ignition = Ignition()
    kernel_arguments: KernelArguments = KernelArguments()
    passwd: Passwd = Passwd()
    storage: Storage = Storage()
    systemd: Systemd = Systemd()
