"""Entries of a list that must differ and do not, in the order in which the reference looks for them.

A list is named before the lists inside its entries; sections stand in the order of the specification's fields.
"""

from __future__ import annotations

from collections.abc import Iterable

from flatyard.ignition.report import Entry, Path, error
from flatyard.ignition.types import Config, Luks, Partition, Resource, Storage


def duplicates(config: Config) -> tuple[Entry, ...]:
    """Every entry whose key another one of its list has before it (Ignition's rules for keys of merging)."""
    found: list[Entry] = []
    _ignition(config, found)
    arguments = config.kernel_arguments
    seen: set[str] = set()
    _differ(arguments.should_exist, ("kernelArguments", "shouldExist"), found, seen)
    _differ(arguments.should_not_exist, ("kernelArguments", "shouldNotExist"), found, seen)
    _passwd(config, found)
    _storage(config.storage, found)
    units = config.systemd.units
    _differ((u.name for u in units), ("systemd", "units"), found)
    for index, unit in enumerate(units):
        _differ((d.name for d in unit.dropins), ("systemd", "units", index, "dropins"), found)
    return tuple(found)


def partition_key(partition: Partition) -> str:
    """What makes two entries the same partition: the number, else the label."""
    if partition.number:
        return f"number:{partition.number}"
    return "" if partition.label is None else f"label:{partition.label}"


def _differ(keys: Iterable[str], at: Path, found: list[Entry], seen: set[str] | None = None) -> None:
    """Lists that share a namespace share `seen`."""
    seen = set() if seen is None else seen
    for index, key in enumerate(keys):
        if key in seen:
            found.append(error("duplicate entry defined", (*at, index)))
        seen.add(key)


def _headers(resource: Resource, at: Path, found: list[Entry]) -> None:
    if resource.http_headers:
        _differ((h.name for h in resource.http_headers), (*at, "httpHeaders"), found)


def _resources(resources: tuple[Resource, ...], at: Path, found: list[Entry]) -> None:
    _differ((r.source or "" for r in resources), at, found)
    for index, resource in enumerate(resources):
        _headers(resource, (*at, index), found)


def _ignition(config: Config, found: list[Entry]) -> None:
    about = config.ignition
    _resources(about.config.merge, ("ignition", "config", "merge"), found)
    _headers(about.config.replace, ("ignition", "config", "replace"), found)
    _differ(about.proxy.no_proxy, ("ignition", "proxy", "noProxy"), found)
    authorities = about.security.tls.certificate_authorities
    _resources(authorities, ("ignition", "security", "tls", "certificateAuthorities"), found)


def _passwd(config: Config, found: list[Entry]) -> None:
    passwd = config.passwd
    _differ((g.name for g in passwd.groups), ("passwd", "groups"), found)
    _differ((u.name for u in passwd.users), ("passwd", "users"), found)
    for index, user in enumerate(passwd.users):
        at = ("passwd", "users", index)
        _differ(user.groups, (*at, "groups"), found)
        _differ(user.ssh_authorized_keys, (*at, "sshAuthorizedKeys"), found)


def _storage(storage: Storage, found: list[Entry]) -> None:
    nodes: set[str] = set()
    _differ((d.path for d in storage.directories), ("storage", "directories"), found, nodes)
    _differ((d.device for d in storage.disks), ("storage", "disks"), found)
    _differ((f.path for f in storage.files), ("storage", "files"), found, nodes)
    _differ((f.device for f in storage.filesystems), ("storage", "filesystems"), found)
    _differ((link.path for link in storage.links), ("storage", "links"), found, nodes)
    _differ((v.name for v in storage.luks), ("storage", "luks"), found)
    _differ((r.name for r in storage.raid), ("storage", "raid"), found)
    for index, disk in enumerate(storage.disks):
        _differ(map(partition_key, disk.partitions), ("storage", "disks", index, "partitions"), found)
    for index, file in enumerate(storage.files):
        for position, resource in enumerate(file.append):
            _headers(resource, ("storage", "files", index, "append", position), found)
        _headers(file.contents, ("storage", "files", index, "contents"), found)
    for index, volume in enumerate(storage.luks):
        _luks(volume, ("storage", "luks", index), found)
    for index, raid in enumerate(storage.raid):
        _differ(raid.devices, ("storage", "raid", index, "devices"), found)


def _luks(volume: Luks, at: Path, found: list[Entry]) -> None:
    _differ(volume.open_options, (*at, "openOptions"), found)
    _differ((tang.url for tang in volume.clevis.tang), (*at, "clevis", "tang"), found)
    _headers(volume.key_file, (*at, "keyFile"), found)
