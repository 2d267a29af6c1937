"""A small scheduler: pods without a node get the fittest one with the fewest pods.

Heeds taints, cordons, node selectors, required node affinity and the number of pods; spreads the pods of one
controller. Resource requests, volumes and pod affinity are not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from flatyard.kube import resources as r
from flatyard.kube.api import EventType, Json, Object
from flatyard.kube.shelf import Change
from flatyard.sim.kubernetes.context import Context, condition, join_key, split_key, tolerates
from flatyard.sim.kubernetes.nodes import UNSCHEDULABLE


class Scheduler:
    """Binds pods to nodes; looks again whenever a node may have become fit."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: dict[str, None] = {}
        context.work.handle({"schedule": self.schedule})

    def resume(self) -> None:
        for pod in self._context.objects(r.PODS).values():
            self._note(pod)

    def observe(self, change: Change) -> None:
        if change.kind.resource == r.PODS:
            if change.type is EventType.DELETED:
                self._waiting.pop(join_key(change.object.namespace, change.object.name), None)
            elif change.previous is None or change.previous.spec != change.object.spec:
                self._note(change.object)
        elif change.kind.resource == r.NODES and self._waiting and _more_fit(change):
            self._context.work.add("schedule", "")

    def _note(self, pod: Object) -> None:
        key = join_key(pod.namespace, pod.name)
        if pod.spec.get("nodeName") or pod.deleting:
            self._waiting.pop(key, None)
        elif pod.spec.get("schedulerName", "default-scheduler") == "default-scheduler":
            self._waiting[key] = None
            self._context.work.add("schedule", "")

    def schedule(self, _: str) -> None:
        """Try every pod that waits."""
        nodes = list(self._context.objects(r.NODES).values())
        for key in list(self._waiting):
            pod = self._context.get(r.PODS, *split_key(key))
            if pod is None or pod.spec.get("nodeName") or pod.deleting:
                del self._waiting[key]
                continue
            self._place(pod, nodes)

    def _place(self, pod: Object, nodes: Sequence[Object]) -> None:
        reasons: Counter[str] = Counter()
        fit: list[str] = []
        for node in nodes:
            why = unfit(pod.spec, node)
            if why:
                reasons[why] += 1
            else:
                fit.append(node.name)
        best = min(((*self._load(pod, name), name) for name in fit), default=None)
        if best is None:
            self._refuse(pod, len(nodes), reasons)
        else:
            self._context.change(r.PODS, pod, spec={**pod.spec, "nodeName": best[-1]})

    def _load(self, pod: Object, node: str) -> tuple[int, int]:
        pods = self._context.pods_on(node)
        owner = pod.controller.uid if pod.controller else ""
        siblings = sum(1 for other in pods if other.controller and other.controller.uid == owner)
        return siblings, len(pods)

    def _refuse(self, pod: Object, count: int, reasons: Counter[str]) -> None:
        why = ", ".join(f"{number} node(s) {reason}" for reason, number in sorted(reasons.items()))
        message = f"0/{count} nodes are available: {why or 'no nodes'}."
        old = pod.status.get("conditions") or []
        if condition(old, "PodScheduled").get("message") == message:
            return
        refused = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": self._context.stamp(),
            "reason": "Unschedulable",
            "message": message,
        }
        kept = [c for c in old if c["type"] != "PodScheduled"]
        self._context.set_status(
            r.PODS, pod, {**pod.status, "phase": "Pending", "conditions": [*kept, refused]}
        )


def _more_fit(change: Change) -> bool:
    before, now = change.previous, change.object
    return change.type is not EventType.DELETED and (
        before is None or before.spec != now.spec or before.labels != now.labels
    )


def unfit(spec: Json, node: Object) -> str:
    """Why a pod of this spec cannot run on the node; empty when it can."""
    if node.deleting:
        return "were being deleted"
    tolerations = spec.get("tolerations") or ()
    if node.spec.get("unschedulable") and not tolerates(tolerations, UNSCHEDULABLE, "", "NoSchedule"):
        return "were unschedulable"
    for taint in node.spec.get("taints") or ():
        if taint["effect"] == "PreferNoSchedule" or taint["key"] == UNSCHEDULABLE:
            continue
        if not tolerates(tolerations, taint["key"], taint.get("value", ""), taint["effect"]):
            return f"had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    return "" if selected(spec, node) else "didn't match Pod's node affinity/selector"


def selected(spec: Json, node: Object) -> bool:
    """Whether the node matches the pod's node selector and required node affinity."""
    if any(node.labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not affinity:
        return True
    return any(_term(term, node) for term in affinity.get("nodeSelectorTerms") or ())


def _term(term: Json, node: Object) -> bool:
    by_label = all(_expression(e, node.labels.get(e["key"])) for e in term.get("matchExpressions") or ())
    by_name = all(_expression(e, node.name) for e in term.get("matchFields") or ())
    return by_label and by_name


def _expression(expression: Json, value: str | None) -> bool:
    values: list[str] = expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case _:
            return value is not None and int(value) < int(values[0])
