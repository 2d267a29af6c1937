"""Emptying a node of its pods, through the eviction API, so that budgets are asked.

Which pods stay is as in machine-controller and `kubectl drain --ignore-daemonsets --force`: those of
DaemonSets, mirror pods of static ones, and those that are done.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from flatyard.kube.api import Api, Json, NotFound, Object, TooManyRequests
from flatyard.kube.resources import NODES, PODS

RETRY_SECONDS = 5.0
"""Pause between two looks at a node; what kubectl waits after a refused eviction."""
MIRROR = "kubernetes.io/config.mirror"
_BUDGET = re.compile(r"disruption budget (\S+)")


@dataclass(frozen=True, slots=True)
class Blocker:
    """A pod that may not be evicted now; `budget` names the PodDisruptionBudget that says so, if one does."""

    namespace: str
    pod: str
    budget: str
    why: str

    def __str__(self) -> str:
        by = f" by PodDisruptionBudget {self.namespace}/{self.budget}" if self.budget else ""
        return f"pod {self.namespace}/{self.pod} is held{by}: {self.why}"


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a node: pods that are going, and pods that may not go yet."""

    leaving: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()

    @property
    def done(self) -> bool:
        return not self.leaving and not self.blockers


async def cordon(api: Api, node: str) -> Object:
    """Let no new pods onto the node."""
    return await api.merge_patch(NODES, "", node, {"spec": {"unschedulable": True}})


async def uncordon(api: Api, node: str) -> Object:
    """Let pods onto the node again."""
    return await api.merge_patch(NODES, "", node, {"spec": {"unschedulable": None}})


async def pods_to_evict(api: Api, node: str) -> list[Object]:
    """Pods on the node that a drain must see gone."""
    listing = await api.list(PODS, fields=f"spec.nodeName={node}")
    return [pod for pod in listing.items if _must_go(pod)]


async def drain_step(api: Api, node: str) -> Progress:
    """Evict once what may be evicted now; for callers that come back by themselves."""
    leaving: list[str] = []
    blockers: list[Blocker] = []
    for pod in await pods_to_evict(api, node):
        blocker = None if pod.deleting else await _evict(api, pod)
        if blocker is None:
            leaving.append(f"{pod.namespace}/{pod.name}")
        else:
            blockers.append(blocker)
    return Progress(tuple(leaving), tuple(blockers))


async def drain(
    api: Api, node: str, seconds: float, report: Callable[[Progress], None] | None = None
) -> Progress:
    """Cordon the node and evict until it is empty or `seconds` have passed.

    Returns the last look: `done`, or who was still there and which budgets held them. The node stays cordoned.
    `report` hears of every look.
    """
    await cordon(api, node)
    end = asyncio.get_running_loop().time() + seconds
    while True:
        progress = await drain_step(api, node)
        if report is not None:
            report(progress)
        left = end - asyncio.get_running_loop().time()
        if progress.done or left <= 0:
            return progress
        pause = RETRY_SECONDS if progress.blockers else 1.0
        await asyncio.sleep(min(pause, left))


async def _evict(api: Api, pod: Object) -> Blocker | None:
    try:
        await api.evict(pod.namespace, pod.name)
    except NotFound:
        return None
    except TooManyRequests as refusal:
        why = _cause(refusal)
        budget = _BUDGET.search(why)
        return Blocker(pod.namespace, pod.name, budget[1] if budget else "", why)
    return None


def _cause(refusal: TooManyRequests) -> str:
    causes: list[Json] = refusal.details.get("causes") or []
    return str(causes[0]["message"]) if causes else refusal.what


def _must_go(pod: Object) -> bool:
    if MIRROR in pod.annotations or pod.status.get("phase") in ("Succeeded", "Failed"):
        return False
    return pod.controller is None or pod.controller.kind != "DaemonSet"
