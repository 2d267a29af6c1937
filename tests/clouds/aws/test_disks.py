"""What EC2 is asked for as an instance's volumes, and what plan says of those that EBS does not have."""

from __future__ import annotations

import pytest

from flatyard.clouds.aws import disks
from flatyard.clouds.cloud import Role
from flatyard.clouds.pools import Pool
from flatyard.decode.api import from_json
from flatyard.model.machines import AwsMachine


def machine(**fields: object) -> AwsMachine:
    return from_json(AwsMachine, {"instanceType": "t3.medium", **fields})


def volumes(role: Role, **fields: object) -> list[tuple[str, str, int, int | None]]:
    """Device, type, GiB and IOPS of each."""
    found = []
    for mapping in disks.mappings(machine(**fields), role, "/dev/xvda"):
        ebs = mapping["Ebs"]
        assert isinstance(ebs, dict) and ebs["DeleteOnTermination"] is True
        found.append((mapping["DeviceName"], ebs["VolumeType"], ebs["VolumeSize"], ebs.get("Iops")))
    return found


@pytest.mark.parametrize(
    ("fields", "etcd"),
    [
        ({}, ("gp3", None)),
        ({"diskType": "standard"}, ("gp3", None)),
        ({"diskType": "gp2"}, ("gp2", None)),
        ({"diskType": "gp3"}, ("gp3", None)),
        ({"diskType": "gp3", "diskIops": 4000}, ("gp3", 4000)),
        ({"diskType": "gp3", "diskSize": 100, "diskIops": 16000}, ("gp3", 10000)),
        ({"diskType": "io1", "diskSize": 100, "diskIops": 5000}, ("io1", 1000)),
        ({"diskType": "io2", "diskSize": 100, "diskIops": 50000}, ("io2", 20000)),
    ],
)
def test_etcds_volume_is_never_magnetic_and_has_no_more_iops_than_its_size_allows(fields, etcd):
    root, second = volumes(Role.CONTROL_PLANE, **fields)
    assert root == (
        "/dev/xvda",
        fields.get("diskType", "standard"),
        fields.get("diskSize", 40),
        fields.get("diskIops"),
    )
    assert second == ("/dev/xvdf", etcd[0], 20, etcd[1])
    assert volumes(Role.WORKER, **fields) == [root]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ""),
        ({"diskType": "gp3", "diskIops": 16000, "diskSize": 32}, ""),
        ({"diskType": "gp3", "diskIops": 3000, "diskSize": 1}, ""),
        ({"diskType": "gp3", "diskIops": 80000, "diskSize": 20000}, ""),
        ({"diskSize": 2000}, "diskSize: standard has no volumes of 2000 GiB; allowed: 1 to 1024"),
        (
            {"diskType": "gp2", "diskSize": 20000},
            "diskSize: gp2 has no volumes of 20000 GiB; allowed: 1 to 16384",
        ),
        (
            {"diskType": "st1", "diskSize": 500},
            "diskType: no machine boots from a volume of type st1; allowed: standard, gp2, gp3, io1, io2",
        ),
        ({"diskType": "io1"}, "diskIops: io1 wants its IOPS; allowed: 100 to 2000"),
        (
            {"diskType": "io1", "diskIops": 5000, "diskSize": 50},
            "diskIops: io1 of 50 GiB cannot have 5000 IOPS; allowed: 100 to 2500",
        ),
        (
            {"diskType": "gp2", "diskIops": 3000},
            "diskIops: gp2 takes no IOPS; allowed: diskType: io1, io2, gp3",
        ),
        (
            {"diskType": "gp3", "diskIops": 100},
            "diskIops: gp3 of 40 GiB cannot have 100 IOPS; allowed: 3000 to 20000",
        ),
    ],
)
def test_what_ebs_does_not_have_is_told_with_what_it_has(fields, said):
    pool = Pool("spec.controlPlane", "metadata.name", "prod", 1, machine(**fields), control_plane=True)
    told = [str(problem) for problem in disks.problems(pool)]
    assert told == ([f"error: spec.controlPlane.machine.{said}"] if said else [])
