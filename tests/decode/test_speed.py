"""A machine decodes fast enough for a thousand of them; the bound is generous, since the runner is shared."""

from __future__ import annotations

import timeit

import pytest

from flatyard.decode import from_json
from flatyard.model.machine import Machine

MACHINE = {
    "apiVersion": "cluster.k8s.io/v1alpha1",
    "kind": "Machine",
    "metadata": {"name": "w-1", "namespace": "kube-system", "labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {
        "providerSpec": {
            "value": {
                "cloudProvider": "aws",
                "cloudProviderSpec": {
                    "region": "us-east-1",
                    "availabilityZone": "us-east-1a",
                    "instanceType": "t3.medium",
                    "vpcId": "vpc-1",
                    "subnetId": "subnet-1",
                    "ami": "ami-1",
                    "diskSize": 50,
                    "tags": {"KubernetesCluster": "my-cluster"},
                },
                "operatingSystem": "flatcar",
                "operatingSystemSpec": {"disableAutoUpdate": False, "provisioningUtility": "ignition"},
            }
        },
        "versions": {"kubelet": "v1.34.3"},
    },
    "status": {"phase": "Running", "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
}


@pytest.mark.long
def test_one_machine_in_150_microseconds() -> None:
    best = min(timeit.repeat(lambda: from_json(Machine, MACHINE), number=200, repeat=7)) / 200  # type: ignore[arg-type]
    assert best < 150e-6
