"""An instance's EBS volumes: the root's as its spec says, and etcd's own on control planes.

Sources: EC2 API reference, EbsBlockDevice (sizes, IOPS); EBS user guide, "Amazon EBS volume types" (what boots, and how
many IOPS a GiB has); etcd, "Hardware recommendations" (latency counts, so etcd's volume is never a magnetic one).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.aws.client import Answer
from flatyard.clouds.aws.facts import FACTS
from flatyard.clouds.cloud import Role
from flatyard.clouds.pools import Pool
from flatyard.model.machines import AwsMachine

ROOT_GIB, ETCD_GIB = 40, 20
SURELY_ENOUGH = 32
"""GiB into which every image fits."""
KINDS = ("standard", "gp2", "gp3", "io1", "io2")
COLD = ("sc1", "st1")
"""Volume types that no machine boots from."""
FAST, FAST_DEFAULT = ("gp2", "gp3", "io1", "io2"), "gp3"
"""What etcd's volume may be, and what it is where the spec has another type."""
SIZES = {
    "standard": (1, 1_024),
    "gp2": (1, 16_384),
    "gp3": (1, 65_536),
    "io1": (4, 16_384),
    "io2": (4, 65_536),
}
"""Least and most GiB of a volume."""
IOPS = {"io1": (100, 64_000), "io2": (100, 256_000), "gp3": (3_000, 80_000)}
PER_GIB = {"io1": 50, "io2": 1_000, "gp3": 500}
NEED_IOPS = ("io1", "io2")


def mappings(machine: AwsMachine, role: Role, root: str) -> list[dict[str, object]]:
    """The block device mappings of a create call; `root` is the image's root device."""
    kind, iops = machine.disk_type.value or "standard", machine.disk_iops
    encrypted = bool(machine.ebs_volume_encrypted.value)
    found = [_mapping(root, machine.disk_size or ROOT_GIB, kind, iops, encrypted)]
    if role is Role.CONTROL_PLANE:
        fast = kind if kind in FAST else FAST_DEFAULT
        fits = min(iops, _most(fast, ETCD_GIB)) if iops and fast in IOPS and fast == kind else None
        found.append(_mapping(FACTS.etcd_device, ETCD_GIB, fast, fits, encrypted))
    return found


def _mapping(device: str, gib: int, kind: str, iops: int | None, encrypted: bool) -> dict[str, object]:
    ebs: dict[str, object] = {"VolumeSize": gib, "VolumeType": kind, "DeleteOnTermination": True}
    if iops and kind in IOPS:
        ebs["Iops"] = iops
    if encrypted:
        ebs["Encrypted"] = True
    return {"DeviceName": device, "Ebs": ebs}


def _most(kind: str, gib: int) -> int:
    """The IOPS that a volume of this size can have; gp3 has its first ones whatever the size."""
    least, most = IOPS[kind]
    return max(least, min(most, PER_GIB[kind] * gib))


def problems(pool: Pool[AwsMachine]) -> Iterator[Problem]:
    """What EBS would refuse of a pool's disk settings."""
    machine = pool.machine
    kind, iops, gib = machine.disk_type.value or "standard", machine.disk_iops, machine.disk_size or ROOT_GIB
    if kind in COLD:
        yield _error(pool.at("diskType"), f"no machine boots from a volume of type {kind}", ", ".join(KINDS))
    elif kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1)
        what = f"EBS has no volume type {kind!r}"
        yield _error(pool.at("diskType"), what, ", ".join(KINDS), near[0] if near else "")
    elif not SIZES[kind][0] <= gib <= SIZES[kind][1]:
        least, most = SIZES[kind]
        yield _error(pool.at("diskSize"), f"{kind} has no volumes of {gib} GiB", f"{least} to {most}")
    elif kind in NEED_IOPS and iops is None:
        yield _error(pool.at("diskIops"), f"{kind} wants its IOPS", _range(kind, gib))
    elif iops is not None and kind not in IOPS:
        yield _error(pool.at("diskIops"), f"{kind} takes no IOPS", f"diskType: {', '.join(IOPS)}")
    elif iops is not None and not IOPS[kind][0] <= iops <= _most(kind, gib):
        yield _error(pool.at("diskIops"), f"{kind} of {gib} GiB cannot have {iops} IOPS", _range(kind, gib))


def least_root(image: Answer) -> int:
    """GiB that an image's root volume has at least: those of its snapshot."""
    root = image.get("RootDeviceName")
    rows = (
        row.get("Ebs", {}) for row in image.get("BlockDeviceMappings", ()) if row.get("DeviceName") == root
    )
    return next((int(ebs.get("VolumeSize", 0)) for ebs in rows), 0)


def _range(kind: str, gib: int) -> str:
    return f"{IOPS[kind][0]} to {_most(kind, gib)}"


def _error(path: str, what: str, allowed: str = "", suggestion: str = "") -> Problem:
    return Problem(Severity.ERROR, None, path, what, allowed, suggestion)
