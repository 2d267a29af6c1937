"""Why a machine did not come up, from its serial console."""

from __future__ import annotations

from flatyard.clouds.aws.answers import missing_is_fine
from flatyard.clouds.aws.client import Account
from flatyard.clouds.cloud import Evidence, Instance, Rejected
from flatyard.node.evidence import parse_console

_NOT_NITRO = ("UnsupportedOperation", "InvalidParameterCombination", "InvalidParameterValue")


async def evidence(account: Account, instance: Instance) -> Evidence | None:
    """The first failing unit on the console; None where there is none, or the instance is gone."""
    text = ""
    with missing_is_fine():
        text = await console(account, instance)
    report = parse_console(text)
    return Evidence(report.unit, report.lines, "console") if report else None


async def console(account: Account, instance: Instance) -> str:
    """What the console shows now; on types without Nitro, what it showed some minutes ago."""
    what = f"reading the console of {instance.name}"
    try:
        answer = await account.read(what, "ec2", "get_console_output", InstanceId=instance.id, Latest=True)
    except Rejected as no:
        if no.code not in _NOT_NITRO:
            raise
        answer = await account.read(what, "ec2", "get_console_output", InstanceId=instance.id)
    return str(answer.get("Output", ""))
