"""Rules for the storage section: nodes, disks, arrays, filesystems, encrypted volumes."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator

from flatyard.base.patterns import pattern
from flatyard.ignition import spec
from flatyard.ignition.report import Entry, Path, error, warning
from flatyard.ignition.types import (
    Clevis,
    ClevisCustom,
    Directory,
    Disk,
    File,
    Filesystem,
    Link,
    Luks,
    Partition,
    Raid,
    Storage,
    Tang,
)
from flatyard.ignition.urls import UrlError, scheme
from flatyard.ignition.validate_resource import check_resource, source_problem

_CLEAN_PATH = pattern(r"/|(?:/(?!\.{1,2}(?:/|\Z))[^/]++)++")
_GUID = pattern(r"(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?")
_LABEL_LIMITS = {"ext4": 16, "btrfs": 256, "xfs": 12, "swap": 15, "vfat": 11}
_FORMATS = (*_LABEL_LIMITS, "none")
_STRIPED = ("linear", "raid0", "0", "stripe")
_MIRRORED = ("raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6", "raid10", "10")
_PARTITION_LABEL_LIMIT = 36
_LUKS_LABEL_LIMIT = 47
_MODE_MAX = 0o7777
_PATH_MAX = 4096
_LINK_FINDINGS_MAX = 10_000
_SPECIAL_BITS = 0o7000
_CLEVIS_PINS = ("tpm2", "tang", "sss")
_SPECIAL_BITS_TEXT = (
    "setuid/setgid/sticky bits are not supported or functional in spec versions older than 3.6.0"
)


def check_storage(storage: Storage, minor: int, found: list[Entry]) -> None:
    """Everything below `storage`."""
    if storage.links:
        _check_against_links(storage, minor, found)
    _check_wiped(storage, found)
    _check_directories(storage.directories, minor, found)
    _check_disks(storage.disks, found)
    _check_files(storage.files, minor, found)
    for index, filesystem in enumerate(storage.filesystems):
        _check_filesystem(filesystem, minor, ("storage", "filesystems", index), found)
    for index, link in enumerate(storage.links):
        _check_node(link, ("storage", "links", index), found)
    _check_luks_list(storage.luks, minor, found)
    _check_raids(storage.raid, minor, found)


def path_problem(path: str) -> str | None:
    """What is wrong with a path that must be absolute and clean."""
    if _CLEAN_PATH.fullmatch(path):
        return None
    if not path:
        return "path not specified"
    return "path is not fully simplified" if path.startswith("/") else "path not absolute"


# Files, directories, links


def _check_files(files: tuple[File, ...], minor: int, found: list[Entry]) -> None:
    for index, file in enumerate(files):
        at = ("storage", "files", index)
        _check_path(file, at, found)
        _check_mode(file.mode, minor, (*at, "mode"), found)
        if file.overwrite and file.contents.source is None:
            text = "overwrite must be false if source is unspecified"
            found.append(error(text, (*at, "overwrite")))
        _check_owners(file, at, found)
        for position, resource in enumerate(file.append):
            check_resource(resource, minor, (*at, "append", position), found)
        check_resource(file.contents, minor, (*at, "contents"), found)


def _check_directories(directories: tuple[Directory, ...], minor: int, found: list[Entry]) -> None:
    for index, directory in enumerate(directories):
        at = ("storage", "directories", index)
        _check_path(directory, at, found)
        _check_mode(directory.mode, minor, (*at, "mode"), found)
        _check_owners(directory, at, found)


def _check_node(node: File | Directory | Link, at: Path, found: list[Entry]) -> None:
    _check_path(node, at, found)
    _check_owners(node, at, found)


def _check_path(node: File | Directory | Link, at: Path, found: list[Entry]) -> None:
    problem = path_problem(node.path)
    if problem:
        found.append(error(problem, (*at, "path")))


def _check_owners(node: File | Directory | Link, at: Path, found: list[Entry]) -> None:
    for name, owner in (("group", node.group), ("user", node.user)):
        if owner.id is not None and owner.name:
            found.append(error("cannot set both id and name", (*at, name)))


def _check_mode(mode: int | None, minor: int, at: Path, found: list[Entry]) -> None:
    if mode is None:
        return
    if not 0 <= mode <= _MODE_MAX:
        found.append(error("illegal file mode", at))
    if mode & _SPECIAL_BITS and minor < spec.SPECIAL_BITS_SINCE:
        found.append(warning(_SPECIAL_BITS_TEXT, at))


def _check_against_links(storage: Storage, minor: int, found: list[Entry]) -> None:
    above = _Above(storage.links)
    for index, directory in enumerate(storage.directories):
        above.check(directory, "directory", ("storage", "directories", index), found)
    for index, file in enumerate(storage.files):
        above.check(file, "file", ("storage", "files", index), found)
    directories = {d.path for d in storage.directories}
    for index, link in enumerate(storage.links):
        at = ("storage", "links", index)
        above.check(link, "link", at, found)
        if not link.target and minor >= 3:
            found.append(error("link target is required", (*at, "target")))
        elif link.hard:
            _check_hard_link(link, directories, at, found)


def _check_hard_link(link: Link, directories: set[str], at: Path, found: list[Entry]) -> None:
    target = clean_path(link.target or "")
    if not target.startswith("/"):
        target = clean_path(posixpath.join(link.path, link.target or ""))
    if target in directories:
        found.append(error("hard link target is a directory", at))
    for name, owner in (("user", link.user), ("group", link.group)):
        for field, value in (("id", owner.id), ("name", owner.name)):
            if value is not None:
                found.append(warning("user/group ignored for hard link", (*at, name, field)))


def clean_path(path: str) -> str:
    """The shortest equal path, as Go's `path.Clean` has it."""
    cleaned = posixpath.normpath(path) if path else "."
    return cleaned[1:] if cleaned.startswith("//") else cleaned


class _Above:
    """Which links of the config lie on the way to a path."""

    def __init__(self, links: tuple[Link, ...]) -> None:
        self.paths = Counter(link.path for link in links)
        self.spare = _LINK_FINDINGS_MAX

    def check(self, node: File | Directory | Link, word: str, at: Path, found: list[Entry]) -> None:
        count = min(self.spare, self.count(node.path))
        self.spare -= count
        found += [error(f"{word} path includes link in config", at)] * count

    def count(self, path: str) -> int:
        """As far as a path can be of use."""
        count = 0
        position = path.find("/", 1, _PATH_MAX)
        while position > 0:
            count += self.paths[path[:position]]
            position = path.find("/", position + 1, _PATH_MAX)
        return count + (self.paths[""] if count and path.startswith("/") else 0)


# Disks


def _check_disks(disks: tuple[Disk, ...], found: list[Entry]) -> None:
    for index, disk in enumerate(disks):
        at = ("storage", "disks", index)
        _check_disk(disk, at, found)
        for position, partition in enumerate(disk.partitions):
            _check_partition(partition, (*at, "partitions", position), found)


def _check_disk(disk: Disk, at: Path, found: list[Entry]) -> None:
    if not disk.device:
        found.append(error("disk device is required", (*at, "device")))
        return
    problem = path_problem(disk.device)
    if problem:
        found.append(error(problem, (*at, "device")))
    partitions = disk.partitions
    clashes = {
        "partition numbers collide": _second([p.number or None for p in partitions]),
        "partitions overlap": _overlapping(partitions),
        "cannot use the same partition label twice": _second([p.label for p in partitions]),
    }
    for text, index in clashes.items():
        if index is not None:
            found.append(error(text, (*at, "partitions", index)))


def _second(values: list[int | str | None] | list[int | None] | list[str | None]) -> int | None:
    seen: set[int | str] = set()
    for index, value in enumerate(values):
        if value is None:
            continue
        if value in seen:
            return index
        seen.add(value)
    return None


def _extent(partition: Partition) -> tuple[int, int] | None:
    """First and last MiB, where both ends are given."""
    start, size = partition.start_mib, partition.size_mib
    if not start or size is None:
        return None
    return start, start + size - 1 if size else start


def _overlapping(partitions: tuple[Partition, ...]) -> int | None:
    """The other of the first two that overlap."""
    extents = {index: extent for index, p in enumerate(partitions) if (extent := _extent(p))}
    for first in _clashing(extents):
        start, end = extents[first]
        for second, other in extents.items():
            if first != second and start <= other[1] and other[0] <= end:
                return second
    return None


def _clashing(extents: dict[int, tuple[int, int]]) -> Iterator[int]:
    """Those that overlap with another, in their order, without comparing each two of very many."""
    from bisect import bisect_right

    ordered = sorted(extents, key=extents.__getitem__)
    starts = [extents[index][0] for index in ordered]
    two_latest: list[tuple[int, ...]] = [()]
    for index in ordered:
        known = sorted((*two_latest[-1], index), key=lambda i: extents[i][1])
        two_latest.append(tuple(known[-2:]))
    for index, (start, end) in extents.items():
        others = (i for i in two_latest[bisect_right(starts, end)] if i != index)
        if any(extents[other][1] >= start for other in others):
            yield index


def _check_partition(partition: Partition, at: Path, found: list[Entry]) -> None:
    given = (partition.label is not None, partition.type_guid, partition.guid)
    sized = partition.start_mib is not None or partition.size_mib is not None
    if partition.should_exist is False and (any(given) or sized):
        found.append(error("shouldExist specified false with other options also specified", at))
    if partition.number == 0 and partition.label is None:
        found.append(error("a partition number >= 1 or a label must be specified", at))
    _check_partition_label(partition.label or "", (*at, "label"), found)
    for name, guid in (("guid", partition.guid), ("typeGuid", partition.type_guid)):
        if guid is not None and not _GUID.fullmatch(guid):
            text = 'doesn\'t match the form "01234567-89AB-CDEF-EDCB-A98765432101"'
            found.append(error(text, (*at, name)))


def _check_partition_label(label: str, at: Path, found: list[Entry]) -> None:
    if len(label.encode()) > _PARTITION_LABEL_LIMIT:
        found.append(error(f"partition labels may not exceed {_PARTITION_LABEL_LIMIT} characters", at))
    elif ":" in label:
        found.append(error("partition label will be truncated to text before the colon", at))


def _check_raids(raids: tuple[Raid, ...], minor: int, found: list[Entry]) -> None:
    for index, raid in enumerate(raids):
        at = ("storage", "raid", index)
        problem = _level_problem(raid, minor)
        if problem:
            found.append(error(problem, (*at, "level")))
        if not raid.devices:
            found.append(error("raid devices required", (*at, "devices")))
        for position, device in enumerate(raid.devices):
            problem = path_problem(device)
            if problem:
                found.append(error(problem, (*at, "devices", position)))


def _level_problem(raid: Raid, minor: int) -> str | None:
    if not raid.level and minor >= 3:
        return "raid level is required"
    if raid.level in _STRIPED:
        return "spares unsupported for linear and raid0 arrays" if raid.spares else None
    return None if raid.level in _MIRRORED else "unrecognized raid level"


def _check_wiped(storage: Storage, found: list[Entry]) -> None:
    disks = {disk.device: disk for disk in storage.disks}
    for index, filesystem in enumerate(storage.filesystems):
        disk = disks.get(filesystem.device)
        text = _wiping(filesystem, disk) if disk else None
        if text:
            found.append(warning(text, ("storage", "filesystems", index, "device")))


def _wiping(filesystem: Filesystem, disk: Disk) -> str | None:
    if disk.partitions:
        return "filesystem overwrites partitioned device"
    if disk.wipe_table and not filesystem.wipe_filesystem:
        return "device matches disk with wipeTable enabled; filesystem will be wiped"
    return None


def _check_filesystem(filesystem: Filesystem, minor: int, at: Path, found: list[Entry]) -> None:
    problems = {
        "path": path_problem(filesystem.path) if filesystem.path else None,
        "device": path_problem(filesystem.device),
        "format": _format_problem(filesystem, minor),
        "label": _filesystem_label_problem(filesystem),
    }
    for name, problem in problems.items():
        if problem:
            found.append(error(problem, (*at, name)))


def _format_problem(filesystem: Filesystem, minor: int) -> str | None:
    if filesystem.format:
        known = _FORMATS if minor >= 3 else tuple(_LABEL_LIMITS)
        return None if filesystem.format in known else "invalid filesystem format"
    others = (
        filesystem.path,
        filesystem.label,
        filesystem.uuid,
        filesystem.wipe_filesystem,
        filesystem.mount_options,
        filesystem.options,
    )
    if any(others):
        names = "path, label, uuid, wipeFilesystem, options, or mountOptions"
        return f"format cannot be empty when {names} is specified"
    return None


def _filesystem_label_problem(filesystem: Filesystem) -> str | None:
    if not filesystem.label:
        return None
    if not filesystem.format:
        return "filesystem must specify format if label is specified"
    limit = _LABEL_LIMITS.get(filesystem.format)
    if limit is None or len(filesystem.label.encode()) <= limit:
        return None
    return f"filesystem labels cannot be longer than {limit} characters when using {filesystem.format}"


# Encrypted volumes


def _check_luks_list(volumes: tuple[Luks, ...], minor: int, found: list[Entry]) -> None:
    for index, volume in enumerate(volumes):
        at = ("storage", "luks", index)
        _check_luks(volume, minor, at, found)
        _check_custom(volume.clevis.custom, minor, (*at, "clevis", "custom"), found)
        for position, tang in enumerate(volume.clevis.tang):
            _check_tang(tang, (*at, "clevis", "tang", position), found)
        check_resource(volume.key_file, minor, (*at, "keyFile"), found)


def _check_luks(volume: Luks, minor: int, at: Path, found: list[Entry]) -> None:
    device = path_problem(volume.device) if volume.device else "disk device is required"
    label_too_long = len((volume.label or "").encode()) > _LUKS_LABEL_LIMIT
    problems = {
        "name": "device names cannot contain slashes" if "/" in volume.name else None,
        "label": f"luks device labels cannot be longer than {_LUKS_LABEL_LIMIT} characters"
        if label_too_long
        else None,
        "device": device,
        "clevis": _clevis_problem(volume.clevis),
        "keys": "invalid key-file source" if source_problem(volume.key_file.source, minor) else None,
    }
    for name, problem in problems.items():
        if problem:
            found.append(error(problem, (*at, name)))
    if volume.cex.enabled and _is_clevis_present(volume.clevis):
        found.append(error("cannot use cex with clevis", (*at, "cex")))
    if volume.cex.enabled and volume.key_file.source:
        found.append(error("cannot use key file with cex", (*at, "cex")))


def _clevis_problem(clevis: Clevis) -> str | None:
    if clevis.custom.pin and (clevis.tang or clevis.tpm2 or clevis.threshold):
        return "cannot use custom clevis config with tpm2, tang, or threshold"
    return None


def _is_clevis_present(clevis: Clevis) -> bool:
    return bool(clevis.custom.pin or clevis.tang or clevis.tpm2 or clevis.threshold)


def _check_custom(custom: ClevisCustom, minor: int, at: Path, found: list[Entry]) -> None:
    if not (custom.pin or custom.config or custom.needs_network):
        return
    if not custom.pin:
        text = "missing required custom clevis pin" if minor >= 3 else "unsupported clevis pin"
        found.append(error(text, (*at, "pin")))
    elif custom.pin not in _CLEVIS_PINS and minor < spec.SPECIAL_BITS_SINCE:
        found.append(error("unsupported clevis pin", (*at, "pin")))
    if not custom.config:
        found.append(error("missing required custom clevis config", (*at, "config")))


def _check_tang(tang: Tang, at: Path, found: list[Entry]) -> None:
    try:
        if scheme(tang.url) not in ("http", "https"):
            found.append(error("invalid url scheme", (*at, "url")))
    except UrlError as problem:
        found.append(error(str(problem), (*at, "url")))
    if not tang.thumbprint:
        found.append(error("thumbprint is required", (*at, "thumbprint")))
    if tang.advertisement and not _is_json(tang.advertisement):
        found.append(error("advertisement is not valid JSON", (*at, "advertisement")))


def _is_json(text: str) -> bool:
    import json

    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
