"""Fragments of MachineDeployments pasted into documents that lack nothing else, on the twin of their cloud."""

from __future__ import annotations

from typing import Any

PROVIDER = ("spec", "template", "spec", "providerSpec", "value")

MACHINES: dict[str, dict[str, Any]] = {
    "aws": {"instanceType": "t3.medium", "diskSize": 50, "securityGroupIDs": ["sg-0a1b2c3d4e5f60718"],
            "instanceProfile": "nodes"},
    "azure": {"vmSize": "Standard_B2s"},
    "gce": {"machineType": "n2-standard-2"},
    "openstack": {"flavor": "m3.small"},
    "vsphere": {"cpus": 2, "memoryMB": 4096},
}  # fmt: skip
"""A machine of each cloudProvider, with all that its fragment does not say."""


def overlaid(base: Any, over: Any) -> Any:
    """`base` with whatever `over` says in its place."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: overlaid(base.get(key), value) for key, value in over.items()}}
    return over


def deployment(provider: str, machine: dict[str, Any]) -> dict[str, Any]:
    """A MachineDeployment with nothing to warn about."""
    value = {
        "cloudProvider": provider,
        "cloudProviderSpec": machine,
        "operatingSystem": "flatcar",
        "operatingSystemSpec": {},
    }
    return {
        "apiVersion": "cluster.k8s.io/v1alpha1",
        "kind": "MachineDeployment",
        "metadata": {"name": "pool", "namespace": "kube-system"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"name": "pool"}},
            "template": {
                "metadata": {"labels": {"name": "pool"}},
                "spec": {"providerSpec": {"value": value}, "versions": {"kubelet": "v1.34.3"}},
            },
        },
    }


def cluster(provider: str, machine: dict[str, Any], region: str = "") -> dict[str, Any]:
    """A Cluster on the simulated twin of the provider's cloud."""
    twin = {"gce": "gcp"}.get(provider, provider)
    spec: dict[str, Any] = {
        "cloud": {"sim": {"as": twin, **({"region": region} if region else {})}},
        "controlPlane": {"machine": machine},
    }
    if provider == "vsphere":
        spec["endpoint"] = {"kind": "vip", "address": "10.0.0.10"}
    return {
        "apiVersion": "flatyard.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "seed"},
        "spec": spec,
    }


def pasted(fragment: Any, provider: str, machine: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Cluster and MachineDeployment, with a fragment pasted where its guide says that it belongs."""
    if "spec" not in fragment:
        for key in reversed(PROVIDER):
            fragment = {key: fragment}
    machine = machine or MACHINES[provider]
    region = "us-east-1" if provider == "aws" else ""
    return [cluster(provider, machine, region), overlaid(deployment(provider, machine), fragment)]
