"""What each cloud's machine spec refuses or warns about, as machine-controller's validation does."""

from __future__ import annotations

import pytest

from flatyard.decode import JSON, At, from_json
from flatyard.model.machines import BY_CLOUD
from flatyard.model.machines.checks import check_machine, check_size

NOT = "is not allowed here"
OLD = "is deprecated; allowed: networks; did you mean 'networks'?"
RULES: list[tuple[str, dict[str, JSON], list[str]]] = [
    ("aws", {"instanceType": "t3.medium", "diskType": "gp3", "diskIops": 4000}, []),
    (
        "aws",
        {"diskType": "ssd"},
        [f"error: diskType: ssd {NOT}; allowed: standard, io1, io2, gp2, gp3, sc1, st1"],
    ),
    ("aws", {"diskType": "io1"}, ["error: diskIops: io1 needs diskIops; allowed: 100 to 64000"]),
    (
        "aws",
        {"diskType": "gp3", "diskIops": 100},
        ["error: diskIops: 100 does not suit gp3; allowed: 3000 to 64000"],
    ),
    (
        "aws",
        {"diskIops": 100},
        ["warning: diskIops: diskIops has no effect on standard; allowed: io1, io2, gp3"],
    ),
    (
        "aws",
        {"spotInstanceConfig": {"maxPrice": "0.1"}},
        ["warning: spotInstanceConfig: spotInstanceConfig has no effect without isSpotInstance: true"],
    ),
    ("aws", {"metadataHopLimit": 1}, []),
    (
        "aws",
        {"metadataHopLimit": 2},
        [
            "warning: metadataHopLimit: with more than one hop pods reach the metadata service and the instance's "
            "role; allowed: 1"
        ],
    ),
    (
        "azure",
        {"availabilitySet": "s", "zones": ["1"], "dataDiskSKU": "UltraSSD_LRS", "dataDiskSize": 9},
        [
            "error: dataDiskSKU: UltraSSD_LRS cannot be used with an availability set",
            "error: availabilitySet: a machine is in zones or in an availability set, not in both",
        ],
    ),
    (
        "azure",
        {"osDiskSKU": "Premium_LRS", "dataDiskSKU": "Premium_LRS"},
        [
            "warning: osDiskSKU: osDiskSKU has no effect without osDiskSize",
            "warning: dataDiskSKU: dataDiskSKU has no effect without dataDiskSize",
        ],
    ),
    (
        "gcp",
        {"diskType": "ssd"},
        [f"error: diskType: ssd {NOT}; allowed: pd-standard, pd-balanced, pd-ssd"],
    ),
    (
        "openstack",
        {"tags": {"machine-uid": "x"}, "network": "a", "networks": ["b"], "rootDiskVolumeType": "ssd"},
        [
            "error: tags.machine-uid: the tag machine-uid is reserved",
            "error: network: network and networks exclude each other; allowed: networks",
            "warning: rootDiskVolumeType: rootDiskVolumeType has no effect without rootDiskSizeGB",
        ],
    ),
    (
        "openstack",
        {"network": "a"},
        [f"warning: network: network {OLD}"],
    ),
    (
        "vsphere",
        {
            "datastore": "a",
            "datastoreCluster": "b",
            "vmNetName": "n",
            "networks": ["m"],
            "vmAntiAffinity": True,
        },
        [
            "error: datastoreCluster: datastore and datastoreCluster exclude each other",
            "error: vmNetName: vmNetName and networks exclude each other; allowed: networks",
            "error: vmAntiAffinity: vmAntiAffinity needs cluster",
        ],
    ),
    (
        "vsphere",
        {"vmNetName": "n"},
        [f"warning: vmNetName: vmNetName {OLD}"],
    ),
    ("local", {"cpus": 4}, []),
]


@pytest.mark.parametrize(("cloud", "tree", "wanted"), RULES)
def test_rules(cloud: str, tree: dict[str, JSON], wanted: list[str]) -> None:
    machine = from_json(BY_CLOUD[cloud], tree)
    assert [str(problem) for problem in check_machine(machine, At(None, None))] == wanted


@pytest.mark.parametrize(
    ("cloud", "wanted"),
    [
        ("aws", "instanceType"),
        ("azure", "vmSize"),
        ("gcp", "machineType"),
        ("openstack", "flavor"),
        ("vsphere", ""),
    ],
)
def test_a_deployment_says_how_large_its_machines_are(cloud: str, wanted: str) -> None:
    found = [problem.path for problem in check_size(from_json(BY_CLOUD[cloud], {}), At(None, None))]
    assert found == ([wanted] if wanted else [])


@pytest.mark.parametrize("cloud", BY_CLOUD)
def test_every_machine_answers_for_size_zone_and_image(cloud: str) -> None:
    machine = from_json(BY_CLOUD[cloud], {})
    assert (machine.zone, machine.image) == ("", "")
    assert isinstance(machine.size, str)


WRITTEN: list[tuple[str, dict[str, JSON], tuple[str, str, str]]] = [
    ("aws", {"instanceType": "a", "availabilityZone": "b", "ami": "c"}, ("a", "b", "c")),
    ("azure", {"vmSize": "a", "zones": ["1", "2"], "imageID": "c"}, ("a", "1", "c")),
    (
        "azure",
        {"imageReference": {"publisher": "p", "offer": "o", "sku": "s", "version": "v"}},
        ("Standard_B2s", "", "p:o:s:v"),
    ),
    ("gcp", {"machineType": "a", "zone": "b", "customImage": "c"}, ("a", "b", "c")),
    ("openstack", {"flavor": "a", "availabilityZone": "b", "image": "c"}, ("a", "b", "c")),
    (
        "vsphere",
        {"cpus": 4, "memoryMB": 8192, "cluster": "b", "templateVMName": "c"},
        ("4cpu-8192mb", "b", "c"),
    ),
]


@pytest.mark.parametrize(("cloud", "tree", "wanted"), WRITTEN)
def test_size_zone_and_image_are_what_was_written(
    cloud: str, tree: dict[str, JSON], wanted: tuple[str, str, str]
) -> None:
    machine = from_json(BY_CLOUD[cloud], tree)
    assert (machine.size, machine.zone, machine.image) == wanted
