"""Ignition's disks stage, as far as it can be told without disks: which devices and filesystems there are
afterwards, and where Ignition itself mounts them while it writes files."""

from __future__ import annotations

from collections.abc import Iterable

from flatyard.base.values import dataclass
from flatyard.ignition.apply import ApplyError
from flatyard.ignition.types import Config, Disk, Filesystem, Partition


@dataclass(frozen=True, slots=True)
class Formatted:
    """A device with a filesystem; `path` is where Ignition mounts it during the files stage, if anywhere."""

    device: str
    format: str
    label: str | None = None
    uuid: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Disks:
    """What a machine has after the disks stage. Mounting at boot takes a mount unit, see the tree."""

    devices: frozenset[str]
    filesystems: tuple[Formatted, ...]

    def filesystem(self, device: str) -> Formatted | None:
        """The filesystem behind a device name, also by label or UUID below /dev/disk."""
        return next((f for f in self.filesystems if device in _names(f)), None)


def prepare_disks(config: Config, devices: Iterable[str]) -> Disks:
    """Partitions, arrays, encrypted volumes and filesystems, in Ignition's order.

    `devices` are the device paths that the machine has. Raises ApplyError where the config needs another.
    """
    known = set(devices)
    storage = config.storage
    for disk in storage.disks:
        _need(known, disk.device, "disk")
        known |= {name for partition in disk.partitions for name in _partition_names(disk, partition)}
    for raid in storage.raid:
        for device in raid.devices:
            _need(known, device, f"raid {raid.name}")
        known.add(f"/dev/md/{raid.name}")
    for volume in storage.luks:
        _need(known, volume.device or "", f"luks {volume.name}")
        known |= {f"/dev/mapper/{volume.name}", f"/dev/disk/by-id/dm-name-{volume.name}"}
    return Disks(frozenset(known), _format(storage.filesystems, known))


def _format(filesystems: tuple[Filesystem, ...], known: set[str]) -> tuple[Formatted, ...]:
    made = []
    for filesystem in filesystems:
        _need(known, filesystem.device, "filesystem")
        if filesystem.format and filesystem.format != "none":
            formatted = Formatted(
                filesystem.device, filesystem.format, filesystem.label, filesystem.uuid, filesystem.path
            )
            made.append(formatted)
            known |= _names(formatted)
    return tuple(made)


def _need(known: set[str], device: str, what: str) -> None:
    if device not in known:
        raise ApplyError(f"timed out waiting for device {device}", what)


def _partition_names(disk: Disk, partition: Partition) -> set[str]:
    if partition.should_exist is False:
        return set()
    names = set()
    if partition.number:
        base = disk.device
        if base.startswith("/dev/disk/"):
            names.add(f"{base}-part{partition.number}")
        else:
            names.add(f"{base}{'p' if base[-1:].isdigit() else ''}{partition.number}")
    if partition.label:
        names.add(f"/dev/disk/by-partlabel/{partition.label}")
    return names


def _names(filesystem: Formatted) -> set[str]:
    names = {filesystem.device}
    if filesystem.label:
        names.add(f"/dev/disk/by-label/{filesystem.label}")
    if filesystem.uuid:
        names.add(f"/dev/disk/by-uuid/{filesystem.uuid}")
    return names
