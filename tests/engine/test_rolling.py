"""Changes on a living cluster: rolling replacement within its bounds, pause, drain with budgets, deletion by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import yaml

from flatyard.clouds.cloud import InstanceState
from flatyard.engine.commands import bring_up
from flatyard.engine.run import engine_of
from flatyard.kube.api import NotFound
from flatyard.kube.resources import (
    DEPLOYMENTS,
    EVENTS,
    MACHINE_DEPLOYMENTS,
    MACHINE_SETS,
    MACHINES,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
)

DEADLINE = 3600.0
FILE = yaml.safe_load((Path(__file__).parents[2] / "examples/flatcar-workers.yaml").read_text())
NAME, SPACE = "flatcar-workers", "kube-system"


async def settle(engine):
    await asyncio.sleep(2)
    return await engine.until_done(DEADLINE)


async def living(life):
    """Runs a cluster, then gives its API and the engine that goes on working on it."""
    await bring_up(life.seams(), life.wanted, DEADLINE)
    return life.region.kubernetes.client()


def resize(api, size):
    spec = {"providerSpec": {"value": {"cloudProviderSpec": {"instanceType": size}}}}
    return api.merge_patch(MACHINE_DEPLOYMENTS, SPACE, NAME, {"spec": {"template": {"spec": spec}}})


def ready(node):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.status["conditions"])


def test_another_size_replaces_machines_and_never_goes_below_three_or_above_four(simulate, example):
    """The quickstart's deployment: three replicas, surge 1, unavailable 0."""

    async def main(life):
        api = await living(life)
        before = {m.name for m in (await api.list(MACHINES)).items}
        seen = []

        async def watch_counts():
            while True:
                nodes = [n for n in (await api.list(NODES)).items if "control-plane" not in str(n.labels)]
                alive = [
                    i for i in life.region.provider.account.instances if i.state is InstanceState.RUNNING
                ]
                seen.append((sum(ready(n) for n in nodes), len(alive) - 1))
                await asyncio.sleep(5)

        async with engine_of(life.seams(), "quickstart") as engine:
            watcher = asyncio.create_task(watch_counts())
            await resize(api, "t3.large")
            outcome = await settle(engine)
            watcher.cancel()
        assert outcome.done, outcome.waits
        machines = (await api.list(MACHINES)).items
        workers = [m for m in machines if "control-plane" not in m.name]
        assert len(workers) == 3 and not before & {m.name for m in workers}
        sizes = [m.spec["providerSpec"]["value"]["cloudProviderSpec"]["instanceType"] for m in workers]
        assert sizes == ["t3.large"] * 3
        assert min(r for r, _ in seen) >= 3 and max(a for _, a in seen) <= 4
        sets = (await api.list(MACHINE_SETS)).items
        revisions = {s.annotations["machinedeployment.clusters.k8s.io/revision"] for s in sets}
        assert revisions == {"1", "2"}

    simulate(main, example("quickstart.yaml"))


def test_a_paused_deployment_keeps_its_machines(simulate, example):
    async def main(life):
        api = await living(life)
        before = {m.name for m in (await api.list(MACHINES)).items}
        async with engine_of(life.seams(), "quickstart") as engine:
            await api.merge_patch(MACHINE_DEPLOYMENTS, SPACE, NAME, {"spec": {"paused": True}})
            await resize(api, "t3.large")
            await settle(engine)
            assert {m.name for m in (await api.list(MACHINES)).items} == before
            await api.merge_patch(MACHINE_DEPLOYMENTS, SPACE, NAME, {"spec": {"paused": False}})
            assert (await settle(engine)).done
        after = {m.name for m in (await api.list(MACHINES)).items}
        assert len(after & before) == 1, "only the control plane stays"

    simulate(main, example("quickstart.yaml"))


def test_another_kubelet_alone_replaces_nothing_with_the_in_place_strategy(simulate, example):
    async def main(life):
        api = await living(life)
        before = {m.name for m in (await api.list(MACHINES)).items}
        async with engine_of(life.seams(), "quickstart") as engine:
            patch = {"spec": {"template": {"spec": {"versions": {"kubelet": "v1.34.2"}}}}}
            await api.merge_patch(MACHINE_DEPLOYMENTS, SPACE, NAME, patch)
            assert (await settle(engine)).done
        assert {m.name for m in (await api.list(MACHINES)).items} == before
        (only,) = (await api.list(MACHINE_SETS)).items
        assert only.spec["template"]["spec"]["versions"]["kubelet"] == "v1.34.2"

    simulate(main, example("quickstart.yaml"))


def test_the_same_file_applied_with_kubectl_replaces_nothing(simulate, example):
    """kubectl sends the file as it stands: defaults spelled out, the kubelet's placeholder."""

    async def main(life):
        api = await living(life)
        before = {m.name for m in (await api.list(MACHINES)).items}
        async with engine_of(life.seams(), "quickstart") as engine:
            await api.merge_patch(MACHINE_DEPLOYMENTS, SPACE, NAME, {"spec": FILE["spec"]})
            assert (await settle(engine)).done
        assert {m.name for m in (await api.list(MACHINES)).items} == before

    simulate(main, example("quickstart.yaml"))


def test_a_deleted_machine_is_drained_deleted_and_replaced(simulate, example):
    async def main(life):
        api = await living(life)
        victim = next(m for m in (await api.list(MACHINES)).items if "control-plane" not in m.name)
        async with engine_of(life.seams(), "quickstart") as engine:
            await api.delete(MACHINES, SPACE, victim.name)
            assert (await settle(engine)).done
        names = {m.name for m in (await api.list(MACHINES)).items}
        assert victim.name not in names and len(names) == 4
        assert victim.status["nodeRef"]["name"] not in {n.name for n in (await api.list(NODES)).items}
        reasons = {e.raw["reason"] for e in (await api.list(EVENTS, SPACE)).items}
        assert {"Created", "NodeJoined", "Draining"} <= reasons

    simulate(main, example("quickstart.yaml"))


def test_a_budget_that_forbids_it_holds_the_drain_and_is_named(simulate, example):
    async def main(life):
        api = await living(life)
        labels = {"app": "web"}
        await api.create(
            DEPLOYMENTS,
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "web", "image": "nginx"}]},
                    },
                },
            },
        )
        await api.create(
            POD_DISRUPTION_BUDGETS,
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
            },
        )
        await asyncio.sleep(60)
        (pod,) = [p for p in (await api.list(PODS, "default")).items if p.labels.get("app") == "web"]
        node = pod.spec["nodeName"]
        victim = next(m for m in (await api.list(MACHINES)).items if m.status["nodeRef"]["name"] == node)
        async with engine_of(life.seams(), "quickstart") as engine:
            await api.delete(MACHINES, SPACE, victim.name)
            await asyncio.sleep(600)
            waits = {str(w.key): w.reason for w in engine.context.queue.waits()}
            assert "PodDisruptionBudget default/web" in waits[f"machine/{victim.name}"]
            await api.delete(POD_DISRUPTION_BUDGETS, "default", "web")
            assert (await settle(engine)).done
        try:
            await api.get(MACHINES, SPACE, victim.name)
        except NotFound:
            return
        raise AssertionError("the machine is still there")

    simulate(main, example("quickstart.yaml"))
