"""Which nodes a pod may run on."""

from __future__ import annotations

import pytest

from flatyard.kube.api import Object
from flatyard.sim.kubernetes.context import tolerates
from flatyard.sim.kubernetes.scheduler import selected, unfit

NODE = Object(
    {
        "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}},
        "spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
    }
)


def affinity(*expressions, fields=()):
    term = {"matchExpressions": list(expressions), "matchFields": list(fields)}
    rules = {"nodeSelectorTerms": [term]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": rules}}}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        (affinity({"key": "zone", "operator": "In", "values": ["a", "b"]}), True),
        (affinity({"key": "zone", "operator": "NotIn", "values": ["a"]}), False),
        (affinity({"key": "zone", "operator": "Exists"}), True),
        (affinity({"key": "rack", "operator": "Exists"}), False),
        (affinity({"key": "rack", "operator": "DoesNotExist"}), True),
        (affinity({"key": "cores", "operator": "Gt", "values": ["4"]}), True),
        (affinity({"key": "cores", "operator": "Lt", "values": ["4"]}), False),
        (affinity(fields=[{"key": "metadata.name", "operator": "In", "values": ["n1"]}]), True),
        (affinity(fields=[{"key": "metadata.name", "operator": "In", "values": ["n2"]}]), False),
    ],
)
def test_selectors_and_affinity(spec, fits):
    assert selected(spec, NODE) is fits


@pytest.mark.parametrize(
    ("tolerations", "fits"),
    [
        ([], False),
        ([{"operator": "Exists"}], True),
        ([{"key": "gpu", "operator": "Exists"}], True),
        ([{"key": "gpu", "value": "yes"}], True),
        ([{"key": "gpu", "value": "no"}], False),
        ([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}], False),
    ],
)
def test_tolerations(tolerations, fits):
    assert tolerates(tolerations, "gpu", "yes", "NoSchedule") is fits
    assert (unfit({"tolerations": tolerations}, NODE) == "") is fits


def test_a_node_that_is_being_deleted_takes_nothing():
    metadata = {**NODE.metadata, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert unfit({"tolerations": [{"operator": "Exists"}]}, Object({**NODE.raw, "metadata": metadata}))
