"""One machine's rendered Ignition is spoilt on its way: exactly that node stays away, and its evidence says why.

The config is the really rendered one; what is changed in it is what happens to people: a lost sysext, a masked
kubelet, a hash that does not match.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flatyard.engine.commands import bring_up
from flatyard.kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CUSTOM_RESOURCE_DEFINITIONS,
    MACHINES,
    NODES,
    ROLE_BINDINGS,
)
from flatyard.node import layout
from flatyard.node.inputs import NodeFile

DEADLINE = 3600.0
VICTIM = 2
"""The second instance that the account makes: a worker."""


def without_sysext(config):
    files = config["storage"]["files"]
    config["storage"]["files"] = [f for f in files if not f["path"].endswith(".raw")]


def with_masked_kubelet(config):
    units = config["systemd"]["units"]
    config["systemd"]["units"] = [u for u in units if u["name"] != layout.KUBELET_UNIT]
    config["systemd"]["units"].append({"name": layout.KUBELET_UNIT, "mask": True})


def with_flipped_hash(config):
    (image,) = [f for f in config["storage"]["files"] if f["path"].endswith(".raw")]
    kind, _, digest = image["contents"]["verification"]["hash"].partition("-")
    flipped = f"{int(digest[0], 16) ^ 1:x}{digest[1:]}"
    image["contents"]["verification"]["hash"] = f"{kind}-{flipped}"


def spoil(change):
    def tamper(power):
        if power.number != VICTIM:
            return power.user_data
        config = json.loads(power.user_data)
        assert "storage" in config, "the worker's config is expected inline"
        change(config)
        return json.dumps(config).encode()

    return tamper


def test_joining_machines_have_their_rights_before_anything_else_is_made(simulate, example):
    """On a busy machine they came seconds after the tokens, and kubeadm was refused what it asked for."""

    async def main(life):
        await bring_up(life.seams(), life.wanted, DEADLINE)
        api = life.region.kubernetes.client()
        bindings = [
            o for o in (await api.list(CLUSTER_ROLE_BINDINGS)).items if o.name.startswith("flatyard:")
        ]
        bindings += [o for o in (await api.list(ROLE_BINDINGS)).items if o.name.startswith("flatyard:")]
        ours = (await api.list(CUSTOM_RESOURCE_DEFINITIONS)).items
        assert len(bindings) >= 4
        assert max(map(made, bindings)) < min(map(made, ours))

    def made(item):
        return int(item.raw["metadata"]["resourceVersion"])

    simulate(main, example("quickstart.yaml"))


def test_every_machine_has_what_the_clouds_own_controllers_read(simulate, example):
    """The simulated cloud has none, so the test gives it some, which name the cluster and the network."""

    async def main(life):
        seams = life.seams()
        seams.cloud.node_files = lambda ref, network: (
            NodeFile("/etc/kubernetes/azure.json", f"{ref.name} {network.id} {network.subnets[-1]}\n"),
        )
        _, outcome = await bring_up(seams, life.wanted, DEADLINE)
        assert outcome.done
        (network,) = life.region.provider.account.networks
        trees = [machine.boot.tree for machine in life.region.machines.machines.values()]
        read = {tree.text("/etc/kubernetes/azure.json") for tree in trees}
        assert len(trees) == 4 and len(read) == 1
        name, found, subnet = read.pop().split()
        assert (name, found) == (life.wanted.name, network.id) and subnet
        assert {tree.get("/etc/kubernetes/azure.json").mode & 0o777 for tree in trees} == {0o600}

    simulate(main, example("quickstart.yaml"))


def test_up_ends_where_nodes_wait_for_a_controller_that_the_user_installs_afterwards(simulate, example):
    """Kubelets of a cluster with an external cloud provider keep their taint until it comes; nothing waits for it."""

    async def main(life):
        seams = life.seams()
        seams.cloud._traits = replace(seams.cloud.traits, external_cloud_provider=True)
        _, outcome = await bring_up(seams, life.wanted, DEADLINE)
        assert outcome.done, outcome.waits
        nodes = (await life.region.kubernetes.client().list(NODES)).items
        waiting = "node.cloudprovider.kubernetes.io/uninitialized"
        assert len(nodes) == 5 and all(map(_ready, nodes))
        assert all(waiting in {taint["key"] for taint in node.spec["taints"]} for node in nodes)
        assert not any(node.spec.get("providerID") for node in nodes)

    simulate(main, example("azure-sysext.yaml"))


@pytest.mark.parametrize(
    ("change", "unit"),
    [
        (without_sysext, layout.SYSEXT_UNIT),
        (with_masked_kubelet, layout.KUBELET_UNIT),
        (with_flipped_hash, "ignition"),
    ],
)
def test_a_spoilt_config_keeps_exactly_that_node_away(simulate, example, change, unit):
    async def main(life):
        _, outcome = await bring_up(life.seams(), life.wanted, DEADLINE)
        assert not outcome.done
        api = life.region.kubernetes.client()
        machines = {m.name: m for m in (await api.list(MACHINES)).items}
        failed = [m for m in machines.values() if m.status["phase"] == "Failed"]
        assert len(failed) == 1
        victim = next(r for r in life.region.provider.account.instances if r.number == VICTIM)
        assert failed[0].name == victim.name
        assert unit in failed[0].status["errorMessage"]
        others = [m for m in machines.values() if m.name != victim.name]
        assert [m.status["phase"] for m in others] == ["Running"] * 3
        ready = [n for n in (await api.list(NODES)).items if _ready(n)]
        assert len(ready) == 3
        waits = {str(w.key): w.reason for w in outcome.waits}
        assert unit in waits[f"machine/{victim.name}"]
        assert all(w.final for w in outcome.waits), "up goes on waiting for what will not come"

    simulate(main, example("quickstart.yaml"), tamper=spoil(change))


def _ready(node):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.status["conditions"])
