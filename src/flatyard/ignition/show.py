"""What a config does to a machine, as a tree of lines for people.

Sections stand in the order in which Ignition works: what it fetches, kernel arguments, disks, accounts, files,
units. Contents, password hashes, keys and values of request headers are never shown, only that they are there.
A mode or owner is shown where it is certain; what is not named stays as it is on a node that exists, and is
0644 (a directory 0755), root:root on a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flatyard.base.values import dataclass
from flatyard.ignition import dataurl
from flatyard.ignition.fetch import is_inline
from flatyard.ignition.types import (
    Clevis,
    Config,
    Directory,
    Disk,
    File,
    Filesystem,
    Group,
    Ignition,
    KernelArguments,
    Link,
    Luks,
    Partition,
    Raid,
    Resource,
    Unit,
    User,
)

_UNPACK_LIMIT = 64 << 20
"""Bytes; a gzip resource that holds more is shown as too large, not unpacked."""
_HASH_SHOWN = 12
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Branch:
    """One line and what stands below it."""

    text: str
    below: tuple[Branch, ...] = ()


def show(config: Config) -> tuple[str, ...]:
    """The tree as lines, two blanks per level; control characters in names are escaped. Never raises for a
    valid config."""
    return tuple(_lines(tree(config), 0))


def tree(config: Config) -> tuple[Branch, ...]:
    """The sections that the config has."""
    storage = config.storage
    sections = (
        Branch(f"Ignition {config.ignition.version}", tuple(_about(config.ignition))),
        Branch("kernel arguments", tuple(_arguments(config.kernel_arguments))),
        Branch("disks", tuple(map(_disk, storage.disks))),
        Branch("raid", tuple(map(_raid, storage.raid))),
        Branch("encrypted volumes", tuple(map(_luks, storage.luks))),
        Branch("filesystems", tuple(map(_filesystem, storage.filesystems))),
        Branch("groups", tuple(map(_group, config.passwd.groups))),
        Branch("users", tuple(map(_user, config.passwd.users))),
        Branch("directories", tuple(map(_directory, storage.directories))),
        Branch("files", tuple(map(_file, storage.files))),
        Branch("links", tuple(map(_link, storage.links))),
        Branch("units", tuple(map(_unit, config.systemd.units))),
    )
    return (sections[0], *(section for section in sections[1:] if section.below))


def listed(config: Config) -> list[dict[str, object]]:
    """The same for programs: every line with its section (`ignition` for the first), and the lines below it."""
    first, *rest = tree(config)
    sections = {"ignition": first.below, **{section.text: section.below for section in rest}}
    return [
        {"section": name, "text": branch.text, "below": [below.text for below in branch.below]}
        for name, branches in sections.items()
        for branch in branches
    ]


def printable(text: str) -> str:
    """The text with everything that a terminal would act on escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _lines(branches: Iterable[Branch], depth: int) -> Iterator[str]:
    for branch in branches:
        yield _GAP * depth + printable(branch.text)
        yield from _lines(branch.below, depth + 1)


def _words(*words: str) -> str:
    return _GAP.join(word for word in words if word)


def _if(condition: object, word: str) -> str:
    return word if condition else ""


def _named(label: str, value: object) -> str:
    return f"{label} {value}" if value else ""


def _leaves(label: str, values: Iterable[object]) -> tuple[Branch, ...]:
    return tuple(Branch(f"{label} {value}") for value in values)


# Resources


def _bytes(count: int) -> str:
    return f"{count} byte" if count == 1 else f"{count} bytes"


def _source(resource: Resource) -> str:
    """Where bytes come from and how many they are, as far as the config itself says."""
    if not resource.source:
        return "empty"
    place = _inline(resource) if is_inline(resource) else _elsewhere(resource)
    return _words(place, _hash(resource))


def _inline(resource: Resource) -> str:
    try:
        data = dataurl.decode(resource.source or "")
        if resource.compression != "gzip":
            return _words(_bytes(len(data)), "inline") if data else "empty"
        size = len(dataurl.decompress(data, limit=_UNPACK_LIMIT))
    except (dataurl.DataUrlError, dataurl.GzipError) as problem:
        return f"inline, cannot be read: {problem}"
    return _words(_bytes(size), f"inline (gzip, {_bytes(len(data))})")


def _elsewhere(resource: Resource) -> str:
    headers = ", ".join(header.name for header in resource.http_headers)
    return _words(
        f"from {resource.source}", _if(resource.compression, "gzip"), _named("with headers", headers)
    )


def _hash(resource: Resource) -> str:
    function, _, digits = (resource.verification.hash or "").partition("-")
    return f"{function}-{digits[:_HASH_SHOWN]}…" if digits else ""


def _about(ignition: Ignition) -> Iterator[Branch]:
    refs = ignition.config
    if refs.replace.source:
        yield Branch(f"replaced by the config {_source(refs.replace)}; nothing else of this one counts")
    yield from _leaves("merges the config", map(_source, refs.merge))
    yield from _leaves("trusts the authority", map(_source, ignition.security.tls.certificate_authorities))
    proxy = ignition.proxy
    yield from _leaves("proxy for http", filter(None, [proxy.http_proxy]))
    yield from _leaves("proxy for https", filter(None, [proxy.https_proxy]))
    yield from _leaves("no proxy for", proxy.no_proxy)
    timeouts = ignition.timeouts
    if timeouts.http_response_headers:
        yield Branch(f"waits {timeouts.http_response_headers} s for the headers of a response")
    if timeouts.http_total:
        yield Branch(f"waits {timeouts.http_total} s for a whole response")


def _arguments(arguments: KernelArguments) -> Iterator[Branch]:
    yield from _leaves("present", arguments.should_exist)
    yield from _leaves("absent", arguments.should_not_exist)


# Disks


def _disk(disk: Disk) -> Branch:
    text = _words(disk.device, _if(disk.wipe_table, "partition table wiped"))
    return Branch(text, tuple(map(_partition, disk.partitions)))


def _partition(partition: Partition) -> Branch:
    name = " ".join(filter(None, [str(partition.number or ""), partition.label]))
    if partition.should_exist is False:
        return Branch(_words(name, "removed"))
    size, start = partition.size_mib, partition.start_mib
    return Branch(
        _words(
            name,
            _if(size is not None, f"{size} MiB" if size else "the rest of the disk"),
            _if(start, f"from {start} MiB"),
            _named("type", partition.type_guid),
            _named("GUID", partition.guid),
            _if(partition.resize, "resized"),
            _if(partition.wipe_partition_entry, "replaced where it differs"),
        )
    )


def _raid(raid: Raid) -> Branch:
    spares = _named("spares", raid.spares)
    text = _words(f"/dev/md/{raid.name}", raid.level or "", spares, " ".join(raid.options))
    return Branch(text, _leaves("on", raid.devices))


def _luks(volume: Luks) -> Branch:
    text = _words(
        f"/dev/mapper/{volume.name}",
        _named("on", volume.device),
        _named("label", volume.label),
        _named("UUID", volume.uuid),
        _if(volume.discard, "discard"),
        _if(volume.wipe_volume, "wiped"),
        " ".join((*volume.options, *volume.open_options)),
    )
    return Branch(text, tuple(_unlocking(volume)))


def _unlocking(volume: Luks) -> Iterator[Branch]:
    if volume.key_file.source is not None:
        yield Branch(f"unlocked by a key file, {_source(volume.key_file)}")
    if volume.cex.enabled:
        yield Branch("unlocked by CEX")
    yield from _leaves("unlocked by", _pins(volume.clevis))
    if volume.clevis.threshold:
        yield Branch(f"of the pins, {volume.clevis.threshold} are needed")


def _pins(clevis: Clevis) -> Iterator[str]:
    if clevis.tpm2:
        yield "TPM 2"
    for tang in clevis.tang:
        yield f"Tang {tang.url}"
    if clevis.custom.pin:
        yield f"Clevis pin {clevis.custom.pin}"


def _filesystem(filesystem: Filesystem) -> Branch:
    text = _words(
        filesystem.device,
        filesystem.format or "as it is",
        _named("at", filesystem.path),
        _named("label", filesystem.label),
        _named("UUID", filesystem.uuid),
        _if(filesystem.wipe_filesystem, "wiped"),
        _named("options", " ".join(filesystem.options)),
        _named("mounted with", ",".join(filesystem.mount_options)),
    )
    return Branch(text)


# Accounts


def _id(label: str, number: int | None) -> str:
    return "" if number is None else f"{label} {number}"


def _group(group: Group) -> Branch:
    if group.should_exist is False:
        return Branch(_words(group.name, "removed"))
    password = _if(group.password_hash, "password set")
    return Branch(_words(group.name, _id("gid", group.gid), _if(group.system, "system"), password))


def _user(user: User) -> Branch:
    if user.should_exist is False:
        return Branch(_words(user.name, "removed"))
    text = _words(
        user.name,
        _id("uid", user.uid),
        _if(user.system, "system"),
        _named("group", user.primary_group),
        _named("groups", ", ".join(user.groups)),
        _named("home", user.home_dir),
        _if(user.no_create_home, "no home made"),
        _if(user.no_user_group, "no group of its own"),
        _if(user.no_log_init, "not in the login logs"),
        _named("shell", user.shell),
        _if(user.password_hash, "password set"),
        _if(user.gecos, f'"{user.gecos}"'),
    )
    return Branch(text, _leaves("ssh key", map(_key, user.ssh_authorized_keys)))


def _key(line: str) -> str:
    """Type and comment of a line of authorized_keys; the key itself tells a reader nothing."""
    words = line.split()
    at = next((n for n, word in enumerate(words) if word.startswith("AAAA")), None)
    if at is None:
        return "of an unknown form"
    return " ".join((*words[max(0, at - 1) : at], *words[at + 1 :]))


# Files


def _directory(directory: Directory) -> Branch:
    how = _access(directory, 0o755 if directory.overwrite else None)
    return Branch(_words(directory.path, *how, _if(directory.overwrite, "replaces what is there")))


def _file(file: File) -> Branch:
    is_new = bool(file.overwrite) or file.contents.source is not None
    contents = _source(file.contents) if is_new else _if(not file.append, "empty if new")
    text = _words(
        file.path,
        *_access(file, 0o644 if is_new else None),
        contents,
        _if(file.overwrite, "replaces what is there"),
    )
    return Branch(text, _leaves("appended", map(_source, file.append)))


def _access(node: Directory | File, default: int | None) -> tuple[str, str]:
    """Mode and owner; `default` is the mode of a node that is certainly made anew, None for one that may stay."""
    mode = default if node.mode is None else node.mode
    return ("" if mode is None else f"{mode:04o}", _owner(node, is_new=default is not None))


def _owner(node: Directory | File | Link, *, is_new: bool) -> str:
    """In chown's notation."""
    unnamed = _if(is_new, "root")
    user, group = (
        owner.name or (unnamed if owner.id is None else str(owner.id)) for owner in (node.user, node.group)
    )
    return f"{user}:{group}" if user or group else ""


def _link(link: Link) -> Branch:
    """Ignition ignores the owner of a hard link."""
    text = f"{link.path} {'=' if link.hard else '->'} {link.target or ''}"
    kind = "hard link" if link.hard else _owner(link, is_new=False)
    return Branch(_words(text, kind, _if(link.overwrite, "replaces what is there")))


# Units


def _unit(unit: Unit) -> Branch:
    words = _words(
        _if(unit.contents, _text_size(unit.contents)),
        _if(unit.enabled, "enabled"),
        _if(unit.enabled is False, "disabled"),
        _if(unit.mask, "masked"),
        _if(unit.mask is False, "unmasked"),
    )
    dropins = tuple(
        Branch(_words(f"drop-in {d.name}", _text_size(d.contents)))
        for d in unit.dropins
        if d.contents is not None
    )
    return Branch(_words(unit.name, words or _if(not dropins, "as it is")), dropins)


def _text_size(text: str | None) -> str:
    return _bytes(len((text or "").encode()))
