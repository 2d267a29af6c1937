"""Which devices and filesystems a machine has after Ignition's disks stage."""

from __future__ import annotations

import pytest

from flatyard.ignition import Config, Disk, Filesystem, Luks, Partition, Raid, Storage
from flatyard.ignition.apply import ApplyError
from flatyard.ignition.disks import prepare_disks


def test_an_etcd_disk_is_formatted_and_found_by_its_label():
    filesystem = Filesystem(device="/dev/sdc", format="ext4", label="etcd", path="/var/lib/etcd")
    disks = prepare_disks(Config(storage=Storage(filesystems=(filesystem,))), ["/dev/sda", "/dev/sdc"])
    found = disks.filesystem("/dev/disk/by-label/etcd")
    assert found is not None and (found.format, found.path) == ("ext4", "/var/lib/etcd")


def test_a_missing_device_stops_the_stage():
    config = Config(storage=Storage(filesystems=(Filesystem(device="/dev/sdc", format="ext4"),)))
    with pytest.raises(ApplyError, match="timed out waiting for device /dev/sdc"):
        prepare_disks(config, ["/dev/sda"])


def test_partitions_arrays_and_volumes_become_devices():
    storage = Storage(
        disks=(
            Disk("/dev/nvme1n1", (Partition(number=1, label="a"),)),
            Disk("/dev/sdb", (Partition(number=2), Partition(number=3, should_exist=False))),
        ),
        raid=(Raid(devices=("/dev/nvme1n1p1", "/dev/sdb2"), level="raid1", name="r"),),
        luks=(Luks(name="v", device="/dev/md/r"),),
        filesystems=(Filesystem(device="/dev/mapper/v", format="xfs"),),
    )
    disks = prepare_disks(Config(storage=storage), ["/dev/nvme1n1", "/dev/sdb"])
    assert disks.filesystem("/dev/mapper/v") is not None
    assert "/dev/disk/by-partlabel/a" in disks.devices and "/dev/sdb3" not in disks.devices
