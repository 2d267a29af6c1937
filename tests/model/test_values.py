"""Versions, kubelet annotations, selectors and a Cluster's own answers: small readings of values."""

from __future__ import annotations

import pytest

from flatyard.model.annotations import (
    KUBELET_CONFIG,
    KUBELET_FLAGS,
    KUBELET_GATES,
    KubeletSettings,
    kubelet_settings,
)
from flatyard.model.cluster import Cluster
from flatyard.model.documents import read
from flatyard.model.meta import LabelSelector, SelectorRequirement
from flatyard.model.versions import Version, skew_problem

CLUSTER = """\
apiVersion: flatyard.dev/v1alpha1
kind: Cluster
metadata: {name: one}
spec:
  cloud: {sim: {as: aws, region: us-east-1}}
  kubernetes: {version: v1.34.3}
  workers:
    - name: general
      replicas: 2
      machine: {instanceType: m6i.large}
      labels: {tier: web}
      annotations: {note: x}
      taints: [{key: a, effect: NoExecute}]
      maxSurge: 25%
    - name: plain
  ignition:
    all:
      - file: base.bu
      - variant: flatcar
        version: 1.1.0
    controlPlane: [{file: cp.ign}]
    workers:
      - |
        variant: flatcar
      - file: base.bu
"""


def cluster() -> Cluster:
    found = read([("c.yaml", CLUSTER)]).cluster
    assert found is not None
    return found


def test_versions_order_by_number() -> None:
    assert Version.parse("v1.9.10") < Version.parse("1.10.2") < Version.parse("v1.10.11")
    assert str(Version.parse("1.34.3")) == "v1.34.3" and Version.parse("v1.34.3").series == "v1.34"


@pytest.mark.parametrize(
    "text", ["", "v1.34", "1.34.3-rc.1", "v1.34.3 ", "v1.٣4.3", "v1." + "9" * 5000 + ".1"]
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is not a Kubernetes version"):
        Version.parse(text)


@pytest.mark.parametrize(
    ("kubelet", "control_plane", "wanted"),
    [
        ("v1.34.3", "v1.34.3", None),
        ("v1.34.9", "v1.34.3", None),
        ("v1.31.0", "v1.34.3", None),
        ("v1.30.9", "v1.34.3", "kubelet v1.30.9 is more than 3 minors older than the control plane v1.34.3"),
        ("v1.35.0", "v1.34.3", "kubelet v1.35.0 is newer than the control plane v1.34.3"),
        ("v2.0.0", "v1.34.3", "kubelet v2.0.0 and control plane v1.34.3 differ in their major version"),
    ],
)
def test_version_skew(kubelet: str, control_plane: str, wanted: str | None) -> None:
    assert skew_problem(Version.parse(kubelet), Version.parse(control_plane)) == wanted


def test_kubelet_annotations() -> None:
    found = kubelet_settings(
        {
            KUBELET_CONFIG + "SystemReserved": "cpu=200m, memory=1Gi",
            KUBELET_CONFIG + "MaxPods": "200",
            KUBELET_CONFIG + "ContainerLogMaxSize": "50Mi",
            KUBELET_FLAGS + "ExternalCloudProvider": "True",
            KUBELET_GATES + "NodeSwap": "false",
            "unrelated": "x",
        }
    )
    assert found == KubeletSettings(
        system_reserved={"cpu": "200m", "memory": "1Gi"},
        max_pods=200,
        container_log_max_size="50Mi",
        external_cloud_provider=True,
        feature_gates={"NodeSwap": False},
    )


def test_kubelet_annotations_that_cannot_be_used_are_named() -> None:
    names = [
        KUBELET_CONFIG + "KubeReserved",
        KUBELET_CONFIG + "MaxPods",
        KUBELET_CONFIG + "Maxpods",
        KUBELET_GATES + "NodeSwap",
        KUBELET_FLAGS + "Other",
    ]
    values = ["cpu", "many", "3", "maybe", "1"]
    assert sorted(kubelet_settings(dict(zip(names, values, strict=True))).ignored) == sorted(names)


def test_selectors_match_as_kubernetes_does() -> None:
    labels = {"a": "1", "b": "2"}
    cases = {
        ("a", "In", ("1", "3")): True,
        ("a", "NotIn", ("1",)): False,
        ("c", "NotIn", ("1",)): True,
        ("b", "Exists", ()): True,
        ("c", "DoesNotExist", ()): True,
        ("b", "DoesNotExist", ()): False,
    }
    for (key, operator, values), wanted in cases.items():
        line = SelectorRequirement(key=key, operator=operator, values=values)
        assert LabelSelector(match_labels={"a": "1"}, match_expressions=(line,)).matches(labels) is wanted
    assert not LabelSelector(match_labels={"a": "2"}).matches(labels)
    assert LabelSelector().matches(labels) and LabelSelector().empty


def test_the_update_strategy_follows_the_flavor() -> None:
    text = CLUSTER.replace("version: v1.34.3", "version: v1.34.3, flavor: image")
    baked = read([("c.yaml", text)]).cluster
    assert cluster().update_strategy == "inPlace"
    assert baked is not None and baked.update_strategy == "replace"


def test_inline_ignition_keeps_its_places() -> None:
    file, mapping = cluster().spec.ignition.all
    assert file.value == {"file": "base.bu"}
    assert mapping.value == {"variant": "flatcar", "version": "1.1.0"}
    assert mapping.node is not None and mapping.node.line == 19
    assert cluster().spec.ignition.workers[0].value == "variant: flatcar\n"


def test_merge_keys_work_in_cluster_files() -> None:
    text = CLUSTER.replace(
        "    - name: plain\n", "    - &p {name: plain, replicas: 4}\n    - {<<: *p, name: other}\n"
    )
    found = read([("c.yaml", text)]).cluster
    assert found is not None and [pool.replicas for pool in found.spec.workers] == [2, 4, 4]
