"""Every example plans to what it says, by name and count, and rehearses; fragments do once they are pasted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flatyard.engine.commands import bring_up
from flatyard.engine.plan import NOTHING, plan
from flatyard.engine.wanted import wanted_of
from flatyard.model.documents import read
from seeds.pasting import pasted

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE = 3600.0

PLANS = {
    "quickstart.yaml": ("quickstart", 1, {"flatcar-workers": 3}),
    "aws.yaml": ("web", 3, {"general-a": 2, "general-b": 2}),
    "azure-sysext.yaml": ("prod", 3, {"general": 2}),
    "aws-image.yaml": ("baked", 1, {"general": 2}),
    "azure-image.yaml": ("baked", 1, {"general": 2}),
    "openstack-jetstream2.yaml": ("kubejetstream", 1, {"node": 2}),
    "gcp.yaml": ("batch", 3, {"steady": 2, "spot": 4}),
    "vsphere.yaml": ("hall", 3, {"general": 3}),
    "local.yaml": ("local", 1, {"general": 2}),
    "local-ha.yaml": ("local-ha", 3, {"general": 1}),
}


@pytest.mark.parametrize("name", PLANS)
def test_an_example_plans_to_its_resources_by_name_and_count(example, name):
    cluster, control_planes, pools = PLANS[name]
    made = plan(example(name), NOTHING)
    machines = {f"Machine/{cluster}-control-plane-{i}": 1 for i in range(1, control_planes + 1)}
    assert {c.object: c.machines for c in made.changes} == {
        f"Network/{cluster}": 0,
        f"Endpoint/{cluster}": 0,
        f"Cluster/{cluster}": 0,
        **machines,
        **{f"MachineDeployment/{pool}": count for pool, count in pools.items()},
    }


def test_every_cluster_file_among_the_examples_is_here():
    files = {p.name for p in EXAMPLES.glob("*.yaml") if "kind: Cluster" in p.read_text()}
    assert files == set(PLANS)


# ---- fragments, pasted where their readers paste them --------------------------------------------------------

FRAGMENTS = {
    "snippet-aws.yaml": "aws",
    "snippet-azure.yaml": "azure",
    "snippet-custom-ignition.yaml": "aws",
    "snippet-gce.yaml": "gce",
    "snippet-ignition.yaml": "aws",
    "snippet-no-updates.yaml": "aws",
    "snippet-openstack.yaml": "openstack",
    "snippet-os.yaml": "aws",
    "snippet-ssh.yaml": "aws",
    "snippet-vsphere.yaml": "vsphere",
}
BARE = {"instanceType": "t3.medium", "diskSize": 50}
"""A machine on AWS for which security groups and a profile are made."""


def wanted_with(name):
    """A cluster on the twin of the fragment's cloud with one pool that has the fragment in it."""
    provider = FRAGMENTS[name]
    fragment = yaml.safe_load((EXAMPLES / name).read_text())
    documents = pasted(fragment, provider, BARE if provider == "aws" else None)
    found = read([(name, yaml.safe_dump_all(documents, sort_keys=False))], need_cluster=True)
    return wanted_of(found.cluster, found.machine_deployments)


def test_every_fragment_is_here():
    assert {p.name for p in EXAMPLES.glob("snippet-*.yaml")} == set(FRAGMENTS)


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_pasted_fragment_plans_and_rehearses(simulate, name):
    wanted = wanted_with(name)
    made = plan(wanted, NOTHING)
    assert {c.object: c.machines for c in made.changes}["MachineDeployment/pool"] == 1

    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        assert len(life.region.kubernetes.kubelets) == 2
        return [m for m in life.region.machines.machines.values() if "control-plane" not in m.hardware.name]

    (worker,) = simulate(main, wanted)
    if name == "snippet-custom-ignition.yaml":
        assert worker.boot.tree.text("/etc/custom-config") == "custom content"
    if name == "snippet-ssh.yaml":
        keys = worker.boot.tree.text("/home/core/.ssh/authorized_keys.d/ignition")
        assert keys == "ssh-rsa AAAAB3NzaC1yc2E...\n"
    if name == "snippet-no-updates.yaml":
        masked = [
            worker.boot.tree.lstat(f"/etc/systemd/system/{u}.service")
            for u in ("update-engine", "locksmithd")
        ]
        assert [getattr(m, "target", "") for m in masked] == ["/dev/null", "/dev/null"]


@pytest.mark.parametrize("text", ["kubernetes-sysext.bu", "custom.ign"])
def test_the_users_own_configs_go_through_unchanged(simulate, text):
    """The Butane config of the sysext guide and the custom Ignition, named in a cluster file's workers."""
    cluster = {
        "apiVersion": "flatyard.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {"name": "own"},
        "spec": {
            "cloud": {"sim": {"as": "aws"}},
            "workers": [{"name": "pool", "replicas": 1}],
            "ignition": {"workers": [(EXAMPLES / text).read_text()]},
        },
    }
    found = read([("own.yaml", yaml.safe_dump(cluster))], need_cluster=True)
    wanted = wanted_of(found.cluster, found.machine_deployments)

    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        machines = [m for m in life.region.machines.machines.values() if "pool" in m.hardware.name]
        return outcome, machines[0]

    outcome, worker = simulate(main, wanted)
    if text == "custom.ign":
        assert outcome.done, outcome.waits
        assert worker.boot.tree.text("/etc/custom-config") == "custom content"
    else:
        link = worker.boot.tree.lstat("/etc/extensions/kubernetes.raw")
        assert link.target == "/opt/extensions/kubernetes/kubernetes-v1.32.2-x86-64.raw"
