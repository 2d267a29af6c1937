"""PodDisruptionBudgets: evictions that ask them, and the status that says how many more they allow.

Sources: kube-apiserver's pods/eviction (pkg/registry/core/pod/storage/eviction.go) for the rules and the
wording, kube-controller-manager's disruption controller for the status.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from flatyard.base.world import parse_stamp
from flatyard.kube import resources as r
from flatyard.kube.api import ApiError, EventType, Json, Object, TooManyRequests
from flatyard.kube.registry import Deletion, Registry
from flatyard.kube.selectors import from_object
from flatyard.kube.shelf import Change, Key

RETRY_SECONDS = 10
"""What the server suggests while a changed budget has not been looked at yet."""
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
DISRUPTED_SECONDS = 120
"""How long an evicted pod that does not go counts as disrupted."""


class Budgets:
    """Which budgets there are, what they allow now, and who may still be evicted."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._storage = registry.storage
        self._kind = self._storage.kinds[r.POD_DISRUPTION_BUDGETS.api_version, r.POD_DISRUPTION_BUDGETS.kind]
        self._pods = self._storage.kinds[r.PODS.api_version, r.PODS.kind]
        self._queue: dict[Key, None] = {}

    # ---- the controller

    @property
    def patience(self) -> float:
        return 0.0

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def resume(self) -> None:
        self._queue.update(dict.fromkeys(self._storage.shelves[self._kind].objects))

    def observe(self, change: Change) -> None:
        """Note the budgets that a write may have changed."""
        if change.kind is self._kind:
            if change.type is not EventType.DELETED:
                self._queue[change.key] = None
        elif change.kind is self._pods:
            for pod in (change.object, change.previous):
                if pod is not None:
                    self._queue.update(dict.fromkeys((b.namespace, b.name) for b in self.covering(pod)))

    def settle(self) -> None:
        """Bring the status of the noted budgets up to date."""
        while self._queue:
            key = next(iter(self._queue))
            del self._queue[key]
            budget = self._storage.get(self._kind, key)
            if budget is not None and not budget.deleting:
                self._update(budget)

    def covering(self, pod: Object) -> list[Object]:
        """Budgets whose selector matches the pod."""
        inside = self._storage.shelves[self._kind].namespaces.get(pod.namespace, {})
        return [b for b in inside.values() if from_object(b.spec.get("selector")).matches(pod.labels)]

    def _update(self, budget: Object) -> None:
        status = self._status(budget)
        if {k: v for k, v in budget.status.items() if k != "conditions"} == status:
            return
        status["conditions"] = [self._condition(budget, status)]
        self._write(budget, status)

    def _write(self, budget: Object, status: Json) -> None:
        raw = {**budget.raw, "metadata": dict(budget.metadata), "status": status}
        self._registry.replace(self._kind, raw, subresource="status")

    def _status(self, budget: Object) -> Json:
        selector = from_object(budget.spec.get("selector"))
        inside = self._storage.shelves[self._pods].namespaces.get(budget.namespace, {})
        pods = [p for p in inside.values() if selector.matches(p.labels) and _counts(p)]
        expected, desired = self._wanted(budget, pods)
        disrupted = self._disrupted(budget, pods)
        healthy = sum(1 for p in pods if is_ready(p) and p.name not in disrupted)
        allowed = max(0, healthy - desired) if expected > 0 else 0
        status: Json = {
            "observedGeneration": budget.generation,
            "disruptionsAllowed": allowed,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
        }
        return {**status, "disruptedPods": disrupted} if disrupted else status

    def _disrupted(self, budget: Object, pods: list[Object]) -> dict[str, str]:
        """Evicted pods that are still there; one that ignores its eviction counts again after a while."""
        noted = budget.status.get("disruptedPods") or {}
        waiting = {p.name for p in pods if not p.deleting}
        return {
            name: stamp
            for name, stamp in noted.items()
            if name in waiting and self._registry.world.age(parse_stamp(stamp)) < DISRUPTED_SECONDS
        }

    def _wanted(self, budget: Object, pods: list[Object]) -> tuple[int, int]:
        """How many pods there should be, and how many of them must stay healthy."""
        least, most = budget.spec.get("minAvailable"), budget.spec.get("maxUnavailable")
        if isinstance(least, int):
            return len(pods), least
        expected = self._expected(pods)
        if least is not None:
            return expected, _share(least, expected)
        return expected, max(0, expected - _share(most or 0, expected))

    def _expected(self, pods: list[Object]) -> int:
        """The replicas that the pods' controllers want; a pod without a controller counts for itself."""
        controllers = {p.controller.uid: p.controller for p in pods if p.controller}
        alone = sum(1 for p in pods if p.controller is None)
        return alone + sum(self._replicas(uid, pods) for uid in self._roots(controllers))

    def _roots(self, uids: Iterable[str]) -> list[str]:
        """The controllers themselves, a ReplicaSet's Deployment in its place."""
        roots: dict[str, None] = {}
        for uid in uids:
            place = self._storage.uids.get(uid)
            owner = self._registry.get(place[0], *place[1]).controller if place else None
            roots[owner.uid if owner else uid] = None
        return list(roots)

    def _replicas(self, uid: str, pods: list[Object]) -> int:
        place = self._storage.uids.get(uid)
        spec = self._registry.get(place[0], *place[1]).spec if place else {}
        if "replicas" in spec:
            return int(spec["replicas"])
        return sum(1 for p in pods if p.controller and p.controller.uid == uid)

    def _condition(self, budget: Object, status: Json) -> Json:
        allowed = status["disruptionsAllowed"] > 0
        wanted = "True" if allowed else "False"
        before: Json = next(iter(budget.status.get("conditions") or ()), {})
        same = before.get("status") == wanted
        return {
            "type": "DisruptionAllowed",
            "status": wanted,
            "reason": "SufficientPods" if allowed else "InsufficientPods",
            "message": "",
            "observedGeneration": budget.generation,
            "lastTransitionTime": before["lastTransitionTime"] if same else self._registry.stamp(),
        }

    # ---- eviction

    def evict(self, namespace: str, name: str, how: Deletion) -> None:
        """Delete the pod if its budget allows it; raises TooManyRequests when not."""
        self.settle()
        pod = self._registry.get(self._pods, namespace, name)
        key = (namespace, name)
        if _ended(pod) or pod.deleting:
            self._registry.delete(self._pods, key, how)
            return
        budgets = self.covering(pod)
        if len(budgets) > 1:
            raise ApiError(SEVERAL, reason="")
        self._check_uid(pod, how)
        if budgets:
            self._spend(budgets[0], pod, how.dry_run)
        if not how.dry_run:
            self._condemn(pod)
        self._registry.delete(self._pods, key, how)

    def _check_uid(self, pod: Object, how: Deletion) -> None:
        if how.uid:
            self._registry.delete(self._pods, (pod.namespace, pod.name), Deletion(uid=how.uid, dry_run=True))

    def _spend(self, budget: Object, pod: Object, dry_run: bool) -> None:
        """Take one disruption from the budget."""
        if _may_ignore(budget, pod):
            return
        _refuse_unless_allowed(budget)
        if dry_run:
            return
        allowed = budget.status["disruptionsAllowed"] - 1
        disrupted = {**(budget.status.get("disruptedPods") or {}), pod.name: self._registry.stamp()}
        status = {**budget.status, "disruptionsAllowed": allowed, "disruptedPods": disrupted}
        if allowed == 0:
            status["conditions"] = [self._condition(budget, status)]
        self._write(budget, status)

    def _condemn(self, pod: Object) -> None:
        """Say in the pod's conditions that it is being evicted."""
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": self._registry.stamp(),
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
        conditions = [c for c in pod.status.get("conditions") or () if c["type"] != "DisruptionTarget"]
        status = {**pod.status, "conditions": [*conditions, condition]}
        raw = {**pod.raw, "metadata": dict(pod.metadata), "status": status}
        self._registry.replace(self._pods, raw, subresource="status")


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    conditions: Iterable[Json] = pod.status.get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _ended(pod: Object) -> bool:
    return pod.status.get("phase") in ("Succeeded", "Failed", "Pending")


def _counts(pod: Object) -> bool:
    return not pod.deleting and pod.status.get("phase") not in ("Succeeded", "Failed")


def _share(value: int | str, of: int) -> int:
    return math.ceil(int(value.rstrip("%")) * of / 100) if isinstance(value, str) else value


def _may_ignore(budget: Object, pod: Object) -> bool:
    """An unhealthy pod goes without asking when enough others are healthy, or always, as the budget says."""
    if is_ready(pod):
        return False
    if budget.spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, desired = budget.status.get("currentHealthy", 0), budget.status.get("desiredHealthy", 0)
    return bool(healthy >= desired > 0)


def _refuse_unless_allowed(budget: Object) -> None:
    status = budget.status
    if status.get("observedGeneration", 0) < budget.generation:
        why = f"The disruption budget {budget.name} is still being processed by the server."
        raise _refusal(why, RETRY_SECONDS)
    if status.get("disruptionsAllowed", 0) <= 0:
        needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        why = f"The disruption budget {budget.name} needs {needs} healthy pods and has {has} currently"
        raise _refusal(why)


def _refusal(why: str, retry: int | None = None) -> TooManyRequests:
    details: Json = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if retry is not None:
        details["retryAfterSeconds"] = retry
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return TooManyRequests(message, retry_after=retry, details=details)
