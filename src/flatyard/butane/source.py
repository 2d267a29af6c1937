"""A Butane config (variant `flatcar`) as written: Ignition's fields in snake_case, plus Butane's sugar.

Attribute names are the YAML keys. Where Butane adds nothing, Ignition's own types serve. Where it adds a field, all
of Ignition's are written here again: a class is read by its own annotations in its own module (`ignition.schema`),
and these light values have no bases (`base.values`). Source: Butane, "Flatcar Specification v1.1.0".
"""

from __future__ import annotations

from flatyard.base.values import dataclass
from flatyard.ignition.types import (
    Cex,
    Clevis,
    Directory,
    Disk,
    Group,
    HttpHeader,
    KernelArguments,
    Link,
    Owner,
    Proxy,
    Raid,
    Timeouts,
    Verification,
)

_CEX = Cex()
_CLEVIS = Clevis()
_KERNEL_ARGUMENTS = KernelArguments()
_OWNER = Owner()
_PROXY = Proxy()
_TIMEOUTS = Timeouts()
_VERIFICATION = Verification()


@dataclass(frozen=True, slots=True)
class Resource:
    """Bytes inline, in a local file, or at a URL."""

    compression: str | None = None
    http_headers: tuple[HttpHeader, ...] = ()
    inline: str | None = None
    local: str | None = None
    source: str | None = None
    verification: Verification = _VERIFICATION


@dataclass(frozen=True, slots=True)
class ConfigRefs:
    """Other Ignition configs."""

    merge: tuple[Resource, ...] = ()
    replace: Resource = Resource()


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate authorities."""

    certificate_authorities: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True)
class Security:
    """Security settings while fetching."""

    tls: Tls = Tls()


@dataclass(frozen=True, slots=True)
class Ignition:
    """The ignition section; the version follows from Butane's."""

    config: ConfigRefs = ConfigRefs()
    proxy: Proxy = _PROXY
    security: Security = Security()
    timeouts: Timeouts = _TIMEOUTS


@dataclass(frozen=True, slots=True)
class User:
    """A user; `ssh_authorized_keys_local` (1.1.0) names files with one key a line."""

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
    ssh_authorized_keys_local: tuple[str, ...] = ()
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
class File:
    """A regular file."""

    group: Owner = _OWNER
    overwrite: bool | None = None
    path: str = ""
    user: Owner = _OWNER
    append: tuple[Resource, ...] = ()
    contents: Resource = Resource()
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A filesystem; `with_mount_unit` adds the unit that mounts it at boot."""

    device: str = ""
    format: str | None = None
    label: str | None = None
    mount_options: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    path: str | None = None
    uuid: str | None = None
    wipe_filesystem: bool | None = None
    with_mount_unit: bool | None = None


@dataclass(frozen=True, slots=True)
class Luks:
    """An encrypted volume."""

    cex: Cex = _CEX
    clevis: Clevis = _CLEVIS
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
class Tree:
    """A local directory copied into the machine."""

    group: Owner = _OWNER
    local: str = ""
    path: str | None = None
    user: Owner = _OWNER
    file_mode: int | None = None
    dir_mode: int | None = None


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
    trees: tuple[Tree, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropin:
    """A unit's fragment, inline or from a local file."""

    contents: str | None = None
    contents_local: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit, inline or from a local file."""

    contents: str | None = None
    contents_local: str | None = None
    dropins: tuple[Dropin, ...] = ()
    enabled: bool | None = None
    mask: bool | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Quadlet:
    """A Podman quadlet (1.2.0-experimental): a file below /etc/containers/systemd."""

    contents: str | None = None
    contents_local: str | None = None
    dropins: tuple[Dropin, ...] = ()
    name: str = ""
    rootful: bool = False


@dataclass(frozen=True, slots=True)
class Systemd:
    """Units and quadlets."""

    units: tuple[Unit, ...] = ()
    quadlets: tuple[Quadlet, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """A whole Butane config."""

    variant: str = ""
    version: str = ""
    ignition: Ignition = Ignition()
    kernel_arguments: KernelArguments = _KERNEL_ARGUMENTS
    passwd: Passwd = Passwd()
    storage: Storage = Storage()
    systemd: Systemd = Systemd()
