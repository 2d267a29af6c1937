"""Objects in the book come from anybody with kubectl: whether one can be read is asked before it is acted upon."""

from __future__ import annotations

from flatyard.base.errors import InvalidInput
from flatyard.decode import from_json
from flatyard.engine import events
from flatyard.engine.context import Context
from flatyard.engine.queue import Waiting
from flatyard.kube.api import Object


async def unreadable(ctx: Context, object: Object, kind: type) -> Waiting | None:
    """Why an object cannot be acted upon, told as an event too; None when it reads as its kind."""
    if ctx.read.get(object.uid) == object.resource_version:
        return None
    try:
        from_json(kind, object.raw)
    except InvalidInput as error:
        problem = error.problems[0]
        first = f"{problem.path}: {problem.what}" + (
            f"; allowed: {problem.allowed}" if problem.allowed else ""
        )
        await events.warn(ctx, object, "Invalid", first)
        return Waiting(
            first, again=600, final=True, next=f"kubectl edit {object.kind} {object.name} mends it"
        )
    ctx.read[object.uid] = object.resource_version
    return None
