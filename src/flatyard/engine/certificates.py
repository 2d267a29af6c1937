"""The approver of kubelets' certificate requests: without it no machine joins and `kubectl logs` reaches no node.

Our bootstrap tokens are in a group of their own, which kubeadm's automatic approval does not cover, and serving
certificates are approved by nobody but us. `certificate_rules` decides; here is what it decides from, and what
follows. One read of a token and one write per request: a cluster's calls grow with its machines, not faster.
"""

from __future__ import annotations

from dataclasses import replace

from flatyard.base.world import parse_stamp
from flatyard.clouds.cloud import Instance
from flatyard.engine import events, tokens
from flatyard.engine.certificate_rules import (
    Approve,
    Asked,
    Deny,
    Known,
    Leave,
    NotOurs,
    Token,
    claims,
    decide,
    ours,
    read_asked,
)
from flatyard.engine.context import Context
from flatyard.engine.identity import machine_id_of
from flatyard.engine.instances import alive
from flatyard.engine.queue import Done, Gone, Key, Result
from flatyard.kube.api import Conflict, Invalid, NotFound, Object, Verdict
from flatyard.kube.approval import decision

SOON, LATER = 2.0, 30.0
"""Seconds until a request that is left pending is looked at again."""
PATIENCE = 20.0
"""Seconds for which a reason that may pass is not told."""


async def reconcile_request(ctx: Context, key: Key) -> Result:
    """Decide about one CertificateSigningRequest."""
    request = ctx.caches.signing_request(key.name)
    if request is None or decision(request):
        ctx.left_pending.pop(key.name, None)
        return Gone()
    asked = read_asked(request)
    if not ours(asked):
        return Gone()
    if not ctx.instances.refreshed:
        return Done(resync=SOON)
    known = await _known(ctx, asked)
    decided = decide(asked, known)
    if isinstance(decided, Leave):  # only now it matters whose the names are that it asks for
        decided = decide(asked, replace(known, owners=_owners(ctx, asked, known.machine)))
    match decided:
        case Approve(reason):
            return await _judge(ctx, request, Verdict(True, "FlatyardApproved", reason))
        case Deny(reason):
            await _warn(ctx, request, known, "CertificateDenied", f"denied: {reason}")
            return await _judge(ctx, request, Verdict(False, "FlatyardDenied", reason))
        case Leave() as left:
            return await _leave(ctx, request, known, left)
        case NotOurs():
            return Gone()


async def _judge(ctx: Context, request: Object, verdict: Verdict) -> Result:
    """Write the verdict down, unless somebody was faster: the watch then shows what they wrote."""
    assert ctx.api is not None
    ctx.left_pending.pop(request.name, None)
    try:
        await ctx.api.approve(request, verdict)
    except Conflict:
        return Done(resync=SOON)
    except (Invalid, NotFound):
        return Gone()
    return Gone()


async def _leave(ctx: Context, request: Object, known: Known, left: Leave) -> Result:
    """Say once why, and look again: a machine may get its instance, a person may mend what is wrong."""
    age = ctx.world.age(request.created) if request.created else 0.0
    young = left.passing and age < PATIENCE
    if not young and ctx.left_pending.get(request.name) != left.reason:
        ctx.left_pending[request.name] = left.reason
        await _warn(ctx, request, known, "CertificatePending", f"not approved: {left.reason}")
    return Done(resync=SOON if young else LATER)


async def _warn(ctx: Context, request: Object, known: Known, reason: str, said: str) -> None:
    """Tell it of the request and of the machine, where people look who wait for it."""
    await events.warn(ctx, request, reason, said)
    if known.machine is not None:
        await events.warn(ctx, known.machine, reason, f"certificate request {request.name} {said}")


async def _known(ctx: Context, asked: Asked) -> Known:
    if asked.by_node:
        instance = ctx.instances.of_node("", asked.by_node)
        machine = _machine(ctx, instance.machine_id) if instance else None
        return Known(machine, instance)
    machine = _machine(ctx, asked.by_machine.upper())
    if machine is None:
        return Known()
    machine_id = machine_id_of(machine)
    instance = ctx.instances.get(machine_id)
    node = ctx.caches.node(instance.node_name) if instance else None
    return Known(machine, instance, await _token(ctx, machine_id), node)


def _machine(ctx: Context, machine_id: str) -> Object | None:
    return next(iter(ctx.caches.machines_by_id.find(machine_id)), None) if machine_id else None


async def _token(ctx: Context, machine_id: str) -> Token | None:
    found = await tokens.find(ctx.book, machine_id)
    if found is None:
        return None
    try:
        expires = parse_stamp(tokens.field_of(found, "expiration"))
        return Token(tokens.token_of(found).id, expired=ctx.world.age(expires) >= 0)
    except (KeyError, ValueError):  # the Secret can be edited by anybody who may
        return None


def _owners(ctx: Context, asked: Asked, machine: Object | None) -> dict[str, str]:
    """Of the names that a request speaks of, those that are another machine's or another node's."""
    own = machine_id_of(machine) if machine else ""
    found = {name: _owner(ctx, name, own) for name in claims(asked)}
    return {name: owner for name, owner in found.items() if owner}


def _owner(ctx: Context, name: str, own: str) -> str:
    instance = ctx.instances.of_node("", name)
    if instance is not None and _bears(instance, name):
        return "" if instance.machine_id == own else f"the name of instance {instance.id}"
    return "another node's name" if ctx.caches.node(name) is not None else ""


def _bears(instance: Instance, name: str) -> bool:
    return alive(instance) and instance.node_name == name
