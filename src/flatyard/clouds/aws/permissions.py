"""Whether the credentials are good, and allow what has to be done: by EC2's dry runs, and by looking once at the rest.

A dry run checks the permission before anything else and changes nothing (EC2 API reference, "DryRun").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

from flatyard.base.errors import Problem, Severity
from flatyard.clouds.aws.answers import CREDENTIALS, DENIED
from flatyard.clouds.aws.client import Account
from flatyard.clouds.aws.settings import AwsSettings
from flatyard.clouds.cloud import CloudError, NoCapacity, QuotaExceeded, Rejected

_REHEARSED = "DryRunOperation"
NOT_ENABLED = "where {region} is not enabled in the account, it refuses good credentials too"


async def credentials(account: Account, settings: AwsSettings) -> Problem | None:
    """What is wrong with the credentials."""
    try:
        await account.read("asking who the credentials are", "sts", "get_caller_identity")
    except Rejected as no:
        if no.code in CREDENTIALS or no.code.endswith("Error"):
            problem = refused(path_of(settings), no)
            return replace(problem, what=f"{problem.what}; {NOT_ENABLED.format(region=account.region)}")
        raise
    return None


def path_of(settings: AwsSettings) -> str:
    """Where the credentials are named."""
    if settings.access_key_id:
        return f"{settings.keys_at}.accessKeyId"
    return "spec.cloud.aws.profile" if settings.profile else "spec.cloud.aws"


def refused(path: str, no: CloudError) -> Problem:
    """A refusal as a problem, with what to do about it."""
    return Problem(Severity.ERROR, None, path, no.what + (f"; {no.next}" if no.next else ""))


async def told(asking: Awaitable[list[Problem]]) -> list[Problem]:
    """What one check finds; that it may not ask is a problem of its own."""
    try:
        return await asking
    except Rejected as no:
        return [refused("spec.cloud.aws", no)]


async def problems(account: Account, image: str, size: str, *, network: bool) -> list[Problem]:
    """What is not allowed. `image`, `size`: something that can be started; `network`: one is to be made."""
    launch = {"ImageId": image, "InstanceType": size, "MinCount": 1, "MaxCount": 1}
    asking = [
        _dry(account, "create_security_group", GroupName="flatyard", Description="preflight"),
        told(_seen(account)),
    ]
    if image:
        asking.append(_dry(account, "run_instances", **launch))
    if network:
        asking += [
            _dry(account, "create_vpc", CidrBlock="10.0.0.0/16"),
            _dry(account, "create_internet_gateway"),
        ]
    return [problem for part in await asyncio.gather(*asking) for problem in part]


async def _dry(account: Account, operation: str, **parameters: object) -> list[Problem]:
    what = f"trying whether {operation.replace('_', ' ')} is allowed"
    try:
        await account.write(what, "ec2", operation, DryRun=True, **parameters)
    except CloudError as no:
        if no.code in DENIED:
            return [refused("spec.cloud.aws", no)]
        if no.code != _REHEARSED and no.retry and not isinstance(no, QuotaExceeded | NoCapacity):
            raise
    return []


async def _seen(account: Account) -> list[Problem]:
    """The services that know no dry run are looked at."""
    await asyncio.gather(
        account.read("looking at the load balancers", "elbv2", "describe_load_balancers", PageSize=1),
        account.read("looking at the roles", "iam", "list_roles", PathPrefix="/flatyard/", MaxItems=1),
    )
    return []
