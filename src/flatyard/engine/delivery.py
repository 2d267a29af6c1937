"""A Machine's first-boot config on its way: what is stashed has the attempt in its key.

What one attempt fetched can never be another one's.
"""

from __future__ import annotations

from flatyard.clouds import delivery
from flatyard.engine.context import Context
from flatyard.engine.identity import attempt_of, machine_id_of, role_of
from flatyard.engine.labels import STASHED
from flatyard.ignition import Config
from flatyard.kube.api import Object


async def deliver(ctx: Context, machine: Object, config: Config) -> tuple[bytes, str]:
    """The user data, and the key of the stashed object that it points to (empty: everything is inline)."""
    key = f"first-boot/{machine_id_of(machine)}-{attempt_of(machine)}"
    return await delivery.deliver(ctx.cloud, ctx.record.ref, machine.name, role_of(machine), config, key)


async def withdraw(ctx: Context, machine: Object) -> None:
    """Take back what was stashed for the machine's attempt: it was fetched, or nobody will fetch it any more."""
    key = machine.annotations.get(STASHED)
    if key:
        await ctx.cloud.unstash(ctx.record.ref, key)
