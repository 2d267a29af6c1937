"""Draining a node: which pods go, which stay, and who is named when one may not."""

from __future__ import annotations

import asyncio

from flatyard.base.world import SeededWorld
from flatyard.kube.drain import MIRROR, cordon, drain, drain_step, uncordon
from flatyard.kube.memory import MemoryApi
from flatyard.kube.resources import DAEMON_SETS, NODES, POD_DISRUPTION_BUDGETS, PODS
from flatyard.sim import loop


async def node(api: MemoryApi) -> None:
    await api.create(NODES, {"metadata": {"name": "w1"}, "spec": {}})


async def pod(
    api: MemoryApi, name: str, *, phase: str = "Running", grace: int = 0, **metadata: object
) -> None:
    labels = {"app": name.partition("-")[0]}
    raw = {"metadata": {"name": name, "namespace": "default", "labels": labels, **metadata}}
    raw["spec"] = {"nodeName": "w1", "terminationGracePeriodSeconds": grace}
    raw["status"] = {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}
    await api.create(PODS, raw)


async def budget(api: MemoryApi, name: str, least: int) -> None:
    spec = {"minAvailable": least, "selector": {"matchLabels": {"app": name}}}
    await api.create(
        POD_DISRUPTION_BUDGETS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
    )


def in_time(scenario) -> None:
    async def run() -> None:
        api = MemoryApi(SeededWorld(1, asyncio.get_running_loop().time))
        await node(api)
        await scenario(api)

    loop.run(run(), until=10_000)


async def names(api: MemoryApi) -> list[str]:
    return [p.name for p in (await api.list(PODS)).items]


def test_everything_goes_but_what_belongs_to_the_node() -> None:
    async def scenario(api) -> None:
        made = await api.create(DAEMON_SETS, {"metadata": {"name": "agent", "namespace": "default"}})
        owner = {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "name": "agent",
            "uid": made.uid,
            "controller": True,
        }
        await pod(api, "agent", ownerReferences=[owner])
        await pod(api, "etcd", annotations={MIRROR: "x"})
        await pod(api, "done", phase="Succeeded")
        await pod(api, "failed", phase="Failed")
        await pod(api, "web")
        progress = await drain(api, "w1", 60)
        assert progress.done
        assert await names(api) == ["agent", "done", "etcd", "failed"]
        assert (await api.get(NODES, "", "w1")).spec["unschedulable"] is True

    in_time(scenario)


def test_a_budget_that_never_gives_way_is_named() -> None:
    async def scenario(api) -> None:
        await pod(api, "web-1")
        await pod(api, "web-2")
        await budget(api, "web", 1)
        seen = []
        started = asyncio.get_running_loop().time()
        progress = await drain(api, "w1", 60, seen.append)
        assert asyncio.get_running_loop().time() - started == 60
        assert [(b.pod, b.budget) for b in progress.blockers] == [("web-2", "web")]
        assert str(progress.blockers[0]) == (
            "pod default/web-2 is held by PodDisruptionBudget default/web: "
            "The disruption budget web needs 1 healthy pods and has 1 currently"
        )
        assert not progress.done and len(seen) > 10

    in_time(scenario)


def test_a_budget_that_gives_way_is_waited_for() -> None:
    async def scenario(api) -> None:
        await pod(api, "web-1")
        await budget(api, "web", 1)
        draining = asyncio.create_task(drain(api, "w1", 600))
        await asyncio.sleep(100)
        await api.delete(POD_DISRUPTION_BUDGETS, "default", "web")
        assert (await draining).done

    in_time(scenario)


def test_pods_are_waited_for_until_they_are_gone() -> None:
    async def scenario(api) -> None:
        await pod(api, "slow", grace=30)
        draining = asyncio.create_task(drain(api, "w1", 600))
        await asyncio.sleep(20)
        assert not draining.done() and (await drain_step(api, "w1")).leaving == ("default/slow",)
        await api.delete(PODS, "default", "slow", grace_seconds=0)
        assert (await draining).done

    in_time(scenario)


def test_uncordon_takes_the_mark_away() -> None:
    async def scenario(api) -> None:
        await cordon(api, "w1")
        assert "unschedulable" not in (await uncordon(api, "w1")).spec

    in_time(scenario)
