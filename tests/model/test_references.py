"""A reference that lacks one of its parts is told where it stands: machine-controller takes the default in silence."""

from __future__ import annotations

import pytest

from flatyard.decode import JSON, At, from_json
from flatyard.model.machines import BY_CLOUD
from flatyard.model.references import check_readable

HALF = {"namespace": "kube-system", "name": "fleet"}
WHOLE = {**HALF, "key": "size"}
CASES: list[tuple[str, dict[str, JSON], list[str]]] = [
    ("aws", {"instanceType": {"secretKeyRef": WHOLE}}, []),
    ("aws", {"instanceType": {"secretKeyRef": {}}}, []),
    (
        "aws",
        {"instanceType": {"secretKeyRef": HALF}},
        [
            "error: instanceType.secretKeyRef: lacks key, so nothing is read; allowed: namespace, name and key",
        ],
    ),
    (
        "openstack",
        {"networks": ["a", {"configMapKeyRef": {"key": "net"}}]},
        [
            "error: networks[1].configMapKeyRef: lacks namespace and name, so nothing is read; "
            "allowed: namespace, name and key",
        ],
    ),
    (
        "azure",
        {"vmSize": {"secretKeyRef": HALF, "value": "Standard_B2s"}},
        ["warning: vmSize.secretKeyRef: lacks key, so nothing is read"],
    ),
    (
        "azure",
        {"assignPublicIP": {"secretKeyRef": HALF, "value": False}},
        ["warning: assignPublicIP.secretKeyRef: lacks key, so nothing is read"],
    ),
    (
        "aws",
        {"accessKeyId": {"secretKeyRef": HALF}},
        ["warning: accessKeyId.secretKeyRef: lacks key, so nothing is read"],
    ),
]


@pytest.mark.parametrize(("cloud", "tree", "wanted"), CASES)
def test_half_a_reference(cloud: str, tree: dict[str, JSON], wanted: list[str]) -> None:
    machine = from_json(BY_CLOUD[cloud], tree)
    assert [str(problem) for problem in check_readable(machine, At(None, None))] == wanted
