"""Kubernetes Events about our objects, so that `kubectl describe` tells what happened.

An event is told once per object, reason and attempt: its name is made of them, so a run that dies and comes
back does not repeat itself. Events are for people; losing one stops nothing.
"""

from __future__ import annotations

import hashlib

from flatyard.base.world import rfc3339
from flatyard.engine.context import Context
from flatyard.engine.labels import ATTEMPT
from flatyard.kube.api import AlreadyExists, ApiError, Json, Object
from flatyard.kube.resources import EVENTS

COMPONENT = "flatyard"


async def tell(ctx: Context, about: Object, reason: str, message: str) -> None:
    """A normal event. Before the cluster's API answers there is nowhere to tell."""
    await _create(ctx, about, "Normal", reason, message)


async def warn(ctx: Context, about: Object, reason: str, message: str) -> None:
    """A warning event."""
    await _create(ctx, about, "Warning", reason, message)


async def _create(ctx: Context, about: Object, kind: str, reason: str, message: str) -> None:
    if ctx.api is None or ctx.api is not ctx.book:
        return
    try:
        await ctx.api.create(EVENTS, _event(ctx, about, kind, reason, message))
    except AlreadyExists:
        return
    except ApiError as error:
        if error.status not in (403, 404, 422):
            raise


def _event(ctx: Context, about: Object, kind: str, reason: str, message: str) -> Json:
    now = rfc3339(ctx.world.now())
    mark = f"{about.uid}/{reason}/{about.annotations.get(ATTEMPT, 1)}/{message}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{about.name}.{hashlib.sha256(mark.encode()).hexdigest()[:16]}",
            "namespace": about.namespace or "default",
        },
        "involvedObject": {
            "apiVersion": about.raw.get("apiVersion", ""),
            "kind": about.kind,
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": COMPONENT},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
