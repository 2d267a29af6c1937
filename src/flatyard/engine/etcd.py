"""etcd's members as the engine sees them: which is a machine's, whose vote may go, and what is told when none may.

etcd itself is the judge of its majority: every change is asked of a living member, which refuses what would end it.
Only what the cloud says is gone counts as lost; a member that merely does not answer may be alive on the other side
of a broken network, and keeps its vote.
"""

from __future__ import annotations

from collections.abc import Iterable

from flatyard.clouds.cloud import Instance, InstanceState, Role
from flatyard.engine.context import Context
from flatyard.engine.identity import machine_id_of
from flatyard.engine.instances import alive
from flatyard.engine.labels import NAMESPACE
from flatyard.engine.queue import Waiting
from flatyard.kube.api import Object
from flatyard.kube.etcd import EtcdError, EtcdHost, EtcdMembers, EtcdSilent, Member, NoQuorum

AGAIN = 15.0


def living(ctx: Context) -> list[Instance]:
    """The control plane's instances that exist and are not on their way out, in order of their names."""
    found = [i for i in ctx.instances.all() if i.role is Role.CONTROL_PLANE and alive(i)]
    return sorted(found, key=lambda i: i.name)


def connect(ctx: Context) -> EtcdMembers:
    """etcd by way of those members whose machines are switched on."""
    running = [i for i in living(ctx) if i.state is InstanceState.RUNNING]
    hosts = tuple(EtcdHost(i.node_name, _internal(i.addresses)) for i in running)
    return ctx.seams.clients.etcd(ctx.record.endpoint, hosts, ctx.secrets)


def _internal(addresses: Iterable[tuple[str, str]]) -> str:
    return next((value for kind, value in addresses if kind == "InternalIP"), "")


def member_of(ctx: Context, machine: Object, members: Iterable[Member]) -> Member | None:
    """The machine's member: by its node's name, or by its address while the member has not told its name."""
    instance = ctx.instances.get(machine_id_of(machine))
    names = {(machine.status.get("nodeRef") or {}).get("name", ""), instance.node_name if instance else ""}
    known = [(str(a["type"]), str(a["address"])) for a in machine.status.get("addresses") or ()]
    hosts = {_internal(known), _internal(instance.addresses) if instance else ""} - {""}
    for member in members:
        if (member.name and member.name in names) or (not member.name and hosts & {*member.hosts}):
            return member
    return None


async def release(ctx: Context, machine: Object) -> Waiting | None:
    """Take the vote of the machine's member away, if it has one; None when it has none any more.

    The caller holds `ctx.membership`, so that what was listed is what is changed.
    """
    etcd = connect(ctx)
    try:
        member = member_of(ctx, machine, await etcd.list())
        if member is not None:
            await etcd.remove(member.id)
    except EtcdError as error:
        return told(ctx, machine, error)
    return None


def told(ctx: Context, machine: Object, error: EtcdError) -> Waiting:
    """Why the machine's member stays, and what to do."""
    said = f"the etcd member of {machine.name} cannot be removed: {_sentence(error)}"
    if isinstance(error, NoQuorum) or not living(ctx):
        return Waiting(f"{said}; nothing is started anew", again=60, final=True, next=_after_loss(ctx))
    if isinstance(error, EtcdSilent):
        return Waiting(
            said,
            again=60,
            final=True,
            next=f"kubectl get pods -n {NAMESPACE} -l component=etcd -o wide shows whether they run, and where",
        )
    return Waiting(said, again=AGAIN)


def _sentence(error: EtcdError) -> str:
    return f"{error.what} ({error.why})" if error.why else error.what


def _after_loss(ctx: Context) -> str:
    """What helps when the majority is gone."""
    name = ctx.record.name
    return (
        "start a stopped control plane again, if one still exists; else restore etcd from a snapshot by hand "
        f"(etcd --force-new-cluster on the last one), or give the cluster up: flatyard down {name}"
    )


async def lost_quorum(ctx: Context) -> Waiting | None:
    """Whether an API that does not answer never will: by the cloud's word most of etcd's members are gone.

    None while those that are left may still be a majority, or nobody can say.
    """
    await ctx.instances.refresh(ctx.record.ref)
    left = living(ctx)
    if not left:
        said = "none of its control plane machines exists any more, and etcd's data with them"
        return Waiting(f"{said}; nothing is started anew", again=60, final=True, next=_after_loss(ctx))
    try:
        members = await connect(ctx).list(agreed=False)
    except EtcdError:
        return _lost_by_the_clouds_word(ctx, left)
    voters = [m for m in members if not m.learner]
    names = {instance.node_name for instance in left}
    alive_ones = [m.name for m in voters if m.name in names]
    if 2 * len(alive_ones) > len(voters):
        return None
    said = (
        f"etcd has lost its majority: of {len(voters)} members only {', '.join(alive_ones) or 'none'} is left"
    )
    return Waiting(f"{said}; nothing is started anew", again=60, final=True, next=_after_loss(ctx))


def _lost_by_the_clouds_word(ctx: Context, left: list[Instance]) -> Waiting | None:
    """The same where no member can be asked: from outside, through an API without etcd, none can."""
    if 2 * len(left) > ctx.record.planes:
        return None
    names = ", ".join(instance.node_name or instance.name for instance in left)
    said = (
        f"etcd has lost its majority: of {ctx.record.planes} control planes that had joined, {ctx.cloud.name} "
        f"has only {names} left"
    )
    return Waiting(f"{said}; nothing is started anew", again=60, final=True, next=_after_loss(ctx))
